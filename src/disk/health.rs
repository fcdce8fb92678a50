//! How a disk is, judged from what the kernel says of it.
//!
//! | health | found by | blocks are read | blocks are merged |
//! |---|---|---|---|
//! | ok | | yes | yes |
//! | slow | a look took a second, or a call runs for a third of its time | yes | yes |
//! | full | `ENOSPC`, `EDQUOT`, or less than 64 KiB free | yes | no |
//! | read-only | `EROFS`, or the file system is mounted so | yes | no |
//! | hung | a look or a call does not come back | no | no |
//! | failed | errors of the device, one after the other, or for a look | no | no |
//! | missing | its path leads to no directory, or to one where something was unmounted | no | no |
//!
//! `judge` is pure: what it is told is all that it knows. A disk is asked again after a while, whatever it was, so it
//! comes back by itself.

use std::fmt;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use sealed_shuffle_transport::lane::{CallFigures, TroubleFigures};

/// How a disk is.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Health {
    /// It is asked for what lies on it.
    #[default]
    Ok,
    /// It answers late.
    Slow,
    /// It does not answer.
    Hung,
    /// Nothing more can be written.
    Full,
    /// Nothing can be written.
    ReadOnly,
    /// It answers with errors.
    Failed,
    /// It is not there.
    Missing,
}

impl Health {
    /// All that there are.
    pub const ALL: [Self; 7] =
        [Self::Ok, Self::Slow, Self::Hung, Self::Full, Self::ReadOnly, Self::Failed, Self::Missing];

    /// The word in metrics, answers and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Hung => "hung",
            Self::Full => "full",
            Self::ReadOnly => "read-only",
            Self::Failed => "failed",
            Self::Missing => "missing",
        }
    }

    /// Whether it is asked for anything.
    pub fn serves(self) -> bool {
        !matches!(self, Self::Hung | Self::Failed | Self::Missing)
    }

    /// Whether files are made on it.
    pub fn takes_files(self) -> bool {
        matches!(self, Self::Ok | Self::Slow)
    }

    /// What an operator does about it.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Ok => "nothing is to be done",
            Self::Slow => "look at its load, and at the kernel's log for a device that is about to fail",
            Self::Hung => {
                "look at the kernel's log, and at the network where it is remote; its blocks are computed again meanwhile"
            }
            Self::Full => "make room; blocks that lie there are served, and none are merged there",
            Self::ReadOnly => {
                "look at the kernel's log, and mount it for writing; blocks that lie there are served, and none are merged there"
            }
            Self::Failed => {
                "look at the kernel's log, and replace the device; its blocks are computed again meanwhile"
            }
            Self::Missing => "mount or make the directory; it is taken up when it is there",
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How a disk is, and why.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Condition {
    /// How it is.
    pub health: Health,
    /// What shows it; empty where all is well.
    pub why: String,
}

impl Condition {
    fn of(health: Health, why: impl Into<String>) -> Self {
        Self { health, why: why.into() }
    }

    pub(super) fn missing(why: impl Into<String>) -> Self {
        Self::of(Health::Missing, why)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why.as_str() {
            "" => write!(f, "{}", self.health),
            why => write!(f, "{}: {why}", self.health),
        }
    }
}

/// Bytes of the file system that a root lies on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    /// All that there are.
    pub total: u64,
    /// Those that a process without privileges can still write.
    pub free: u64,
}

/// What a look at a root has found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Look {
    /// It did not come back in time.
    Silent(Duration),
    /// There is no such directory, or it cannot be used.
    Gone(String),
    /// The kernel answers with an error of the device.
    Failed(Errno),
    /// It is there.
    There {
        /// How long the look took.
        took: Duration,
        space: Option<Space>,
        read_only: bool,
    },
}

/// All that a disk is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'a> {
    pub(super) look: &'a Look,
    /// When a look took long, last.
    pub(super) slow_look: Option<Instant>,
    pub(super) calls: CallFigures,
    /// How long a call may take.
    pub(super) patience: Duration,
    pub(super) trouble: TroubleFigures,
    pub(super) now: Instant,
}

/// A disk with a call that never comes back is asked again after so long.
const HUNG: Duration = Duration::from_secs(60);

/// What the kernel said holds for so long, unless it says it again.
const SAID: Duration = Duration::from_secs(10);

/// A look that takes longer is slow.
pub(super) const SLOW_LOOK: Duration = Duration::from_secs(1);

/// A disk is called slow for so long after the last slow look.
const SLOW: Duration = Duration::from_secs(30);

/// Errors of the device, one after the other, until it counts as failed. One of them may be a bad block.
const ERRORS: u32 = 4;

/// A file system with less than that is full.
const ROOM: u64 = 64 << 10;

/// How a disk is.
pub(super) fn judge(facts: &Facts<'_>) -> Condition {
    let Facts { look, slow_look, calls, patience, trouble, now } = *facts;
    let lately = |at: Instant, time: Duration| now.saturating_duration_since(at) < time;
    let (space, mounted_read_only) = match look {
        Look::Gone(why) => return Condition::missing(why.as_str()),
        Look::Failed(errno) => return Condition::of(Health::Failed, format!("a look at it fails: {errno}")),
        Look::Silent(waited) => {
            return Condition::of(
                Health::Hung,
                format!("a look at it took more than {} s", waited.as_secs_f32()),
            );
        }
        Look::There { space, read_only, .. } => (space, *read_only),
    };
    if calls.overdue.is_some_and(|overdue| overdue < patience + HUNG) || calls.used_up {
        let given_up = calls.given_up;
        let why =
            format!("calls do not come back within {} s ({given_up} threads wait)", patience.as_secs_f32());
        return Condition::of(Health::Hung, why);
    }
    if let Some((errno, at)) = trouble.device_last
        && trouble.device >= ERRORS
        && lately(at, SAID)
    {
        return Condition::of(
            Health::Failed,
            format!("{} calls failed, the last one with: {errno}", trouble.device),
        );
    }
    if mounted_read_only || trouble.read_only.is_some_and(|at| lately(at, SAID)) {
        return Condition::of(Health::ReadOnly, "the file system is for reading only");
    }
    if let Some(space) = space
        && space.free < ROOM
    {
        return Condition::of(Health::Full, format!("{} of {} bytes are free", space.free, space.total));
    }
    if trouble.no_space.is_some_and(|at| lately(at, SAID)) {
        return Condition::of(Health::Full, "a file could not grow: no space, or a quota is used up");
    }
    if slow_look.is_some_and(|at| lately(at, SLOW)) {
        return Condition::of(Health::Slow, format!("a look at it took more than {} s", SLOW_LOOK.as_secs()));
    }
    if calls.longest > patience / 3 {
        return Condition::of(Health::Slow, format!("a call runs for {} s", calls.longest.as_secs()));
    }
    Condition::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    fn there(free: u64, read_only: bool) -> Look {
        Look::There { took: Duration::ZERO, space: Some(Space { total: 1 << 40, free }), read_only }
    }

    fn judged(look: &Look, change: impl FnOnce(&mut Facts<'_>)) -> Health {
        let mut facts = Facts {
            look,
            slow_look: None,
            calls: CallFigures::default(),
            patience: PATIENCE,
            trouble: TroubleFigures::default(),
            now: Instant::now() + Duration::from_secs(3600),
        };
        change(&mut facts);
        let judged = judge(&facts);
        assert_eq!(judged.health == Health::Ok, judged.why.is_empty(), "{judged}");
        judged.health
    }

    #[test]
    fn each_fault_has_a_health_of_its_own() {
        let well = there(1 << 30, false);
        assert_eq!(judged(&well, |_| {}), Health::Ok);
        assert_eq!(judged(&Look::Silent(PATIENCE), |_| {}), Health::Hung);
        assert_eq!(judged(&Look::Gone("no".into()), |_| {}), Health::Missing);
        assert_eq!(judged(&Look::Failed(Errno::IO), |_| {}), Health::Failed);
        assert_eq!(judged(&there(1 << 30, true), |_| {}), Health::ReadOnly);
        assert_eq!(judged(&there(0, false), |_| {}), Health::Full);
        assert_eq!(judged(&well, |facts| facts.trouble.no_space = Some(facts.now)), Health::Full);
        assert_eq!(judged(&well, |facts| facts.trouble.read_only = Some(facts.now)), Health::ReadOnly);
        assert_eq!(judged(&well, |facts| facts.slow_look = Some(facts.now)), Health::Slow);
        assert_eq!(judged(&well, |facts| facts.calls.longest = PATIENCE / 2), Health::Slow);
        assert_eq!(judged(&well, |facts| facts.calls.used_up = true), Health::Hung);
    }

    #[test]
    fn one_bad_block_is_not_a_failed_disk() {
        let well = there(1 << 30, false);
        let errors = |number| {
            move |facts: &mut Facts<'_>| {
                (facts.trouble.device, facts.trouble.device_last) = (number, Some((Errno::IO, facts.now)));
            }
        };
        assert_eq!(judged(&well, errors(1)), Health::Ok);
        assert_eq!(judged(&well, errors(ERRORS)), Health::Failed);
    }

    #[test]
    fn every_disk_is_asked_again_after_a_while() {
        let well = there(1 << 30, false);
        let overdue = |by| move |facts: &mut Facts<'_>| facts.calls.overdue = Some(PATIENCE + by);
        assert_eq!(judged(&well, overdue(Duration::from_secs(1))), Health::Hung);
        assert_eq!(judged(&well, overdue(HUNG)), Health::Ok);
        let before = |facts: &Facts<'_>, time| facts.now.checked_sub(time);
        assert_eq!(judged(&well, |facts| facts.trouble.no_space = before(facts, SAID)), Health::Ok);
        assert_eq!(judged(&well, |facts| facts.trouble.read_only = before(facts, SAID)), Health::Ok);
        assert_eq!(judged(&well, |facts| facts.slow_look = before(facts, SLOW)), Health::Ok);
        let device = |facts: &mut Facts<'_>| {
            facts.trouble.device = ERRORS;
            facts.trouble.device_last = before(facts, SAID).map(|at| (Errno::IO, at));
        };
        assert_eq!(judged(&well, device), Health::Ok);
    }
}
