//! Tells the kind of a file by the name that Spark gave it.
//!
//! ```text
//! shuffle_S_M_0.data  .index  .checksum.ALG        a map output
//! shuffleMerged_APP_S_MERGE_R.data  .index  .meta  merged partitions of push-based shuffle
//! temp_shuffle_UUID  temp_local_UUID               spills
//! rdd_R_P  input-S-N  broadcast_N[_pieceK]         stored blocks
//! NAME.UUID                                        any of these while Spark writes it
//! ```
//!
//! Origin: `BlockId` and `Utils.tempFileWith`, Spark 4.3.0; `RemoteBlockPushResolver` for merged files.

use sealed_shuffle_protocol::ids::AppId;

/// The parts of a file name.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct SparkName {
    /// The content of the file.
    pub kind: Kind,
    /// The part of the name that all files of one output share: `shuffle_S_M_0` or `shuffleMerged_…`; else the whole
    /// name.
    pub stem: String,
    /// Whether the file was not complete: Spark was writing it, or left it behind.
    pub temporary: bool,
}

/// The content of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Kind {
    /// Partitions of a map output.
    Data,
    /// The offsets of a map output.
    Index,
    /// The checksums of a map output, computed with this algorithm.
    Checksum(String),
    /// Blocks of merged partitions.
    MergedData,
    /// The ends of the chunks of merged data.
    MergedIndex,
    /// The maps in each chunk of merged data.
    MergedMeta,
    /// Data that did not fit in memory.
    Spill,
    /// A stored block as a whole.
    Block,
    /// A piece of a stored value, but not the first: its bytes begin in the middle of the value.
    LaterPiece,
}

impl Kind {
    /// The content in words.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Data => "shuffle data",
            Self::Index => "shuffle index",
            Self::Checksum(_) => "shuffle checksums",
            Self::MergedData => "merged shuffle data",
            Self::MergedIndex => "merged shuffle index",
            Self::MergedMeta => "merged shuffle meta",
            Self::Spill => "spill",
            Self::Block => "stored block",
            Self::LaterPiece => "later piece of a stored value",
        }
    }

    /// Whether the file holds lengths, checksums or map numbers, and no data.
    pub fn is_metadata(&self) -> bool {
        matches!(self, Self::Index | Self::Checksum(_) | Self::MergedIndex | Self::MergedMeta)
    }
}

impl SparkName {
    /// Parses a file name. `None` if Spark gives no such name.
    pub fn parse(name: &str) -> Option<Self> {
        let (whole, temporary) = match name.rsplit_once('.') {
            Some((whole, uuid)) if is_uuid(uuid) => (whole, true),
            _ => (name, false),
        };
        let (kind, stem) = kind_and_stem(whole)?;
        Some(Self { kind, stem: stem.to_owned(), temporary })
    }

    /// The name of another file of the same output, with the ending `ending`.
    pub fn sibling(&self, ending: &str) -> String {
        format!("{}.{ending}", self.stem)
    }

    /// The block id of one partition of a map output.
    pub fn partition(&self, number: u64) -> Option<String> {
        let stem = self.stem.strip_suffix("_0").filter(|_| self.stem.starts_with("shuffle_"))?;
        Some(format!("{stem}_{number}"))
    }

    /// The application that the name tells: only the names of merged files do.
    pub fn app(&self) -> Option<AppId> {
        let rest = self.stem.strip_prefix("shuffleMerged_")?;
        rest.rsplitn(4, '_').nth(3).map(AppId::new)
    }
}

fn kind_and_stem(name: &str) -> Option<(Kind, &str)> {
    if name.starts_with("shuffleMerged_") {
        let (stem, ending) = name.rsplit_once('.')?;
        let mut ids = stem.rsplitn(4, '_');
        let numbers = ids.by_ref().take(3).all(is_number);
        let kind = match ending {
            "data" => Kind::MergedData,
            "index" => Kind::MergedIndex,
            "meta" => Kind::MergedMeta,
            _ => return None,
        };
        return ids.next().filter(|_| numbers).map(|_| (kind, stem));
    }
    if let Some(ids) = name.strip_prefix("shuffle_") {
        let (ids, ending) = ids.split_once('.')?;
        if !ids.split('_').all(is_number) || ids.split('_').count() != 3 {
            return None;
        }
        let kind = match ending {
            "data" => Kind::Data,
            "index" => Kind::Index,
            _ => Kind::Checksum(ending.strip_prefix("checksum.").filter(|name| !name.is_empty())?.to_owned()),
        };
        return Some((kind, &name[..name.len() - ending.len() - 1]));
    }
    let (kind, rest) = name.split_once(['_', '-'])?;
    let kind = match kind {
        "temp" => rest
            .split_once('_')
            .filter(|(what, uuid)| matches!(*what, "shuffle" | "local") && is_uuid(uuid))
            .map(|_| Kind::Spill)?,
        "rdd" if rest.split('_').count() == 2 && rest.split('_').all(is_number) => Kind::Block,
        "input" if rest.split('-').all(is_number) => Kind::Block,
        "taskresult" if is_number(rest) => Kind::Block,
        "broadcast" => match rest.split_once('_') {
            None if is_number(rest) => Kind::Block,
            Some((id, "piece0" | "python")) if is_number(id) => Kind::Block,
            Some((id, piece)) if is_number(id) && piece.strip_prefix("piece").is_some_and(is_number) => {
                Kind::LaterPiece
            }
            _ => return None,
        },
        _ => return None,
    };
    Some((kind, name))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit())
}

/// A UUID in the form that `java.util.UUID` prints.
pub(super) fn is_uuid(text: &str) -> bool {
    let groups = [8, 4, 4, 4, 12];
    let parts: Vec<&str> = text.split('-').collect();
    parts.len() == groups.len()
        && parts
            .iter()
            .zip(groups)
            .all(|(part, len)| part.len() == len && part.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "7b3a0c56-3f1c-4a42-9d6e-0123456789ab";

    #[test]
    fn knows_the_names_of_a_block_manager() {
        for (name, kind, stem) in [
            ("shuffle_1_4294967296_0.data", Kind::Data, "shuffle_1_4294967296_0"),
            ("shuffle_1_6_0.index", Kind::Index, "shuffle_1_6_0"),
            ("shuffle_1_6_0.checksum.CRC32C", Kind::Checksum("CRC32C".into()), "shuffle_1_6_0"),
            (
                "shuffleMerged_application_1_0001_0_2_5.data",
                Kind::MergedData,
                "shuffleMerged_application_1_0001_0_2_5",
            ),
            ("shuffleMerged_app-1_0_2_5.index", Kind::MergedIndex, "shuffleMerged_app-1_0_2_5"),
            ("shuffleMerged_app-1_0_2_5.meta", Kind::MergedMeta, "shuffleMerged_app-1_0_2_5"),
            ("rdd_1_2", Kind::Block, "rdd_1_2"),
            ("broadcast_0", Kind::Block, "broadcast_0"),
            ("broadcast_0_piece0", Kind::Block, "broadcast_0_piece0"),
            ("broadcast_0_piece11", Kind::LaterPiece, "broadcast_0_piece11"),
            ("input-0-1700000000000", Kind::Block, "input-0-1700000000000"),
        ] {
            let parsed = SparkName::parse(name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!((parsed.kind, parsed.stem.as_str(), parsed.temporary), (kind, stem, false), "{name}");
        }
        assert_eq!(SparkName::parse(&format!("temp_shuffle_{UUID}")).unwrap().kind, Kind::Spill);
        assert_eq!(SparkName::parse(&format!("temp_local_{UUID}")).unwrap().kind, Kind::Spill);
    }

    #[test]
    fn knows_a_file_that_is_being_written() {
        let name = SparkName::parse(&format!("shuffle_1_6_0.data.{UUID}")).unwrap();
        assert_eq!(name, SparkName { kind: Kind::Data, stem: "shuffle_1_6_0".into(), temporary: true });
    }

    #[test]
    fn other_names_are_not_sparks() {
        for name in [
            "",
            "a",
            "stderr",
            "shuffle_1_6_0",
            "shuffle_1_6.data",
            "shuffle_1_x_0.data",
            "shuffle_1_6_0.checksum.",
            "shuffleMerged_1_2.data",
            "shuffleMerged_app_1_2_x.data",
            "rdd_1",
            "rdd_1_2_3",
            "broadcast_x",
            "temp_shuffle_1",
            "spark-core.jar",
        ] {
            assert_eq!(SparkName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn names_the_others_of_an_output() {
        let name = SparkName::parse("shuffle_1_6_0.data").unwrap();
        assert_eq!(name.sibling("index"), "shuffle_1_6_0.index");
        assert_eq!(name.partition(12).as_deref(), Some("shuffle_1_6_12"));
        assert_eq!(name.app(), None);
        let merged = SparkName::parse("shuffleMerged_application_1_0001_0_2_5.data").unwrap();
        assert_eq!(merged.app(), Some(AppId::new("application_1_0001")));
        assert_eq!(merged.partition(1), None);
    }
}
