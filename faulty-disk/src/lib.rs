//! A disk that fails when a test says so.
//!
//! [`FaultyDisk`] is a file system in user space (FUSE): it passes every call to a directory, and holds a call back
//! ([`Fault::Hangs`]) or fails it ([`Fault::Fails`]) where a test has asked for that. A call that is held back waits in the
//! kernel, as it would for a device that does not answer, until the fault is taken away.
//!
//! What is written to it can be written down, in order, with the places where whoever writes waits until it is on the disk
//! ([`FaultyDisk::record`]): a loop device over one of its files is a disk whose writes can be replayed up to any point.
//!
//! Nothing is cached: each look-up, each look at attributes and each read comes here.

mod calls;
mod failure;
mod faults;
mod record;
mod tree;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use fuser::{BackgroundSession, Config, MountOption, SessionACL};

use self::calls::PassThrough;
pub use self::failure::Failure;
use self::faults::Faults;
pub use self::faults::{Fault, Operation};
use self::record::Record;
pub use self::record::Told;

/// A mounted file system with faults. It is unmounted when it is dropped.
pub struct FaultyDisk {
    at: PathBuf,
    faults: Arc<Faults>,
    record: Arc<Record>,
    session: Option<BackgroundSession>,
}

impl FaultyDisk {
    /// Mounts at `at` what lies in `backing`. An error says what the machine lacks.
    pub fn mount(backing: &Path, at: &Path) -> Result<Self, String> {
        let (faults, record) = (Arc::<Faults>::default(), Arc::<Record>::default());
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("faulty".into()), MountOption::DefaultPermissions];
        config.acl = SessionACL::All;
        let calls = PassThrough::new(backing, Arc::clone(&faults), Arc::clone(&record));
        let session = fuser::spawn_mount(calls, at, &config);
        let session = session.map_err(|error| format!("this machine mounts no FUSE: {error}"))?;
        Ok(Self { at: at.to_owned(), faults, record, session: Some(session) })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// From now on calls of this kind do as `fault` says.
    pub fn set(&self, operation: Operation, fault: Fault) {
        self.faults.set(operation, fault);
    }

    /// Takes all faults away: what was held back goes on.
    pub fn heal(&self) {
        self.faults.heal();
    }

    /// Calls that are held back now.
    pub fn held(&self) -> usize {
        self.faults.held()
    }

    /// Calls of this kind that a fault has met so far.
    pub fn met(&self, operation: Operation) -> u64 {
        self.faults.met(operation)
    }

    /// Writes down what it is told to write, from now on.
    pub fn record(&self) {
        self.record.begin();
    }

    /// How much was written down so far.
    pub fn recorded(&self) -> usize {
        self.record.len()
    }

    /// Ends that, and gives what was written down.
    pub fn take_record(&self) -> Vec<Told> {
        self.record.take()
    }

    /// Takes it out of the tree of directories. Those who have something open there keep it.
    pub fn unmount(&self) {
        unmount(&self.at);
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        self.faults.heal();
        self.unmount();
        // Its threads end when the last descriptor is closed; nobody waits for that.
        if let Some(session) = self.session.take() {
            std::mem::forget(session);
        }
    }
}

impl fmt::Debug for FaultyDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyDisk").field("at", &self.at).field("held", &self.held()).finish_non_exhaustive()
    }
}

/// Takes whatever is mounted at `path` out of the tree of directories, though it is in use.
pub fn unmount(path: &Path) {
    // It may not be mounted any more.
    drop(Command::new("umount").arg("-l").arg(path).output());
}

/// Mounts an empty file system in memory of `size` bytes. An error says what the machine lacks.
pub fn mount_memory(path: &Path, size: u64) -> Result<(), String> {
    let options = format!("size={size}");
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(path).output();
    match mount {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(format!("this machine mounts no tmpfs: {}", String::from_utf8_lossy(&done.stderr))),
        Err(error) => Err(format!("this machine has no mount: {error}")),
    }
}

/// Mounts what is mounted at `path` for reading only, or for writing again.
pub fn remount(path: &Path, read_only: bool) -> Result<(), String> {
    let options = if read_only { "remount,ro" } else { "remount,rw" };
    match Command::new("mount").args(["-o", options]).arg(path).output() {
        Ok(done) if done.status.success() => Ok(()),
        Ok(done) => Err(String::from_utf8_lossy(&done.stderr).into_owned()),
        Err(error) => Err(error.to_string()),
    }
}
