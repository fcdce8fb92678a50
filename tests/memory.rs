//! What hostile peers cost in memory; alone in its process, since the measure is the process's.

#![allow(clippy::unwrap_used)]

mod running;

use bytes::BytesMut;
use running::{CTR, GCM, Peer, Running, eventually, resident_anonymous};
use sealed_shuffle_protocol::ids::RequestId;
use sealed_shuffle_protocol::message::Head;

/// Far below what any single claim asks for; wide enough for what an allocator keeps.
const SLACK: u64 = 24 << 20;

#[test]
fn claims_cost_no_memory() {
    let running = Running::start();
    running.assert_serves();
    let before = resident_anonymous();

    // 2 GiB frames of every type, before authentication.
    let mut early: Vec<_> = (0..64).map(|_| Peer::connect(running.address)).collect();
    for (n, peer) in early.iter_mut().enumerate() {
        let claim = [&0x8000_0006_i64.to_be_bytes()[..], &[(n % 13) as u8], &[0; 30]].concat();
        peer.send_raw(&claim).unwrap();
    }
    // Requests just below the limit, and sealed messages of 2 GiB, after it.
    let mut late: Vec<_> = (0..64).map(|n| running.peer(if n % 2 == 0 { GCM } else { CTR })).collect();
    for (n, peer) in late.iter_mut().enumerate() {
        let mut head = BytesMut::new();
        Head::RpcRequest { request: RequestId(1) }.encode(60 << 20, &mut head).unwrap();
        match n % 4 {
            3 => peer.send_raw(&[&0x8000_0006_i64.to_be_bytes()[..], &[24], &[0; 100]].concat()).unwrap(),
            _ => peer.try_say(&head).unwrap(),
        }
    }
    // Everything has arrived when a peer that came later is served.
    running.assert_still_serves();
    let grown = resident_anonymous().saturating_sub(before);
    assert!(grown < SLACK, "{grown} bytes more");
    drop((early, late));
    eventually("all are gone", || running.metric("sealed_shuffle_connections") == 0);

    // Names that are quoted in failures, asked for by a peer that never listens.
    let mut deaf = running.peer(CTR);
    deaf.socket.set_nonblocking(true).unwrap();
    let name = running::message(&Head::StreamRequest { stream: "x".repeat(60_000) }, b"");
    for _ in 0..500 {
        if deaf.try_say(&name).is_err() {
            break;
        }
    }
    running.assert_still_serves();
    let grown = resident_anonymous().saturating_sub(before);
    assert!(grown < SLACK, "{grown} bytes more");
}
