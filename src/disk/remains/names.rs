//! Names that Spark gives to directories, and to the files in them.
//!
//! ```text
//! blockmgr-UUID/                      a block manager        (Utils.createDirectory, DiskBlockManager)
//! merge_manager/  merge_manager_N/    merged partitions      (DiskBlockManager.MERGE_DIRECTORY)
//!   00/ … 3f/                         two or more lower-case hex digits
//!     BLOCK   BLOCK.UUID              a block, and a block that is being written (Utils.tempFileWith)
//!     shuffle_S_M_0.checksum.ALG
//! ```
//!
//! Spark 4.3.0, unchanged since 3.2 but for kinds of blocks that came later.

use sealed_shuffle_protocol::shuffle::BlockId;

/// Directories of a block manager.
const BLOCK_MANAGER: &str = "blockmgr-";

/// The directory of merged partitions, of an application without attempts.
const MERGE_MANAGER: &str = "merge_manager";

/// Whether a directory of this name holds blocks and nothing else.
pub fn is_block_dir(name: &str) -> bool {
    let is_merges = || match name.strip_prefix(MERGE_MANAGER)?.strip_prefix('_') {
        Some(attempt) => Some(is_number(attempt)),
        None => Some(name == MERGE_MANAGER),
    };
    is_with_uuid(name, BLOCK_MANAGER) || is_merges() == Some(true)
}

/// Whether a sub-directory of a block directory is one that Spark makes.
pub(super) fn is_sub_dir(name: &str) -> bool {
    let is_hex = name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_hex && (name.len() == 2 || (3..=8).contains(&name.len()) && !name.starts_with('0'))
}

/// Whether Spark gives a file of such a sub-directory this name.
pub(super) fn is_block_file(name: &str) -> bool {
    let whole = match name.rsplit_once('.') {
        Some((whole, uuid)) if is_uuid(uuid) => whole,
        _ => name,
    };
    match whole.parse() {
        // Any name at all may follow.
        Ok(BlockId::Test { .. }) => false,
        Ok(_) => true,
        Err(_) => is_checksum(whole) || is_merged(whole),
    }
}

/// Whether a shuffle service serves a file of this name, so that it stays when its executor has ended: the names that
/// `ExternalShuffleBlockResolver.deleteNonShuffleServiceServedFiles` keeps (Spark 4.3.0).
pub(super) fn is_served(name: &str, serves_rdd: bool) -> bool {
    name.ends_with(".index") || name.ends_with(".data") || (serves_rdd && name.starts_with("rdd_"))
}

/// `PREFIX` and a UUID.
pub(super) fn is_with_uuid(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(is_uuid)
}

/// `shuffle_S_M_R.checksum.ALG`
fn is_checksum(name: &str) -> bool {
    let Some((output, algorithm)) = name.split_once(".checksum.") else { return false };
    let is_output = matches!(output.parse(), Ok(BlockId::Shuffle { .. }));
    is_output && !algorithm.is_empty() && algorithm.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// `shuffleMerged_APP_S_MERGE_R.data`, `.index` or `.meta`; Spark's own expression knows no ids with a hyphen, and its
/// resolver makes names of them.
fn is_merged(name: &str) -> bool {
    let Some((stem, end)) = name.strip_prefix("shuffleMerged_").and_then(|rest| rest.rsplit_once('.')) else {
        return false;
    };
    let mut ids = stem.rsplitn(4, '_');
    let are_numbers = ids.by_ref().take(3).all(is_number);
    are_numbers && ids.next().is_some_and(|app| !app.is_empty()) && matches!(end, "data" | "index" | "meta")
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// A UUID in the form that `java.util.UUID` prints.
fn is_uuid(text: &str) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let mut groups = text.split('-');
    let is_hex = |part: &str| part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let fits = GROUPS.iter().all(|len| groups.next().is_some_and(|part| part.len() == *len && is_hex(part)));
    fits && groups.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "7b3a0c56-3f1c-4a42-9d6e-0123456789ab";

    #[test]
    fn block_directories_are_those_of_block_managers_and_of_merges() {
        for name in [&format!("blockmgr-{UUID}"), "merge_manager", "merge_manager_1", "merge_manager_12"] {
            assert!(is_block_dir(name), "{name}");
        }
        let upper = format!("blockmgr-{}", UUID.to_uppercase());
        for name in [
            "",
            "blockmgr-1",
            "blockmgr-",
            &upper,
            &format!("blockmgr-{UUID}-1"),
            &format!("xblockmgr-{UUID}"),
            &format!("spark-{UUID}"),
            &format!("executor-{UUID}"),
            "merge_manager_",
            "merge_manager_x",
            "merge_manager1",
            "merge_manager_1_2",
            "data",
        ] {
            assert!(!is_block_dir(name), "{name}");
        }
    }

    #[test]
    fn sub_directories_are_numbers_in_lower_case_hex() {
        for name in ["00", "0a", "3f", "ff", "100", "7fffffff"] {
            assert!(is_sub_dir(name), "{name}");
        }
        for name in ["", "0", "0A", "0x", "010", "python", "..", "00 ", "123456789"] {
            assert!(!is_sub_dir(name), "{name}");
        }
    }

    #[test]
    fn block_files_are_blocks_and_what_becomes_one() {
        for name in [
            "shuffle_0_7_0.data",
            "shuffle_0_7_0.index",
            "shuffle_0_7_0.checksum.ADLER32",
            "shuffleMerged_app-1_0_0_3.data",
            "shuffleMerged_application_1_0001_0_0_3.meta",
            "rdd_1_2",
            "broadcast_0_piece0",
            "broadcast_3",
            "broadcast_3_python",
            "taskresult_17",
            "input-0-1700000000000",
            "python-stream-0-1",
            &format!("temp_local_{UUID}"),
            &format!("temp_shuffle_{UUID}"),
            &format!("shuffle_0_7_0.data.{UUID}"),
            &format!("shuffle_0_7_0.index.{UUID}"),
            &format!("shuffle_0_7_0.checksum.CRC32C.{UUID}"),
            &format!("rdd_1_2.{UUID}"),
        ] {
            assert!(is_block_file(name), "{name}");
        }
        for name in [
            "",
            ".",
            "a",
            "notes.data",
            "stderr",
            "shuffle_0_7_0.datax",
            "shuffle_0_7.data",
            "shuffle_0_7_0.checksum.",
            "shuffleMerged_0_0_3.data",
            "shuffleMerged_app-1_0_0_x.data",
            "shuffleMerged_app-1_0_0_3.txt",
            "shuffle_0_7_0.checksum.A/B",
            "rdd_1",
            "rdd_1_2.old",
            "temp_local_1",
            "temp_other_7b3a0c56-3f1c-4a42-9d6e-0123456789ab",
            "test_mine",
            "libspark.so",
            UUID,
        ] {
            assert!(!is_block_file(name), "{name}");
        }
    }

    /// As the class of Spark 4.3.0 says: a block that is being written has neither end.
    #[test]
    fn served_files_are_told_by_their_ends() {
        for (name, plain, with_rdd) in [
            ("shuffle_0_7_0.data", true, true),
            ("shuffle_0_7_0.index", true, true),
            ("shuffleMerged_app-1_0_0_3.data", true, true),
            ("shuffleMerged_app-1_0_0_3.meta", false, false),
            ("shuffle_0_7_0.checksum.ADLER32", false, false),
            ("shuffle_0_7_0.data.7b3a0c56-3f1c-4a42-9d6e-0123456789ab", false, false),
            ("rdd_1_2", false, true),
            ("broadcast_0_piece0", false, false),
            ("temp_local_7b3a0c56-3f1c-4a42-9d6e-0123456789ab", false, false),
        ] {
            assert_eq!((is_served(name, false), is_served(name, true)), (plain, with_rdd), "{name}");
        }
    }
}
