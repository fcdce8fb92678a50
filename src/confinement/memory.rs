//! Keeps memory, and so keys and secrets, from core dumps and from other processes of the same user.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump is written, for programs that the process starts neither; and none but root reads the memory or attaches
/// a debugger (PR_SET_DUMPABLE of prctl(2)). Files such as `/proc/PID/status` stay readable.
pub(super) fn keep_from_others() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}
