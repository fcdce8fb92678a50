//! What the kernel said to calls of a disk.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::io::Errno;

/// What the kernel said last, of each kind.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TroubleFigures {
    /// Errors of the device that came one after the other, without a byte between them.
    pub device: u32,
    /// The last one, and when it came.
    pub device_last: Option<(Errno, Instant)>,
    /// When there was no space, or none for this user.
    pub no_space: Option<Instant>,
    /// When nothing could be written, since the file system is for reading only.
    pub read_only: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Trouble(Mutex<TroubleFigures>);

impl Trouble {
    pub(super) fn failed(&self, errno: Errno, now: Instant) {
        let figures = &mut *self.figures_mut();
        match errno {
            Errno::NOSPC | Errno::DQUOT => figures.no_space = Some(now),
            Errno::ROFS => figures.read_only = Some(now),
            Errno::IO
            | Errno::UCLEAN
            | Errno::BADMSG
            | Errno::NXIO
            | Errno::NODEV
            | Errno::SHUTDOWN
            | Errno::NOTCONN
            | Errno::CONNABORTED
            | Errno::REMOTEIO
            | Errno::TIMEDOUT
            | Errno::HOSTDOWN => {
                figures.device = figures.device.saturating_add(1);
                figures.device_last = Some((errno, now));
            }
            _ => {}
        }
    }

    pub(super) fn moved_bytes(&self) {
        let figures = &mut *self.figures_mut();
        if figures.device > 0 {
            figures.device = 0;
        }
    }

    pub(super) fn figures(&self) -> TroubleFigures {
        *self.figures_mut()
    }

    fn figures_mut(&self) -> MutexGuard<'_, TroubleFigures> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
