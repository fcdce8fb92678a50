//! A host with a server that merges, and what executors on it do.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use sealed_shuffle::internals::disk::layout::Placement;
use sealed_shuffle_faulty_disk::FaultyDisk;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, ExecutorShuffleInfo, GetLocalDirsForExecutors, RegisterExecutor, Strings,
};
use tempfile::TempDir;

use crate::running::{GCM, Peer};
use crate::serving::{Serving, serve};
use crate::support::{APP, block, finalize, push};

pub(crate) const CANARY: &[u8] = b"a canary that nobody may find on the disk";
const SECRET: &str = "a secret of the view's tests";
const EXECUTOR: &str = "1";

/// What the machine lacks for a view, if anything.
pub(crate) fn is_skipped() -> bool {
    let temp = tempfile::tempdir().unwrap();
    let [backing, at] = ["backing", "at"].map(|name| temp.path().join(name));
    [&backing, &at].into_iter().for_each(|dir| fs::create_dir(dir).unwrap());
    let lacks = match FaultyDisk::mount(&backing, &at) {
        Ok(_) if !rustix::process::geteuid().is_root() => {
            Some("tests become other users, which takes root".into())
        }
        Ok(_) => None,
        Err(reason) => Some(reason),
    };
    let Some(reason) = lacks else { return false };
    println!("SKIPPED: {reason}");
    let required = std::env::var("SEALED_SHUFFLE_FAULTY_DISKS").is_ok_and(|value| value == "required");
    assert!(!required, "{reason}");
    true
}

pub(crate) struct Host {
    pub(crate) dir: TempDir,
    at_rest: &'static str,
    servers: u32,
}

impl Host {
    /// A host whose server merges `sealed`, with a view, or `plain`.
    pub(crate) fn new(at_rest: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for sub in 0..64 {
            fs::create_dir_all(dir.path().join(format!("root/app/merge_manager_1/{sub:02x}"))).unwrap();
        }
        // What is gone when a server starts again is over.
        fs::create_dir(dir.path().join("root/app/blockmgr-1")).unwrap();
        Self { dir, at_rest, servers: 0 }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn view(&self) -> PathBuf {
        self.dir.path().join("run/view")
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = serve(self.dir.path());
        command.args(arguments).env("_SPARK_AUTH_SECRET", SECRET);
        let root = self.root().display().to_string();
        for (key, value) in [
            ("spark.local.dir", root.as_str()),
            ("spark.shuffle.push.server.mergedShuffleFileManagerImpl", "RemoteBlockPushResolver"),
            ("spark.shuffle.push.server.minChunkSizeInMergedShuffleFile", "100k"),
            ("spark.sealed.merge.at-rest", self.at_rest),
        ] {
            command.arg("--conf").arg(format!("{key}={value}"));
        }
        if self.at_rest == "sealed" {
            command.arg("--conf").arg(format!("spark.sealed.merge.view.dir={}", self.view().display()));
        }
        command
    }

    pub(crate) fn start(&mut self, arguments: &[&str]) -> Serving {
        self.servers += 1;
        let log = self.dir.path().join(format!("log-{}", self.servers));
        Serving::start(self.command(arguments), &log)
    }

    /// The merge directories are this user's, as they are where the executors are his.
    pub(crate) fn give_to(&self, user: u32) {
        chown(self.root().join("app/merge_manager_1"), Some(user), None).unwrap();
    }

    pub(crate) fn peer(server: &Serving) -> Peer {
        let mut peer = Peer::connect(server.address);
        peer.handshake(APP, SECRET, GCM).unwrap();
        peer
    }

    pub(crate) fn register(&self, peer: &mut Peer) {
        let local = self.root().join("app/blockmgr-1").display().to_string();
        let message = RegisterExecutor {
            app: AppId::new(APP),
            executor: ExecutorId::new(EXECUTOR),
            info: ExecutorShuffleInfo {
                local_dirs: Strings::try_from_iter([local.as_str()]).unwrap(),
                sub_dirs_per_local_dir: 64,
                shuffle_manager: r#"x:{"mergeDir":"merge_manager_1","attemptId":"1"}"#.to_owned(),
            },
        };
        peer.rpc(&message.into()).unwrap();
    }

    /// Registers, pushes blocks of these lengths to one partition of `shuffle`, and finalizes it. What was pushed.
    pub(crate) fn merge(&self, server: &Serving, shuffle: i32, lens: &[usize]) -> Vec<u8> {
        let mut peer = Self::peer(server);
        self.register(&mut peer);
        let mut all = Vec::new();
        for (map, len) in lens.iter().enumerate() {
            let bytes: Vec<u8> = CANARY.iter().copied().cycle().skip(map).take(*len).collect();
            assert_eq!(push(&mut peer, block(shuffle, 0, i32::try_from(map).unwrap(), 3), &bytes), "ok");
            all.extend(bytes);
        }
        assert_eq!(finalize(&mut peer, shuffle, 0).unwrap().sizes, [i64::try_from(all.len()).unwrap()]);
        all
    }

    /// The directories that an executor is told.
    pub(crate) fn told(server: &Serving) -> Result<Vec<String>, String> {
        let executors = Strings::try_from_iter(["shuffle-push-merger"]).unwrap();
        let message = GetLocalDirsForExecutors { app: AppId::new(APP), executors };
        match BlockTransferMessage::decode(Self::peer(server).rpc(&message.into())?).unwrap() {
            BlockTransferMessage::LocalDirsForExecutors(answer) => {
                Ok(answer.dirs.iter().map(str::to_owned).collect())
            }
            other => panic!("{other:?}"),
        }
    }

    /// Holds nothing in clear, and nothing of a block: whether the local directories have the canary.
    pub(crate) fn has_canary(&self) -> bool {
        fn walk(dir: &Path) -> bool {
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
                true => walk(&path),
                false => fs::read(&path).unwrap().windows(20).any(|window| window == &CANARY[..20]),
            })
        }
        walk(&self.root())
    }
}

/// Where Spark's executors look for a file of partition 3 (`ExecutorDiskUtils.getFilePath`).
pub(crate) fn path_in(dirs: &[String], shuffle: i32, kind: &str) -> PathBuf {
    let name = format!("shuffleMerged_{APP}_{shuffle}_0_3.{kind}");
    let placement = Placement::of(&name, dirs.len(), 64).unwrap();
    Path::new(&dirs[placement.dir]).join(placement.sub_dir()).join(name)
}

/// Reads a file as another user.
pub(crate) fn read_as(user: u32, path: &Path) -> Output {
    Command::new("cat").arg(path).uid(user).gid(user).current_dir("/").output().unwrap()
}

/// What is mounted below a directory.
pub(crate) fn mounts_below(dir: &Path) -> usize {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let below = format!(" {}/", dir.canonicalize().unwrap().display());
    table.lines().filter(|line| line.contains(&below)).count()
}

pub(crate) fn errno(read: io::Result<impl Sized>) -> Option<i32> {
    read.err().and_then(|error| error.raw_os_error())
}
