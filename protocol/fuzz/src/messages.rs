//! Frames, transport messages, block-transfer messages, names and bitmaps.

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameError, FrameEvent};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{Bitmap, BlockId, BlockTransferMessage, OpenRequest, StreamName};

use super::input::{Input, pieces};

/// Bytes of a frame that may be collected.
const LIMIT: u64 = 64 << 10;

/// However a stream is cut, the same messages come out, and the same error.
pub(crate) fn frame(data: &[u8]) {
    let mut input = Input(data);
    let size = input.byte();
    let whole = read(std::iter::once(input.0));
    let cut = read(pieces(input.0, size.max(1)));
    assert_eq!(whole, cut);
}

/// A head that decodes says the same when it is written again.
pub(crate) fn message(data: &[u8]) {
    let mut stream = (data.len() as u64 + 8).to_be_bytes().to_vec();
    stream.extend_from_slice(data);
    let (messages, _) = read(std::iter::once(&stream[..]));
    for (head, body_len, _) in messages {
        let mut out = BytesMut::new();
        // A length that was read can be too long to be written: a body behind the frame has 63 bits.
        head.encode(body_len, &mut out).expect("what was read can be written");
        let (again, error) = read(std::iter::once(&out[..]));
        assert_eq!(error, None);
        assert_eq!((&again[0].0, again[0].1), (&head, body_len));
    }
}

type Messages = Vec<(Head, u64, Vec<u8>)>;

/// Every message that begins in a stream, with as much of its body as there is, and why the stream cannot go on.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Messages, Option<FrameError>) {
    let mut decoder = FrameDecoder::new(LIMIT);
    let mut messages = Messages::new();
    for piece in pieces {
        decoder.feed(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next() {
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.next(), Err(error.clone()), "an error stays");
                    return (messages, Some(error));
                }
                Ok(Some(FrameEvent::Head { head, body_len })) => messages.push((head, body_len, Vec::new())),
                Ok(Some(FrameEvent::Body(piece))) => {
                    assert!(!piece.is_empty());
                    let (_, body_len, body) = messages.last_mut().expect("a body follows a head");
                    body.extend_from_slice(&piece);
                    assert!(body.len() as u64 <= *body_len);
                }
                Ok(Some(FrameEvent::End)) => {
                    let (_, body_len, body) = messages.last().expect("an end follows a head");
                    assert_eq!(*body_len, body.len() as u64);
                }
            }
        }
    }
    (messages, None)
}

/// A message that decodes is the same when it is written again, and its parts can be asked for.
pub(crate) fn block_transfer(data: &[u8]) {
    let Ok(message) = BlockTransferMessage::decode(Bytes::copy_from_slice(data)) else { return };
    let again = message.encode().expect("what was read can be written");
    assert_eq!(BlockTransferMessage::decode(again).as_ref(), Ok(&message));
    let _ = (message.app(), message.name());
    match &message {
        BlockTransferMessage::OpenBlocks(open) => {
            if let Ok(request) = OpenRequest::parse(&open.blocks) {
                assert_eq!(request.len(), open.blocks.len());
            }
        }
        BlockTransferMessage::FetchShuffleBlocks(fetch) if fetch.check_shape().is_ok() => {
            let count = fetch.chunk_count();
            assert!((0..count).all(|index| fetch.chunk(index).is_some()));
            assert_eq!(fetch.chunk(count), None);
        }
        BlockTransferMessage::FetchShuffleBlockChunks(fetch) if fetch.check_shape().is_ok() => {
            let count = fetch.chunk_count();
            assert!((0..count).all(|index| fetch.chunk(index).is_some()));
            assert_eq!(fetch.chunk(count), None);
        }
        BlockTransferMessage::LocalDirsForExecutors(dirs) => drop(dirs.by_executor()),
        _ => {}
    }
}

/// Names that are read are written as they were, or as a name that reads alike.
pub(crate) fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(id) = text.parse::<BlockId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    match StreamName::parse(text) {
        Ok(name) => assert_eq!(StreamName::parse(&name.to_string()), Ok(name)),
        Err(error) => drop(error.spark_text()),
    }
}

/// Bitmaps that are read are the same when they are written again.
pub(crate) fn bitmap(data: &[u8]) {
    let Ok(bitmaps) = Bitmap::decode_all(Bytes::copy_from_slice(data)) else { return };
    let mut out = BytesMut::new();
    for bitmap in &bitmaps {
        sealed_shuffle_protocol::codec::Wire::encode(bitmap, &mut out).expect("what was read can be written");
        assert_eq!(bitmap.len(), bitmap.as_roaring().len());
    }
    assert_eq!(Bitmap::decode_all(out.freeze()).as_ref(), Ok(&bitmaps));
}
