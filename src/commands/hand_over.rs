//! `hand-over`: the client's end of the hand-over socket, for programs that cannot speak to it.

use std::io::{stdin, stdout};
use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure};
use crate::handover::{RelayError, relay};

/// Hand applications over to a running server: lines in, answers out
///
/// Connects to the server's spark.sealed.handover.socket, checks that it runs as this user, root or --server-user, and
/// passes standard input on. YARN's auxiliary service (yarn/ in the sources) runs it; by hand, say
/// "sealed-shuffle-handover 1" first, then "ended ID" for an application whose end nobody told.
#[derive(Args, Debug)]
pub(crate) struct HandOver {
    /// The server's socket
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,

    /// Number of a further user as whom the server may run; may be given many times
    #[arg(long, value_name = "UID")]
    server_user: Vec<u32>,
}

impl HandOver {
    pub(crate) fn run(self) -> Result<(), Failure> {
        relay(&self.socket, &self.server_user, stdin(), stdout()).map_err(|error| {
            let exit = match error {
                RelayError::Foreign { .. } => Exit::Refused,
                _ => Exit::Unreachable,
            };
            Failure::new(exit, error)
        })
    }
}
