//! What a closing connection still says, and that it hears nothing.

use bytes::Bytes;
use sealed_shuffle_protocol::connection::{CloseReason, Engine, Transmit};
use sealed_shuffle_protocol::ids::{ChunkIndex, RequestId, StreamId};
use sealed_shuffle_protocol::message::Head;

use crate::joined::{Pair, Server, Told, ended, message, modes, open_settings, server_settings};

fn said(server: &mut Server) -> usize {
    std::iter::from_fn(|| server.poll_transmit()).filter(|t| !matches!(t, Transmit::Install(_))).count()
}

#[test]
fn queued_refusal_goes_out_and_nothing_is_read_after() {
    let now = std::time::Instant::now();
    let mut server = Server::new(now, server_settings());
    let rpc = message(&Head::RpcRequest { request: RequestId(1) }, b"no handshake");
    server.handle_bytes(now, rpc.clone());
    assert!(ended(&mut server).is_none());
    assert!(server.is_closing());
    server.handle_bytes(now, [&rpc[..], b"\xff\xff\xff\xff\xff\xff\xff\xff"].concat().into());
    assert!(ended(&mut server).is_none(), "what comes after the refusal is not looked at");
    assert_eq!(said(&mut server), 1, "one refusal");
    assert!(matches!(server.take_close_reason(), CloseReason::Refused(_)));
}

#[test]
fn answers_queued_before_a_close_arrive() {
    for mode in modes() {
        let mut pair = Pair::sealed(mode);
        pair.settle();
        pair.client.engine.rpc(RequestId(1), b"hello").unwrap();
        pair.client.engine.chunk(StreamId(0), ChunkIndex(5)).unwrap();
        pair.settle();
        pair.server.engine.close(CloseReason::ShuttingDown);
        pair.client.engine.rpc(RequestId(2), b"too late").unwrap();
        pair.settle();
        assert_eq!(pair.told.len(), 3, "{:?}", pair.told);
        assert!(matches!(pair.server.engine.take_close_reason(), CloseReason::ShuttingDown));
    }
}

#[test]
fn first_reason_of_a_close_stays() {
    let mut server = Server::new(std::time::Instant::now(), open_settings());
    server.close(CloseReason::ShuttingDown);
    server.close(CloseReason::PeerClosed);
    assert!(matches!(server.handle_eof(), CloseReason::ShuttingDown));
}

#[test]
fn upload_is_refused_before_its_body_is_read() {
    let now = std::time::Instant::now();
    let mut server = Server::new(now, open_settings());
    let head = Head::UploadStream { request: RequestId(4), meta: Bytes::from_static(b"m") };
    let mut bytes = bytes::BytesMut::new();
    head.encode(1 << 40, &mut bytes).unwrap();
    server.handle_bytes(now, bytes.freeze());
    let Ok(Some(event)) = server.poll_event() else { panic!("the head is enough") };
    crate::joined::serve(&mut server, event, &crate::joined::secret(""), &mut Vec::new()).unwrap();
    assert!(server.is_closing());
    assert_eq!(said(&mut server), 1);
}

#[test]
fn end_of_input_between_messages_is_no_fault_and_within_one_is() {
    let rpc = message(&Head::RpcRequest { request: RequestId(1) }, b"hello");
    for cut in 0..=rpc.len() {
        let now = std::time::Instant::now();
        let mut server = Server::new(now, open_settings());
        server.handle_bytes(now, rpc.slice(..cut));
        assert!(ended(&mut server).is_none());
        let end = server.handle_eof();
        match cut == 0 || cut == rpc.len() {
            true => assert!(matches!(end, CloseReason::PeerClosed), "cut at {cut}: {end:?}"),
            false => assert!(matches!(end, CloseReason::PeerClosedMidMessage), "cut at {cut}: {end:?}"),
        }
    }
}

#[test]
fn answers_that_nobody_asked_for_end_a_client() {
    let (stream, chunk, request) = (StreamId(1), ChunkIndex(0), RequestId(1));
    let error = String::new;
    let unasked = [
        Head::RpcResponse { request },
        Head::RpcFailure { request, error: error() },
        Head::ChunkFetchSuccess { stream, chunk },
        Head::ChunkFetchFailure { stream, chunk, error: error() },
        Head::StreamResponse { stream: "s".to_owned() },
        Head::StreamFailure { stream: "s".to_owned(), error: error() },
        Head::RpcRequest { request },
        Head::OneWayMessage,
        Head::ChunkFetchRequest { stream, chunk },
    ];
    for head in unasked {
        let mut pair = Pair::in_clear(open_settings());
        pair.settle();
        pair.client.engine.rpc(RequestId(2), b"another").unwrap();
        pair.client.engine.stream("another".to_owned()).unwrap();
        pair.client.engine.handle_bytes(pair.now, message(&head, b""));
        let end = ended(&mut pair.client.engine);
        assert!(matches!(end, Some(CloseReason::Unexpected(_))), "{head:?}: {end:?}");
    }
}

#[test]
fn one_answer_is_taken_once() {
    let mut pair = Pair::in_clear(open_settings());
    pair.client.engine.rpc(RequestId(1), b"hello").unwrap();
    pair.settle();
    assert_eq!(pair.told.last(), Some(&Told::Rpc(RequestId(1), Ok(Bytes::from_static(b"hello")))));
    pair.client.engine.handle_bytes(pair.now, pair.wire.1.clone().into());
    let end = ended(&mut pair.client.engine);
    assert!(matches!(end, Some(CloseReason::Unexpected("RpcResponse"))), "{end:?}");
}

#[test]
fn answers_sent_to_a_server_end_it() {
    let response = message(&Head::RpcResponse { request: RequestId(1) }, b"");
    for settings in [open_settings(), server_settings()] {
        let now = std::time::Instant::now();
        let mut server = Server::new(now, settings);
        server.handle_bytes(now, response.clone());
        assert!(matches!(ended(&mut server), Some(CloseReason::Unexpected(_))));
    }
}
