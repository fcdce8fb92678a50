//! `hand-over`: the client's end of the hand-over socket, for programs that cannot speak to it; `hand-over standalone`,
//! which speaks for a standalone cluster; and `hand-over kubernetes`, which speaks for the API server.

#[cfg(feature = "kubernetes")]
mod kubernetes;
mod standalone;
#[cfg(feature = "kubernetes")]
mod troubles;

use std::io::{stdin, stdout};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use sealed_shuffle_config::{HandoverConfig, ProcessEnvironment};

#[cfg(feature = "kubernetes")]
use self::kubernetes::Kubernetes;
use self::standalone::Standalone;
use super::{ConfigArgs, Exit, Failure};
use crate::handover::{RelayError, relay};

/// Hand applications over to a running server: lines in, answers out
///
/// Connects to the server's spark.sealed.handover.socket, checks that it runs as this user, root or --server-user, and
/// passes standard input on. YARN's auxiliary service (yarn/ in the sources) runs it; by hand, say
/// "sealed-shuffle-handover 1" first, then "ended ID" for an application whose end nobody told.
#[derive(Args, Debug)]
#[command(subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(crate) struct HandOver {
    #[command(subcommand)]
    of: Option<Of>,

    /// The server's socket
    #[arg(long, value_name = "PATH", required = true)]
    socket: Option<PathBuf>,

    /// Number of a further user as whom the server may run; may be given many times
    #[arg(long, value_name = "UID")]
    server_user: Vec<u32>,
}

#[derive(Debug, Subcommand)]
enum Of {
    Standalone(Standalone),
    #[cfg(feature = "kubernetes")]
    Kubernetes(Kubernetes),
}

impl HandOver {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match (self.of, self.socket) {
            (Some(Of::Standalone(standalone)), _) => standalone.run(),
            #[cfg(feature = "kubernetes")]
            (Some(Of::Kubernetes(kubernetes)), _) => kubernetes.run(),
            (None, Some(socket)) => {
                relay(&socket, &self.server_user, stdin(), stdout()).map_err(|error| not_connected(&error))
            }
            (None, None) => Err(Failure::new(Exit::Usage, "--socket PATH is missing")),
        }
    }
}

/// The server's socket: as named, or else as the server's own configuration has it.
fn socket_of(named: Option<PathBuf>, config: ConfigArgs) -> Result<PathBuf, Failure> {
    match named {
        Some(socket) => Ok(socket),
        None => HandoverConfig::socket_of(&config.sources(), &ProcessEnvironment)?.ok_or_else(|| {
            let text = "spark.sealed.handover.socket is not set: name the server's with --socket PATH";
            Failure::new(Exit::Config, text)
        }),
    }
}

fn not_connected(error: &RelayError) -> Failure {
    let exit = match error {
        RelayError::Foreign { .. } => Exit::Refused,
        _ => Exit::Unreachable,
    };
    Failure::new(exit, error)
}
