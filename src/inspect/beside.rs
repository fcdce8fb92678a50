//! Finds the other files of a map output: index, data and checksums usually lie in different sub-directories.
//!
//! With one local directory, the name of a file alone says where the file lies. With several, the name and the number
//! of directories say in which directory and sub-directory it lies ([`Placement`]). No path tells that number. So
//! [`find`] tries the places that any number up to 24 gives, in each directory that is known.

use std::path::{Path, PathBuf};

use crate::disk::layout::Placement;

/// Most local directories of one executor. Machines have one or two for each disk.
const MANY: usize = 24;

/// The default of `spark.diskStore.subDirectories`.
pub const SUB_DIRS: i32 = 64;

/// The local directory (`blockmgr-…`) that `path` lies in, if `path` lies in a sub-directory that Spark would make.
pub fn local_dir(path: &Path) -> Option<&Path> {
    let sub = path.parent()?;
    let name = sub.file_name()?.to_str()?;
    let is_sub_dir = name.len() >= 2 && name.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    sub.parent().filter(|_| is_sub_dir)
}

/// Finds the file `name` of the executor that also wrote `path`. It lies beside `path`, or where Spark puts it in the
/// same local directory, or in one of `more` (the other directories of the executor, in any order).
pub fn find(path: &Path, name: &str, more: &[PathBuf]) -> Option<PathBuf> {
    candidates(path, name, more).find(|candidate| candidate.is_file())
}

/// The places where [`find`] looks, the likeliest first.
pub fn candidates(path: &Path, name: &str, more: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    let same = path.parent().map(|dir| dir.join(name));
    let locals: Vec<&Path> = local_dir(path).into_iter().chain(more.iter().map(PathBuf::as_path)).collect();
    // Two numbers of directories may give the same sub-directory.
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
