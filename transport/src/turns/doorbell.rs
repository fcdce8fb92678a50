//! What a socket rings at when it takes or has bytes again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};

use super::Line;

/// Wakes a connection that waits for its socket, and tells its line that the connection will want a turn.
pub struct Doorbell {
    state: Mutex<Door>,
}

struct Door {
    line: Line,
    waits: Waits,
    /// The task of the connection.
    task: Option<Waker>,
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Waits {
    /// It runs, or waits for something else.
    No,
    ForSocket,
    /// The socket has woken it, which its line counts.
    Rung,
}

impl Doorbell {
    /// The bell of a connection in this line.
    pub fn new(line: Line) -> Self {
        Self { state: Mutex::new(Door { line, waits: Waits::No, task: None }) }
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The line that the connection is in.
    pub fn line(&self) -> Line {
        self.door().line.clone()
    }

    /// The connection is in another line from now on.
    pub fn moves_to(&self, line: Line) {
        self.answer();
        self.door().line = line;
    }

    /// The connection is about to poll its socket, and `task` is to be woken. It is named before, since the socket may wake it
    /// before [`Doorbell::arm`].
    pub fn wakes(&self, task: &Waker) {
        match &mut self.door().task {
            Some(current) => current.clone_from(task),
            none => *none = Some(task.clone()),
        }
    }

    /// The connection waits for its socket from now on. If the socket was ready before, the line is not told, and the
    /// connection is polled in its turn.
    pub fn arm(&self) {
        self.door().waits = Waits::ForSocket;
    }

    /// The connection waits no more: it is polled, or gone.
    pub fn answer(&self) {
        let mut door = self.door();
        if std::mem::replace(&mut door.waits, Waits::No) != Waits::Rung {
            return;
        }
        let line = door.line.clone();
        drop(door);
        line.polled();
    }
}

impl Wake for Doorbell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut door = self.door();
        if door.waits == Waits::ForSocket {
            door.waits = Waits::Rung;
            door.line.rung();
        }
        let task = door.task.clone();
        drop(door);
        if let Some(task) = task {
            task.wake();
        }
    }
}
