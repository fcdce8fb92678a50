//! The local directories: whether they are there, whose they are, and what they lie on.

use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::HumanBytes;
use rustix::fs::{FileType, StatVfsMountFlags, stat, statfs, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;
use sealed_shuffle_config::{Clears, ServerConfig};
use sealed_shuffle_transport::lane::{OnLane, within};

use super::finding::Finding;
use crate::disk::Volume;

const ABOUT: &str = "local directory";

/// A disk that takes longer is taken for dead.
const PATIENCE: Duration = Duration::from_secs(5);

/// Less than this part of a file system free is nearly full.
const NEARLY_FULL: u64 = 20;

/// What is known of one of them.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Facts {
    path: PathBuf,
    owner: u32,
    us: u32,
    kind: Kind,
    free: u64,
    size: u64,
    read_only: bool,
    volume: Volume,
    /// On the file system of `/`.
    with_system: bool,
}

/// The kind of a file system, as far as it matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Memory,
    Network(&'static str),
    Other(&'static str),
}

impl Kind {
    /// By the number that `statfs` gives (linux/magic.h, and the headers of each).
    fn of(magic: u64) -> Self {
        match magic {
            0x0102_1994 | 0x8584_58f6 => Self::Memory,
            0x6969 => Self::Network("NFS"),
            0xff53_4d42 | 0xfe53_4d42 => Self::Network("SMB"),
            0x00c3_6400 => Self::Network("Ceph"),
            0x0bd0_0bd0 => Self::Network("Lustre"),
            0x0102_1997 => Self::Network("9p"),
            0xef53 => Self::Other("ext4"),
            0x5846_5342 => Self::Other("XFS"),
            0x9123_683e => Self::Other("Btrfs"),
            0xf2f5_2010 => Self::Other("F2FS"),
            0x2fc1_2fc1 => Self::Other("ZFS"),
            0x794c_7630 => Self::Other("overlay"),
            0x6573_5546 => Self::Other("FUSE"),
            _ => Self::Other("another file system"),
        }
    }
}

/// Looks at all of them at once; a dead disk holds nobody up.
pub(super) fn look(config: &ServerConfig) -> Vec<Finding> {
    let begun: Vec<_> = config
        .roots
        .paths
        .iter()
        .map(|path| {
            (
                path,
                within(PATIENCE, {
                    let path = path.clone();
                    move |on| facts(on, &path)
                }),
            )
        })
        .collect();
    let looked: Vec<_> = begun.into_iter().map(|(path, waiting)| (path, waiting.result())).collect();
    let usable = looked.iter().any(|(_, looked)| matches!(looked, Some(Ok(_))));
    let clears = config.clean_up.applications != Clears::Off;
    let writes = clears || config.merging.is_some();
    looked
        .into_iter()
        .flat_map(|(path, looked)| match looked {
            Some(Ok(facts)) => judge(&facts, writes),
            Some(Err(errno)) => vec![absent(path, &errno.to_string(), errno == Errno::NOENT, usable)],
            None => vec![absent(path, "its disk does not answer", true, usable)],
        })
        .collect()
}

fn facts(on: &OnLane, path: &Path) -> Result<Facts, Errno> {
    let found = stat(path)?;
    if !FileType::from_raw_mode(found.st_mode).is_dir() {
        return Err(Errno::NOTDIR);
    }
    let (system, space) = (statfs(path)?, statvfs(path)?);
    Ok(Facts {
        path: path.to_owned(),
        owner: found.st_uid,
        us: geteuid().as_raw(),
        // The kernel's numbers have 32 bits, whatever the width of the field.
        kind: Kind::of(u64::from(system.f_type as u32)),
        free: space.f_bavail.saturating_mul(space.f_frsize),
        size: space.f_blocks.saturating_mul(space.f_frsize),
        read_only: space.f_flag.contains(StatVfsMountFlags::RDONLY),
        volume: Volume::of(on, path),
        with_system: stat("/").is_ok_and(|root| root.st_dev == found.st_dev),
    })
}

/// One that cannot be used now. The server starts without it, unless it is the last one.
fn absent(path: &Path, why: &str, may_come: bool, others: bool) -> Finding {
    let path = path.display();
    match (others, may_come) {
        (true, _) => Finding::warning(ABOUT, format!("{path} cannot be used: {why}"))
            .hint("the server starts without it, and takes it up when it is there"),
        (false, true) => Finding::fault(ABOUT, format!("{path} cannot be used: {why}"))
            .hint("create or mount it, or correct spark.local.dir")
            .that_may_pass(),
        (false, false) => Finding::fault(ABOUT, format!("{path} cannot be used: {why}"))
            .hint("correct spark.local.dir, or the permissions"),
    }
}

fn judge(facts: &Facts, writes: bool) -> Vec<Finding> {
    let path = facts.path.display();
    let mut found = Vec::new();
    let mut warn = |text: String, hint: &str| found.push(Finding::warning(ABOUT, text).hint(hint));
    let (kind, encrypted) = match facts.kind {
        Kind::Memory => ("memory", ""),
        Kind::Network(name) => (name, ""),
        Kind::Other(name) => (
            name,
            match facts.volume {
                Volume::DmCrypt => ", encrypted below (dm-crypt)",
                Volume::Clear => ", not encrypted below",
                Volume::Unknown => "",
            },
        ),
    };
    match facts.kind {
        Kind::Memory => warn(
            format!(
                "{path} lies in memory: shuffle takes the machine's memory, and a restart of the machine loses it"
            ),
            "name a directory on a disk in spark.local.dir",
        ),
        Kind::Network(name) => warn(
            format!(
                "{path} lies on a network file system ({name}): each read and write waits for another machine"
            ),
            "name a directory on a local disk in spark.local.dir",
        ),
        Kind::Other(_) if facts.with_system => warn(
            format!("{path} lies on the disk of the system: shuffle that fills it stops more than shuffle"),
            "give shuffle a disk, or at least a file system, of its own",
        ),
        Kind::Other(_) => {}
    }
    if is_temporary(&facts.path) {
        warn(
            format!("{path} lies where temporary files are cleaned away while applications run"),
            "name a directory of its own in spark.local.dir",
        );
    }
    if facts.size > 0 && facts.free < facts.size / NEARLY_FULL {
        warn(
            format!("{path} is nearly full: {} free of {}", size(facts.free), size(facts.size)),
            "look for what ended applications left: sealed-shuffle orphans",
        );
    }
    if facts.read_only {
        let hint = match writes {
            true => "remount it: merging and clean-up write",
            false => "remount it: executors write",
        };
        warn(format!("{path} is mounted read-only"), hint);
    }
    if facts.owner != facts.us && facts.us != 0 && facts.owner != 0 {
        warn(
            format!(
                "{path} belongs to uid {}, and this is uid {}: executors' directories are open to their own user alone",
                facts.owner, facts.us
            ),
            "run this check and the server as the user that runs the executors",
        );
    }
    if found.is_empty() {
        let (free, all) = (size(facts.free), size(facts.size));
        found.push(Finding::good(ABOUT, format!("{path}: {kind}{encrypted}, {free} free of {all}")));
    }
    found
}

fn is_temporary(path: &Path) -> bool {
    ["/tmp", "/var/tmp"].iter().any(|temporary| path.starts_with(temporary))
}

fn size(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::super::finding::Severity;
    use super::*;

    fn disk() -> Facts {
        Facts {
            path: "/data/1/spark".into(),
            owner: 1000,
            us: 1000,
            kind: Kind::Other("XFS"),
            free: 900 << 30,
            size: 1000 << 30,
            read_only: false,
            volume: Volume::Clear,
            with_system: false,
        }
    }

    fn warnings(facts: &Facts) -> usize {
        judge(facts, true).iter().filter(|finding| finding.severity == Severity::Warning).count()
    }

    #[test]
    fn local_disk_of_its_own_is_good() {
        assert_eq!(warnings(&disk()), 0);
        assert_eq!(judge(&disk(), true).len(), 1);
    }

    #[test]
    fn each_thing_that_is_not_as_it_should_be_is_said() {
        let odd = [
            Facts { kind: Kind::Memory, ..disk() },
            Facts { kind: Kind::of(0x6969), ..disk() },
            Facts { with_system: true, ..disk() },
            Facts { path: "/tmp/blocks".into(), ..disk() },
            Facts { free: 1 << 30, ..disk() },
            Facts { read_only: true, ..disk() },
            Facts { owner: 1001, ..disk() },
        ];
        for facts in odd {
            assert_eq!(warnings(&facts), 1, "{facts:?}");
        }
        assert_eq!(warnings(&Facts { us: 0, ..disk() }), 0, "root may enter");
    }

    #[test]
    fn one_of_several_that_is_away_is_no_fault_and_the_last_one_is() {
        let there = tempfile::tempdir().unwrap();
        let away = there.path().join("away");
        let severities = |paths: Vec<PathBuf>| -> Vec<Severity> {
            look(&ServerConfig::new(paths, there.path())).iter().map(|finding| finding.severity).collect()
        };
        assert_eq!(severities(vec![away.clone()]), [Severity::Fault]);
        assert!(!severities(vec![away, there.path().to_owned()]).contains(&Severity::Fault));
    }
}
