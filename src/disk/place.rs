//! Where a file of an executor lies.

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_transport::region::ShownPath;

use super::executors::Registration;
use super::layout::{self, Placement};
use super::lookup_error::LookupError;
use super::root::LocalDir;

/// A file's place.
pub(super) struct PlacedFile<'a> {
    pub(super) dir: &'a LocalDir,
    /// The directory that holds it, below the root.
    pub(super) parent: String,
    /// The file, below the root.
    pub(super) path: String,
    sub: String,
}

impl PlacedFile<'_> {
    /// The path as Spark would print it.
    pub(super) fn shown(&self) -> ShownPath {
        let name = self.path.get(self.parent.len()..).unwrap_or("");
        ShownPath::new(layout::java_path(&format!("{}/{}/{name}", self.dir.text(), self.sub)))
    }
}

/// Places the file `name`, which must be one component, among the executor's directories.
pub(super) fn place<'a>(
    registration: &'a Registration,
    app: &AppId,
    executor: &ExecutorId,
    name: String,
) -> Result<PlacedFile<'a>, LookupError> {
    let nowhere = || LookupError::NoDirectories { app: app.clone(), executor: executor.clone() };
    let place =
        Placement::of(&name, registration.dirs().len(), registration.sub_dirs()).ok_or_else(nowhere)?;
    let dir = registration.dirs().get(place.dir).ok_or_else(nowhere)?;
    let sub = place.sub_dir();
    let parent = match dir.relative() {
        "" => sub.clone(),
        relative => format!("{relative}/{sub}"),
    };
    let path = format!("{parent}/{name}");
    Ok(PlacedFile { dir, parent, path, sub })
}
