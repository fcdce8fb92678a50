//! `hand-over`: the client's end of the hand-over socket, for programs that cannot speak to it; and `hand-over standalone`,
//! which speaks for a standalone cluster.

mod standalone;

use std::io::{stdin, stdout};
use std::path::PathBuf;

use clap::{Args, Subcommand};

use self::standalone::Standalone;
use super::{Exit, Failure};
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
}

impl HandOver {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match (self.of, self.socket) {
            (Some(Of::Standalone(standalone)), _) => standalone.run(),
            (None, Some(socket)) => {
                relay(&socket, &self.server_user, stdin(), stdout()).map_err(|error| not_connected(&error))
            }
            (None, None) => Err(Failure::new(Exit::Usage, "--socket PATH is missing")),
        }
    }
}

fn not_connected(error: &RelayError) -> Failure {
    let exit = match error {
        RelayError::Foreign { .. } => Exit::Refused,
        _ => Exit::Unreachable,
    };
    Failure::new(exit, error)
}
