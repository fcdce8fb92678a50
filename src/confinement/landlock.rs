//! Writing and TCP, restricted by Landlock (landlock(7)).
//!
//! A rule holds for a directory and all beneath it, also where something is mounted there later; the directory itself is
//! the one that was there at start. So a root that is mounted again, or comes later, is covered by a rule for the directory
//! above its mount point, or for the nearest one above it that is there. The directory `/` gets no such rule: it would allow
//! everything. A root that comes back directly beneath it, or that was deleted and made anew, is served, and written to
//! after a restart.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use landlock::{
    ABI, AccessFs, AccessNet, CompatLevel, Compatible as _, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
};
use sealed_shuffle_config::{KeySource, ServerConfig};
use sealed_shuffle_transport::lane::{OnLane, within};

use super::Way;
use crate::private_file::{directory_of, make_directory};

/// Since here a file may be renamed into another directory. Linux 5.19.
const OLDEST: ABI = ABI::V2;

/// What may still be written, and the ports that may still be bound.
#[derive(Debug)]
pub(super) struct Landlock {
    /// Directories that the server makes where they are missing.
    own: BTreeSet<PathBuf>,
    /// Directories that are there.
    others: BTreeSet<PathBuf>,
    /// Directories beneath which roots may come.
    above: BTreeSet<PathBuf>,
    /// `None`: TCP is as before.
    ports: Option<BTreeSet<u16>>,
    /// Where TCP is restricted, ports of others that may be connected to.
    foreign: BTreeSet<u16>,
}

impl Landlock {
    /// What a server with this configuration needs; TCP only where `of_tcp`.
    pub(super) fn of(config: &ServerConfig, of_tcp: bool) -> Self {
        let state = &config.envelope.state_dir;
        let socket = config.admin.socket.as_ref();
        let mut own = BTreeSet::new();
        let takeover = config.takeover.as_ref();
        let by_default = socket.is_some_and(|socket| socket.by_default)
            || takeover.is_some_and(|socket| socket.by_default);
        if config.recovery || config.merging.is_some() || by_default {
            own.insert(state.clone());
        }
        if let KeySource::LocalFile { path } = &config.envelope.source
            && (config.recovery || config.merging.is_some() || config.audit.is_some())
        {
            own.insert(directory_of(path).to_owned());
        }
        own.extend(config.audit.iter().map(|audit| audit.dir.clone()));
        // It may still have to be made, too.
        own.extend(config.handover.iter().map(|handover| directory_of(&handover.socket).to_owned()));
        let takeover = takeover.map(|socket| socket.path.as_path());
        let sockets = socket.map(|socket| socket.path.as_path()).into_iter().chain(takeover);
        let view = config.merging.as_ref().and_then(|merging| merging.view_dir.clone());
        let others =
            sockets.map(|path| directory_of(path).to_owned()).chain(config.roots.paths.iter().cloned());
        let others = others.chain(view);
        let others = others.filter(|path| !own.contains(path)).collect();
        let ports =
            [Some(config.listen), config.admin.address].into_iter().flatten().map(|address| address.port());
        let waiting = config.roots.paths.iter().cloned().map(|root| within(PATIENCE, move |_| above(&root)));
        let waiting: Vec<_> = waiting.collect();
        let above = waiting.into_iter().filter_map(|waiting| waiting.result().flatten()).collect();
        let key_service = match &config.envelope.source {
            KeySource::HadoopKms { uri, .. } => Some(uri.port),
            KeySource::LocalFile { .. } | KeySource::AwsKms { .. } | KeySource::Command { .. } => None,
        };
        let collector = config.traces.as_ref().map(|traces| traces.endpoint.port);
        let named = key_service.into_iter().chain(collector);
        // A name server is asked over TCP where its answer is long.
        let foreign = named.flat_map(|port| [port, NAMES]).collect();
        Self { others, own, above, ports: of_tcp.then(|| ports.collect()), foreign }
    }

    fn ruleset(&self) -> Result<Ruleset, RulesetError> {
        let ruleset = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::from_write(OLDEST))?
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(AccessFs::Truncate)?;
        match &self.ports {
            Some(_) => ruleset.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp),
            None => Ok(ruleset),
        }
    }

    fn directories(&self) -> impl Iterator<Item = &PathBuf> {
        let above =
            self.above.iter().filter(|path| !self.own.contains(*path) && !self.others.contains(*path));
        self.own.iter().chain(&self.others).chain(above)
    }

    fn restrict(&self) -> Result<(), RulesetError> {
        let mut ruleset = self.ruleset()?.create()?;
        let directory = AccessFs::from_write(ABI::V3);
        let beneath = self.directories().map(|path| (path.as_path(), directory));
        // A program that is started without an input reads there, and one without an output writes there.
        let file = directory & AccessFs::from_file(ABI::V3);
        for (path, access) in beneath.chain([(Path::new("/dev/null"), file)]) {
            // What is not there cannot be written to, and whoever needs it says so. A dead disk does not answer.
            let path = path.to_owned();
            if let Some(Ok(open)) = within(PATIENCE, move |_| PathFd::new(path)).result() {
                ruleset = ruleset.add_rule(PathBeneath::new(open, access))?;
            }
        }
        for port in self.ports.iter().flatten() {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        for port in self.foreign.iter().filter(|_| self.ports.is_some()) {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
        ruleset.restrict_self().map(drop)
    }
}

impl Way for Landlock {
    fn missing(&self) -> Option<String> {
        match self.ruleset().and_then(Ruleset::create) {
            Ok(_) => None,
            Err(error) => Some(format!("this kernel has no Landlock, or one before Linux 5.19: {error}")),
        }
    }

    fn enforce(&self) -> Result<(), String> {
        for path in &self.own {
            // Whoever needs the directory makes it again, and says what is wrong.
            make_directory(&OnLane::here(), path).ok();
        }
        self.restrict().map_err(|error| format!("Landlock cannot be put in force: {error}"))
    }
}

/// As an operator reads it.
impl fmt::Display for Landlock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let paths: Vec<_> = self.directories().map(|path| path.display().to_string()).collect();
        write!(f, "files are written beneath {} only", paths.join(", "))?;
        match &self.ports {
            None => f.write_str("; TCP is not restricted"),
            Some(_) if !has_tcp() => f.write_str("; TCP is not restricted, which takes Linux 6.7"),
            Some(ports) => {
                match self.foreign.is_empty() {
                    true => f.write_str("; no TCP connections of its own")?,
                    false => write!(f, "; TCP connections of its own to ports {} only", list(&self.foreign))?,
                }
                write!(f, ", and TCP ports {} only", list(ports))
            }
        }
    }
}

/// The port of name servers.
const NAMES: u16 = 53;

fn list(ports: &BTreeSet<u16>) -> String {
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    ports.join(", ")
}

/// A look at a root takes no longer.
const PATIENCE: Duration = Duration::from_secs(5);

/// The directory beneath which a root may come back, unless that is `/`: the one above its mount point, and where it is not
/// there, the nearest one that is.
fn above(root: &Path) -> Option<PathBuf> {
    let device = |path: &Path| path.metadata().ok().map(|there| there.dev());
    let above = match device(root) {
        Some(_) => {
            // The outermost one.
            let places = root.ancestors().zip(root.ancestors().skip(1));
            let mounts = places.filter(|(place, above)| device(place) != device(above));
            mounts.last()?.1.to_owned()
        }
        None => root.ancestors().find(|place| device(place).is_some())?.to_owned(),
    };
    (above != Path::new("/")).then_some(above)
}

fn has_tcp() -> bool {
    let hard = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    hard.handle_access(AccessNet::BindTcp | AccessNet::ConnectTcp).is_ok()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn root_that_is_not_there_may_come_beneath_what_is_there() {
        let temp = tempfile::tempdir().unwrap();
        let base = temp.path().canonicalize().unwrap();
        assert_eq!(above(&base.join("mnt/disk/spark")), Some(base.clone()));
        assert_eq!(above(Path::new("/not-there-at-all/spark")), None, "that would be everything");
    }

    /// Runs `confined` in a thread of its own: Landlock holds for the thread that asks for it.
    fn in_thread(landlock: Landlock, confined: impl FnOnce() + Send) {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                landlock.enforce().unwrap();
                confined();
            });
            thread.join().unwrap();
        });
    }

    fn landlock(own: &Path, ports: Option<BTreeSet<u16>>) -> Option<Landlock> {
        let own = [own.to_owned()].into();
        let none = BTreeSet::new;
        let landlock = Landlock { own, others: none(), above: none(), ports, foreign: BTreeSet::new() };
        match landlock.missing() {
            None => Some(landlock),
            Some(reason) => {
                println!("skipped: {reason}");
                None
            }
        }
    }

    #[test]
    fn kernel_refuses_writing_outside_and_lets_reading_through() {
        let temp = tempfile::tempdir().unwrap();
        let (inside, outside) = (temp.path().join("made/inside"), temp.path().join("outside"));
        fs::write(&outside, "before").unwrap();
        let Some(landlock) = landlock(&inside, None) else { return };
        in_thread(landlock, || {
            fs::write(inside.join("file"), "written").unwrap();
            fs::create_dir(inside.join("beneath")).unwrap();
            fs::rename(inside.join("file"), inside.join("beneath/file")).unwrap();
            fs::remove_file(inside.join("beneath/file")).unwrap();
            fs::write("/dev/null", "x").unwrap();
            assert_eq!(fs::read_to_string(&outside).unwrap(), "before");
            for refused in [
                fs::write(&outside, "after"),
                fs::remove_file(&outside),
                fs::create_dir(temp.path().join("new")),
                fs::rename(&outside, inside.join("moved")),
            ] {
                let kind = refused.unwrap_err().kind();
                assert!(matches!(kind, ErrorKind::PermissionDenied | ErrorKind::CrossesDevices), "{kind:?}");
            }
        });
        assert_eq!(fs::read_to_string(&outside).unwrap(), "before");
        fs::write(&outside, "after").unwrap();
    }

    #[test]
    fn kernel_refuses_connections_and_ports_that_are_not_named() {
        if !has_tcp() {
            println!("skipped: this kernel's Landlock has no TCP");
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(TcpStream::connect(address).unwrap());
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let of_port = |port| landlock(temp.path(), Some([port].into()));
        let (Some(any), Some(one)) = (of_port(0), of_port(free.port())) else { return };
        let is_refused = |error: std::io::Error| assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        in_thread(any, || {
            is_refused(TcpStream::connect(address).unwrap_err());
            is_refused(TcpListener::bind(free).unwrap_err());
            TcpListener::bind("127.0.0.1:0").unwrap();
        });
        in_thread(one, || {
            TcpListener::bind(free).unwrap();
            is_refused(TcpListener::bind("127.0.0.1:0").unwrap_err());
        });
        drop(TcpStream::connect(address).unwrap());
    }

    #[test]
    fn only_named_ports_of_others_may_be_connected_to() {
        if !has_tcp() {
            println!("skipped: this kernel's Landlock has no TCP");
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        let [named, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [named, other] = [named, other].map(|listener| (listener.local_addr().unwrap(), listener));
        let Some(landlock) = landlock(temp.path(), Some([0].into())) else { return };
        in_thread(Landlock { foreign: [named.0.port()].into(), ..landlock }, || {
            drop(TcpStream::connect(named.0).unwrap());
            let refused = TcpStream::connect(other.0).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
        });
    }
}
