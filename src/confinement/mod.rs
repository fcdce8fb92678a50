//! The process gives up what a block server never needs, so that a fault in it is worth less to whoever finds one.
//!
//! | measure | gives up |
//! |---|---|
//! | Landlock | writing outside the directories that the server writes to; TCP but for its own ports, and the port of a collector of traces |
//! | seccomp | system calls such as `ptrace`, `mount`, `bpf`, `io_uring_setup` |
//! | memory | core dumps, and the right of other processes of the same user to look into this one |
//!
//! The first two come with `no_new_privs`, cannot be taken back, and hold for programs that the process starts. So unless
//! the configuration wants otherwise, a server that starts programs goes without them: what a program needs is not known
//! here. Reading is not restricted: SIGHUP may name new files, and a block server reads what executors name.
//!
//! `serve` calls [`Confinement::enforce`] before it makes threads, since a thread that is there already would not be
//! confined.

mod landlock;
mod memory;
mod seccomp;

use std::fmt;

use sealed_shuffle_config::{Extent, KeySource, ServerConfig, TlsSource};
use thiserror::Error;
use tracing::{info, warn};

use self::landlock::Landlock;
use self::seccomp::Seccomp;

/// A measure that the configuration demands is not in force.
#[derive(Debug, Error)]
#[error("{key} = on: {reason}: set it to auto, or to off")]
pub struct ConfinementError {
    key: &'static str,
    reason: String,
}

/// What a server gives up.
#[derive(Debug)]
pub struct Confinement {
    landlock: Measure<Landlock>,
    seccomp: Measure<Seccomp>,
    /// Whether memory is kept from others.
    memory: bool,
}

impl Confinement {
    /// What a server with this configuration gives up.
    pub fn of(config: &ServerConfig) -> Self {
        let starts = starts_programs(config);
        let extents = config.confinement;
        Self {
            landlock: Measure {
                key: "spark.sealed.confinement.landlock",
                extent: extents.landlock,
                starts,
                of: Landlock::of(config, starts.is_none()),
            },
            seccomp: Measure {
                key: "spark.sealed.confinement.seccomp",
                extent: extents.seccomp,
                starts,
                of: Seccomp,
            },
            memory: extents.memory,
        }
    }

    /// One line for each measure: what is given up on this kernel, or why nothing is. Nothing is given up by asking.
    pub fn describe(&self) -> [String; 3] {
        [
            self.landlock.line(&self.landlock.outlook()),
            self.seccomp.line(&self.seccomp.outlook()),
            match self.memory {
                true => "confinement.memory: no core dumps; other processes of this user cannot look into it"
                    .to_owned(),
                false => "confinement.memory: not kept from others (spark.sealed.confinement.memory = false)"
                    .to_owned(),
            },
        ]
    }

    /// Whether a program that another configuration names would be confined with the process.
    pub fn holds_for_new_programs(&self) -> bool {
        self.landlock.holds_for_new_programs() || self.seccomp.holds_for_new_programs()
    }

    /// Gives it up, for this thread and those that it makes; logs and returns what is in force. A measure that the kernel does
    /// not have is left out, or refused where the configuration demands it.
    pub fn enforce(&self) -> Result<[String; 3], ConfinementError> {
        let [_, _, mut memory] = self.describe();
        match self.memory.then(memory::keep_from_others).unwrap_or(Ok(())) {
            Ok(()) => info!("{memory}"),
            Err(error) => {
                warn!(%error, "memory is not kept from other processes");
                memory = format!("confinement.memory: not kept from others: {error}");
            }
        }
        let landlock = self.landlock.line(&self.landlock.enforce()?);
        info!("{landlock}");
        let seccomp = self.seccomp.line(&self.seccomp.enforce()?);
        info!("{seccomp}");
        Ok([landlock, seccomp, memory])
    }
}

/// A way to give something up.
trait Way: fmt::Display {
    /// Why this kernel cannot.
    fn missing(&self) -> Option<String>;

    /// Gives it up for this thread. The error says why it could not.
    fn enforce(&self) -> Result<(), String>;
}

/// A way, and what the configuration says of it.
#[derive(Debug)]
struct Measure<W> {
    key: &'static str,
    extent: Extent,
    /// The key by which the server starts programs.
    starts: Option<&'static str>,
    of: W,
}

impl<W: Way> Measure<W> {
    /// Why it is not even tried.
    fn unwanted(&self) -> Option<String> {
        match (self.extent, self.starts) {
            (Extent::Off, _) => Some(format!("not in force ({} = off)", self.key)),
            (Extent::Auto, Some(starts)) => Some(format!(
                "not in force: {starts} may start a program, which would be confined, too ({} = on confines both)",
                self.key
            )),
            _ => None,
        }
    }

    fn holds_for_new_programs(&self) -> bool {
        self.starts.is_none() && self.unwanted().is_none() && self.of.missing().is_none()
    }

    /// A line about it, which begins with the end of its key.
    fn line(&self, state: &str) -> String {
        format!("{}: {state}", self.key.trim_start_matches("spark.sealed."))
    }

    fn outlook(&self) -> String {
        match (self.unwanted(), self.of.missing()) {
            (Some(reason), _) => reason,
            (None, Some(missing)) => format!("not in force: {missing}"),
            (None, None) => self.of.to_string(),
        }
    }

    /// Says what is in force then.
    fn enforce(&self) -> Result<String, ConfinementError> {
        if let Some(reason) = self.unwanted() {
            return Ok(reason);
        }
        let done = self.of.missing().map_or_else(|| self.of.enforce(), Err);
        match (done, self.extent) {
            (Ok(()), _) => Ok(self.of.to_string()),
            (Err(reason), Extent::On) => Err(ConfinementError { key: self.key, reason }),
            (Err(reason), _) => Ok(format!("not in force: {reason}")),
        }
    }
}

/// The key by which a server with this configuration may start programs. The AWS SDK starts what `credential_process` of
/// its own configuration names.
fn starts_programs(config: &ServerConfig) -> Option<&'static str> {
    let tls = config.tls.as_ref().is_some_and(|tls| matches!(tls.source, TlsSource::Command { .. }));
    match &config.envelope.source {
        KeySource::Command { .. } => Some("spark.sealed.keys.command"),
        KeySource::AwsKms { .. } => Some("spark.sealed.keys.provider = aws-kms"),
        KeySource::LocalFile { .. } | KeySource::HadoopKms { .. } => {
            tls.then_some("spark.sealed.tls.command")
        }
    }
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_config::{HttpEndpoint, TracesConfig};

    use super::*;

    fn config() -> ServerConfig {
        ServerConfig::new(["/data".into()], "/state")
    }

    #[test]
    fn server_that_starts_programs_is_not_confined_unless_it_is_told_to_be() {
        let mut config = config();
        config.envelope.source = KeySource::Command { argv: vec!["/bin/keeper".into()] };
        let lines = Confinement::of(&config).describe();
        for line in &lines[..2] {
            assert!(line.contains("not in force: spark.sealed.keys.command"), "{line}");
        }
        assert!(!Confinement::of(&config).holds_for_new_programs());
        config.confinement.landlock = Extent::On;
        let confinement = Confinement::of(&config);
        let [landlock, seccomp, _] = confinement.describe();
        assert!(!landlock.contains("keys.command"), "{landlock}");
        assert!(seccomp.contains("keys.command"), "each by itself: {seccomp}");
        let shown = confinement.landlock.of.to_string();
        assert!(shown.contains("TCP is not restricted"), "a program may have to connect: {shown}");
    }

    #[test]
    fn each_measure_has_a_key_that_switches_it_off() {
        let mut config = config();
        config.confinement.landlock = Extent::Off;
        config.confinement.seccomp = Extent::Off;
        config.confinement.memory = false;
        let confinement = Confinement::of(&config);
        for (line, name) in confinement.describe().iter().zip(["landlock", "seccomp", "memory"]) {
            let key = format!("confinement.{name}");
            assert!(
                line.starts_with(&format!("{key}: ")) && line.contains(&format!("(spark.sealed.{key} = ")),
                "{line}"
            );
        }
        confinement.enforce().unwrap();
    }

    #[test]
    fn what_the_server_writes_to_and_listens_at_is_named() {
        let mut config = config();
        config.admin.address = Some("127.0.0.1:7338".parse().unwrap());
        let shown = Confinement::of(&config).landlock.of.to_string();
        assert!(shown.starts_with("files are written beneath /state, /data only; "), "{shown}");
        assert!(shown.contains("ports 7337, 7338 only") || shown.contains("Linux 6.7"), "{shown}");
        let endpoint = HttpEndpoint { host: "collector".to_owned(), port: 4318, path: "/".to_owned() };
        config.traces = Some(TracesConfig::to(endpoint));
        let shown = Confinement::of(&config).landlock.of.to_string();
        assert!(
            shown.contains("to ports 53, 4318 only, and TCP ports 7337") || shown.contains("Linux 6.7"),
            "{shown}"
        );
    }
}
