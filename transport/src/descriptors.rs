//! Descriptors that are kept free of what peers cause.
//!
//! The kernel gives a new descriptor the lowest number that is free. So a number at or above the ceiling says that as many
//! are open, whoever opened them; nothing has to be counted.

use std::os::fd::{AsFd, AsRawFd, RawFd};

use rustix::io::Errno;

/// The number at which descriptors for peers end. Those above are for others: somebody who asks how the server is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ceiling(Option<RawFd>);

impl Ceiling {
    /// Peers may have all that the limit leaves.
    pub const NONE: Self = Self(None);

    /// Of `limit` descriptors, `kept` are not for peers. `None` is no limit.
    pub fn below(limit: Option<u64>, kept: u64) -> Self {
        Self(limit.and_then(|limit| RawFd::try_from(limit.saturating_sub(kept)).ok()))
    }

    /// Whether what was opened just now is below it.
    pub fn admits(self, opened: impl AsFd) -> bool {
        self.0.is_none_or(|ceiling| opened.as_fd().as_raw_fd() < ceiling)
    }

    /// Whether what would be opened now is below it; `open` is any descriptor. Otherwise the error that the kernel has where
    /// none is left.
    pub fn has_room(self, open: impl AsFd) -> Result<(), Errno> {
        match self.0 {
            None => Ok(()),
            Some(_) => match rustix::io::fcntl_dupfd_cloexec(open, 0)? {
                next if self.admits(&next) => Ok(()),
                _ => Err(Errno::MFILE),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn what_lies_at_the_ceiling_or_above_is_not_admitted() {
        let open = File::open("/dev/null").unwrap();
        let number = u64::try_from(open.as_raw_fd()).unwrap();
        assert!(Ceiling::NONE.admits(&open) && Ceiling::below(None, 3).admits(&open));
        assert!(Ceiling::below(Some(number + 4), 3).admits(&open));
        assert!(!Ceiling::below(Some(number + 3), 3).admits(&open));
        assert_eq!(Ceiling::below(Some(4), 8), Ceiling::below(Some(0), 0), "none is left for peers");
    }

    #[test]
    fn room_is_what_the_next_descriptor_would_have() {
        let open = File::open("/dev/null").unwrap();
        assert_eq!(Ceiling::NONE.has_room(&open), Ok(()));
        assert_eq!(Ceiling::below(Some(1 << 20), 0).has_room(&open), Ok(()));
        assert_eq!(Ceiling::below(Some(3), 0).has_room(&open), Err(Errno::MFILE), "0 to 2 are open");
    }
}
