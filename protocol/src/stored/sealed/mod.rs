//! The files of a merged partition, sealed: data, index and meta. This page is the format, version 2.
//!
//! All numbers are big-endian. A file is a header and segments, nothing between them and nothing behind them:
//!
//! ```text
//! file     header ‖ segment ‖ segment ‖ …
//! ```
//!
//! # Names
//!
//! `shuffleMerged_<application>_<shuffle>_<merge>_<reduce>.data`, `.index`, `.meta`, in Spark's places
//! (`RemoteBlockPushResolver`, Spark 4.3.0; unchanged since 3.2).
//!
//! # Header
//!
//! In clear. It is the same in the three files of an opening but for the kind.
//!
//! ```text
//! 0    8    89 53 53 46 0d 0a 1a 0a
//! 8    2    version, 2
//! 10   1    kind: 1 data, 2 index, 3 meta
//! 11   1    cipher: 1 is AES-256-GCM
//! 12   4    length of the header, from the first byte to the first segment; at most 16384
//! 16   32   salt
//! 48   4    shuffle id, i32
//! 52   4    shuffle merge id, i32
//! 56   4    reduce id, i32
//! 60   4    attempt of the application, i32
//! 64   2+n  id of the key that wrapped the data key, UTF-8, n <= 2048
//!      2+n  wrapped data key, n <= 6144
//!      2+n  cluster, UTF-8, n <= 1024; no cluster is n = 0
//!      2+n  application id, UTF-8, n <= 1024
//!      1    0 where the file opens on every node, 1 where a node follows
//!     [2+n] node, UTF-8, n <= 1024
//! ```
//!
//! `2+n` is a length (u16) and as many bytes. A length that is not the sum of the fields makes the header invalid.
//!
//! The first 16 bytes are alike in all versions. A reader that meets a newer version says so and opens nothing; it does
//! not guess. Version 1 is read, too: its header has no attempt, and all else is alike. Its files are taken for those of
//! any attempt. A change that a reader of version 1 could overlook is not made without a new version.
//!
//! The salt is 32 random bytes, made each time a partition is opened for writing (which makes all three files anew).
//! It names the opening: files with different salts do not belong together.
//!
//! # Keys
//!
//! ```text
//! data key    32 bytes, wrapped by a key service; one for an application and a node
//! file key  = HKDF-SHA256(ikm = data key, salt = salt, info = "sealed-shuffle sealed file 1" ‖ header), 32 bytes
//! ```
//!
//! `header` is all bytes of this file's header. So each file has its own key, and whatever is changed in a header (or a
//! file that is given another one's header) leaves segments that do not verify. The wrapped key is bound too: a data key
//! is not wrapped anew without writing its files anew.
//!
//! # Segment
//!
//! ```text
//! 0    4    n, bytes of plaintext
//! 4    8    counter
//! 12   n    ciphertext
//! 12+n 16   tag
//!
//! AES-256-GCM; nonce = 00 00 00 00 ‖ counter; associated data = place (8 bytes) ‖ n (4 bytes)
//! ```
//!
//! The counter is one of the file: it begins at 0 with each opening, every segment that is sealed takes the next one,
//! and none is ever given back. Aborted bytes, and bytes that could not be written, are written over *in place* under other
//! counters, which is why the nonce is no offset. A counter therefore names one segment in the life of a file, and the
//! rest of the format is about saying which counters belong where; the copy in the segment is only believed when it is
//! the expected one or, in the index, when the chain of records holds.
//!
//! | file | plaintext of a segment | n | place |
//! |---|---|---|---|
//! | data | a piece of a pushed block | 1 to 262116 (a sealed segment has at most 256 KiB) | offset of its first byte in the plaintext of the partition |
//! | index | a record | at most 17 MiB | position of the record, from 0 |
//! | meta | the bitmap of a chunk, as Spark's meta file has it | at most 17 MiB | number of the chunk, from 0 |
//!
//! # Data
//!
//! The committed blocks, in the order in which they were merged, each in one or more segments. The segments of a chunk
//! lie one behind the other, and their counters are those that the chunk's record names: the first, then each one more
//! than the one before, but for the gaps.
//!
//! # Meta
//!
//! One segment a chunk, with the counter that the chunk's record names.
//!
//! # Index
//!
//! One record a chunk, and when merging has come to its end one commit record.
//!
//! ```text
//! chunk                                          commit
//! 0   1   1                                      0   1  2
//! 1   8   counter of the record before           1   8  counter of the record before
//! 9   8   end of the chunk in the plaintext      9   4  chunks
//! 17  8   end of the chunk in the data file      13  8  bytes of plaintext
//! 25  4   segments                               21  8  bytes of the data file
//! 29  8   counter of the first segment           29  8  bytes of the index file, this record included
//! 37  8   end of its segment in the meta file    37  8  bytes of the meta file
//! 45  8   counter of that segment
//! 53  4   gaps, at most 4096
//! 57  12× segment (u32), counters skipped before it (u64)
//! ```
//!
//! A chunk begins where the one before it ends, the first one behind the header. The record before the first one has
//! the counter `ffffffffffffffff`. A gap names the segment behind it, counted from 0 within the chunk; gaps are in
//! order, none lies before segment 0, and none skips nothing. Of every chunk,
//! `bytes in the data file = bytes of plaintext + 28 × segments`.
//!
//! # What a reader does
//!
//! 1. It reads the index file whole, and compares its header with what it was asked for: kind, application, cluster,
//!    node, partition.
//! 2. It opens all records. Each names the counter of the one before it, so that an older record that was put back
//!    breaks the chain at the one behind it. The last one must be a commit that agrees with the sums, and the file must
//!    end behind it. Without a commit the partition was never finalized, and is not served.
//! 3. The headers of data and meta must be that of the index file but for the kind, and their lengths the committed
//!    ones: nothing was cut off, nothing appended.
//! 4. It opens the segments of a chunk in order, each with the counter and the offset that belong there, and hands out
//!    the bytes of a segment when that segment has verified. It does not read the bytes before the chunk.
//!
//! While a partition is being merged, its writer knows what the commit record would say ([`Progress`]), and a reader that
//! asks it takes that instead: step 2 ends where the writer says, with the record whose counter it says, and the files
//! may be longer.
//!
//! # What a writer does
//!
//! Pieces go behind the last committed segment. The end of a chunk is its bitmap in the meta file, then its record in
//! the index. At the end all three files are cut to what the records say, and then the commit record is written: it is
//! the last write. A process that is killed before that leaves files without a commit. Files with one are never made
//! anew by the same attempt: [`Outline`] tells them without a key. Where a finalized
//! partition has to survive a power loss too, data and meta are on the disk before the commit record is written, and
//! then the index and the directories.
//!
//! # What this does not hold
//!
//! * A commit record that was cut off: without it, and without another memory of the finalization, the partition looks
//!   as one that was never finalized.
//! * Three files that were finalized together and are put back together, over a later opening of the same partition,
//!   are valid: they are what was sealed once. A reader that has kept the salt of the later opening compares it.
//! * Sizes and times: how long blocks are, and how many were aborted, can be seen.
//! * A process that goes on twice (a snapshot of a virtual machine with partitions open) seals twice under the same
//!   counters. Do not restore one.
//!
//! # Modules
//!
//! [`Header`] and [`Outline`] are what can be read without a key. [`PartitionSealer`] is the writing side, [`Index`] and [`ChunkOpener`]
//! the reading side. None of them does IO: that is `stored` in the server.

mod error;
mod file_key;
mod header;
mod index;
mod outline;
mod partition;
mod record;
mod sealer;
mod segment;

pub use error::SealedError;
pub use file_key::LABEL;
pub use header::{Header, MAGIC, MAX_NAME, Salt, VERSION, WITHOUT_ATTEMPT};
pub use index::{Chunk, ChunkOpener, Index};
pub use outline::Outline;
pub use partition::Kind;
pub use record::{MAX_GAPS, NO_RECORD, Progress};
pub use sealer::{Headers, PartitionSealer, SealedChunk, SealedCommit};
pub use segment::{HEAD, MAX_PIECE, MAX_RECORD, MAX_SEGMENT, OVERHEAD, PIECE};
