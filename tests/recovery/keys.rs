//! A server whose keys are gone: it says so before it serves anybody, or begins anew and serves nothing of before.

use std::fs;

use sealed_shuffle_protocol::shuffle::ReturnCode;
use tokio::runtime::Runtime;

use crate::content::{Read, block, merge, partition, read};
use crate::place::{APP, Place, Reached, eventually};
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

/// The lines of `keys list`: name, whether it wraps, and what needs it.
fn listed(place: &Place) -> Vec<[String; 3]> {
    let (code, said) = place.keys(&["list"]);
    assert_eq!(code, 0, "{said}");
    let lines = said.lines().map(|line| {
        let [name, _, role, need] = line.split('\t').collect::<Vec<_>>()[..] else { panic!("{said}") };
        [name, role, need].map(str::to_owned)
    });
    lines.collect()
}

#[test]
fn an_old_key_is_dropped_when_nothing_needs_it_any_more_and_not_before() {
    let runtime = Runtime::new().unwrap();
    let place = merged_before(&runtime);
    let old = listed(&place)[0].clone();
    assert!(old[2].contains("recovery store") && old[2].contains("1 merged partitions of"), "{old:?}");

    let server = place.serve(&[]);
    let (code, said) = place.keys(&["rotate"]);
    assert_eq!(code, 0, "{said}");
    eventually("the running server wraps its store's key anew", || {
        !listed(&place)[0][2].contains("recovery store")
    });
    let both = listed(&place);
    assert!(both[0][2].contains("merged partitions of") && both[0][2].contains("application"), "{both:?}");
    assert_eq!(
        (&*both[0][1], &*both[1][1], &*both[1][2]),
        ("unwraps", "wraps", "needed by the recovery store")
    );
    let (code, said) = place.keys(&["drop", &old[0]]);
    assert!(code == 77 && said.contains("merged partitions"), "{code} {said}");
    let reached = server.reach();
    runtime.block_on(async { assert!(is_whole(&reached, 0).await, "nothing was dropped") });

    // The application ends, and its files go.
    place.take_back();
    eventually("nothing needs the old key", || listed(&place)[0][2] == "not needed");
    let (code, said) = place.keys(&["drop", &both[1][0]]);
    assert!(code != 0 && said.contains("recovery store"), "{code} {said}");
    let (code, said) = place.keys(&["drop", &old[0]]);
    assert_eq!(code, 0, "{said}");
    server.stop();
    assert_eq!(listed(&place).len(), 1);
    place.serve(&[]).stop();
}

#[test]
fn a_rotation_without_a_server_seals_the_store_anew() {
    let runtime = Runtime::new().unwrap();
    let place = merged_before(&runtime);
    let (code, said) = place.keys(&["rotate"]);
    assert!(code == 0 && said.contains("sealed anew"), "{said}");
    let [old, new] = &listed(&place)[..] else { panic!("two keys") };
    assert!(!old[2].contains("recovery store") && new[2].contains("recovery store"), "{old:?} {new:?}");
    let server = place.serve(&[]);
    let reached = server.reach();
    runtime.block_on(async {
        reached.plain("1").await.unwrap();
        assert!(is_whole(&reached, 0).await);
    });
    server.stop();
    // With the store's directory out of reach nobody knows what it needs, and nothing is dropped.
    fs::rename(place.state().join("recovery.redb"), place.state().join("aside")).unwrap();
    fs::write(place.state().join("recovery.redb"), "some other file").unwrap();
    let (code, said) = place.keys(&["drop", &old[0]]);
    assert_ne!(code, 0, "{said}");
}

#[test]
fn scan_opens_sealed_files_with_their_key_and_tells_what_only_begins_like_one() {
    let place = merged_before(&Runtime::new().unwrap());
    let dir = place.merge_dir(APP);
    let scan = |more: &[&str]| place.inspect(&[&["--scan", dir.to_str().unwrap()], more].concat());
    let (code, said) = scan(&[]);
    assert!(code == 0 && said.contains("opened with their key: 3 of 3"), "{code} {said}");
    let without = ["--conf", "spark.sealed.keys.file=/nowhere"];
    let (code, said) = scan(&without);
    assert!(code == 0 && said.contains("opened with their key: 0 of 3"), "{code} {said}");

    let data = place.merged(APP, &format!("shuffleMerged_{APP}_0_0_0.data"));
    let whole = fs::read(&data).unwrap();
    let mut changed = whole.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(&data, &changed).unwrap();
    let (code, said) = scan(&[]);
    assert!(code == 69 && said.contains("does not open"), "{code} {said}");
    let (code, said) = scan(&without);
    assert_eq!(code, 0, "without its key nobody sees a changed bit: {said}");

    // The old way called everything behind such a header sealed.
    let text = b"a line of a book about nothing, and another one; ".repeat(100);
    for behind in [&text[..], &[0; 5000]] {
        fs::write(&data, [&whole[..200], behind].concat()).unwrap();
        assert_ne!(scan(&[]).0, 0);
        let header = usize::try_from(u32::from_be_bytes(whole[12..16].try_into().unwrap())).unwrap();
        fs::write(&data, [&whole[..header], behind].concat()).unwrap();
        for more in [&[][..], &without] {
            let (code, said) = scan(more);
            assert_eq!(code, 1, "{said}");
        }
    }
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
