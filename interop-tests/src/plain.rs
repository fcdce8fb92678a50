//! A bare socket that speaks frames: for peers that skip the handshake, and for bytes that are no frames at all.
//!
//! Frames are those of Spark's `MessageEncoder` (4.3.0): i64 length of everything, u8 type, fields; big-endian.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// An unauthenticated connection.
#[derive(Debug)]
pub struct Plain(TcpStream);

/// What came, until the limit ran out or the service closed.
#[derive(Debug)]
pub struct Heard {
    /// All bytes.
    pub bytes: Vec<u8>,
    /// Whether the service closed the connection.
    pub closed: bool,
}

impl Heard {
    /// The bytes as text, for searching failure messages in them.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

impl Plain {
    /// Connects.
    pub fn connect(address: SocketAddr) -> Self {
        let socket =
            TcpStream::connect(address).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"));
        socket.set_nodelay(true).expect("a fresh socket takes options");
        Self(socket)
    }

    /// Sends bytes as they are; a service that has closed already is no failure here.
    pub fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).ok();
    }

    /// Reads the next whole frame, length included; none when the service closed or said nothing within the limit.
    pub fn frame(&mut self, limit: Duration) -> Option<Vec<u8>> {
        self.0.set_read_timeout(Some(limit)).expect("the limit is not zero");
        let mut frame = vec![0; 8];
        self.0.read_exact(&mut frame).ok()?;
        let length = u64::from_be_bytes(frame[..].try_into().expect("eight bytes"));
        let length = usize::try_from(length).ok().filter(|length| (8..1 << 26).contains(length))?;
        frame.resize(length, 0);
        self.0.read_exact(&mut frame[8..]).ok()?;
        Some(frame)
    }

    /// Whether nothing comes within the limit, not even the end.
    pub fn is_silent(&mut self, limit: Duration) -> bool {
        self.0.set_read_timeout(Some(limit)).expect("the limit is not zero");
        let peeked = self.0.peek(&mut [0]);
        peeked.is_err_and(|e| matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
    }

    /// Reads until the service closes or the limit has passed without a byte.
    pub fn rest(&mut self, limit: Duration) -> Heard {
        self.0.set_read_timeout(Some(limit)).expect("the limit is not zero");
        let mut heard = Heard { bytes: Vec::new(), closed: false };
        let mut buffer = [0; 8192];
        loop {
            match self.0.read(&mut buffer) {
                Ok(0) => heard.closed = true,
                Ok(count) => {
                    heard.bytes.extend_from_slice(&buffer[..count]);
                    continue;
                }
                Err(e) => heard.closed = !matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
            }
            return heard;
        }
    }
}

/// A frame of any type.
pub fn frame(kind: u8, fields: &[u8]) -> Vec<u8> {
    let length = 9 + fields.len() as u64;
    [&length.to_be_bytes()[..], &[kind], fields].concat()
}

/// An RpcRequest.
pub fn rpc_request(id: u64, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("test bodies are small");
    frame(3, &[&id.to_be_bytes()[..], &length.to_be_bytes(), body].concat())
}

/// A ChunkFetchRequest.
pub fn chunk_request(stream: u64, index: u32) -> Vec<u8> {
    frame(0, &[&stream.to_be_bytes()[..], &index.to_be_bytes()].concat())
}

/// A StreamRequest.
pub fn stream_request(name: &str) -> Vec<u8> {
    frame(6, &string(name))
}

/// A OneWayMessage.
pub fn one_way(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("test bodies are small");
    frame(9, &[&length.to_be_bytes()[..], body].concat())
}

/// An UploadStream with its data after the frame.
pub fn upload_stream(id: u64, meta: &[u8], data: &[u8]) -> Vec<u8> {
    let meta_length = u32::try_from(meta.len()).expect("test bodies are small");
    let fields =
        [&id.to_be_bytes()[..], &meta_length.to_be_bytes(), meta, &(data.len() as u64).to_be_bytes()]
            .concat();
    [frame(10, &fields), data.to_vec()].concat()
}

/// A MergedBlockMetaRequest for shuffle 0, merge 0, reduce 0.
pub fn merged_meta_request(id: u64, app: &str) -> Vec<u8> {
    frame(11, &[&id.to_be_bytes()[..], &string(app), &[0; 12]].concat())
}

/// The body of FetchShuffleBlocks for one block.
pub fn fetch_shuffle_block(app: &str, exec: &str, shuffle: u32, map: u64, reduce: u32) -> Vec<u8> {
    let one = 1u32.to_be_bytes();
    [
        &[9][..],
        &string(app),
        &string(exec),
        &shuffle.to_be_bytes(),
        &one,
        &map.to_be_bytes(),
        &one,
        &one,
        &reduce.to_be_bytes(),
        &[0],
    ]
    .concat()
}

fn string(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("test strings are short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}
