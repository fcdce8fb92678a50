//! A tap on the loopback of this network: whether bytes went by that nobody should read.

use std::{
    io,
    num::NonZeroU32,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use memchr::memmem::Finder;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SocketType, recv, socket,
    sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_timeout},
};

/// `ETH_P_ALL` of linux/if_ether.h in the order of the network: all frames, as they leave and as they come.
const ALL: Protocol = Protocol::from_raw(NonZeroU32::new(0x0003_u16.to_be() as u32).expect("it is not 0"));
/// A frame of loopback has at most 64 KiB of payload.
const FRAME: usize = 128 * 1024;

/// Looks at every frame until it is stopped. It may miss some where the machine is busy: what it saw was there, and what it did
/// not see may have been.
#[derive(Debug)]
pub struct Tap {
    is_over: Arc<AtomicBool>,
    frames: Arc<AtomicU64>,
    looking: JoinHandle<u64>,
}

impl Tap {
    /// Begins to look for `words`. It needs `CAP_NET_RAW` in this network.
    pub fn start(words: &'static [u8]) -> io::Result<Self> {
        let socket = socket(AddressFamily::PACKET, SocketType::RAW, Some(ALL))?;
        // As much as the kernel gives.
        set_socket_recv_buffer_size(&socket, 64 << 20)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(Duration::from_millis(100)))?;
        let (is_over, frames) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let looking = {
            let (is_over, frames) = (Arc::clone(&is_over), Arc::clone(&frames));
            thread::spawn(move || look(&socket, words, &is_over, &frames))
        };
        Ok(Self { is_over, frames, looking })
    }

    /// How many frames had the words in them, of how many.
    pub fn stop(self) -> (u64, u64) {
        self.is_over.store(true, Ordering::Relaxed);
        let found = self.looking.join().unwrap_or_else(|reason| std::panic::resume_unwind(reason));
        (found, self.frames.load(Ordering::Relaxed))
    }
}

fn look(socket: &OwnedFd, words: &[u8], is_over: &AtomicBool, frames: &AtomicU64) -> u64 {
    let (finder, mut frame, mut found) = (Finder::new(words), vec![0; FRAME], 0);
    loop {
        match recv(socket, &mut frame[..], RecvFlags::empty()) {
            Ok((len, _)) => {
                frames.fetch_add(1, Ordering::Relaxed);
                found += u64::from(finder.find(&frame[..len]).is_some());
            }
            Err(rustix::io::Errno::AGAIN) if is_over.load(Ordering::Relaxed) => return found,
            // Its buffer ran over, or nothing came.
            Err(_) => {}
        }
    }
}
