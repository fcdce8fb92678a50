//! Where Spark puts a file and what it calls it.
//!
//! ```text
//! h    = String.hashCode(name)
//! nn   = |h|, but 0 when h is the smallest i32
//! dir  = dirs[nn mod dirs.len()]
//! sub  = (nn div dirs.len()) mod sub_dirs            two or more lower-case hex digits
//! path = dir / sub / name
//! ```
//!
//! Origin: `ExecutorDiskUtils.getFilePath` and `JavaUtils.nonNegativeHash`, Spark 4.3.0 (unchanged since 2.4).

use sealed_shuffle_protocol::ids::{MapId, ShuffleId};

/// Which directory, and which sub-directory of it, holds a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Placement {
    /// Position in the executor's list of directories.
    pub dir: usize,
    /// Number of the sub-directory; [`Placement::sub_dir`] is its name.
    pub sub: i32,
}

impl Placement {
    /// Places the file `name` among `dirs` directories of `sub_dirs` sub-directories each.
    ///
    /// `None` where Java divides by zero, which is when either number is 0. A negative `sub_dirs` (nothing
    /// forbids one on the wire) counts by its size, as Java's remainder does.
    pub fn of(name: &str, dirs: usize, sub_dirs: i32) -> Option<Self> {
        let dirs = i32::try_from(dirs).ok()?;
        let hash = java_hash(name).checked_abs().unwrap_or(0);
        let dir = hash.checked_rem(dirs)?;
        let sub = hash.checked_div(dirs)?.checked_rem(sub_dirs)?;
        Some(Self { dir: usize::try_from(dir).ok()?, sub })
    }

    /// The sub-directory's name.
    pub fn sub_dir(self) -> String {
        format!("{:02x}", self.sub)
    }
}

/// Java's `String.hashCode`: over UTF-16 units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// Name of the file of offsets of a map output.
pub fn index_name(shuffle: ShuffleId, map: MapId) -> String {
    format!("shuffle_{shuffle}_{map}_0.index")
}

/// Name of the file of bytes of a map output.
pub fn data_name(shuffle: ShuffleId, map: MapId) -> String {
    format!("shuffle_{shuffle}_{map}_0.data")
}

/// Name of the file of checksums of a map output (Spark 3.2 and later).
pub fn checksum_name(shuffle: ShuffleId, map: MapId, algorithm: &str) -> String {
    format!("shuffle_{shuffle}_{map}_0.checksum.{algorithm}")
}

/// Name of the file of a cached partition.
pub fn rdd_name(rdd: i32, split: i32) -> String {
    format!("rdd_{rdd}_{split}")
}

/// A path as `java.io.File` prints it: no doubled and no trailing slash, everything else untouched.
pub fn java_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    if out.len() > 1 && out.ends_with('/') {
        out.pop();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Spark 4.3.0: name, hash, and the place among one, two and three directories.
    #[test]
    fn places_files_as_spark_does() {
        let known = [
            ("shuffle_0_0_0.data", 581811660, "/a/0c", "/a/26", "/a/04"),
            ("shuffle_0_0_0.index", 861282032, "/a/30", "/a/38", "/c/0a"),
            ("shuffle_0_0_0.checksum.ADLER32", -103986100, "/a/34", "/a/1a", "/b/01"),
            ("shuffle_12_345_0.data", 1315304811, "/a/2b", "/b/35", "/a/09"),
            ("shuffle_0_3_0.index", -266114061, "/a/0d", "/b/06", "/a/0f"),
            ("rdd_1_2", 1054351959, "/a/17", "/b/2b", "/a/0d"),
            ("broadcast_0_piece0", -509293649, "/a/11", "/b/28", "/c/05"),
            ("shuffleMerged_app-1_0_0_1.data", 2096158681, "/a/19", "/b/2c", "/b/08"),
            ("shuffle_7_4294967296_0.index", 2066471953, "/a/11", "/b/08", "/b/00"),
            ("polygenelubricants", i32::MIN, "/a/00", "/a/00", "/a/00"),
        ];
        let dirs = ["/a", "/b", "/c"];
        for (name, hash, one, two, three) in known {
            assert_eq!(java_hash(name), hash, "{name}");
            for (count, sub_dirs, expected) in [(1, 64, one), (2, 64, two), (3, 16, three)] {
                let place = Placement::of(name, count, sub_dirs).unwrap();
                assert_eq!(format!("{}/{}", dirs[place.dir], place.sub_dir()), expected, "{name}");
            }
        }
    }

    /// Names on the disk of a Spark 4.3.0 application with one directory.
    #[test]
    fn names_and_places_the_files_of_a_map_task() {
        let place = |name: String| format!("{}/{name}", Placement::of(&name, 1, 64).unwrap().sub_dir());
        assert_eq!(place(index_name(ShuffleId(1), MapId(6))), "37/shuffle_1_6_0.index");
        assert_eq!(place(data_name(ShuffleId(1), MapId(6))), "1b/shuffle_1_6_0.data");
        assert_eq!(
            place(checksum_name(ShuffleId(1), MapId(7), "ADLER32")),
            "3c/shuffle_1_7_0.checksum.ADLER32"
        );
        assert_eq!(place(index_name(ShuffleId(2), MapId(12))), "29/shuffle_2_12_0.index");
        assert_eq!(rdd_name(1, 2), "rdd_1_2");
    }

    #[test]
    fn hashes_utf16_units_not_characters() {
        assert_eq!(java_hash(""), 0);
        assert_eq!(java_hash("\u{1f600}"), 0xd83d * 31 + 0xde00);
    }

    #[test]
    fn divides_by_zero_where_java_does() {
        assert_eq!(Placement::of("x", 0, 64), None);
        assert_eq!(Placement::of("x", 1, 0), None);
        assert_eq!(Placement::of("rdd_1_2", 1, -64), Placement::of("rdd_1_2", 1, 64));
    }

    #[test]
    fn prints_paths_as_java_does() {
        assert_eq!(java_path("/a//b//17/rdd_1_2"), "/a/b/17/rdd_1_2");
        assert_eq!(java_path("/a/b/"), "/a/b");
        assert_eq!(java_path("/"), "/");
        assert_eq!(java_path("/a/../b/./c"), "/a/../b/./c");
    }
}
