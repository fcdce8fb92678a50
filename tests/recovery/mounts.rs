//! File systems of a test's own: one that is soon full, one that hangs.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Runs a program of the system; why it did not do what it should.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let ran = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    match ran {
        Ok(ran) if ran.status.success() => Ok(()),
        Ok(ran) => Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&ran.stderr).trim())),
        Err(error) => Err(format!("{program}: {error}")),
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Something mounted; unmounted when it is dropped.
pub(crate) struct Mount {
    at: PathBuf,
    frozen: bool,
    _image: Option<TempDir>,
}

impl Mount {
    /// A file system of `mib` in memory.
    pub(crate) fn small(at: &Path, mib: u32) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m,mode=0700"), "tmpfs", text(at)])?;
        Ok(Self { at: at.to_owned(), frozen: false, _image: None })
    }

    /// A file system on a loop device, which can be frozen: whoever writes to it then waits until it is thawed.
    pub(crate) fn freezable(at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        let image = tempfile::tempdir().unwrap();
        let path = image.path().join("image");
        File::create(&path).unwrap().set_len(64 << 20).unwrap();
        run("mkfs.ext4", &["-q", text(&path)])?;
        run("mount", &["-o", "loop", text(&path), text(at)])?;
        fs::set_permissions(at, fs::Permissions::from_mode(0o700)).unwrap();
        Ok(Self { at: at.to_owned(), frozen: false, _image: Some(image) })
    }

    /// An image with a file system, on a loop device of its own.
    pub(crate) fn of_image(image: &Path, at: &Path) -> Result<Self, String> {
        fs::create_dir_all(at).unwrap();
        run("mount", &["-o", "loop", text(image), text(at)])?;
        Ok(Self { at: at.to_owned(), frozen: false, _image: None })
    }

    /// Makes a file system on an image, all of it now: the kernel does not go on with it later.
    pub(crate) fn format(image: &Path) -> Result<(), String> {
        let now = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        run("mkfs.ext4", &["-q", "-F", "-E", now, text(image)])
    }

    /// Takes it away; whoever has something open there makes it fail.
    pub(crate) fn unmount(self) -> Result<(), String> {
        let at = self.at.clone();
        std::mem::forget(self);
        run("umount", &[text(&at)])
    }

    /// Nothing is written from here on.
    pub(crate) fn freeze(&mut self) {
        run("fsfreeze", &["-f", text(&self.at)]).unwrap();
        self.frozen = true;
    }

    pub(crate) fn thaw(&mut self) {
        if std::mem::take(&mut self.frozen) {
            run("fsfreeze", &["-u", text(&self.at)]).unwrap();
        }
    }

    /// Writes until there is no room.
    pub(crate) fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut file = OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
        for piece in [64 << 10, 4096, 1] {
            while file.write_all(&vec![0; piece]).is_ok() {}
        }
        path
    }

    pub(crate) fn read_only(&self, is: bool) {
        run("mount", &["-o", if is { "remount,ro" } else { "remount,rw" }, text(&self.at)]).unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        self.thaw();
        // Whoever still has it open keeps it, lazily.
        run("umount", &["-l", text(&self.at)]).ok();
    }
}
