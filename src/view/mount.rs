//! Where the view is mounted, what an earlier process left there, and the end.
//!
//! ```text
//! <dir>/current          ─► the mount of the process that serves; executors are told this path
//! <dir>/4f1e…            a mount, or one that a process which was killed has left: it answers ENOTCONN
//! ```

use std::fmt;
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fuser::{Config, MountOption, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::{OnLane, within};
use sealed_shuffle_transport::random::random_bytes;
use thiserror::Error;
use tracing::{info, warn};

use super::calls::{Calls, Stage};
use super::files::{View, ViewCounters};
use super::keeper::Keeper;
use super::names::Attempt;

/// Whose mounts are ours, as `/proc/self/mountinfo` names their source.
const SOURCE: &str = "sealed-shuffle";

/// The link to the mount that serves.
const CURRENT: &str = "current";

/// A mount that does not answer for so long belongs to a process that is there.
const LOOK: Duration = Duration::from_secs(1);

/// What readers that have a file open may take at the end.
const LAST_READS: Duration = Duration::from_secs(3);

/// Why there is no view.
#[derive(Debug, Error)]
pub enum MountError {
    /// The directory is not good for it.
    #[error("spark.sealed.merge.view.dir = {}: {why}", dir.display())]
    Place {
        /// The directory.
        dir: PathBuf,
        /// The reason, and what to do.
        why: String,
    },
    /// The kernel mounts nothing there.
    #[error(
        "spark.sealed.merge.view.dir: nothing can be mounted at {}: {error}: a view takes /dev/fuse, and root or \
         CAP_SYS_ADMIN, or fusermount3 with user_allow_other in /etc/fuse.conf; without the key, executors on this host read \
         the unmerged blocks",
        at.display()
    )]
    Mount {
        /// The mount point.
        at: PathBuf,
        /// The error.
        error: io::Error,
    },
}

/// A mount of this process.
pub struct ViewMount {
    dir: PathBuf,
    name: String,
    stage: Arc<Stage>,
    /// Until its thread begins.
    session: Mutex<Option<Session<Calls>>>,
    keeper: Mutex<Option<Keeper>>,
    is_over: AtomicBool,
}

impl ViewMount {
    /// Mounts it below `dir`, after clearing away what processes that were killed have left there. Nothing is shown yet.
    /// `program` is the program of ours that unmounts when this process is gone; without it, this process does so itself,
    /// which it cannot once it is confined.
    pub fn make(
        on: &OnLane,
        dir: &Path,
        roots: &[PathBuf],
        program: Option<&Path>,
    ) -> Result<Self, MountError> {
        let dir = place(dir, roots)?;
        sweep(on, &dir);
        let wrong = |error: io::Error| MountError::Place { dir: dir.clone(), why: error.to_string() };
        let number = random_bytes().map_err(|error| wrong(io::Error::other(error)))?;
        let name = format!("{:016x}", u64::from_be_bytes(number));
        let at = dir.join(&name);
        DirBuilder::new().mode(0o755).create(&at).map_err(wrong)?;
        let stage = Arc::new(Stage::new());
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName(SOURCE.into()),
            MountOption::Subtype(SOURCE.into()),
            MountOption::RO,
            MountOption::NoDev,
            MountOption::NoSuid,
            MountOption::NoExec,
            // The kernel judges by owner and mode.
            MountOption::DefaultPermissions,
        ];
        config.acl = SessionACL::All;
        let session = Session::new(Calls(Arc::clone(&stage)), &at, &config).map_err(|error| {
            fs::remove_dir(&at).ok();
            MountError::Mount { at: at.clone(), error }
        })?;
        let keeper = match program.map(|program| Keeper::start(program, &at)).transpose() {
            Ok(keeper) => keeper,
            Err(error) => {
                let why = format!("the process that unmounts it at the end cannot be started: {error}");
                return Err(MountError::Place { dir, why });
            }
        };
        say_who_sees(&at);
        let (session, keeper) = (Mutex::new(Some(session)), Mutex::new(keeper));
        Ok(Self { dir, name, stage, session, keeper, is_over: AtomicBool::new(false) })
    }

    /// Answers the kernel from now on, on a thread of its own. A thread is confined as the one is that makes it.
    pub fn begin(&self) -> io::Result<()> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(session) = session else { return Ok(()) };
        // It would unmount when it is dropped, where this process may not. Its thread ends with the mount.
        std::mem::forget(session.spawn()?);
        Ok(())
    }

    /// What is there from now on.
    pub fn show(&self, view: View) {
        self.stage.show(Arc::new(view));
    }

    /// Leads executors here.
    pub fn lead_here(&self, _: &OnLane) {
        if fs::read_link(self.dir.join(CURRENT)).is_ok_and(|leads_to| leads_to == Path::new(&self.name)) {
            return;
        }
        let new = self.dir.join(format!(".{}", self.name));
        let led = symlink(&self.name, &new).and_then(|()| fs::rename(&new, self.dir.join(CURRENT)));
        match led {
            Ok(()) => info!(at = %self.at().display(), "merged data is seen through the view"),
            Err(error) => {
                let dir = self.dir.display();
                warn!(%dir, %error, "executors are not led to the view: they read the unmerged blocks");
            }
        }
    }

    /// The directory that executors are told as the merge directory of an attempt.
    pub fn dir_of(&self, app: &AppId, attempt: i32) -> String {
        let name = Attempt { app: app.clone(), number: attempt }.dir_name();
        self.dir.join(CURRENT).join(name).display().to_string()
    }

    /// The figures of what is shown.
    pub fn counters(&self) -> ViewCounters {
        self.stage.view().map_or_else(ViewCounters::default, |view| view.counters())
    }

    /// Waits a moment for those who have a file open, and takes the mount away.
    pub fn end(&self, _: &OnLane) {
        let until = Instant::now() + LAST_READS;
        while self.stage.open_files() > 0 && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.unmount();
    }

    fn unmount(&self) {
        if self.is_over.swap(true, Ordering::SeqCst) {
            return;
        }
        // A session that has not begun would unmount by itself, which a confined process cannot.
        if let Some(session) = self.session.lock().unwrap_or_else(PoisonError::into_inner).take() {
            std::mem::forget(session);
        }
        match self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(keeper) => keeper.end(),
            None => take_away(&self.at()),
        }
    }

    fn at(&self) -> PathBuf {
        self.dir.join(&self.name)
    }
}

impl Drop for ViewMount {
    fn drop(&mut self) {
        self.unmount();
    }
}

impl fmt::Debug for ViewMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewMount").field("at", &self.at()).finish_non_exhaustive()
    }
}

/// The directory, made where there is none. Whoever could replace the link in it would say what executors read.
fn place(dir: &Path, roots: &[PathBuf]) -> Result<PathBuf, MountError> {
    let refused = |why: String| MountError::Place { dir: dir.to_owned(), why };
    let failed = |error: io::Error| refused(error.to_string());
    if !dir.try_exists().map_err(failed)? {
        DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(failed)?;
        // Other users' executors have to get through, whatever the umask is.
        fs::set_permissions(dir, Permissions::from_mode(0o755)).map_err(failed)?;
    }
    let dir = dir.canonicalize().map_err(failed)?;
    let there = dir.metadata().map_err(failed)?;
    let us = rustix::process::geteuid().as_raw();
    if ![us, 0].contains(&there.uid()) || there.mode() & 0o022 != 0 {
        return Err(refused(format!(
            "it belongs to uid {} with mode {:04o}, so others could lead executors elsewhere: give it to uid {us}, with mode \
             0755",
            there.uid(),
            there.mode() & 0o7777
        )));
    }
    let within_root =
        roots.iter().filter_map(|root| root.canonicalize().ok()).find(|root| dir.starts_with(root));
    match within_root {
        Some(root) => Err(refused(format!(
            "it lies in the local directory {}, where executors write: name one elsewhere, such as \
             /run/sealed-shuffle-view",
            root.display()
        ))),
        None => Ok(dir),
    }
}

/// Takes away what processes that are gone have left in `dir`: mounts of ours that answer that they are not connected, and
/// their mount points. The mount of a process that runs stays.
fn sweep(_: &OnLane, dir: &Path) {
    for mount in Mount::all().into_iter().filter(|mount| mount.is_ours() && mount.at.parent() == Some(dir)) {
        let at = mount.at.clone();
        let looked = within(LOOK, move |_| at.metadata().map(drop)).result();
        if let Some(Err(error)) = looked
            && Errno::from_io_error(&error) == Some(Errno::NOTCONN)
        {
            info!(at = %mount.at.display(), "the view of a process that is gone is unmounted");
            take_away(&mount.at);
        }
    }
    let names = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.file_name());
    for name in names.filter_map(|name| name.into_string().ok()) {
        if name.len() == 16 && name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            // The kernel refuses that where something is mounted.
            fs::remove_dir(dir.join(name)).ok();
        }
    }
}

/// Unmounts what is mounted at `at`, if it is ours, and removes the mount point. Those who have a file open there keep it as
/// long as this process answers.
pub fn take_away(at: &Path) {
    if Mount::all().iter().any(|mount| mount.is_ours() && mount.at == at)
        && unmount(at, UnmountFlags::DETACH) == Err(Errno::PERM)
    {
        // Mounted by fusermount3, which alone may unmount it then.
        Command::new("fusermount3").args(["-u", "-z", "--"]).arg(at).output().ok();
    }
    fs::remove_dir(at).ok();
}

/// Something that is mounted.
#[derive(Debug)]
struct Mount {
    at: PathBuf,
    source: String,
    kind: String,
    is_shared: bool,
}

impl Mount {
    /// All that this process sees (proc_pid_mountinfo(5)).
    fn all() -> Vec<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        table.lines().filter_map(Self::of_line).collect()
    }

    fn of_line(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(4);
        let at = PathBuf::from(unescaped(left.next()?));
        let is_shared = left.skip(1).any(|field| field.starts_with("shared:"));
        let mut right = right.split(' ');
        let (kind, source) = (right.next()?.to_owned(), unescaped(right.next()?));
        Some(Self { at, source, kind, is_shared })
    }

    fn is_ours(&self) -> bool {
        self.source == SOURCE && self.kind.starts_with("fuse")
    }
}

/// Spaces, tabs, line ends and backslashes are written in octal.
fn unescaped(field: &str) -> String {
    let marks = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    marks.iter().fold(field.to_owned(), |text, (mark, is)| text.replace(mark, is))
}

/// Whoever cannot reach the view reads the unmerged blocks, and nobody would hear of it. In a mount namespace of its own, as systemd and containers make them, a mount is often seen by this process alone.
fn say_who_sees(at: &Path) {
    let space = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    let closed =
        at.ancestors().skip(1).find(|above| above.metadata().is_ok_and(|there| there.mode() & 0o001 == 0));
    if let Some(closed) = closed {
        info!(at = %at.display(), closed = %closed.display(), "executors of other users do not get to the view, through a directory that is closed to them");
    }
    let is_apart = matches!((space("self"), space("1")), (Some(ours), Some(first)) if ours != first);
    if is_apart && Mount::all().iter().any(|mount| mount.at == at && !mount.is_shared) {
        warn!(
            at = %at.display(),
            "the view is mounted in a mount namespace of this process, which executors may not see: they read the unmerged \
             blocks then (remove the keys of the unit that make one, or share the mount)"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_table_of_mounts_are_told_apart() {
        let ours = "41 25 0:38 / /run/a\\040b/view/4f rw,nosuid shared:7 - fuse.sealed-shuffle sealed-shuffle ro,user_id=0";
        let mount = Mount::of_line(ours).unwrap();
        assert_eq!(mount.at, Path::new("/run/a b/view/4f"));
        assert!(mount.is_ours() && mount.is_shared);
        let disk = "43 25 8:1 / /run/view/4f rw - ext4 /dev/sda1 rw";
        assert!(!Mount::of_line(disk).unwrap().is_ours());
    }

    #[test]
    fn directory_that_others_could_change_or_write_to_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        let made = place(&base.join("a/view"), &[]).unwrap();
        assert_eq!(made.metadata().unwrap().mode() & 0o7777, 0o755);
        fs::set_permissions(&made, Permissions::from_mode(0o777)).unwrap();
        let refused = place(&made, &[]).unwrap_err().to_string();
        assert!(refused.contains("mode 0777") && refused.contains("view.dir"), "{refused}");
        let refused = place(&base.join("b"), std::slice::from_ref(&base)).unwrap_err().to_string();
        assert!(refused.contains("local directory"), "{refused}");
    }
}
