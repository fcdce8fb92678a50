//! A program that prints key, certificates and authorities as PEM.
//!
//! The output may hold one private key at most, at any place. The first certificate is ours. A later certificate that
//! is self-issued (its subject is its issuer, as an authority's own is) is trusted; any other continues our chain.
//! Without a private key all certificates are trusted. To trust our own self-signed certificate, the program prints
//! it twice.

use std::process::Command;
use std::time::Duration;

use sealed_shuffle_config::Origin;
use zeroize::Zeroizing;

use super::{Identity, LONGEST_CHAIN, Material, MaterialError, pem};
use crate::program::{self, ProgramError, ProgramLimits};
use crate::tls::certificate::is_self_issued;

/// Time for the program to print and to end.
const DEADLINE: Duration = Duration::from_secs(30);

/// Most bytes of standard error that an error text quotes.
const LONGEST_COMPLAINT: usize = 1 << 10;

/// Longest output of the program.
const LARGEST_OUTPUT: usize = 4 << 20;

/// Runs the program without a shell and returns its output.
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
    command.args(arguments);
    let limits = ProgramLimits { deadline, output: LARGEST_OUTPUT + 1, complaint: LONGEST_COMPLAINT };
    let ended = program::run(command, Zeroizing::default(), limits).map_err(|error| match error {
        ProgramError::Start(cause) => refuse(
            format!("it cannot be started: {cause}"),
            "name a program by its full path, made executable",
        )
        .caused_by(cause),
        ProgramError::Deadline(_) => {
            refuse(format!("it has not ended after {} s", deadline.as_secs()), "make it faster")
        }
        ProgramError::Pipe(cause) => {
            refuse(format!("its output cannot be read: {cause}"), "print PEM alone").caused_by(cause)
        }
    })?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.complaint);
        let reason = format!("it ended with {}: {}", ended.status, said.trim());
        return Err(refuse(reason, "run it by hand as this user"));
    }
    if ended.output.len() > LARGEST_OUTPUT {
        return Err(refuse("its output cannot be read: longer than 4 MiB".into(), "print PEM alone"));
    }
    Ok(ended.output)
}

/// Separates key, chain and authorities.
pub(super) fn take_apart(
    argv: &[String],
    origin: &Origin,
    output: &[u8],
    material: &mut Material,
) -> Result<(), MaterialError> {
    let refuse = |reason: String, remedy: &str| MaterialError::of_command(argv, origin, reason, remedy);
    let of = |fault: pem::Fault| refuse(format!("its output cannot be used: {}", fault.reason), fault.remedy);
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
    use std::time::Instant;

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
