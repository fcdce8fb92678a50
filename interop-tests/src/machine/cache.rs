//! The directory with everything that is fetched or built once: `$SEALED_SHUFFLE_CACHE` or `~/.cache/sealed-shuffle`.
//!
//! One process at a time makes an entry (`*.lock`); entries appear whole, by rename.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

/// The directory, made where it is not there.
pub fn cache() -> PathBuf {
    let dir = std::env::var_os("SEALED_SHUFFLE_CACHE").map_or_else(
        || {
            let home =
                std::env::var_os("HOME").expect("HOME is set, or SEALED_SHUFFLE_CACHE names a directory");
            PathBuf::from(home).join(".cache/sealed-shuffle")
        },
        PathBuf::from,
    );
    fs::create_dir_all(&dir).unwrap_or_else(|e| panic!("cannot create the cache {}: {e}", dir.display()));
    dir
}

/// Runs `make` into a fresh directory and renames it to `target`, unless `target` is there; safe among processes.
pub(crate) fn made_once(target: PathBuf, make: impl FnOnce(&Path)) -> PathBuf {
    if target.exists() {
        return target;
    }
    let name = target.file_name().expect("entries have names").to_string_lossy().into_owned();
    let _turn = locked(&name);
    if target.exists() {
        return target;
    }
    let partial = target.with_file_name(format!("{name}.partial-{}", std::process::id()));
    discard(&partial);
    fs::create_dir_all(&partial).unwrap_or_else(|e| panic!("cannot create {}: {e}", partial.display()));
    make(&partial);
    fs::rename(&partial, &target).unwrap_or_else(|e| panic!("cannot rename {}: {e}", partial.display()));
    target
}

/// Holds the lock file of a cache entry until dropped.
fn locked(name: &str) -> File {
    let path = cache().join(format!("{name}.lock"));
    let file = File::create(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()));
    file.lock().unwrap_or_else(|e| panic!("cannot lock {}: {e}", path.display()));
    file
}

/// Removes a directory of the cache, if it is there.
pub(crate) fn discard(dir: &Path) {
    if dir.exists() {
        fs::remove_dir_all(dir).unwrap_or_else(|e| panic!("cannot remove {}: {e}", dir.display()));
    }
}
