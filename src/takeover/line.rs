//! Lines between two processes, and the descriptors that travel with one.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};

use super::LONGEST_LINE;

/// Descriptors that one line carries at most: a port each.
const MOST_DESCRIPTORS: usize = 2;

/// Bytes that have come and are no whole line yet, and the descriptors that came with them.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    bytes: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

impl Incoming {
    /// The next line without its end, where all of it has come.
    pub(super) fn line(&mut self) -> Option<Result<String, io::Error>> {
        let end = memchr::memchr(b'\n', &self.bytes)?;
        let line: Vec<u8> = self.bytes.drain(..=end).take(end).collect();
        Some(String::from_utf8(line).map_err(|_| io::Error::other("a line is not UTF-8")))
    }

    /// Receives once. Fails at the end of the stream, and where a line is too long.
    pub(super) fn receive(&mut self, from: impl AsFd) -> io::Result<()> {
        let mut bytes = [0; LONGEST_LINE];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let buffers = &mut [IoSliceMut::new(&mut bytes)];
        let received = recvmsg(from, buffers, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                self.descriptors.extend(descriptors);
            }
        }
        self.bytes.extend_from_slice(&bytes[..received.bytes]);
        if received.bytes == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other process has gone"));
        }
        if self.bytes.len() > LONGEST_LINE || self.descriptors.len() > MOST_DESCRIPTORS {
            return Err(io::Error::other("it says too much"));
        }
        Ok(())
    }
}

/// Sends a line, with its end, and the descriptors with its first byte. A line is shorter than the buffer of any socket.
pub(super) fn send(to: impl AsFd, line: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let line = format!("{line}\n");
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors for a line"));
    }
    let sent = sendmsg(to, &[IoSlice::new(line.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL)?;
    match sent == line.len() {
        true => Ok(()),
        false => Err(io::Error::other("the other process does not read")),
    }
}
