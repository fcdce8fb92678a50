//! A tap on the wire: a proxy that looks for texts in the bytes that it forwards, and keeps the last ones.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memchr::memmem;
use sealed_shuffle_client::Address;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// Number of bytes from the server that are kept.
const KEPT: usize = 4 << 10;

/// A running tap; stops when dropped.
pub(super) struct Tap {
    pub(super) address: Address,
    seen: Arc<Mutex<Traffic>>,
    _task: AbortOnDropHandle<()>,
}

/// The traffic of the tap, in both directions.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    /// Bytes.
    pub(super) bytes: u64,
    /// Number of times that each of the texts passed.
    pub(super) found: Vec<u64>,
    /// The last bytes that came from the server.
    last: VecDeque<u8>,
}

impl Tap {
    /// Forwards connections to `server` and looks for `texts`.
    pub(super) async fn start(server: &Address, texts: Vec<Vec<u8>>) -> io::Result<Self> {
        let listener = TcpListener::bind((server.host(), 0)).await?;
        let address = Address::from(listener.local_addr()?);
        let seen = Traffic { found: vec![0; texts.len()], ..Traffic::default() };
        let seen = Arc::new(Mutex::new(seen));
        let task = tokio::spawn(forward_all(listener, server.clone(), Arc::new(texts), Arc::clone(&seen)));
        Ok(Self { address, seen, _task: AbortOnDropHandle::new(task) })
    }

    pub(super) fn seen(&self) -> Traffic {
        lock(&self.seen).clone()
    }
}

impl Traffic {
    /// `len` bytes from the server, `before_end` of the last one.
    pub(super) fn last_from_server(&self, before_end: usize, len: usize) -> Vec<u8> {
        let from = self.last.len().saturating_sub(before_end);
        self.last.iter().skip(from).take(len).copied().collect()
    }
}

async fn forward_all(
    listener: TcpListener,
    server: Address,
    texts: Arc<Vec<Vec<u8>>>,
    seen: Arc<Mutex<Traffic>>,
) {
    let mut pairs = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (server, texts, seen) = (server.clone(), Arc::clone(&texts), Arc::clone(&seen));
        pairs.spawn(async move {
            let Ok(server) = TcpStream::connect((server.host(), server.port())).await else { return };
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::join!(
                forward(from_client, to_server, &texts, &seen, false),
                forward(from_server, to_client, &texts, &seen, true),
            );
        });
    }
}

/// Forwards one direction to its end. It also finds a text that two reads cut apart.
async fn forward(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    texts: &[Vec<u8>],
    seen: &Mutex<Traffic>,
    from_server: bool,
) {
    let overlap = texts.iter().map(Vec::len).max().unwrap_or(1).saturating_sub(1);
    let mut buffer = vec![0; overlap + (256 << 10)];
    let mut kept = 0;
    loop {
        let Ok(n) = from.read(&mut buffer[kept..]).await else { return };
        if n == 0 {
            // The other side may be gone already.
            to.shutdown().await.ok();
            return;
        }
        {
            let new = kept..kept + n;
            let mut seen = lock(seen);
            seen.bytes += n as u64;
            for (text, found) in texts.iter().zip(&mut seen.found) {
                // Counts only texts that end in the new bytes; the rest was counted before.
                let from = new.start.saturating_sub(text.len() - 1);
                *found += memmem::find_iter(&buffer[from..new.end], text).count() as u64;
            }
            if from_server {
                seen.last.extend(&buffer[new.end.saturating_sub(KEPT).max(new.start)..new.end]);
                let surplus = seen.last.len().saturating_sub(KEPT);
                seen.last.drain(..surplus);
            }
        }
        if to.write_all(&buffer[kept..kept + n]).await.is_err() {
            return;
        }
        let end = kept + n;
        kept = overlap.min(end);
        buffer.copy_within(end - kept..end, 0);
    }
}

fn lock(seen: &Mutex<Traffic>) -> MutexGuard<'_, Traffic> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn finds_a_text_however_it_is_cut() {
        let seen = Mutex::new(Traffic { found: vec![0, 0], ..Traffic::default() });
        let texts = [b"needle".to_vec(), b"n".to_vec()];
        let (mut near, far) = tokio::io::duplex(3);
        let write = async move {
            near.write_all(b"..needle.needneedle").await.unwrap();
            drop(near);
        };
        tokio::join!(write, forward(far, tokio::io::sink(), &texts, &seen, true));
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.found, [2, 3]);
        assert_eq!(seen.bytes, 19);
        assert_eq!(seen.last_from_server(6, 4), b"need");
    }
}
