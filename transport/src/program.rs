//! A program that helps: run without a shell, with a deadline, and ended with everything that it started.
//!
//! Key material goes through its pipes, so buffers do not move while they fill, and are wiped. It blocks: call it on a
//! thread that may wait.

use std::io::{self, Read, Write as _};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

/// What bounds a run.
#[derive(Clone, Copy, Debug)]
pub struct ProgramLimits {
    /// From its start to its end; then it is killed.
    pub deadline: Duration,
    /// Bytes of standard output that are kept; the rest is read and dropped.
    pub output: usize,
    /// Bytes of standard error that are kept; the rest is read and dropped.
    pub complaint: usize,
}

/// A run that came to its end.
#[derive(Debug)]
pub struct ProgramOutput {
    /// How it ended.
    pub status: ExitStatus,
    /// Standard output, cut at its limit.
    pub output: Zeroizing<Vec<u8>>,
    /// Standard error, cut at its limit.
    pub complaint: Zeroizing<Vec<u8>>,
}

/// Why a run came to no end.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// There is no such program, or it may not be run.
    #[error("it cannot be started: {0}")]
    Start(io::Error),
    /// The deadline passed.
    #[error("it has not ended after {0:?} and was killed")]
    Deadline(Duration),
    /// A pipe broke.
    #[error("its pipes broke: {0}")]
    Pipe(io::Error),
}

/// Runs `command` to its end with `input` on standard input.
pub fn run(
    mut command: Command,
    input: Zeroizing<Vec<u8>>,
    limits: ProgramLimits,
) -> Result<ProgramOutput, ProgramError> {
    let until = Instant::now() + limits.deadline;
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: whatever it starts ends with it.
    let mut running = RunningProgram(command.process_group(0).spawn().map_err(ProgramError::Start)?);
    if let Some(mut stdin) = running.0.stdin.take() {
        // One that has heard enough, or has ended, says so by its exit code.
        std::thread::spawn(move || stdin.write_all(&input).ok());
    }
    let output = collect(running.0.stdout.take(), limits.output);
    let complaint = collect(running.0.stderr.take(), limits.complaint);
    let too_late = || ProgramError::Deadline(limits.deadline);
    let within = |read: Receiver<io::Result<Zeroizing<Vec<u8>>>>| {
        let left = until.saturating_duration_since(Instant::now());
        read.recv_timeout(left).map_err(|_| too_late())?.map_err(ProgramError::Pipe)
    };
    let (output, complaint) = (within(output)?, within(complaint)?);
    // Last, so that its id names its group until its pipes are closed.
    let status = running.wait(until).ok_or_else(too_late)?;
    Ok(ProgramOutput { status, output, complaint })
}

/// Reads in a thread of its own: a pipe that stays open must not hold us up.
fn collect(
    from: Option<impl Read + Send + 'static>,
    most: usize,
) -> Receiver<io::Result<Zeroizing<Vec<u8>>>> {
    let (to, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        // Nobody may be waiting any more.
        to.send(from.map_or_else(|| Ok(Zeroizing::default()), |from| first(from, most))).ok();
    });
    receiver
}

/// The first `most` bytes; the rest is read and dropped, so that the writer is not held up.
fn first(mut from: impl Read, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut kept = Zeroizing::new(Vec::with_capacity(most + 1));
    from.by_ref().take(most as u64).read_to_end(&mut kept)?;
    let mut rest = Zeroizing::new([0; 1024]);
    while from.read(&mut rest[..])? != 0 {}
    Ok(kept)
}

/// A program that does not outlive us.
struct RunningProgram(Child);

impl RunningProgram {
    fn wait(&mut self, until: Instant) -> Option<ExitStatus> {
        loop {
            if let Ok(Some(status)) = self.0.try_wait() {
                return Some(status);
            }
            if Instant::now() >= until {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        if let Ok(Some(_)) = self.0.try_wait() {
            return;
        }
        let group = rustix::process::Pid::from_child(&self.0);
        // It may have ended this moment.
        rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
        self.0.wait().ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: ProgramLimits =
        ProgramLimits { deadline: Duration::from_secs(60), output: 100, complaint: 10 };

    fn shell(text: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        command
    }

    fn run_shell(text: &str, input: &[u8]) -> ProgramOutput {
        run(shell(text), Zeroizing::new(input.to_vec()), LIMITS).unwrap()
    }

    #[test]
    fn a_program_hears_its_input_and_is_heard() {
        let ended = run_shell("cat; echo no >&2; exit 3", b"one line\n");
        assert_eq!((&ended.output[..], &ended.complaint[..]), (&b"one line\n"[..], &b"no\n"[..]));
        assert_eq!(ended.status.code(), Some(3));
    }

    #[test]
    fn a_program_that_never_stops_talking_is_heard_in_part() {
        let ended = run_shell("head -c 1000000 /dev/zero >&2; head -c 1000000 /dev/zero", b"");
        assert_eq!((ended.output.len(), ended.complaint.len()), (100, 10));
    }

    #[test]
    fn a_program_that_does_not_read_is_not_waited_for() {
        assert!(run_shell("exit 0", &[7; 1 << 20]).status.success());
    }

    #[test]
    fn a_program_that_hangs_is_ended_with_what_it_started() {
        let limits = ProgramLimits { deadline: Duration::from_millis(200), ..LIMITS };
        let began = Instant::now();
        // The child holds the pipes open, so that only the end of the whole group can be the end.
        let error = run(shell("sleep 300 & sleep 300"), Zeroizing::default(), limits).unwrap_err();
        assert!(matches!(error, ProgramError::Deadline(_)), "{error}");
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_program_that_is_not_there_is_no_deadline() {
        let error = run(Command::new("/nonexistent-program"), Zeroizing::default(), LIMITS).unwrap_err();
        assert!(matches!(error, ProgramError::Start(_)), "{error}");
    }
}
