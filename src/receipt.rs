//! The answer to a change that another thread writes: whether it is on the disk.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// How long a change is waited for where nobody knows better.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answer to a change: whether it is on the disk. Dropping the receipt takes nothing back. A change that is not on the
/// disk has been logged and counted.
#[derive(Debug)]
#[must_use = "a kill may lose a change that nobody waited for"]
pub struct WriteReceipt(oneshot::Receiver<bool>);

impl WriteReceipt {
    /// A receipt, and where its answer is given.
    pub fn pending() -> (oneshot::Sender<bool>, Self) {
        let (done, answer) = oneshot::channel();
        (done, Self(answer))
    }

    /// An answer that is there already.
    pub fn at_once(written: bool) -> Self {
        let (done, receipt) = Self::pending();
        // The receiver is there.
        _ = done.send(written);
        receipt
    }

    /// Waits on this thread, as long as a disk may take.
    pub fn wait(self) -> bool {
        self.wait_for(PATIENCE)
    }

    /// The same for `patience` at most: a change that is not on the disk by then is not known to be there.
    pub fn wait_for(self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut answer = pin!(self);
        loop {
            if let Poll::Ready(written) = answer.as_mut().poll(&mut Context::from_waker(&waker)) {
                return written;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            std::thread::park_timeout(left);
        }
    }

    /// The same in a task.
    pub async fn within(self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self).await.unwrap_or(false)
    }

    /// Does not wait: the change is committed soon, and before all later ones.
    pub fn detach(self) {}
}

impl Future for WriteReceipt {
    type Output = bool;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(false))
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_longer_than_he_has_patience() {
        let (_done, receipt) = WriteReceipt::pending();
        assert!(!receipt.wait_for(Duration::from_millis(5)));
        assert!(WriteReceipt::at_once(true).wait_for(Duration::ZERO));
        let (done, receipt) = WriteReceipt::pending();
        drop(done);
        assert!(!receipt.wait_for(Duration::from_secs(3600)), "whoever would answer is gone");
        let (done, receipt) = WriteReceipt::pending();
        let waits = std::thread::spawn(move || receipt.wait_for(Duration::from_secs(3600)));
        done.send(true).unwrap();
        assert!(waits.join().unwrap());
    }
}
