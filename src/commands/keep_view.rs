//! `keep-view`: what a server starts so that its view of merged data is unmounted when it is gone.

use std::io::stdin;
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::{Exit, Failure};
use crate::view::{take_away, wait_for_end};

/// Unmount a view of merged data at the end of the input; a server starts this
#[derive(Args, Debug)]
pub(crate) struct KeepView {
    /// Where the view is mounted
    at: PathBuf,
}

impl KeepView {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let failed = |error| Failure::new(Exit::Failed, error);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        // A service manager ends all processes of a service at once: this one is the last.
        let _entered = runtime.enter();
        let _ignored = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup()].map(signal);
        wait_for_end(stdin().lock());
        take_away(&self.at);
        Ok(())
    }
}
