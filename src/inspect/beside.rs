//! Finding the other files of a map output: index, data and checksums usually lie in different sub-directories.
//!
//! An executor with one local directory has every file where its name alone says. With several, name and number of
//! directories say in which directory and sub-directory ([`Placement`]), and nothing in a path tells either: so the
//! places that any number up to 24 makes are tried in each directory that is known.

use std::path::{Path, PathBuf};

use crate::disk::layout::Placement;

/// Local directories of one executor, at most; machines have a disk or two for each.
const MANY: usize = 24;

/// `spark.diskStore.subDirectories`, unless somebody changed it.
pub const SUB_DIRS: i32 = 64;

/// The local directory (`blockmgr-…`) that `path` lies in, if it lies in a sub-directory that Spark would make.
pub fn local_dir(path: &Path) -> Option<&Path> {
    let sub = path.parent()?;
    let name = sub.file_name()?.to_str()?;
    let is_sub_dir = name.len() >= 2 && name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    sub.parent().filter(|_| is_sub_dir)
}

/// The file `name` of the executor that `path` is a file of: beside `path`, or where Spark puts it in the same local
/// directory, or in one of `more` (the executor's others, in any order).
pub fn find(path: &Path, name: &str, more: &[PathBuf]) -> Option<PathBuf> {
    candidates(path, name, more).find(|candidate| candidate.is_file())
}

/// Where [`find`] looks, the likeliest first.
pub fn candidates(path: &Path, name: &str, more: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    let same = path.parent().map(|dir| dir.join(name));
    let locals: Vec<&Path> = local_dir(path).into_iter().chain(more.iter().map(PathBuf::as_path)).collect();
    // Another number of directories may name the same sub-directory again.
    let mut subs: Vec<String> = Vec::new();
    for dirs in 1..=MANY {
        let sub = Placement::of(name, dirs, SUB_DIRS).map(Placement::sub_dir);
        subs.extend(sub.filter(|sub| !subs.contains(sub)));
    }
    let placed: Vec<PathBuf> =
        subs.iter().flat_map(|sub| locals.iter().map(move |local| local.join(sub).join(name))).collect();
    same.into_iter().chain(placed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_local_directories_by_their_sub_directories() {
        let local = |path| local_dir(Path::new(path));
        assert_eq!(local("/a/blockmgr-1/0c/shuffle_0_0_0.data"), Some(Path::new("/a/blockmgr-1")));
        assert_eq!(local("/a/blockmgr-1/shuffle_0_0_0.data"), None);
        assert_eq!(local("shuffle_0_0_0.data"), None);
    }

    #[test]
    fn finds_the_index_in_every_placement() {
        let root = tempfile::tempdir().unwrap();
        let dirs: Vec<PathBuf> = (0..3).map(|n| root.path().join(format!("blockmgr-{n}"))).collect();
        let put = |name: &str, count| {
            let place = Placement::of(name, count, SUB_DIRS).unwrap();
            let dir = dirs[place.dir].join(place.sub_dir());
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join(name), []).unwrap();
            dir.join(name)
        };
        for (map, count) in [(1, 1), (2, 3)] {
            let data = put(&format!("shuffle_0_{map}_0.data"), count);
            let name = format!("shuffle_0_{map}_0.index");
            let index = put(&name, count);
            assert_eq!(find(&data, &name, &dirs), Some(index));
        }
        let beside = root.path().join("shuffle_0_9_0.index");
        std::fs::write(&beside, []).unwrap();
        assert_eq!(find(&root.path().join("x.data"), "shuffle_0_9_0.index", &[]), Some(beside));
        assert_eq!(find(&root.path().join("x.data"), "shuffle_0_8_0.index", &dirs), None);
    }
}
