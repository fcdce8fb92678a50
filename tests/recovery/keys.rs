//! A server whose keys are gone: it says so before it serves anybody, or begins anew and serves nothing of before.

use std::fs;

use sealed_shuffle_protocol::shuffle::ReturnCode;
use tokio::runtime::Runtime;

use crate::content::{Read, block, merge, partition, read};
use crate::place::{Place, Reached};
use crate::watch::Watch;

const FORGETTING: &str = "spark.shuffle.service.db.enabled=false";
const CONFIGURATION: i32 = 78;

/// A place where one partition of shuffle 0 was merged, and the server has stopped.
fn merged_before(runtime: &Runtime) -> Place {
    let place = Place::new();
    let server = place.serve(&[]);
    place.hand_over();
    let reached = server.reach();
    runtime.block_on(async {
        place.register(reached.clone(), "1").await.unwrap();
        push_and_finalize(&reached, 0).await;
    });
    server.stop();
    place
}

async fn push_and_finalize(to: &Reached, shuffle: i32) {
    let merge = merge(shuffle);
    let code = to.client.push_block(&to.server, merge, block(merge, 1, 0, 3000)).await.unwrap();
    assert_eq!(code, ReturnCode::Success);
    assert_eq!(to.client.finalize_shuffle_merge(&to.server, merge).await.unwrap().len(), 1);
}

async fn is_whole(from: &Reached, shuffle: i32) -> bool {
    matches!(read(from, partition(merge(shuffle), 0)).await, Read::Whole { .. })
}

/// The key file of a place that is gone.
fn another_key_file() -> Vec<u8> {
    let other = Place::new();
    other.serve(&[]).stop();
    fs::read(other.key_file()).unwrap()
}

#[test]
fn a_server_without_the_keys_of_its_state_refuses_to_start_and_says_what_helps() {
    let runtime = Runtime::new().unwrap();
    let place = merged_before(&runtime);
    let (key_file, other) = (fs::read(place.key_file()).unwrap(), another_key_file());

    let mut refusals = vec![place.refused(&["spark.sealed.cluster.name=another"])];
    refusals.push(place.refused(&["spark.sealed.node.id=another"]));
    fs::write(place.key_file(), &other).unwrap();
    refusals.push(place.refused(&[]));
    fs::remove_file(place.key_file()).unwrap();
    refusals.push(place.refused(&[]));
    for (code, said) in refusals {
        assert_eq!(code, CONFIGURATION, "{said}");
        assert!(said.contains("recovery.redb") && said.contains("move it away"), "{said}");
    }

    fs::write(place.key_file(), key_file).unwrap();
    let server = place.serve(&[]);
    let reached = server.reach();
    runtime.block_on(async {
        reached.plain("1").await.unwrap();
        assert!(is_whole(&reached, 0).await, "the refusals have changed nothing");
    });
}

#[test]
fn a_server_that_remembers_nothing_begins_anew_under_other_keys() {
    let runtime = Runtime::new().unwrap();
    let other = another_key_file();
    for lost in [&b""[..], &other] {
        let place = merged_before(&runtime);
        let watch = Watch::over(&place);
        match lost {
            b"" => fs::remove_file(place.key_file()).unwrap(),
            other => fs::write(place.key_file(), other).unwrap(),
        }
        let server = place.serve(&[FORGETTING]);
        place.hand_over();
        let reached = server.reach();
        runtime.block_on(async {
            assert!(reached.plain("1").await.is_err(), "nothing is remembered");
            place.register(reached.clone(), "1").await.unwrap();
            reached.plain("1").await.unwrap();
            let texts = read(&reached, partition(merge(0), 0)).await.refused();
            assert!(texts.iter().all(|text| !text.is_empty()), "{texts:?}");
            push_and_finalize(&reached, 1).await;
            assert!(is_whole(&reached, 1).await, "new merges go on");
        });
        watch.assert_all_clean();
    }
}
