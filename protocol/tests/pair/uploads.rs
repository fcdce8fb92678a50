//! Uploads: the body comes in pieces between its head and its end, wherever the bytes are cut, and the answer when the
//! serving end likes.

use std::time::Instant;

use bytes::{Bytes, BytesMut};
use sealed_shuffle_protocol::connection::{CloseReason, Engine, Transmit};
use sealed_shuffle_protocol::ids::{AppId, ReduceId, RequestId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::message::Head;

use crate::joined::{
    Client, Pair, Server, Told, client_settings, ended, message, modes, open_settings, secret, serve,
};

fn upload(request: i64, meta: &'static [u8], body: &[u8]) -> Bytes {
    let meta = Bytes::from_static(meta);
    let mut out = BytesMut::new();
    Head::UploadStream { request: RequestId(request), meta }.encode(body.len() as u64, &mut out).unwrap();
    out.extend_from_slice(body);
    out.freeze()
}

/// What a server was asked when it was fed in pieces of `cut` bytes, with the pieces of bodies put together.
fn asked(bytes: &[u8], cut: usize) -> (Server, Vec<String>) {
    let now = Instant::now();
    let mut server = Server::new(now, open_settings());
    let mut asked = Vec::new();
    for piece in bytes.chunks(cut) {
        server.handle_bytes(now, Bytes::copy_from_slice(piece));
        while let Some(event) = server.poll_event().unwrap() {
            serve(&mut server, event, &secret("a shared secret"), &mut asked).unwrap();
        }
    }
    let mut whole: Vec<String> = Vec::new();
    let mut len = 0;
    for line in asked {
        if let Some(n) = line.strip_prefix("piece of ").and_then(|rest| rest.strip_suffix(" bytes")) {
            len += n.parse::<usize>().unwrap();
            continue;
        }
        if std::mem::take(&mut len) > 0 || line.starts_with("end") {
            whole.push(format!("body before {line}"));
        }
        whole.push(line);
    }
    (server, whole)
}

#[test]
fn bodies_come_between_their_head_and_their_end() {
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&upload(1, b"take", &[7; 300]));
    bytes.extend_from_slice(&upload(2, b"take", &[]));
    bytes.extend_from_slice(&message(&Head::RpcRequest { request: RequestId(3) }, b"behind"));
    let (mut server, whole) = asked(&bytes, bytes.len());
    assert_eq!(whole.len(), 7, "{whole:?}");
    assert!(whole[0].contains("len: 300") && whole[2] == "end of the upload" && whole[6].contains("behind"));
    assert!(matches!(server.poll_transmit(), Some(Transmit::Head(_))), "the RPC behind is answered");
    for cut in [1, 2, 3, 7, 41, 100, 333] {
        assert_eq!(asked(&bytes, cut).1, whole, "in pieces of {cut}");
    }
}

#[test]
fn a_refused_upload_hands_out_no_body() {
    let bytes = upload(1, b"refuse", &[7; 300]);
    let (server, whole) = asked(&bytes, bytes.len());
    assert_eq!(whole.len(), 1, "{whole:?}");
    assert!(server.is_closing());
}

#[test]
fn a_peer_that_leaves_amid_an_upload_left_amid_a_message() {
    for (body, kept) in [(300, 299), (300, 0)] {
        let bytes = upload(1, b"take", &vec![7; body]);
        let (mut server, _) = asked(&bytes[..bytes.len() - body + kept], 50);
        assert!(matches!(server.handle_eof(), CloseReason::PeerClosedMidMessage));
    }
}

#[test]
fn only_long_uploads_want_memory_and_bulk() {
    for (body, is_bulk) in [(1000, false), (100_000, true)] {
        let bytes = upload(1, b"take", &vec![7; body]);
        let (server, _) = asked(&bytes[..bytes.len() - 1], 1 << 20);
        assert_eq!((server.expects_bulk(), server.memory_wanted() > 0), (is_bulk, is_bulk));
        let (server, _) = asked(&bytes, 1 << 20);
        assert!(!server.expects_bulk() && server.memory_wanted() == 0);
    }
}

#[test]
fn an_upload_is_answered_as_an_rpc_even_before_its_body() {
    for mode in modes() {
        let mut pair = Pair::sealed(mode);
        pair.settle();
        let client = &mut pair.client.engine;
        client.upload(RequestId(1), Bytes::from_static(b"early"), vec![7; 300].into()).unwrap();
        client.upload(RequestId(2), Bytes::from_static(b"early"), Bytes::new()).unwrap();
        client.rpc(RequestId(3), b"behind").unwrap();
        assert_eq!(client.owed(), 3);
        pair.settle();
        let early = || Ok(Bytes::from_static(b"before its body"));
        let told = [(1, early()), (2, early()), (3, Ok(Bytes::from_static(b"behind")))]
            .map(|(n, result)| (RequestId(n), result));
        assert_eq!(pair.told[1..], told.map(|(request, result)| Told::Rpc(request, result)));
        assert_eq!(pair.client.engine.owed(), 0);
        assert!(pair.asked.contains(&"piece of 300 bytes".to_owned()), "{:?}", pair.asked);
    }
}

#[test]
fn an_answer_of_another_kind_than_was_asked_for_ends_the_connection() {
    let now = Instant::now();
    let (rpc, meta) = (RequestId(1), RequestId(2));
    let success = |request| Head::MergedBlockMetaSuccess { request, num_chunks: 0 };
    for head in [success(rpc), Head::RpcResponse { request: meta }, success(RequestId(3))] {
        let mut client = Client::in_clear(now, client_settings());
        client.handle_ready(now);
        client.upload(rpc, Bytes::from_static(b"take"), Bytes::new()).unwrap();
        client.merged_meta(meta, AppId::new("a"), ShuffleId(0), ShuffleMergeId(0), ReduceId(0)).unwrap();
        client.handle_bytes(now, message(&head, &[]));
        assert!(matches!(ended(&mut client), Some(CloseReason::Unexpected(_))), "{head:?}");
    }
}

#[test]
fn a_long_answer_about_a_merged_partition_is_refused_before_it_is_collected() {
    let now = Instant::now();
    let settings = client_settings();
    let limit = settings.limits.response_frame;
    let mut client = Client::in_clear(now, settings);
    client.handle_ready(now);
    client.merged_meta(RequestId(1), AppId::new("a"), ShuffleId(0), ShuffleMergeId(0), ReduceId(0)).unwrap();
    let mut head = BytesMut::new();
    Head::MergedBlockMetaSuccess { request: RequestId(1), num_chunks: 1 }
        .encode(limit + 1, &mut head)
        .unwrap();
    client.handle_bytes(now, head.freeze());
    assert!(matches!(ended(&mut client), Some(CloseReason::TooLarge { .. } | CloseReason::Frame(_))));
}
