use bytes::BufMut;

use super::*;
use crate::ids::{ChunkIndex, RequestId, StreamId};

fn decoder(pieces: &[&[u8]]) -> FrameDecoder {
    let mut decoder = FrameDecoder::new(64);
    pieces.iter().for_each(|piece| decoder.feed(Bytes::copy_from_slice(piece)));
    decoder
}

fn frame(length: i64, rest: &[u8]) -> Vec<u8> {
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend_from_slice(rest);
    frame
}

fn error(bytes: &[u8]) -> FrameError {
    decoder(&[bytes]).next().unwrap_err()
}

#[test]
fn each_bad_length_has_its_own_reason() {
    assert_eq!(error(&frame(8, &[])), FrameError::Empty);
    assert_eq!(error(&frame(7, &[])), FrameError::MarkerLength);
    assert_eq!(error(&frame(6, &[])), FrameError::TooSmall(6));
    assert_eq!(error(&frame(0, &[])), FrameError::TooSmall(0));
    assert_eq!(error(&frame(-1, &[])), FrameError::Negative(-1));
    assert_eq!(error(&frame(i64::MIN, &[])), FrameError::Negative(i64::MIN));
    assert_eq!(error(&frame(0x8000_0007, &[])), FrameError::TooLarge(0x8000_0007));
    assert_eq!(error(&frame(i64::MAX, &[])), FrameError::TooLarge(i64::MAX));
}

#[test]
fn a_bad_length_is_refused_before_the_type_arrives_and_for_good() {
    let mut decoder = decoder(&[&frame(-1, &[])]);
    assert_eq!(decoder.next(), Err(FrameError::Negative(-1)));
    decoder.feed(Bytes::from(frame(21, &[0; 13])));
    assert_eq!(decoder.next(), Err(FrameError::Negative(-1)));
}

#[test]
fn rejects_unknown_types_by_the_type_byte_alone() {
    assert_eq!(error(&frame(1000, &[13])), FrameError::UnknownType(13));
    assert_eq!(error(&frame(9, &[0xff])), FrameError::UnknownType(0xff));
}

#[test]
fn rejects_a_collected_frame_above_the_limit_before_it_arrives() {
    assert_eq!(error(&frame(65, &[6])), FrameError::OverLimit { length: 65, limit: 64 });

    let mut raised = decoder(&[&frame(65, &[6])]);
    raised.set_limit(65);
    assert_eq!(raised.next(), Ok(None));
}

#[test]
fn an_in_frame_body_does_not_count_against_the_limit() {
    let mut decoder = decoder(&[&frame(0x8000_0006, &[3]), &42_i64.to_be_bytes(), &[0; 4]]);
    let head = Head::RpcRequest { request: RequestId(42) };
    assert_eq!(decoder.next(), Ok(Some(FrameEvent::Head { head, body_len: MAX_PAYLOAD - 13 })));
    assert_eq!(decoder.next(), Ok(None));
    assert!(!decoder.is_idle());
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn rejects_fields_that_the_frame_cuts_off() {
    let short = FrameError::Malformed {
        kind: MessageKind::RpcRequest,
        source: DecodeError::TooShort { needed: 13, left: 12 },
    };
    assert_eq!(error(&frame(20, &[3])), short);
    assert!(matches!(
        error(&frame(14, &[6, 0, 0, 0, 2, b'a'])),
        FrameError::Malformed { kind: MessageKind::StreamRequest, .. }
    ));
}

#[test]
fn surplus_behind_the_fields_is_ignored() {
    let mut decoder = decoder(&[&frame(24, &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0xaa, 0xbb, 0xcc])]);
    let head = Head::ChunkFetchRequest { stream: StreamId(1), chunk: ChunkIndex(2) };
    assert_eq!(decoder.next(), Ok(Some(FrameEvent::Head { head, body_len: 0 })));
    assert_eq!(decoder.next(), Ok(Some(FrameEvent::End)));
    assert!(decoder.is_idle());
}

#[test]
fn a_negative_byte_count_is_no_body() {
    let mut bytes = frame(22, &[7, 0, 0, 0, 1, b's']);
    bytes.put_i64(-5);
    let mut decoder = decoder(&[&bytes]);
    let head = Head::StreamResponse { stream: "s".into() };
    assert_eq!(decoder.next(), Ok(Some(FrameEvent::Head { head, body_len: 0 })));
    assert_eq!(decoder.next(), Ok(Some(FrameEvent::End)));
}

#[test]
fn bodies_in_and_behind_the_frame_are_slices_of_what_was_fed() {
    let mut stream = BytesMut::new();
    Head::OneWayMessage.encode(4, &mut stream).unwrap();
    stream.extend_from_slice(b"body");
    Head::StreamResponse { stream: "s".into() }.encode(4, &mut stream).unwrap();
    stream.extend_from_slice(b"DATA");
    let stream = stream.freeze();

    let mut decoder = FrameDecoder::new(64);
    decoder.feed(stream.clone());
    let mut bodies = Vec::new();
    while let Some(incoming) = decoder.next().unwrap() {
        if let FrameEvent::Body(body) = incoming {
            bodies.push(body);
        }
    }
    assert_eq!(bodies, [&b"body"[..], b"DATA"]);
    assert!(bodies.iter().all(|body| stream.as_ptr_range().contains(&body.as_ptr())));
}

#[test]
fn tells_bytes_of_the_next_message_from_none() {
    let mut stream = BytesMut::new();
    Head::OneWayMessage.encode(0, &mut stream).unwrap();
    let head_len = stream.len();
    stream.put_u8(0);

    let mut decoder = FrameDecoder::new(64);
    assert!(decoder.is_idle());
    decoder.feed(stream.freeze());
    assert_eq!(decoder.buffered(), head_len + 1);
    assert!(matches!(decoder.next(), Ok(Some(FrameEvent::Head { .. }))));
    assert_eq!(decoder.next(), Ok(Some(FrameEvent::End)));
    assert!(!decoder.is_idle());
    assert_eq!(decoder.buffered(), 1);
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(decoder.buffered(), 1);
}

#[test]
fn a_head_is_written_only_where_peers_accept_it() {
    let mut out = BytesMut::new();
    let head = Head::ChunkFetchSuccess { stream: StreamId(1), chunk: ChunkIndex(0) };
    head.encode(MAX_PAYLOAD - 13, &mut out).unwrap();
    assert_eq!(out[..8], (0x8000_0006_u64).to_be_bytes());
    assert!(head.encode(MAX_PAYLOAD - 12, &mut out).is_err());
    assert!(head.encode(u64::MAX, &mut out).is_err());
    assert!(Head::RpcRequest { request: RequestId(1) }.encode(1 << 31, &mut out).is_err());
    assert!(Head::StreamRequest { stream: "s".into() }.encode(1, &mut out).is_err());
    assert!(Head::StreamResponse { stream: "s".into() }.encode(1 << 63, &mut out).is_err());
    out.clear();
    Head::StreamResponse { stream: "s".into() }.encode(1 << 40, &mut out).unwrap();
    assert_eq!(out[..8], 22_u64.to_be_bytes());
}
