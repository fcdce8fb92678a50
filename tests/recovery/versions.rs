//! A store of an earlier release is read, and one of a later release is refused with a text that helps.
//!
//! `stores/` has the files of nodes that earlier releases served, and says how they were made.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use redb::{Database, ReadableTable as _, TableDefinition};
use roaring::RoaringBitmap;
use sealed_shuffle_client::Merge;
use sealed_shuffle_protocol::shuffle::ReturnCode;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::content::{Read, block, merge, partition, read};
use crate::place::{OTHER_APP, Place, Reached};

const STORE: &str = "state/recovery.redb";
const KEYS: &str = "state/keys";

/// The files of a node, by the name of what made them.
fn files_of(release: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recovery/stores").join(release)
}

/// All releases that have files here.
fn releases() -> Vec<String> {
    let entries = fs::read_dir(files_of("")).unwrap().map(|entry| entry.unwrap());
    let dirs = entries.filter(|entry| entry.file_type().unwrap().is_dir());
    dirs.map(|dir| dir.file_name().into_string().unwrap()).collect()
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// A copy of them, and where it lies.
fn place_of(release: &str) -> (Place, TempDir) {
    let (from, to) = (files_of(release), tempfile::tempdir().unwrap());
    for path in files_below(&from) {
        let target = to.path().join(path.strip_prefix(&from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        match path.extension().is_some_and(|kind| kind == "gz") {
            true => {
                let mut bytes = Vec::new();
                GzDecoder::new(File::open(&path).unwrap()).read_to_end(&mut bytes).unwrap();
                fs::write(target.with_extension(""), bytes).unwrap();
            }
            false => _ = fs::copy(&path, target).unwrap(),
        }
    }
    for (file, mode) in [("state", 0o700), (STORE, 0o600), (KEYS, 0o600)] {
        fs::set_permissions(to.path().join(file), fs::Permissions::from_mode(mode)).unwrap();
    }
    let place = Place::at(to.path()).relative();
    place.make();
    (place, to)
}

async fn push(to: &Reached, merge: Merge, map: i32) -> ReturnCode {
    to.client.push_block(&to.server, merge, block(merge, map, 0, 3000)).await.unwrap()
}

async fn serves(from: &Reached, merge: Merge, maps: std::ops::Range<u32>) {
    match read(from, partition(merge, 0)).await {
        Read::Whole { maps: found, .. } => assert_eq!(found, RoaringBitmap::from_iter(maps)),
        Read::Refused(texts) => panic!("{texts:?}"),
    }
}

/// Two applications, of which one merges: shuffle 0 is finalized.
async fn fill(place: &Place, app: &Reached, other: &Reached) {
    place.register(app.clone(), "1").await.unwrap();
    place.register_plainly(other.clone(), "7").await.unwrap();
    for map in 0..3 {
        assert_eq!(push(app, merge(0), map).await, ReturnCode::Success);
    }
    assert_eq!(app.client.finalize_shuffle_merge(&app.server, merge(0)).await.unwrap().len(), 1);
}

#[test]
fn node_of_an_earlier_release_is_served_by_this_one() {
    let runtime = Runtime::new().unwrap();
    let releases = releases();
    assert!(!releases.is_empty());
    for release in releases {
        println!("files of {release}");
        let (place, _temp) = place_of(&release);
        for start in 0..2 {
            let server = place.serve(&[]);
            let (app, other) = (server.reach(), server.reach_as(OTHER_APP));
            runtime.block_on(async {
                // Executors, and the secrets that were handed over.
                app.plain("1").await.unwrap();
                other.plain("7").await.unwrap();
                // What was merged, and that it is finalized.
                serves(&app, merge(0), 0..3).await;
                assert_eq!(push(&app, merge(0), 3).await, ReturnCode::TooLateBlockPush);
                // The store takes what is new.
                match start {
                    0 => {
                        place.register(app.clone(), "2").await.unwrap();
                        assert_eq!(push(&app, merge(2), 0).await, ReturnCode::Success);
                        let told = app.client.finalize_shuffle_merge(&app.server, merge(2)).await.unwrap();
                        assert_eq!(told.len(), 1);
                    }
                    _ => app.plain("2").await.unwrap(),
                }
                serves(&app, merge(2), 0..1).await;
            });
            server.stop();
        }
    }
}

/// Has the store say that it is of this version.
fn set_version(store: &Path, version: u16) {
    const HEADER: TableDefinition<'static, (), &[u8]> = TableDefinition::new("header");
    let database = Database::open(store).unwrap();
    let change = database.begin_write().unwrap();
    let mut table = change.open_table(HEADER).unwrap();
    let mut header = table.get(()).unwrap().unwrap().value().to_vec();
    // Behind eight bytes of magic.
    header[8..10].copy_from_slice(&version.to_be_bytes());
    table.insert((), &header[..]).unwrap();
    drop(table);
    change.commit().unwrap();
}

#[test]
fn store_of_a_later_release_is_refused_and_says_what_to_do() {
    let (place, _temp) = place_of(&releases()[0]);
    let store = place.dir().join(STORE);
    set_version(&store, u16::MAX);
    let (code, said) = place.refused(&[]);
    assert_eq!(code, 78, "{said}");
    for words in [
        "recovery.redb is in version 65535, and this release reads version 1",
        "start the release that wrote it or a later one",
        "or move it away to start without it",
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    // The control: it was the version, and nothing was taken out of the store.
    set_version(&store, 1);
    let server = place.serve(&[]);
    Runtime::new().unwrap().block_on(async {
        server.reach().plain("1").await.unwrap();
        server.reach_as(OTHER_APP).plain("7").await.unwrap();
        serves(&server.reach(), merge(0), 0..3).await;
    });
    server.stop();
}

/// Makes files of a node with the program `SEALED_SHUFFLE_MAKER`, in the directory `SEALED_SHUFFLE_MADE`.
#[test]
#[ignore = "it makes what is checked in; stores/README.md says when"]
fn files_of_a_node_are_made() {
    let [maker, made] = ["SEALED_SHUFFLE_MAKER", "SEALED_SHUFFLE_MADE"]
        .map(|name| PathBuf::from(std::env::var(name).unwrap()));
    let place = Place::new().relative().served_by(&maker);
    let server = place.serve(&[]);
    place.hand_over();
    let runtime = Runtime::new().unwrap();
    runtime.block_on(fill(&place, &server.reach(), &server.reach_as(OTHER_APP)));
    server.stop();
    let from = place.dir();
    let kept = files_below(&from.join("root")).into_iter().chain([from.join(STORE), from.join(KEYS)]);
    for path in kept {
        let target = made.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        match path.ends_with(STORE) {
            true => {
                let file = File::create(target.with_extension("redb.gz")).unwrap();
                let mut packed = GzEncoder::new(file, Compression::best());
                packed.write_all(&fs::read(&path).unwrap()).unwrap();
                packed.finish().unwrap();
            }
            false => _ = fs::copy(&path, target).unwrap(),
        }
    }
}
