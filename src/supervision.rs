//! Tasks that a server cannot be without. One that dies ends the server, loudly.
//!
//! A runtime keeps the panic of a task to itself: what the task did is not done any more, and nobody hears of it.

use std::collections::HashMap;
use std::future::pending;

use tokio::task::{Id, JoinSet};
use tracing::error;

/// Tasks, each with the name of its duty. They end with it.
#[derive(Debug, Default)]
pub(crate) struct Duties {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

impl Duties {
    /// Runs a task that never ends by itself.
    pub(crate) fn take_on(&mut self, duty: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.names.insert(self.tasks.spawn(task).id(), duty);
    }

    /// Resolves when one of them has ended, with its name.
    pub(crate) async fn first_lost(&mut self) -> &'static str {
        let (id, why) = match self.tasks.join_next_with_id().await {
            None => return pending().await,
            Some(Ok((id, ()))) => (id, "it ended".to_owned()),
            Some(Err(error)) => (error.id(), error.to_string()),
        };
        let duty = self.names.remove(&id).unwrap_or("a duty without a name");
        error!(duty, why, "a task that the server cannot be without has died: the server drains and ends");
        duty
    }

    /// Waits until all have ended, because they were told to.
    pub(crate) async fn all_done(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn task_that_panics_or_ends_is_named() {
        let mut duties = Duties::default();
        duties.take_on("sleeping", pending());
        duties.take_on("panicking", async { panic!("at once") });
        assert_eq!(duties.first_lost().await, "panicking");
        duties.take_on("ending", async {});
        assert_eq!(duties.first_lost().await, "ending");
    }

    #[tokio::test]
    async fn nobody_is_lost_where_nobody_has_a_duty() {
        let lost = Duties::default();
        let mut lost = lost;
        assert!(tokio::time::timeout(std::time::Duration::from_millis(1), lost.first_lost()).await.is_err());
    }
}
