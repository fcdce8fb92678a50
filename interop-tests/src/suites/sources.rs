//! `spark-suites/`: project files, Java sources and lists.

use std::path::{Path, PathBuf};

pub(super) fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("spark-suites")
}
