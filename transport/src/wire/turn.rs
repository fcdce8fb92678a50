//! The turn of one connection to send.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::within::within;
use crate::seal::SegmentPool;
use crate::turns::{Doorbell, Passage, Turn};

/// From before a segment is made until the socket has taken what it takes of it at once, a connection has a turn, if
/// connections take turns. While it waits for its socket, the socket rings at its bell.
pub(super) struct Sending {
    doorbell: Option<(Arc<Doorbell>, Waker)>,
    turn: Option<Turn>,
    /// Where its application has a quota of bandwidth.
    passage: Option<Passage>,
}

impl Sending {
    pub(super) fn of(pool: &SegmentPool) -> Self {
        let doorbell =
            pool.doorbell().map(|doorbell| (Arc::clone(doorbell), Waker::from(Arc::clone(doorbell))));
        Self { doorbell, turn: None, passage: None }
    }

    /// Waits until the quota of its application lets it send, and no longer than `patience`: a quota makes slower, and ends
    /// nothing. Cancel safe.
    pub(super) async fn pass(&mut self, patience: Duration) {
        if let Some((doorbell, _)) = &self.doorbell {
            let line = doorbell.line();
            self.passage = within(patience, line.pass()).await.flatten();
        }
    }

    /// Waits for a turn. Cancel safe.
    pub(super) async fn wait(&mut self) {
        if let Some((doorbell, _)) = &self.doorbell {
            let line = doorbell.line();
            self.turn = Some(line.turn().await);
        }
    }

    /// Ends the turn, if there is one: something else is waited for.
    pub(super) fn give_back(&mut self) {
        (self.turn, self.passage) = (None, None);
    }

    /// So many bytes have gone out.
    pub(super) fn sent(&self, bytes: usize) {
        if let Some((doorbell, _)) = &self.doorbell {
            doorbell.line().sent(bytes as u64);
        }
    }

    /// Polls the socket. If it has to be waited for, the turn is over; else the caller ends it.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        socket: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let Some((doorbell, waker)) = &self.doorbell else { return socket(cx) };
        doorbell.answer();
        doorbell.wakes(cx.waker());
        let polled = socket(&mut Context::from_waker(waker));
        if polled.is_pending() {
            doorbell.arm();
            self.give_back();
        }
        polled
    }

    /// The socket is not waited for any more, and the turn is over.
    pub(super) fn stand_down(&mut self) {
        if let Some((doorbell, _)) = &self.doorbell {
            doorbell.answer();
        }
        self.give_back();
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.stand_down();
    }
}
