//! Files of finalized partitions are changed, under the running server and before the next one: what was changed is
//! never served, its file is named in the log, and everything else goes on.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sealed_shuffle_client::Merge;
use sealed_shuffle_protocol::ids::{AppId, MergedPartition, ReduceId};
use sealed_shuffle_protocol::shuffle::ReturnCode;
use sealed_shuffle_protocol::stored::sealed::{Header, Kind};
use tokio::runtime::Runtime;

use crate::content::{Read, block, merge, partition, read};
use crate::place::{APP, OTHER_APP, Place, Reached, Served};

const KINDS: [Kind; 3] = [Kind::Data, Kind::Index, Kind::Meta];

/// Each block is a chunk, and one segment of it; all are equally long.
const BLOCK: usize = 3000;

/// The three files of a partition.
struct Files<'a> {
    place: &'a Place,
    app: &'static str,
    id: MergedPartition,
}

impl<'a> Files<'a> {
    fn of(place: &'a Place, app: &'static str, merge: Merge, reduce: i32) -> Self {
        let id = MergedPartition { shuffle: merge.shuffle, merge: merge.merge, reduce: ReduceId(reduce) };
        Self { place, app, id }
    }

    fn name(&self, kind: Kind) -> String {
        kind.file_name(&AppId::new(self.app), self.id)
    }

    fn path(&self, kind: Kind) -> PathBuf {
        self.place.merged(self.app, &self.name(kind))
    }

    fn content(&self, kind: Kind) -> Vec<u8> {
        fs::read(self.path(kind)).unwrap()
    }

    fn write(&self, kind: Kind, content: &[u8]) {
        fs::write(self.path(kind), content).unwrap();
    }

    fn all(&self) -> Vec<(Kind, Vec<u8>)> {
        KINDS.map(|kind| (kind, self.content(kind))).to_vec()
    }

    fn put(&self, files: &[(Kind, Vec<u8>)]) {
        for (kind, content) in files {
            self.write(*kind, content);
        }
    }
}

/// A way of changing partition 0, of which 1 is the neighbour.
enum Change {
    /// Flips one bit of the byte that lies at this share of the header, or of what follows it.
    FlipInHeader(usize),
    FlipBehind(f64),
    Cut(usize),
    CutAll,
    Append(&'static [u8]),
    SwapSegments,
    /// The file of the neighbour.
    Neighbours,
    /// The same bytes, of another kind of file.
    OtherKind(Kind),
    Remove,
}

impl Change {
    fn all() -> Vec<(Kind, Self)> {
        let mut all = Vec::new();
        for (at, kind) in KINDS.into_iter().enumerate() {
            // Magic, version, kind, cipher, length, salt, ids, and the names and keys behind them.
            let header = [0, 8, 10, 11, 14, 16, 47, 50, 54, 58, 61, 64, 110].map(Self::FlipInHeader);
            let behind = [0.0, 0.001, 0.3, 0.5, 0.7, 0.999, 1.0].map(Self::FlipBehind);
            let others = [
                Self::Cut(1),
                Self::Cut(29),
                Self::CutAll,
                Self::Append(b"x"),
                Self::Append(&[0; 4096]),
                Self::SwapSegments,
                Self::Neighbours,
                Self::OtherKind(KINDS[(at + 1) % 3]),
                Self::Remove,
            ];
            all.extend(header.into_iter().chain(behind).chain(others).map(|change| (kind, change)));
        }
        all
    }

    fn apply(&self, kind: Kind, files: &Files<'_>, neighbour: &Files<'_>) {
        let mut content = files.content(kind);
        let header = Header::len(&content).unwrap();
        match *self {
            Self::FlipInHeader(at) => content[at] ^= 0x10,
            Self::FlipBehind(share) => {
                let last = content.len() - header - 1;
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_precision_loss,
                    clippy::cast_sign_loss
                )]
                let at = header + (share * last as f64) as usize;
                content[at] ^= 1;
            }
            Self::Cut(bytes) => content.truncate(content.len() - bytes),
            Self::CutAll => content.clear(),
            Self::Append(bytes) => content.extend_from_slice(bytes),
            Self::SwapSegments => {
                let length = u32::from_be_bytes(content[header..header + 4].try_into().unwrap());
                let segment = 4 + 8 + usize::try_from(length).unwrap() + 16;
                let (first, second) = content[header..header + 2 * segment].split_at_mut(segment);
                assert_ne!(first, second);
                first.swap_with_slice(second);
            }
            Self::Neighbours => content = neighbour.content(kind),
            Self::OtherKind(other) => content = files.content(other),
            Self::Remove => return fs::remove_file(files.path(kind)).unwrap(),
        }
        files.write(kind, &content);
    }
}

impl std::fmt::Debug for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::FlipInHeader(at) => write!(f, "a bit of byte {at}"),
            Self::FlipBehind(share) => write!(f, "a bit at {share} of what follows the header"),
            Self::Cut(bytes) => write!(f, "{bytes} bytes cut off"),
            Self::CutAll => write!(f, "empty"),
            Self::Append(bytes) => write!(f, "{} bytes appended", bytes.len()),
            Self::SwapSegments => write!(f, "two segments swapped"),
            Self::Neighbours => write!(f, "that of another partition"),
            Self::OtherKind(kind) => write!(f, "that with the {kind:?}"),
            Self::Remove => write!(f, "gone"),
        }
    }
}

/// Pushes blocks of these maps to partitions 0 and 1, and finalizes.
async fn merged(to: &Reached, merge: Merge, maps: &[i32]) {
    for (map, reduce) in maps.iter().flat_map(|map| [(*map, 0), (*map, 1)]) {
        let block = block(merge, map, reduce, BLOCK);
        let code = to.client.push_block(&to.server, merge, block).await.unwrap();
        assert_eq!(code, ReturnCode::Success);
    }
    let statuses = to.client.finalize_shuffle_merge(&to.server, merge).await.unwrap();
    assert_eq!(statuses.len(), 2);
}

/// Partition 0 is not served whole, and the log names the file.
async fn assert_refused(from: &Reached, files: &Files<'_>, kind: Kind, merge: Merge, what: &str) {
    let texts = match read(from, partition(merge, 0)).await {
        Read::Refused(texts) => texts,
        Read::Whole { maps, .. } => panic!("{what}: it was served, with maps {maps:?}"),
    };
    let name = files.name(kind);
    // One that is gone looks like one that never was: whoever asks is told.
    if !files.path(kind).exists() {
        return assert!(texts.iter().all(|text| text.contains(&name)), "{what}: {texts:?}");
    }
    let deadline = Instant::now() + Duration::from_secs(10);
    while !fs::read_to_string(files.place.log()).unwrap().contains(&name) {
        assert!(Instant::now() < deadline, "{what}: the log does not name {name}, {texts:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn assert_whole(from: &Reached, merge: Merge, reduce: i32, maps: &[u32]) {
    match read(from, partition(merge, reduce)).await {
        Read::Whole { maps: found, .. } => assert_eq!(found, maps.iter().copied().collect()),
        Read::Refused(texts) => panic!("{merge:?}: {texts:?}"),
    }
}

fn start(place: &Place, conf: &[&str], runtime: &Runtime, apps: &[&str]) -> Served {
    let server = place.serve(conf);
    place.hand_over();
    for app in apps {
        runtime.block_on(place.register(server.reach_as(app), "1")).unwrap();
    }
    server
}

/// When files are changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum When {
    /// Before anybody has read them.
    Unread,
    /// The server has them open, and knows their index.
    Known,
    /// While no server runs.
    Stopped,
}

impl When {
    /// Whether a change must be noticed. What the server holds already goes on being the truth, and right.
    fn shows(self, kind: Kind, change: &Change) -> bool {
        self != Self::Known
            || (kind == Kind::Data && matches!(change, Change::FlipBehind(_) | Change::CutAll))
    }
}

#[test]
fn a_changed_file_is_never_served_and_named_in_the_log() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let changes = Change::all();
    let mut server = start(&place, &[], &runtime, &[APP]);
    for (when, first) in [(When::Unread, 0), (When::Known, 1000), (When::Stopped, 2000)] {
        let cases: Vec<_> = (first..).map(merge).zip(&changes).collect();
        let reached = server.reach();
        runtime.block_on(async {
            for (merge, _) in &cases {
                merged(&reached, *merge, &[0, 3]).await;
                if when == When::Known {
                    assert_whole(&reached, *merge, 0, &[0, 3]).await;
                }
            }
        });
        for (merge, (kind, change)) in &cases {
            let files = |reduce| Files::of(&place, APP, *merge, reduce);
            change.apply(*kind, &files(0), &files(1));
        }
        if when == When::Stopped {
            server.stop();
            server = place.serve(&[]);
        }
        let reached = server.reach();
        runtime.block_on(async {
            for (merge, (kind, change)) in &cases {
                let what = format!("{when:?}: {kind:?}, {change:?}");
                match when.shows(*kind, change) {
                    true => {
                        let files = Files::of(&place, APP, *merge, 0);
                        assert_refused(&reached, &files, *kind, *merge, &what).await;
                    }
                    // Whatever is served of it is right.
                    false => drop(read(&reached, partition(*merge, 0)).await),
                }
                assert_whole(&reached, *merge, 1, &[0, 3]).await;
            }
        });
    }
}

#[test]
fn files_of_another_partition_or_application_are_not_served() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let server = start(&place, &[], &runtime, &[APP, OTHER_APP]);
    let [ours, theirs] = [APP, OTHER_APP].map(|app| server.reach_as(app));
    runtime.block_on(async {
        let to_another = merge(1);
        merged(&ours, to_another, &[0, 3]).await;
        let [moved, from] = [0, 1].map(|reduce| Files::of(&place, APP, to_another, reduce));
        moved.put(&from.all());
        assert_refused(&ours, &moved, Kind::Index, to_another, "another reduce id").await;

        let to_foreign = merge(2);
        merged(&ours, to_foreign, &[0, 3]).await;
        merged(&theirs, to_foreign, &[0, 3]).await;
        let (moved, from) =
            (Files::of(&place, OTHER_APP, to_foreign, 0), Files::of(&place, APP, to_foreign, 0));
        moved.put(&from.all());
        assert_refused(&theirs, &moved, Kind::Index, to_foreign, "another application").await;
        assert_whole(&theirs, to_foreign, 1, &[0, 3]).await;
        assert_whole(&ours, to_foreign, 0, &[0, 3]).await;
    });
}

#[test]
fn files_of_another_node_are_not_served_where_nodes_are_named() {
    let runtime = Runtime::new().unwrap();
    for named in [true, false] {
        let first = Place::new();
        let second = Place::under_key_of(&first);
        let node = |id| if named { vec![id] } else { Vec::new() };
        let [a, b] = ["spark.sealed.node.id=a", "spark.sealed.node.id=b"].map(node);
        let on_first = start(&first, &a, &runtime, &[APP]);
        let on_second = start(&second, &b, &runtime, &[APP]);
        let (from, to) = (on_first.reach(), on_second.reach());
        runtime.block_on(async {
            merged(&from, merge(0), &[0, 3]).await;
            merged(&to, merge(0), &[1, 2]).await;
            let moved = Files::of(&second, APP, merge(0), 0);
            moved.put(&Files::of(&first, APP, merge(0), 0).all());
            match named {
                true => assert_refused(&to, &moved, Kind::Index, merge(0), "another node").await,
                // What moves with its volume opens.
                false => assert_whole(&to, merge(0), 0, &[0, 3]).await,
            }
            assert_whole(&to, merge(0), 1, &[1, 2]).await;
        });
    }
}

/// An older opening of the same partition, which a server that remembers nothing has sealed before: all of it is the
/// older truth, and a part of it is nothing.
#[test]
fn older_files_are_the_older_truth_or_nothing() {
    let (place, runtime) = (Place::new(), Runtime::new().unwrap());
    let forgetting = ["spark.shuffle.service.db.enabled=false"];
    let sets: Vec<Vec<Kind>> = (1_u8..8)
        .map(|set| {
            KINDS.into_iter().enumerate().filter(move |(at, _)| set >> at & 1 == 1).map(|(_, kind)| kind)
        })
        .map(Iterator::collect)
        .collect();
    let merges: Vec<Merge> = (0..).take(sets.len()).map(merge).collect();
    let older = {
        let server = start(&place, &forgetting, &runtime, &[APP]);
        let reached = server.reach();
        let older: Vec<_> = merges
            .iter()
            .map(|merge| {
                runtime.block_on(merged(&reached, *merge, &[0, 3]));
                Files::of(&place, APP, *merge, 0).all()
            })
            .collect();
        server.kill();
        // What is finalized is not made anew.
        for sub_dir in fs::read_dir(place.merge_dir(APP)).unwrap() {
            for file in fs::read_dir(sub_dir.unwrap().path()).unwrap() {
                fs::remove_file(file.unwrap().path()).unwrap();
            }
        }
        older
    };
    let server = start(&place, &forgetting, &runtime, &[APP]);
    let reached = server.reach();
    runtime.block_on(async {
        for ((merge, set), mut older) in merges.iter().zip(&sets).zip(older) {
            merged(&reached, *merge, &[1, 2]).await;
            older.retain(|(kind, _)| set.contains(kind));
            let files = Files::of(&place, APP, *merge, 0);
            files.put(&older);
            match set.len() {
                3 => assert_whole(&reached, *merge, 0, &[0, 3]).await,
                _ => {
                    // The index is believed: the data are named unless they are of the same opening.
                    let is_older = |kind| set.contains(&kind);
                    let agree = is_older(Kind::Data) == is_older(Kind::Index);
                    let named = if agree { Kind::Meta } else { Kind::Data };
                    let what = format!("{set:?} of an older opening");
                    assert_refused(&reached, &files, named, *merge, &what).await;
                }
            }
        }
    });
}
