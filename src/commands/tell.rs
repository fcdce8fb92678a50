//! Telling a running server something: `forget`, `reload`, `drain`, `log-level`.

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::Args;
use hyper::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sealed_shuffle_protocol::shown::Shown;

use super::admin::{RunningServer, ServerArgs};
use super::{Exit, Failure, apps};

/// The token, where the server is told over TCP.
#[derive(Args, Debug)]
struct TokenArgs {
    /// Token for changes over TCP; without it, spark.sealed.admin.token-file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// End applications: the server forgets their executors, merged files, keys and secrets
#[derive(Args, Debug)]
pub(crate) struct Forget {
    /// The applications
    #[arg(value_name = "ID", required = true)]
    apps: Vec<String>,

    #[command(flatten)]
    token: TokenArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// Have a running server read policy, secrets and TLS again, and say what is wrong with them
///
/// Does what SIGHUP does. A configuration with a fault changes nothing; the exit code is 1 then.
#[derive(Args, Debug)]
pub(crate) struct Reload {
    #[command(flatten)]
    token: TokenArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// Have a running server end: it accepts nobody, lets open transfers finish, and exits with 0
///
/// Does what SIGTERM does. The command does not wait for the end.
#[derive(Args, Debug)]
pub(crate) struct Drain {
    #[command(flatten)]
    token: TokenArgs,

    #[command(flatten)]
    server: ServerArgs,
}

/// Show what a running server logs, or change it until it ends
#[derive(Args, Debug)]
pub(crate) struct LogLevel {
    /// A level or a filter, as spark.sealed.log takes it: debug, or sealed_shuffle::server=debug,info
    #[arg(value_name = "FILTER")]
    filter: Option<String>,

    #[command(flatten)]
    token: TokenArgs,

    #[command(flatten)]
    server: ServerArgs,
}

impl Forget {
    pub(crate) fn run(self) -> Result<(), Failure> {
        apps::end(&self.apps, &self.server.find_to_change(self.token.token_file)?)
    }
}

impl Reload {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let server = self.server.find_to_change(self.token.token_file)?;
        tell(&server, &Method::POST, "/reload", "the configuration was not read again")
    }
}

impl Drain {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let server = self.server.find_to_change(self.token.token_file)?;
        tell(&server, &Method::POST, "/drain", "it goes on")
    }
}

impl LogLevel {
    pub(crate) fn run(self) -> Result<(), Failure> {
        const AS_BEFORE: &str = "it logs what it logged before";
        match &self.filter {
            None => tell(&self.server.find()?, &Method::GET, "/log-level", AS_BEFORE),
            Some(filter) => {
                let path = format!("/log-level?filter={}", utf8_percent_encode(filter, NON_ALPHANUMERIC));
                let server = self.server.find_to_change(self.token.token_file)?;
                tell(&server, &Method::PUT, &path, AS_BEFORE)
            }
        }
    }
}

/// Tells the server, and shows what it says.
fn tell(server: &RunningServer, method: &Method, path: &str, otherwise: &str) -> Result<(), Failure> {
    let answer = server.ask(method, path)?;
    if answer.status != StatusCode::OK {
        return Err(answer.refused(otherwise));
    }
    writeln!(stdout(), "{}", Shown(&answer.text())).map_err(|error| Failure::new(Exit::Failed, error))
}
