//! A process that unmounts the view when the server is gone.
//!
//! A server that has confined itself may not unmount any more, and one that was killed cannot. So it starts this process
//! before, which waits for the end of its input: that comes when the server closes it, and when the kernel does.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The command of the program, which nobody calls by hand.
pub const COMMAND: &str = "keep-view";

/// Unmounting takes no longer where the machine is well.
const PATIENCE: Duration = Duration::from_secs(5);

/// The process.
#[derive(Debug)]
pub struct Keeper(Child);

impl Keeper {
    /// Starts it for the mount at `at`.
    pub(super) fn start(program: &Path, at: &Path) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.arg(COMMAND).arg(at).env_clear().current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // What a terminal sends to the server is not for it.
        command.process_group(0);
        Ok(Self(command.spawn()?))
    }

    /// Has it unmount, and waits for that.
    pub(super) fn end(mut self) {
        drop(self.0.stdin.take());
        let until = Instant::now() + PATIENCE;
        while let Ok(None) = self.0.try_wait() {
            if Instant::now() > until {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The wait of that process: for the end of `input`. Then it unmounts.
pub fn wait_for_end(mut input: impl io::Read) {
    let mut nothing = [0; 64];
    loop {
        match input.read(&mut nothing) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
}
