//! Files that both ends of a run need. They lie in the directory of the run.

use std::fs;
use std::path::{Path, PathBuf};

use sealed_shuffle_transport::tls::dev;

use crate::commands::{Exit, Failure};

/// Key and certificates for TLS.
pub(super) const BUNDLE: &str = "bundle.zip";

/// An empty file in the place of the user's `spark-defaults.conf`.
pub(super) const NO_PROPERTIES: &str = "empty.conf";

/// The server's root.
pub(super) const ROOTS: &str = "roots";

/// Puts the files that every mode needs into `dir`, and returns the directory of an executor.
pub(super) fn prepare(dir: &Path) -> Result<PathBuf, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error);
    fs::write(dir.join(NO_PROPERTIES), "").map_err(|error| failed(&error))?;
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let material =
        dev::make(&names, "measured", &dir.display().to_string()).map_err(|error| failed(&error))?;
    for file in material.iter().filter(|file| file.name == BUNDLE) {
        fs::write(dir.join(file.name), &*file.content).map_err(|error| failed(&error))?;
    }
    let executor = dir.join(ROOTS).join("blockmgr-bench");
    fs::create_dir_all(&executor).map_err(|error| failed(&error))?;
    Ok(executor)
}
