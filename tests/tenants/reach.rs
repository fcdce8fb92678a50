//! Every message that names an application, from a peer that has proven another one.

use std::fs;

use bytes::{BufMut, Bytes, BytesMut};
use sealed_shuffle::MergeConfig;
use sealed_shuffle_protocol::codec::DecodeError;
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, MapId, ReduceId, RequestId, ShuffleId, ShuffleMergeId,
};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, DiagnoseCorruption, DiagnoseShuffleChunkCorruption, ExecutorShuffleInfo,
    FetchShuffleBlockChunks, FetchShuffleBlocks, FinalizeShuffleMerge, GetLocalDirsForExecutors, OpenBlocks,
    PushBlockStream, RegisterExecutor, RemoveBlocks, RemoveShuffleMerge, Strings, UploadBlock,
};

use crate::honest::Honest;
use crate::running::{APP, EXECUTOR, GCM, Peer, Running};

fn strings<const LONGEST: usize>(of: &[&str]) -> Strings<LONGEST> {
    Strings::try_from_iter(of).unwrap()
}

/// One of each message that names an application, for the victim and what is its.
fn naming(running: &Running) -> Vec<BlockTransferMessage> {
    let (app, executor) = (AppId::new(APP), ExecutorId::new(EXECUTOR));
    let (shuffle, merge, reduce) = (ShuffleId(0), ShuffleMergeId(0), ReduceId(0));
    vec![
        OpenBlocks { app: app.clone(), executor: executor.clone(), blocks: strings(&["shuffle_0_1_0"]) }
            .into(),
        RegisterExecutor {
            app: app.clone(),
            executor: executor.clone(),
            info: ExecutorShuffleInfo {
                local_dirs: strings(&[running.dir.to_str().unwrap()]),
                sub_dirs_per_local_dir: 64,
                shuffle_manager: "org.apache.spark.shuffle.sort.SortShuffleManager".to_owned(),
            },
        }
        .into(),
        RemoveBlocks { app: app.clone(), executor: executor.clone(), blocks: strings(&["rdd_1_1"]) }.into(),
        FetchShuffleBlocks {
            app: app.clone(),
            executor: executor.clone(),
            shuffle,
            maps: vec![MapId(1)],
            reduces: [[reduce]].into_iter().collect(),
            batch: false,
        }
        .into(),
        GetLocalDirsForExecutors { app: app.clone(), executors: strings(&[EXECUTOR]) }.into(),
        PushBlockStream { app: app.clone(), app_attempt: -1, shuffle, merge, map_index: 0, reduce, index: 0 }
            .into(),
        FinalizeShuffleMerge { app: app.clone(), app_attempt: -1, shuffle, merge }.into(),
        FetchShuffleBlockChunks {
            app: app.clone(),
            executor,
            shuffle,
            merge,
            reduces: vec![reduce],
            chunks: [[0]].into_iter().collect(),
        }
        .into(),
        DiagnoseCorruption {
            app: app.clone(),
            executor: ExecutorId::new(EXECUTOR),
            shuffle,
            map: MapId(1),
            reduce,
            checksum: 1,
            algorithm: "ADLER32".to_owned(),
        }
        .into(),
        DiagnoseShuffleChunkCorruption {
            app: app.clone(),
            shuffle,
            merge,
            reduce,
            chunk: 0,
            checksum: 1,
            algorithm: "ADLER32".to_owned(),
        }
        .into(),
        UploadBlock {
            app: app.clone(),
            executor: ExecutorId::new(EXECUTOR),
            block: "rdd_1_1".to_owned(),
            metadata: Bytes::new(),
            data: Bytes::from_static(b"x"),
        }
        .into(),
        RemoveShuffleMerge { app, app_attempt: -1, shuffle, merge }.into(),
    ]
}

/// Type bytes that name a message, of which [`BlockTransferMessage::app`] is some.
fn type_bytes_that_name_an_application(samples: &[BlockTransferMessage]) -> Vec<u8> {
    let known = |byte: &u8| {
        let decoded = BlockTransferMessage::decode(Bytes::copy_from_slice(&[*byte]));
        !matches!(decoded, Err(DecodeError::UnknownShuffleType(_)))
    };
    // Answers and uploads to executors, which a service refuses from everybody.
    let without = [
        "UploadBlockStream",
        "StreamHandle",
        "BlocksRemoved",
        "LocalDirsForExecutors",
        "MergeStatuses",
        "CorruptionCause",
        "BlockPushReturnCode",
    ];
    assert_eq!(
        (0..=u8::MAX).filter(known).count(),
        samples.len() + without.len(),
        "a message has no sample here"
    );
    samples.iter().map(BlockTransferMessage::type_byte).collect()
}

#[test]
fn no_message_reaches_what_is_another_applications() {
    let running = Running::start_with(|config| config.merging = Some(MergeConfig::default()));
    running.write_map(1, &[1000]);
    running.write_rdd("rdd_1_1", b"cached");
    let mut victim = running.registered(GCM);
    let samples = naming(&running);
    assert_eq!(type_bytes_that_name_an_application(&samples).len(), samples.len());
    let stream = victim.open(1, &[0]).unwrap().stream;

    let honest = Honest::of(&running);
    let refused = running.refusals("wrong_application");
    let mut sent = 0;
    for sample in &samples {
        let body = sample.encode().unwrap();
        // As a request, and without wanting an answer.
        let mut peer = honest.registered();
        let text = peer.rpc_bytes(&body).unwrap_err();
        assert!(text.contains("not authorized for application"), "{}: {text}", sample.name());
        peer.send(&Head::OneWayMessage, &body);
        // As what describes an upload; the connection ends with that.
        let mut head = BytesMut::new();
        Head::UploadStream { request: RequestId(7), meta: body }.encode(1, &mut head).unwrap();
        head.put_u8(b'x');
        peer.try_say(&head).unwrap();
        let Some((Head::RpcFailure { error, .. }, _)) = peer.next() else { panic!("{}", sample.name()) };
        assert!(error.contains("not authorized for application"), "{}: {error}", sample.name());
        sent += 3;
    }
    assert_eq!(running.refusals("wrong_application") - refused, sent);

    let mut peer = honest.registered();
    let chunks = peer.chunk(stream, 0).unwrap_err();
    assert!(chunks.contains("Unknown stream ID"), "{chunks}");
    let named = Head::StreamRequest { stream: format!("{}_0", stream.0) };
    peer.send(&named, &[]);
    assert!(matches!(peer.next(), Some((Head::StreamFailure { .. }, _))));
    let meta = Head::MergedBlockMetaRequest {
        request: RequestId(8),
        app: AppId::new(APP),
        shuffle: ShuffleId(0),
        merge: ShuffleMergeId(0),
        reduce: ReduceId(0),
    };
    peer.send(&meta, &[]);
    let Some((Head::RpcFailure { error, .. }, _)) = peer.next() else { panic!("merged metadata") };
    assert!(error.contains("not authorized for application"), "{error}");

    // The control: all of it is there still, and its owner reaches it.
    assert_eq!(victim.chunk(stream, ChunkIndex(0).0).unwrap().len(), 1000);
    assert!(fs::exists(running.file("rdd_1_1")).unwrap());
    for sample in &samples {
        let mut owner: Peer = running.registered(GCM);
        let answer = owner.rpc_bytes(&sample.encode().unwrap());
        let denied = answer.as_ref().err().is_some_and(|text| text.contains("not authorized"));
        assert!(!denied, "{}: {answer:?}", sample.name());
    }
    assert!(!fs::exists(running.file("rdd_1_1")).unwrap(), "its owner removes a block");
}
