//! However a stream of messages is cut, the same messages come out.

#![allow(clippy::unwrap_used)]

mod support;

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameEvent};
use sealed_shuffle_protocol::message::Head;
use support::{expected_head, vectors};

/// Every transport message as Spark writes it, back to back, and what it must be read as.
fn captured() -> (Bytes, Vec<(Head, Bytes)>) {
    let mut stream = BytesMut::new();
    let mut messages = Vec::new();
    for vector in vectors("transport.json").into_iter().filter(|vector| vector.spark == "4.3.0") {
        stream.extend_from_slice(&vector.hex("hex"));
        messages.push((expected_head(&vector.name), vector.hex("body")));
    }
    (stream.freeze(), messages)
}

/// Feeds the pieces one by one, pulling everything after each, and joins the bodies.
fn read(pieces: impl IntoIterator<Item = Bytes>) -> Vec<(Head, Bytes)> {
    let mut decoder = FrameDecoder::new(64);
    let mut messages = Vec::new();
    let mut current: Option<(Head, u64, BytesMut)> = None;
    for piece in pieces {
        decoder.feed(piece);
        while let Some(incoming) = decoder.next().unwrap() {
            match incoming {
                FrameEvent::Head { head, body_len } => {
                    assert!(current.is_none(), "a head before the end of the last message");
                    assert!(!decoder.is_idle());
                    current = Some((head, body_len, BytesMut::new()));
                }
                FrameEvent::Body(piece) => {
                    assert!(!piece.is_empty());
                    current.as_mut().unwrap().2.extend_from_slice(&piece);
                }
                FrameEvent::End => {
                    let (head, body_len, body) = current.take().unwrap();
                    assert_eq!(body_len, body.len() as u64);
                    messages.push((head, body.freeze()));
                }
            }
        }
    }
    assert!(current.is_none());
    assert!(decoder.is_idle());
    messages
}

#[test]
fn one_piece_yields_every_message() {
    let (stream, messages) = captured();
    assert_eq!(read([stream]), messages);
}

#[test]
fn every_cut_in_two_yields_the_same_messages() {
    let (stream, messages) = captured();
    for cut in 0..=stream.len() {
        assert_eq!(read([stream.slice(..cut), stream.slice(cut..)]), messages, "cut at {cut}");
    }
}

#[test]
fn byte_by_byte_yields_the_same_messages() {
    let (stream, messages) = captured();
    assert_eq!(read((0..stream.len()).map(|at| stream.slice(at..=at))), messages);
}

#[test]
fn pieces_fed_before_any_is_pulled_yield_the_same_messages() {
    let (stream, messages) = captured();
    let mut decoder = FrameDecoder::new(64);
    (0..stream.len()).for_each(|at| decoder.feed(stream.slice(at..=at)));
    assert_eq!(decoder.buffered(), stream.len());

    let mut heads = Vec::new();
    while let Some(incoming) = decoder.next().unwrap() {
        if let FrameEvent::Head { head, .. } = incoming {
            heads.push(head);
        }
    }
    assert_eq!(heads, messages.into_iter().map(|(head, _)| head).collect::<Vec<_>>());
    assert!(decoder.is_idle());
}
