//! The client's examples of merging run.

use std::fs;

use sealed_shuffle_client::{
    AppSecret, Bitmap, Merge, MergeStatus, ReduceId, Security, ShuffleId, ShuffleMergeId,
};

use crate::running::GCM;
use crate::support::{APP, Merging};

#[expect(dead_code, reason = "its `main` reads arguments")]
#[path = "../../client/examples/push_and_finalize.rs"]
mod push_and_finalize;
#[expect(dead_code, reason = "its `main` reads arguments")]
#[path = "../../client/examples/read_merged.rs"]
mod read_merged;

#[test]
fn a_map_output_is_pushed_merged_and_read_with_fall_back() {
    let merging = Merging::start(GCM);
    // Map task 1 pushes nothing: its blocks are fetched as they are.
    merging.server.write_map(1, &[70, 7]);
    fs::create_dir_all(merging.dir().parent().unwrap()).unwrap();
    fs::rename(&merging.server.dir, merging.dir()).unwrap();
    let merge = Merge { app_attempt: 1, shuffle: ShuffleId(0), merge: ShuffleMergeId(0) };
    let security = || Security::aes(AppSecret::new(merging.server.secret.clone()), GCM.version, GCM.cipher);
    let server = merging.server.address.to_string();
    let read = merging.server.runtime.block_on(async {
        let partitions = vec![b"AAAA".to_vec(), b"BB".to_vec()];
        let statuses = push_and_finalize::run(security(), &server, APP, merge, partitions).await.unwrap();
        assert_eq!(statuses.len(), 2);
        let maps: Bitmap = [0, 1].into_iter().collect();
        let status = MergeStatus { reduce: ReduceId(1), size: 0, maps };
        read_merged::run(security(), &server, APP, "1", merge, status).await.unwrap()
    });
    assert_eq!((read.merged, read.fetched), (2, 7));
}
