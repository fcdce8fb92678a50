//! What concerns one disk waits for that disk alone.

use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use sealed_shuffle::internals::disk::root::THREADS;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::shuffle::{BlockTransferMessage, RemoveBlocks, Strings};
use sealed_shuffle_transport::lane::Lane;
use sealed_shuffle_transport::pot::Tenant;

use crate::running::{EXECUTOR, GCM, Running};
use crate::support::{APP, Merging, block, chunk, finalize, meta, push, pushed, send_push};

/// Takes all places of a lane until it is dropped.
struct Hang {
    _free: Vec<Sender<()>>,
}

impl Hang {
    fn of(running: &Running, lane: &Lane) -> Self {
        let (hangs, all_hang) = channel();
        // One tenant alone never has all places.
        let hang = |n: usize| {
            let tenant = Tenant::App(AppId::new(n.to_string()));
            let (free, waits) = channel::<()>();
            let (lane, hangs) = (lane.clone(), hangs.clone());
            running.runtime.spawn(async move {
                let work = move |_: &_| {
                    hangs.send(()).unwrap();
                    waits.recv().unwrap_err();
                };
                lane.run_for(&tenant, work).await.unwrap();
            });
            free
        };
        let free = (0..THREADS).map(hang).collect();
        (0..THREADS).for_each(|_| all_hang.recv().unwrap());
        Self { _free: free }
    }
}

#[test]
fn partition_is_merged_and_read_though_the_lane_across_disks_hangs() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    // A finalization concerns all partitions of a shuffle.
    push(&mut peer, block(1, 0, 1, 0), &[1; 16]);
    finalize(&mut peer, 1, 0).unwrap();

    let hang = Hang::of(&merging.server, merging.server.server.store().roots().across());
    assert_eq!(push(&mut peer, block(0, 0, 1, 0), b"AAAA"), "ok");
    assert_eq!(meta(&mut peer, 1, 0, 0).unwrap().0, 1);
    let removal = RemoveBlocks {
        app: AppId::new(APP),
        executor: ExecutorId::new(EXECUTOR),
        blocks: Strings::try_from_iter(["rdd_1_2"]).unwrap(),
    };
    assert!(matches!(
        BlockTransferMessage::decode(peer.rpc(&removal.into()).unwrap()).unwrap(),
        BlockTransferMessage::BlocksRemoved(_)
    ));
    drop(hang);
    assert_eq!(chunk(&mut peer, 1, 0, 0, 0).unwrap(), Bytes::from_static(&[1; 16]));
}

#[test]
fn push_waits_for_the_disk_of_its_partition() {
    let merging = Merging::start(GCM);
    let mut peer = merging.peer();
    let disk = merging.server.server.store().roots().disks()[0].lane();
    let hang = Hang::of(&merging.server, disk);
    send_push(&mut peer, block(0, 0, 1, 0), b"AAAA");
    peer.socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    assert!(
        std::io::Read::read(&mut &peer.socket, &mut [0; 1]).is_err(),
        "a push was answered without its disk"
    );
    peer.socket.set_read_timeout(Some(crate::running::PATIENCE)).unwrap();
    drop(hang);
    assert_eq!(pushed(&mut peer), "ok");
}
