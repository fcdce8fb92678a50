//! One run: a thread that reads, seals and writes, and one that reads and opens.

use std::fs::File;
use std::io::{self, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use sealed_shuffle_measure::process::thread_cpu_seconds;
use sealed_shuffle_protocol::cipher::Segment;

use crate::cipher::End;

/// How much goes over, and in which pieces.
pub(crate) struct Plan {
    /// Bytes of the file, which is read from the start again at its end.
    pub(crate) file: u64,
    /// Bytes of content in all.
    pub(crate) bytes: u64,
    /// Bytes of a segment, sealed.
    pub(crate) segment: usize,
}

/// What one run took.
pub(crate) struct Run {
    pub(crate) bytes: u64,
    pub(crate) wall: f64,
    /// CPU seconds of the sending thread.
    pub(crate) sender: f64,
    /// CPU seconds of the receiving thread.
    pub(crate) receiver: f64,
}

impl Run {
    pub(crate) fn sender_per_gb(&self) -> f64 {
        self.sender / self.gigabytes()
    }

    pub(crate) fn receiver_per_gb(&self) -> f64 {
        self.receiver / self.gigabytes()
    }

    pub(crate) fn megabytes_per_second(&self) -> f64 {
        1000.0 * self.gigabytes() / self.wall
    }

    fn gigabytes(&self) -> f64 {
        self.bytes as f64 / 1e9
    }
}

/// Runs `plan` between two ends over loopback; `expected` is the file's content, if it is to be compared.
pub(crate) fn run(
    file: &File,
    plan: &Plan,
    (sender, receiver): (Box<dyn End>, Box<dyn End>),
    expected: Option<&[u8]>,
) -> io::Result<Run> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let out = TcpStream::connect(listener.local_addr()?)?;
    out.set_nodelay(true)?;
    let (inward, _) = listener.accept()?;
    let begun = Instant::now();
    let (sent, received) = thread::scope(|scope| {
        let sending = scope.spawn(|| send(file, out, plan, sender));
        let receiving = scope.spawn(|| receive(inward, plan, receiver, expected));
        (sending.join().unwrap(), receiving.join().unwrap())
    });
    let wall = begun.elapsed().as_secs_f64();
    Ok(Run { bytes: plan.bytes, wall, sender: sent?, receiver: received? })
}

fn send(file: &File, mut socket: TcpStream, plan: &Plan, mut end: Box<dyn End>) -> io::Result<f64> {
    let mut segment = Segment::with_capacity(plan.segment);
    let begun = thread_cpu_seconds();
    for (position, len) in plan.messages(end.as_ref()) {
        segment.reset(end.layout());
        let mut places: Vec<IoSliceMut<'_>> = segment.spare(len).map(IoSliceMut::new).collect();
        let read = rustix::io::preadv(file, &mut places, position)?;
        if read != len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        segment.advance(read);
        end.seal(&mut segment);
        socket.write_all(segment.sealed())?;
    }
    Ok(thread_cpu_seconds() - begun)
}

fn receive(
    mut socket: TcpStream,
    plan: &Plan,
    mut end: Box<dyn End>,
    expected: Option<&[u8]>,
) -> io::Result<f64> {
    let mut buffer = vec![0; plan.segment];
    let begun = thread_cpu_seconds();
    for (position, len) in plan.messages(end.as_ref()) {
        let message = &mut buffer[..end.sealed_len(len)];
        socket.read_exact(message)?;
        let mut at = usize::try_from(position).unwrap();
        end.open(message, &mut |plain| {
            if let Some(expected) = expected {
                assert!(plain == &expected[at..at + plain.len()], "what arrived is not what was sent");
                at += plain.len();
            }
        });
    }
    Ok(thread_cpu_seconds() - begun)
}

impl Plan {
    /// Position in the file and length of every message: as much as a segment holds, or as the file has left.
    fn messages(&self, end: &dyn End) -> impl Iterator<Item = (u64, usize)> + use<> {
        let Self { file, bytes, segment } = *self;
        let most = end.layout().plain_capacity(segment);
        let mut done = 0;
        std::iter::from_fn(move || {
            let position = done % file;
            let left = (bytes - done).min(file - position);
            let len = usize::try_from(left).unwrap().min(most);
            done += len as u64;
            (len > 0).then_some((position, len))
        })
    }
}
