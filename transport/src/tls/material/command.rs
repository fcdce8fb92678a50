//! A program that prints key, certificates and authorities as PEM.
//!
//! What counts as what: there is at most one private key, anywhere. The first certificate is ours. A later one that is
//! self-issued (its subject is its issuer: an authority's own) is trusted; any other continues our chain. Without a
//! private key all certificates are trusted. A self-signed certificate of ours is printed twice to be trusted, too.

use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use sealed_shuffle_config::Origin;
use zeroize::Zeroizing;

use super::{Identity, LARGEST, LONGEST_CHAIN, Material, MaterialError, pem, read_bounded};
use crate::tls::certificate::is_self_issued;

/// Time for the program to print and to end.
const DEADLINE: Duration = Duration::from_secs(30);

/// How much of what it says about an error is passed on.
const LONGEST_COMPLAINT: u64 = 1 << 10;

/// Runs the program, without a shell, and answers what it printed.
pub(super) fn run(argv: &[String], origin: &Origin) -> Result<Zeroizing<Vec<u8>>, MaterialError> {
    run_within(argv, origin, DEADLINE)
}

fn run_within(
    argv: &[String],
    origin: &Origin,
    deadline: Duration,
) -> Result<Zeroizing<Vec<u8>>, MaterialError> {
    let refuse = |reason: String, remedy: &str| MaterialError::of_command(argv, origin, reason, remedy);
    let Some((program, arguments)) = argv.split_first() else {
        return Err(refuse("it names no program".into(), "give it a program, and its arguments"));
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own: whatever it starts ends with it.
    command.process_group(0);
    let child = command.spawn().map_err(|error| {
        refuse(format!("it cannot be started: {error}"), "name a program by its full path, made executable")
            .caused_by(error)
    })?;
    let mut running = Running(child);
    let out = collect(running.0.stdout.take(), LARGEST);
    let complaint = collect(running.0.stderr.take(), LONGEST_COMPLAINT);
    let until = Instant::now() + deadline;
    let too_late = || refuse(format!("it has not ended after {} s", deadline.as_secs()), "make it faster");
    let printed = match out.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(printed) => printed,
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Err(too_late()),
    };
    let Some(status) = running.wait(until) else { return Err(too_late()) };
    if !status.success() {
        let said =
            complaint.recv_timeout(Duration::from_secs(1)).ok().and_then(Result::ok).unwrap_or_default();
        let said = String::from_utf8_lossy(&said);
        return Err(refuse(
            format!("it ended with {status}: {}", said.trim()),
            "run it by hand as this user",
        ));
    }
    printed.map_err(|error| {
        refuse(format!("what it prints cannot be read: {error}"), "print PEM alone").caused_by(error)
    })
}

/// Reads in a thread of its own: a pipe that stays open must not hold us up.
fn collect(from: Option<impl Read + Send + 'static>, most: u64) -> Receiver<io::Result<Zeroizing<Vec<u8>>>> {
    let (to, receiver) = sync_channel(1);
    std::thread::spawn(move || {
        let Some(mut from) = from else { return };
        let read = if most == LARGEST {
            read_bounded(from, 64 << 10)
        } else {
            let mut bytes = Zeroizing::new(Vec::new());
            from.by_ref().take(most).read_to_end(&mut bytes).map(|_| bytes)
        };
        // Nobody may be waiting any more.
        drop(to.send(read));
    });
    receiver
}

/// A program that does not outlive us.
struct Running(Child);

impl Running {
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

impl Drop for Running {
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

/// Tells key, chain and authorities apart.
pub(super) fn take_apart(
    argv: &[String],
    origin: &Origin,
    output: &[u8],
    material: &mut Material,
) -> Result<(), MaterialError> {
    let refuse = |reason: String, remedy: &str| MaterialError::of_command(argv, origin, reason, remedy);
    let of =
        |fault: pem::Fault| refuse(format!("what it prints cannot be used: {}", fault.reason), fault.remedy);
    let blocks = pem::blocks(output).map_err(of)?;
    let mut certificates = pem::certificates_of(&blocks);
    if !blocks.iter().any(|block| block.label.ends_with("PRIVATE KEY")) {
        material.trusted = certificates.collect();
        return Ok(());
    }
    let key = pem::private_key_of(&blocks, None).map_err(of)?;
    let Some(own) = certificates.next() else {
        return Err(refuse(
            "it prints a private key and no certificate".into(),
            "print the certificate after it",
        ));
    };
    let (trusted, between): (Vec<_>, Vec<_>) = certificates.partition(is_self_issued);
    let chain: Vec<_> = std::iter::once(own).chain(between).collect();
    if chain.len() > LONGEST_CHAIN {
        let reason = format!("it prints {} certificates that are not self-issued", chain.len());
        return Err(refuse(reason, "print our certificate and those between it and its authority alone"));
    }
    material.trusted = trusted;
    material.identity = Some(Identity { key, chain });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn takes_what_is_printed() {
        let printed = run(&argv(&["echo", "one", "two"]), &Origin::Conf).unwrap();
        assert_eq!(&printed[..], b"one two\n");
    }

    #[test]
    fn a_failure_says_what_the_program_said() {
        let error = run(&argv(&["ls", "/nonexistent-directory"]), &Origin::Conf).unwrap_err().to_string();
        assert!(
            error.contains("nonexistent-directory") && error.contains("spark.sealed.tls.command"),
            "{error}"
        );
        let error = run(&argv(&["/nonexistent-program"]), &Origin::Conf).unwrap_err().to_string();
        assert!(error.contains("cannot be started"), "{error}");
    }

    #[test]
    fn one_that_does_not_end_is_ended() {
        let start = Instant::now();
        let argv = argv(&["sleep", "60"]);
        let error = run_within(&argv, &Origin::Conf, Duration::from_millis(50)).unwrap_err().to_string();
        assert!(error.contains("has not ended"), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }
}
