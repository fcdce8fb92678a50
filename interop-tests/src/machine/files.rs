//! Files of a directory tree that others write to meanwhile.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// All files beneath a directory; what disappears meanwhile is left out.
pub fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut all, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for path in fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path()) {
            match path.is_dir() {
                true => dirs.push(path),
                false => all.push(path),
            }
        }
    }
    all
}

/// Those of them whose names `wanted` accepts.
pub fn files_named(dir: &Path, wanted: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut all = files(dir);
    all.retain(|path| path.file_name().is_some_and(|name| wanted(&name.to_string_lossy())));
    all
}
