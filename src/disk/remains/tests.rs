use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sealed_shuffle_transport::lane::OnLane;
use tempfile::TempDir;

use super::*;
use crate::confined::Confinement;
use crate::disk::{LocalDir, OpenError, Roots};

const UUID: &str = "7b3a0c56-3f1c-4a42-9d6e-0123456789ab";
const OTHER: &str = "11111111-2222-3333-4444-555555555555";

/// A root with directories and files.
struct Tree {
    roots: Roots,
    root: PathBuf,
    _temp: TempDir,
}

/// What Spark makes in a block directory.
const BLOCKS: [&str; 6] = [
    "00/shuffle_0_7_0.data",
    "0a/shuffle_0_7_0.index",
    "0a/shuffle_0_7_0.checksum.ADLER32",
    "3f/broadcast_0_piece0",
    "3f/rdd_1_2",
    "11/temp_local_7b3a0c56-3f1c-4a42-9d6e-0123456789ab",
];

impl Tree {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap().join("root");
        fs::create_dir(&root).unwrap();
        Self { roots: Roots::open([&root]).unwrap(), root, _temp: temp }
    }

    /// A block directory with what Spark makes in one.
    fn with_blocks(name: &str) -> Self {
        let tree = Self::new();
        BLOCKS.iter().for_each(|file| tree.write(&format!("{name}/{file}")));
        tree
    }

    fn write(&self, file: &str) {
        let path = self.root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "some bytes").unwrap();
    }

    fn dir(&self, below: &str) -> LocalDir {
        self.roots.accept(&OnLane::here(), self.root.join(below).to_str().unwrap()).unwrap()
    }

    fn walk(&self, below: &str, purpose: Purpose) -> Result<Tally, OpenError> {
        self.walk_by(below, purpose, 1000)
    }

    fn walk_by(&self, below: &str, purpose: Purpose, names: usize) -> Result<Tally, OpenError> {
        let mut walk = Walk::new(self.dir(below), purpose).expect("it has the name of a block directory");
        while walk.step(&OnLane::here(), &self.roots, names)? == Step::More {}
        Ok(walk.tally().clone())
    }

    fn is_there(&self, path: &str) -> bool {
        self.root.join(path).symlink_metadata().is_ok()
    }

    /// Everything beneath the root.
    fn all(&self) -> Vec<String> {
        fn add(dir: &Path, root: &Path, all: &mut Vec<String>) {
            for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
                all.push(entry.path().strip_prefix(root).unwrap().to_str().unwrap().to_owned());
                if entry.file_type().unwrap().is_dir() {
                    add(&entry.path(), root, all);
                }
            }
        }
        let mut all = Vec::new();
        add(&self.root, &self.root, &mut all);
        all.sort();
        all
    }
}

fn block_dir() -> String {
    format!("blockmgr-{UUID}")
}

const REMOVE: Purpose = Purpose::Remove(Selection::All);
const COUNT: Purpose = Purpose::Count(Selection::All);

#[test]
fn a_directory_with_what_spark_makes_goes_whole_and_nothing_beside_it() {
    let tree = Tree::with_blocks(&format!("spark-{OTHER}/{}", block_dir()));
    tree.write(&format!("spark-{OTHER}/blockmgr-{OTHER}/00/rdd_1_2"));
    let tally = tree.walk(&format!("spark-{OTHER}/{}", block_dir()), REMOVE).unwrap();
    // Four sub-directories and the directory itself.
    assert_eq!((tally.files, tally.kept, tally.directories), (6, 0, 5), "{tally:?}");
    assert!(tally.bytes >= 6 * 512, "{tally:?}");
    let beside = format!("spark-{OTHER}/blockmgr-{OTHER}");
    let left =
        [format!("spark-{OTHER}"), beside.clone(), format!("{beside}/00"), format!("{beside}/00/rdd_1_2")];
    assert_eq!(tree.all(), left);
    // Another time there is nothing to do.
    assert_eq!(tree.walk(&format!("spark-{OTHER}/{}", block_dir()), REMOVE).unwrap(), Tally::default());
}

#[test]
fn what_spark_does_not_make_stays_and_is_counted() {
    let tree = Tree::with_blocks(&block_dir());
    let others = ["00/notes.txt", "python/7/spill", "0A/rdd_1_2", "rdd_9_9", "22/sub/rdd_3_3"];
    others.iter().for_each(|file| tree.write(&format!("{}/{file}", block_dir())));
    tree.write("elsewhere/rdd_5_5");
    symlink(tree.root.join("elsewhere"), tree.root.join(block_dir()).join("12")).unwrap();
    symlink(tree.root.join("elsewhere/rdd_5_5"), tree.root.join(block_dir()).join("00/rdd_4_4")).unwrap();
    let tally = tree.walk(&block_dir(), REMOVE).unwrap();
    // notes.txt, the link rdd_4_4, the directory sub; python, 0A, rdd_9_9, the link 12.
    assert_eq!((tally.files, tally.kept), (6, 7), "{tally:?}");
    assert_eq!(tally.examples.len(), 3);
    for kept in others.map(|file| format!("{}/{file}", block_dir())) {
        assert!(tree.is_there(&kept), "{kept}");
    }
    assert!(tree.is_there("elsewhere/rdd_5_5") && tree.is_there(&format!("{}/12", block_dir())));
    // What is empty is gone all the same.
    for gone in ["0a", "3f", "11"] {
        assert!(!tree.is_there(&format!("{}/{gone}", block_dir())), "{gone}");
    }
}

#[test]
fn only_directories_with_sparks_names_are_walked() {
    let tree = Tree::with_blocks("mine");
    assert!(Walk::new(tree.dir("mine"), REMOVE).is_none());
    assert!(Walk::new(tree.dir(""), REMOVE).is_none(), "a root is nobody's");
    assert!(Walk::new(tree.dir("merge_manager_1"), REMOVE).is_some());
}

#[test]
fn a_count_removes_nothing_and_comes_to_the_same() {
    let tree = Tree::with_blocks(&block_dir());
    let before = tree.all();
    let counted = tree.walk(&block_dir(), COUNT).unwrap();
    assert_eq!(tree.all(), before);
    let removed = tree.walk(&block_dir(), REMOVE).unwrap();
    assert_eq!((counted.files, counted.bytes), (removed.files, removed.bytes));
}

#[test]
fn any_length_of_the_steps_comes_to_the_same() {
    for names in [1, 2, 3, 7] {
        let tree = Tree::with_blocks(&block_dir());
        tree.write(&format!("{}/00/notes", block_dir()));
        let mut walk = Walk::new(tree.dir(&block_dir()), REMOVE).unwrap();
        let mut steps = 1;
        while walk.step(&OnLane::here(), &tree.roots, names).unwrap() == Step::More {
            steps += 1;
        }
        assert_eq!((walk.tally().files, walk.tally().kept), (6, 1), "{names}");
        assert!(steps > 10 / names, "{steps} steps of {names} names");
        let left = [block_dir(), format!("{}/00", block_dir()), format!("{}/00/notes", block_dir())];
        assert_eq!(tree.all(), left, "{names}");
    }
}

/// The names that `ExternalShuffleBlockResolver.executorRemoved` removes; `interop-tests` has Spark's own do it.
#[test]
fn after_an_executor_what_is_served_stays_with_the_directories() {
    for (serves_rdd, served) in [(false, &BLOCKS[..2]), (true, &[BLOCKS[0], BLOCKS[1], BLOCKS[4]])] {
        let tree = Tree::with_blocks(&block_dir());
        let tally = tree.walk(&block_dir(), Purpose::Remove(Selection::NotServed { serves_rdd })).unwrap();
        assert_eq!((tally.files, tally.directories), (6 - served.len() as u64, 0));
        for file in BLOCKS {
            let is_there = tree.is_there(&format!("{}/{file}", block_dir()));
            assert_eq!(is_there, served.contains(&file), "{file}");
        }
        assert!(
            tree.is_there(&format!("{}/11", block_dir())),
            "an application whose directories are gone is over"
        );
    }
}

#[test]
fn a_directory_that_became_a_link_is_refused_by_both_ways_of_confinement() {
    let detected = Tree::new().roots.disks()[0].confinement().unwrap();
    for confinement in [detected, Confinement::Walk] {
        let Tree { roots, root, _temp } = Tree::with_blocks("kept");
        let tree = Tree { roots: roots.with_confinement(confinement), root, _temp };
        let dir = tree.dir(&block_dir());
        symlink(tree.root.join("kept"), tree.root.join(block_dir())).unwrap();
        let mut walk = Walk::new(dir, REMOVE).unwrap();
        let refused = walk.step(&OnLane::here(), &tree.roots, 1000);
        assert!(matches!(refused, Err(OpenError::Escapes { .. })), "{confinement:?}: {refused:?}");
        assert!(tree.is_there("kept/00/shuffle_0_7_0.data"));
    }
}

#[test]
fn a_link_above_the_directory_is_refused() {
    let tree = Tree::with_blocks(&format!("there/{}", block_dir()));
    let dir = tree.dir(&format!("here/{}", block_dir()));
    symlink(tree.root.join("there"), tree.root.join("here")).unwrap();
    let mut walk = Walk::new(dir, REMOVE).unwrap();
    assert!(walk.step(&OnLane::here(), &tree.roots, 1000).is_err());
    assert!(tree.is_there(&format!("there/{}/00/shuffle_0_7_0.data", block_dir())));
}

#[test]
fn the_walk_ends_at_what_was_written_late() {
    let tree = Tree::with_blocks(&block_dir());
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    let age = |path: &Path, to: SystemTime| File::open(path).unwrap().set_modified(to).unwrap();
    let mut all: Vec<_> = tree.all().into_iter().map(|path| tree.root.join(path)).collect();
    all.reverse();
    all.iter().for_each(|path| age(path, hour_ago));
    let seconds = |ago: u64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        i64::try_from(now.as_secs() - ago).unwrap()
    };
    let met = |until| {
        let mut walk = Walk::new(tree.dir(&block_dir()), COUNT).unwrap().until_newer(until);
        while walk.step(&OnLane::here(), &tree.roots, 1).unwrap() == Step::More {}
        walk.met_newer()
    };
    assert!(!met(seconds(1800)) && met(seconds(7200)));
    // One file that is written still.
    age(&tree.root.join(block_dir()).join(BLOCKS[3]), SystemTime::now());
    assert!(met(seconds(1800)));
}

#[test]
fn a_root_that_is_there_twice_is_told() {
    let tree = Tree::new();
    fs::create_dir(tree.root.join("other")).unwrap();
    let (root, other) = (tree.root.clone(), tree.root.join("other"));
    let is_twice = |roots: &[&PathBuf]| Roots::open(roots).unwrap().is_there_twice(&OnLane::here(), 0);
    assert!(is_twice(&[&root, &other, &root]) && !is_twice(&[&root, &other]) && !is_twice(&[&root]));
}

#[test]
fn block_directories_are_found_where_spark_and_yarn_put_them_and_nowhere_else() {
    let tree = Tree::new();
    let block_dir = block_dir();
    let places = [
        block_dir.clone(),
        "merge_manager".to_owned(),
        format!("spark-{UUID}/{block_dir}"),
        format!("spark-{UUID}/executor-{UUID}/{block_dir}"),
        format!("spark-{UUID}/executor-{UUID}/merge_manager_1"),
        format!("executor-{UUID}/{block_dir}"),
        format!("usercache/alice/appcache/application_1_0001/{block_dir}"),
        "usercache/alice/appcache/application_1_0001/merge_manager_2".to_owned(),
    ];
    let others = [
        format!("mine/{block_dir}"),
        format!("usercache/alice/filecache/10/{block_dir}"),
        format!("usercache/{block_dir}"),
        format!("spark-{UUID}/userFiles-{UUID}/{block_dir}"),
        format!("spark-{UUID}/executor-{UUID}/spark-{OTHER}/{block_dir}"),
        "blockmgr-1".to_owned(),
    ];
    places.iter().chain(&others).for_each(|dir| fs::create_dir_all(tree.root.join(dir)).unwrap());
    fs::write(tree.root.join(format!("blockmgr-{OTHER}")), "a file").unwrap();
    symlink(tree.root.join("mine"), tree.root.join(format!("spark-{OTHER}"))).unwrap();
    let mut look = OrphanLook::default();
    while look.step(&OnLane::here(), &tree.roots.disks()[0]).unwrap() == Step::More {}
    let (mut found, passed_over) = look.found();
    found.sort();
    let mut expected = places.to_vec();
    expected.sort();
    assert_eq!((found, passed_over), (expected, 0));
}
