//! Calls of the key service that a tenant causes by headers that it wrote.

use std::fs;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealed_shuffle::internals::disk::layout::Placement;
use sealed_shuffle::{KeySource, MergeConfig};
use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId, RequestId, ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::stored::envelope::{Context, WrappedKey};
use sealed_shuffle_protocol::stored::sealed::{Header, Kind, Salt};

use crate::honest::Honest;
use crate::running::{APP, Running, eventually};
use crate::{registered_to_merge, used};

/// A key service that wraps at once, and that never ends where it is asked for a key that it did not make.
const KEEPER: &str = r#"
    read -r line
    case $1 in
        wrap) printf '{"key_id":"kept","ciphertext":"d3JhcHBlZA=="}\n' ;;
        unwrap) exec sleep 600 ;;
    esac
"#;

/// Longer than anything here waits for.
const LONG: Duration = Duration::from_secs(300);

fn start() -> Running {
    Running::start_on_disk(|config| {
        let keeper = config.envelope.state_dir.join("keeper");
        fs::write(&keeper, KEEPER).unwrap();
        let argv = vec!["/bin/sh".to_owned(), keeper.to_str().unwrap().to_owned()];
        config.envelope.source = KeySource::Command { argv };
        config.envelope.timeout = LONG;
        config.merging = Some(MergeConfig::default());
    })
}

/// Writes an index whose header names a key of its own. Only the header is read before the key is asked for.
fn write_header(running: &Running, reduce: i32) {
    let (app, merge) = (AppId::new(APP), ShuffleMergeId(0));
    let partition = MergedPartition { shuffle: ShuffleId(0), merge, reduce: ReduceId(reduce) };
    let key = WrappedKey { key_id: "hangs".into(), bytes: Bytes::from(format!("wrapped {reduce}")) };
    let context = Context::of(app.clone());
    let header = Header::new(Kind::Index, Salt([7; Salt::LEN]), partition, 1, key, context);
    let name = Kind::Index.file_name(&app, partition);
    let sub =
        running.root.join("spark-1/merge_manager_1").join(Placement::of(&name, 1, 64).unwrap().sub_dir());
    fs::create_dir_all(&sub).unwrap();
    fs::write(sub.join(name), header.encode().unwrap()).unwrap();
}

#[test]
fn calls_of_the_key_service_that_hang_leave_some_for_others() {
    let running = start();
    let honest = Honest::of(&running);
    honest.assert_merges(0);
    let began = Instant::now();
    let mut hogs: Vec<_> = (0..32).map(|_| registered_to_merge(&running)).collect();
    for (hog, reduce) in hogs.iter_mut().zip(0..) {
        write_header(&running, reduce);
        let asked = Head::MergedBlockMetaRequest {
            request: RequestId(9),
            app: AppId::new(APP),
            shuffle: ShuffleId(0),
            merge: ShuffleMergeId(0),
            reduce: ReduceId(reduce),
        };
        hog.send(&asked, &[]);
    }
    // All that one application can have of sixteen.
    eventually("its calls hang", || used(&running, "key_calls") == 14);
    // A key of its own is made anew for each application that merges.
    let other = Honest::named(&running, "app-other");
    other.assert_merges(0);
    honest.assert_merges(1);
    honest.assert_served();
    assert_eq!(used(&running, "key_calls"), 14, "they hang still");
    assert!(began.elapsed() < LONG);
}
