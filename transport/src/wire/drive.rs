//! The one loop that joins socket, session layers, outbox and engine.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::cipher::{CipherError, Layer, SessionMode};
use sealed_shuffle_protocol::connection::{Agreement, CloseReason, Engine, Transmit};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::sleep_until;
use tokio_util::io::poll_read_buf;

use super::turn::Sending;
use super::within::within;
use super::{Socket, read_buffer};
use crate::lane::Lane;
use crate::pot::Holding;
use crate::seal::{Body, Outbound, Outbox, OutboxError, SegmentPool, Stack};

/// Number of bytes that are read at once while only requests are expected. They pass through the stack, so an idle
/// connection holds no buffer.
const SMALL_READ: usize = 16 << 10;

/// Most bytes of queued answers in memory (blocks not counted). Above it, no further request is handled.
const QUEUED_BYTES: usize = 256 << 10;

/// Time for which a closing connection discards the bytes that the peer still sends, however many they are. Unread
/// bytes would cause a reset, and the peer could lose the refusal. The body of a refused upload may have any length,
/// and some peers read only after they have sent everything.
const LINGER: Duration = Duration::from_secs(2);

/// So many moves of a socket that is always ready come before timers and the handler are looked at again: bytes of some
/// MiB at most, and a part of a percent of their cost.
const MOVES: u32 = 16;

/// Time for a socket to take the last bytes of the layers.
const GOODBYE: Duration = Duration::from_secs(1);

/// Handles the events of one connection.
pub trait Handler {
    /// The protocol engine.
    type Engine: Engine<Body = Body>;

    /// Takes one event and puts the answer into the engine.
    fn on_event(
        &mut self,
        engine: &mut Self::Engine,
        event: <Self::Engine as Engine>::Event,
    ) -> impl Future<Output = Result<(), CloseReason>> + Send;

    /// Everything that has arrived was handed over, and more may take long to come: work that was gathered is done
    /// now.
    fn on_pause(
        &mut self,
        _engine: &mut Self::Engine,
    ) -> impl Future<Output = Result<(), CloseReason>> + Send {
        async { Ok(()) }
    }

    /// Called with the first byte of the connection. If it is not the first byte of a frame, returns the layer that
    /// everything passes from there on.
    fn on_first_byte(
        &mut self,
        _engine: &mut Self::Engine,
        _first: u8,
    ) -> Result<Option<Box<dyn Layer>>, CloseReason> {
        Ok(None)
    }

    /// The handshake is over: returns the layer that the two sides agreed on.
    fn session_layer(&mut self, agreed: Agreement) -> Box<dyn Layer>;

    /// The version and the cipher of the session are known now.
    fn on_mode(&mut self, engine: &mut Self::Engine, mode: SessionMode);

    /// Resolves when the handler has something of its own to put into the engine. [`Handler::on_wake`] puts it there.
    /// Must be cancel safe.
    fn wake(&mut self) -> impl Future<Output = ()> + Send;

    /// Called after [`Handler::wake`] resolved.
    fn on_wake(&mut self, engine: &mut Self::Engine);
}

/// The limits of one connection.
#[derive(Clone, Debug)]
pub struct WireSettings {
    /// Most queued answers before the connection stops reading; from `Limits::pipelined_requests`.
    pub pipelined: usize,
    /// Longest wait for a share of the memory budget.
    pub budget_timeout: Duration,
    /// The lane in which slow ciphers seal.
    pub slow_lane: Lane,
}

/// Drives one connection to its end and returns the reason of the end. The connection begins with the layers of
/// `stack`.
pub async fn drive<S, H>(
    socket: &mut S,
    engine: &mut H::Engine,
    handler: &mut H,
    stack: Stack,
    pool: SegmentPool,
    settings: &WireSettings,
) -> CloseReason
where
    S: Socket,
    H: Handler + Send,
    H::Engine: Send,
    <H::Engine as Engine>::Event: Send,
{
    let mut wire = Wire {
        stack,
        is_ready: false,
        has_begun: false,
        outbox: Outbox::new(pool.clone(), settings.slow_lane.clone()),
        inbound: BytesMut::new(),
        is_lent: false,
        share: None,
        shared: 0,
        mode: None,
        broken: None,
        pool,
        settings,
    };
    if socket.sends_files() {
        wire.outbox.send_files();
    }
    let mut sending = Sending::of(&wire.pool);
    let reason = match wire.run(socket, engine, handler, &mut sending).await {
        Ok(reason) | Err(reason) => reason,
    };
    drop(sending);
    // A TLS alert has gone out as part of the failure.
    let is_alerted = matches!(reason, CloseReason::Cipher(CipherError::Tls(_)));
    let has_last_words = wire.say_goodbye(socket).await || is_alerted;
    // The connection gives its memory back before it waits for the peer.
    drop(wire);
    if engine.is_closing() || has_last_words {
        linger(socket).await;
    }
    reason
}

/// The state of one connection below its engine.
struct Wire<'a> {
    stack: Stack,
    /// Whether the engine knows that the layers can carry frames.
    is_ready: bool,
    /// Whether any byte has arrived.
    has_begun: bool,
    outbox: Outbox,
    /// Ciphertext that no layer has taken yet.
    inbound: BytesMut,
    /// Whether `inbound` is one of the thread's buffers.
    is_lent: bool,
    /// Memory for a large message that is being collected.
    share: Option<Holding>,
    /// The length of that message.
    shared: u64,
    mode: Option<SessionMode>,
    /// Why the socket takes no more bytes. Bytes that the peer sent before are still read to the end: they may tell
    /// why.
    broken: Option<io::Error>,
    pool: SegmentPool,
    settings: &'a WireSettings,
}

/// The result of writing to the socket.
enum Movement {
    Wrote(usize),
    /// The socket took so many bytes of a stretch of a file.
    Sent(usize),
    /// The socket could not send from this file.
    SentNothing,
    Read(usize),
}

/// What a connection goes on with.
enum Next {
    Moved(Movement),
    Interrupt(Interrupt),
}

/// What goes before the socket, now and then.
enum Interrupt {
    /// The handler has something.
    Wake,
    /// A deadline of the engine has come.
    Timeout,
    /// Others need the memory that the connection holds.
    Evicted,
}

impl Wire<'_> {
    async fn run<S, H>(
        &mut self,
        socket: &mut S,
        engine: &mut H::Engine,
        handler: &mut H,
        sending: &mut Sending,
    ) -> Result<CloseReason, CloseReason>
    where
        S: Socket,
        H: Handler + Send,
        H::Engine: Send,
        <H::Engine as Engine>::Event: Send,
    {
        let mut alarm = pin!(sleep_until(tokio::time::Instant::now()));
        let pool = self.pool.clone();
        let mut evicted = pin!(pool.evicted());
        let mut moves = 0_u32;
        loop {
            self.work_off(engine, handler).await?;
            if !self.is_ready && self.stack.is_ready() {
                self.is_ready = true;
                engine.handle_ready(now());
                continue;
            }
            self.prepare(sending).await?;
            let pending = !self.outbox.is_empty();
            let prepared = now();
            engine.handle_output(prepared, 0, pending);
            if !pending && engine.is_closing() {
                return Ok(engine.take_close_reason());
            }
            self.share_memory(engine, sending).await?;

            if let Some(at) = engine.poll_timeout() {
                // If the peer never stops sending, the timer below would not be polled.
                if prepared >= at {
                    engine.handle_timeout(prepared)?;
                }
                alarm.as_mut().reset(at.into());
            }
            let reading = !engine.is_closing() && self.has_room();
            let bulk = engine.expects_bulk();
            // The socket first, since it is mostly the one; but one that is always ready must not starve the others.
            moves = moves.wrapping_add(1);
            let in_turn = moves.is_multiple_of(MOVES);
            let next = {
                let mut told = pin!(async {
                    tokio::select! {
                        () = &mut evicted => Interrupt::Evicted,
                        () = &mut alarm => Interrupt::Timeout,
                        () = handler.wake() => Interrupt::Wake,
                    }
                });
                poll_fn(|cx| {
                    if in_turn && let Poll::Ready(told) = told.as_mut().poll(cx) {
                        return Poll::Ready(Ok(Next::Interrupt(told)));
                    }
                    match sending.poll(cx, |cx| self.poll_move(socket, reading, bulk, cx)) {
                        Poll::Ready(moved) => Poll::Ready(moved.map(Next::Moved)),
                        Poll::Pending if in_turn => Poll::Pending,
                        Poll::Pending => told.as_mut().poll(cx).map(|told| Ok(Next::Interrupt(told))),
                    }
                })
                .await?
            };
            if let Next::Moved(Movement::Wrote(n) | Movement::Sent(n)) = next {
                sending.sent(n);
            }
            sending.stand_down();
            let moved = match next {
                Next::Moved(moved) => moved,
                Next::Interrupt(Interrupt::Wake) => {
                    handler.on_wake(engine);
                    continue;
                }
                Next::Interrupt(Interrupt::Timeout) => {
                    engine.handle_timeout(now())?;
                    continue;
                }
                Next::Interrupt(Interrupt::Evicted) => return Err(CloseReason::Evicted),
            };
            match moved {
                Movement::Read(0) => return Ok(engine.handle_eof()),
                // Ciphertext that does not open to anything yet is progress, too.
                Movement::Read(n) => {
                    self.pool.received(n);
                    engine.handle_bytes(now(), Bytes::new());
                }
                Movement::Wrote(n) => {
                    self.pool.sent(n);
                    self.outbox.wrote(n);
                    engine.handle_output(now(), n, !self.outbox.is_empty());
                }
                Movement::Sent(n) => {
                    self.outbox.sent(n);
                    engine.handle_output(now(), n, !self.outbox.is_empty());
                }
                Movement::SentNothing => self.outbox.send_no_files(),
            }
        }
    }

    /// Hands everything that has arrived to the engine and the handler, while there is room for answers.
    async fn work_off<H>(&mut self, engine: &mut H::Engine, handler: &mut H) -> Result<(), CloseReason>
    where
        H: Handler + Send,
        H::Engine: Send,
        <H::Engine as Engine>::Event: Send,
    {
        loop {
            self.collect(engine, handler);
            while self.has_room() {
                let Some(event) = engine.poll_event()? else { break };
                handler.on_event(engine, event).await?;
                self.collect(engine, handler);
            }
            // An engine may also speak without an event: the next message of a handshake.
            self.collect(engine, handler);
            if !self.has_room() || engine.is_closing() {
                return self.pause(engine, handler).await;
            }
            if !self.has_begun
                && let Some(&first) = self.inbound.first()
            {
                self.has_begun = true;
                if let Some(layer) = handler.on_first_byte(engine, first)? {
                    self.is_ready = false;
                    self.stack.push(layer);
                }
            }
            let Some(plain) = self.stack.open(&mut self.inbound)? else {
                let paused = self.pause(engine, handler).await;
                self.release_read_buffer();
                return paused;
            };
            if self.mode.is_none()
                && let Some(mode) = self.stack.mode()
            {
                self.mode = Some(mode);
                handler.on_mode(engine, mode);
            }
            engine.handle_bytes(now(), plain.freeze());
        }
    }

    async fn pause<H>(&mut self, engine: &mut H::Engine, handler: &mut H) -> Result<(), CloseReason>
    where
        H: Handler + Send,
        H::Engine: Send,
    {
        handler.on_pause(engine).await?;
        self.collect(engine, handler);
        Ok(())
    }

    /// Moves the output of the engine into the outbox.
    fn collect<H: Handler>(&mut self, engine: &mut H::Engine, handler: &mut H) {
        while let Some(transmit) = engine.poll_transmit() {
            self.outbox.push(match transmit {
                Transmit::Head(bytes) => Outbound::Bytes(bytes),
                Transmit::Body(body) => Outbound::Region(body),
                Transmit::Boundary => Outbound::Boundary,
                Transmit::Install(agreed) => Outbound::Layer(handler.session_layer(*agreed)),
            });
        }
    }

    fn has_room(&self) -> bool {
        // Most answers are a head and a body.
        self.outbox.queued() < 2 * self.settings.pipelined
            && self.outbox.queued_bytes() < QUEUED_BYTES
            && !self.outbox.is_changing_layers()
    }

    async fn prepare(&mut self, sending: &mut Sending) -> Result<(), CloseReason> {
        let waited = self.settings.budget_timeout;
        if self.outbox.awaits_turn() {
            let wanted = Instant::now();
            sending.pass(waited).await;
            let Some(()) = within(waited, sending.wait()).await else {
                return Err(CloseReason::Starved { what: "a turn to send", waited });
            };
            self.outbox.wanted_turn(wanted);
        }
        let mut prepared = pin!(self.outbox.prepare(&mut self.stack));
        let at_once = poll_fn(|cx| Poll::Ready(prepared.as_mut().poll(cx))).await;
        let done = match at_once {
            Poll::Ready(done) => Some(done),
            Poll::Pending => {
                // A turn is time of a processor: nobody keeps it while it waits for memory or a disk.
                sending.give_back();
                tokio::time::timeout(waited, prepared).await.ok()
            }
        };
        match done {
            Some(Ok(())) => Ok(()),
            Some(Err(OutboxError::Cipher(error))) => Err(CloseReason::Cipher(error)),
            Some(Err(error)) => Err(CloseReason::BodyFailed(error.to_string())),
            None => Err(CloseReason::Starved { what: "a segment, or a disk to read it from", waited }),
        }
    }

    /// Takes a share of the memory budget for a large message that is being collected, and gives it back when the
    /// message is complete.
    async fn share_memory<E: Engine>(
        &mut self,
        engine: &E,
        sending: &mut Sending,
    ) -> Result<(), CloseReason> {
        let wanted = engine.memory_wanted();
        if self.shared == wanted {
            return Ok(());
        }
        // This is another message than the last one, and needs a share of its own.
        (self.share, self.shared) = (None, 0);
        if wanted > 0 {
            sending.give_back();
            let waited = self.settings.budget_timeout;
            let Some(share) = within(waited, self.pool.for_request(wanted)).await else {
                return Err(CloseReason::Starved { what: "a large request", waited });
            };
            (self.share, self.shared) = (Some(share), wanted);
        }
        Ok(())
    }

    /// Queues the last output of the layers (a close_notify) behind everything else. It is written only if the socket
    /// takes it at once. Returns whether there was any.
    async fn say_goodbye<S: AsyncWrite + Unpin>(&mut self, socket: &mut S) -> bool {
        if !self.outbox.unwritten().is_empty() || self.outbox.stretch().is_some() {
            return false;
        }
        self.stack.close();
        let mut has_last_words = false;
        while let Ok(Some(last)) = self.stack.pending_output() {
            match tokio::time::timeout(GOODBYE, socket.write_all(&last)).await {
                Ok(Ok(())) => has_last_words = true,
                _ => return false,
            }
        }
        has_last_words
    }

    /// Everything that was read has been taken, but for the beginning of a unit.
    fn release_read_buffer(&mut self) {
        if self.is_lent {
            let rest = BytesMut::from(&self.inbound[..]);
            read_buffer::give_back(std::mem::replace(&mut self.inbound, rest));
            self.is_lent = false;
        } else if self.inbound.is_empty() {
            self.inbound = BytesMut::new();
        }
    }

    /// Writes to the socket or reads from it.
    fn poll_move<S>(
        &mut self,
        socket: &mut S,
        reading: bool,
        bulk: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Movement>>
    where
        S: Socket,
    {
        if self.broken.is_none()
            && let Poll::Ready(wrote) = self.poll_write(socket, cx)
        {
            match wrote {
                Ok(moved) => return Poll::Ready(Ok(moved)),
                Err(failure) => self.broken = Some(failure),
            }
        }
        if !reading {
            return self.broken.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure)));
        }
        self.poll_read(socket, bulk, cx).map(|read| match (read, self.broken.take()) {
            (Ok(n @ 1..), broken) => {
                self.broken = broken;
                Ok(Movement::Read(n))
            }
            (_, Some(failure)) => Err(failure),
            (read, None) => read.map(Movement::Read),
        })
    }

    /// Writes the output that is ready; pending also if there is none.
    fn poll_write<S: Socket>(&self, socket: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<Movement>> {
        if let Some(stretch) = self.outbox.stretch() {
            return socket.poll_send_file(cx, stretch).map(|sent| match sent {
                Ok(1..) => sent.map(Movement::Sent),
                Err(error) if is_the_peers(&error) => Err(error),
                // The file ends here, or cannot be sent from. A read of it will tell why.
                Ok(0) | Err(_) => Ok(Movement::SentNothing),
            });
        }
        let waiting = self.outbox.unwritten();
        if waiting.is_empty() {
            return Poll::Pending;
        }
        Pin::new(socket).poll_write(cx, waiting).map(|wrote| match wrote {
            Ok(0) => Err(io::ErrorKind::WriteZero.into()),
            other => other.map(Movement::Wrote),
        })
    }

    /// Bulk is read into a large buffer of the thread; other bytes pass through the stack. Neither buffer stays with
    /// an idle connection.
    fn poll_read<S>(&mut self, socket: &mut S, bulk: bool, cx: &mut Context<'_>) -> Poll<io::Result<usize>>
    where
        S: AsyncRead + Unpin,
    {
        if bulk {
            let mut buffer = read_buffer::take();
            // At most one unit of some layer that is not complete.
            buffer.extend_from_slice(&self.inbound);
            read_buffer::make_room(&mut buffer);
            let read = poll_read_buf(Pin::new(socket), cx, &mut buffer);
            match read {
                Poll::Ready(Ok(1..)) => (self.inbound, self.is_lent) = (buffer, true),
                _ => read_buffer::give_back(buffer),
            }
            return read;
        }
        let mut scratch = [0; SMALL_READ];
        let mut buf = ReadBuf::new(&mut scratch);
        match Pin::new(socket).poll_read(cx, &mut buf) {
            Poll::Ready(Ok(())) => {
                self.inbound.extend_from_slice(buf.filled());
                Poll::Ready(Ok(buf.filled().len()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// Whether an error of `sendfile` is one of the connection, and not of the file.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(error.kind(), BrokenPipe | ConnectionReset | HostUnreachable | NetworkUnreachable | TimedOut)
}

/// Shuts the writing side down. Then discards the bytes that the peer still sends, for a short while.
async fn linger<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut S) {
    if socket.shutdown().await.is_err() {
        return;
    }
    let until = now() + LINGER;
    let discard = async {
        let mut scratch = BytesMut::with_capacity(SMALL_READ);
        // If the peer never stops sending, the timer below would not be polled.
        while now() < until
            && let Ok(1..) = poll_fn(|cx| poll_read_buf(Pin::new(&mut *socket), cx, &mut scratch)).await
        {
            scratch.clear();
        }
    };
    // A peer that is too slow is treated as done: the socket is closed in either case.
    drop(tokio::time::timeout(LINGER, discard).await);
}

/// The clock that the engines get. Under a paused runtime it stands still together with the timers.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

#[cfg(test)]
mod tests;
