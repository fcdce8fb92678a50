//! A root in a temporary directory, and map outputs in it as Spark lays them out.

use std::fs;
use std::io::IoSliceMut;
use std::path::{Path, PathBuf};
use std::time::Instant;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId, MapId, ShuffleId};
use sealed_shuffle_transport::lane::OnLane;
use sealed_shuffle_transport::region::{Region, read_blocking};
use tempfile::TempDir;

use crate::disk::layout::{self, Placement};
use crate::disk::{
    BlockStore, Confinement, DiskLimits, Finding, LookupError, MapOutput, Proof, Removal, Roots,
};

pub(super) const SUB_DIRS: i32 = 64;
pub(super) const SHUFFLE: ShuffleId = ShuffleId(0);

/// Executor `1` of application `app-1` with one directory.
pub(super) struct Fixture {
    pub(super) root: PathBuf,
    pub(super) dir: PathBuf,
    pub(super) store: BlockStore,
    _temp: TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        Self::with(DiskLimits::default(), None)
    }

    pub(super) fn with(limits: DiskLimits, confinement: Option<Confinement>) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        Self::beneath(root, temp, limits, confinement)
    }

    /// The same beneath a root that is there, in `temp`.
    pub(super) fn beneath(
        root: PathBuf,
        temp: TempDir,
        limits: DiskLimits,
        confinement: Option<Confinement>,
    ) -> Self {
        let dir = root.join("spark-1/blockmgr-1");
        fs::create_dir_all(&dir).unwrap();
        let roots = Roots::open([&root]).unwrap();
        let roots = match confinement {
            Some(confinement) => roots.with_confinement(confinement),
            None => roots,
        };
        let store = BlockStore::new(roots, limits);
        let text = [text(&dir)];
        store.register(&on(), &app(), &executor(), &text, SUB_DIRS, "sort", Proof::Proven).unwrap();
        Self { root, dir, store, _temp: temp }
    }

    /// Both ways of confinement, where the kernel has both.
    pub(super) fn confined_both_ways() -> Vec<Self> {
        let detected = Self::new().store.roots().disks()[0].confinement().unwrap();
        if detected == Confinement::Walk {
            println!("this kernel has no openat2: only the fallback is tested");
        }
        let mut ways = vec![detected, Confinement::Walk];
        ways.dedup();
        ways.into_iter().map(|way| Self::with(DiskLimits::default(), Some(way))).collect()
    }

    /// The place of a file, its sub-directory made.
    pub(super) fn place(&self, name: &str) -> PathBuf {
        let sub = self.dir.join(Placement::of(name, 1, SUB_DIRS).unwrap().sub_dir());
        fs::create_dir_all(&sub).unwrap();
        sub.join(name)
    }

    pub(super) fn index_path(&self, map: i64) -> PathBuf {
        self.place(&layout::index_name(SHUFFLE, MapId(map)))
    }

    pub(super) fn data_path(&self, map: i64) -> PathBuf {
        self.place(&layout::data_name(SHUFFLE, MapId(map)))
    }

    /// Writes a pair of files as Spark does: new files renamed into place; no data file where there is no data.
    pub(super) fn write_map(&self, map: i64, partitions: &[&[u8]]) {
        let mut offsets = vec![0];
        offsets.extend(partitions.iter().scan(0, |end, partition| {
            *end += i64::try_from(partition.len()).unwrap();
            Some(*end)
        }));
        self.write_index(map, &offsets);
        let data = partitions.concat();
        match data.is_empty() {
            true => _ = fs::remove_file(self.data_path(map)),
            false => replace(&self.data_path(map), &data),
        }
    }

    pub(super) fn write_index(&self, map: i64, offsets: &[i64]) {
        let bytes: Vec<u8> = offsets.iter().flat_map(|offset| offset.to_be_bytes()).collect();
        replace(&self.index_path(map), &bytes);
    }

    /// The map output of the worked example: partitions `AAAA`, nothing, `CCCCC`, `D`.
    pub(super) fn write_example(&self) {
        self.write_map(3, &[b"AAAA", b"", b"CCCCC", b"D"]);
    }

    /// One sweep, and the end of what it found; each with the executors that went.
    pub(super) fn sweep(&self, now: Instant) -> Vec<(Finding, usize)> {
        let found = self.store.sweep(&on(), now).findings.into_iter();
        found.filter_map(|finding| Some((finding.clone(), self.store.forget_found(&finding)?))).collect()
    }

    /// Removes blocks of the executor, step by step.
    pub(super) fn remove(&self, names: &[&str]) -> Result<Removal, LookupError> {
        let mut removed = Removal::default();
        for step in self.store.removal_steps(&app(), &executor(), names.iter().copied())? {
            removed.add(step.run(&on(), &self.store)?);
        }
        Ok(removed)
    }

    pub(super) fn resolve(&self, map: i64) -> Result<MapOutput, LookupError> {
        self.store.resolve_map(&on(), &app(), &executor(), SHUFFLE, MapId(map))
    }
}

/// The thread of a test may wait.
pub(super) fn on() -> OnLane {
    OnLane::here()
}

pub(super) fn app() -> AppId {
    AppId::new("app-1")
}

pub(super) fn executor() -> ExecutorId {
    ExecutorId::new("1")
}

pub(super) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Writes beside the path and renames over it: another inode.
pub(super) fn replace(path: &Path, bytes: &[u8]) {
    let temp = path.with_extension("new");
    fs::write(&temp, bytes).unwrap();
    fs::rename(temp, path).unwrap();
}

/// All bytes of a region.
pub(super) fn content(region: &Region) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(region.len()).unwrap()];
    let mut at = 0;
    while at < bytes.len() {
        let mut rest = [IoSliceMut::new(&mut bytes[at..])];
        at += read_blocking(&on(), region, at as u64, &mut rest).unwrap();
    }
    bytes
}
