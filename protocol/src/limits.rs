//! Every number that a peer can press on, in one place.

/// Bytes of a name at most: an application id, an executor id, a block, a stream, an algorithm. Spark makes files of
/// its names, and no name of a file is longer on Linux (`NAME_MAX` of limits.h).
pub const NAME_MAX: usize = 255;

/// Bytes of a path at most, and of the text that says how an executor shuffles, which may hold the name of a
/// directory. Linux takes no longer path (`PATH_MAX` of limits.h).
pub const PATH_MAX: usize = 4096;

/// Bytes of the text of a failure at most, as a client reads it. Java sends stack traces.
pub const FAILURE_MAX: usize = 1 << 20;

/// Bounds that are checked before a peer's number costs memory.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Bytes of one frame that is collected in memory before authentication, and on a server of every later frame
    /// that has no body of its own (names of streams, what describes an upload). Default 64 KiB.
    pub handshake_frame: u64,
    /// Bytes of one request frame that is collected in memory afterwards. Default 64 MiB: a fetch of
    /// a million blocks takes about 12 MiB.
    pub request_frame: u64,
    /// Bytes of one answer that a client collects in memory (not blocks: those are streamed).
    /// Default 64 MiB.
    pub response_frame: u64,
    /// Requests read ahead of the answer being written, per connection. Default 64.
    pub pipelined_requests: usize,
    /// Streams that one connection may hold open. Default 4096.
    pub streams: usize,
    /// Chunks of one stream. Default 4,194,304.
    pub chunks: usize,
    /// Directories in one RegisterExecutor. Default 1024.
    pub local_dirs: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_frame: 64 << 10,
            request_frame: 64 << 20,
            response_frame: 64 << 20,
            pipelined_requests: 64,
            streams: 4096,
            chunks: 4 << 20,
            local_dirs: 1024,
        }
    }
}
