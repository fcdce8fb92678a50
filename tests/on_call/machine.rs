//! A server as a process of its own, and the person who asks it.

use std::any::Any;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sealed_shuffle::internals::disk::layout::{self, Placement};
use sealed_shuffle_protocol::ids::{MapId, ShuffleId};
use tempfile::TempDir;

use crate::running::PATIENCE;
use crate::serving::{Serving, sealed_shuffle, serve};

/// The secret of all that is right.
pub(crate) const SECRET: &str = "5ec2e75ec2e75ec2e75ec2e75ec2e7";

/// What an executor says that pushes: its application gets a key.
pub(crate) const MERGING: &str =
    r#"org.apache.spark.shuffle.sort.SortShuffleManager:{"mergeDir":"merge_manager","attemptId":"-1"}"#;

/// A server, what stands around it, and what is to live as long.
pub(crate) struct Machine {
    pub(crate) serving: Serving,
    place: Place,
    has_log: bool,
    kept: Vec<Box<dyn Any>>,
}

/// Directories and files of a server that may not have started yet.
pub(crate) struct Place {
    dir: TempDir,
    mounted: Vec<PathBuf>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap(), mounted: Vec::new() };
        fs::create_dir_all(place.executor()).unwrap();
        fs::create_dir(place.state()).unwrap();
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("root")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// An executor's directory.
    pub(crate) fn executor(&self) -> PathBuf {
        self.root().join("spark-1/blockmgr-1")
    }

    /// Mounts a file system of `mib` MiB in memory. An error says what the machine lacks.
    pub(crate) fn mount(&mut self, at: &Path, mib: u64) -> Result<(), String> {
        sealed_shuffle_faulty_disk::mount_memory(at, mib << 20)?;
        fs::set_permissions(at, fs::Permissions::from_mode(0o700)).unwrap();
        self.mounted.push(at.to_owned());
        Ok(())
    }

    /// Takes all room of a file system.
    pub(crate) fn fill(at: &Path) {
        let mut filler = fs::File::create(at.join("filler")).unwrap();
        for size in [1 << 20, 4096, 1] {
            while filler.write_all(&vec![7; size]).is_ok() {}
        }
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// Writes a map output of one partition with `len` bytes, of which the disk has none.
    pub(crate) fn write_map(&self, len: u64) {
        let sub_dir = |name: &str| {
            let dir = self.executor().join(Placement::of(name, 1, 64).unwrap().sub_dir());
            fs::create_dir_all(&dir).unwrap();
            dir.join(name)
        };
        let data = fs::File::create(sub_dir(&layout::data_name(ShuffleId(0), MapId(0)))).unwrap();
        data.set_len(len).unwrap();
        let index = [0, len].map(u64::to_be_bytes).concat();
        fs::write(sub_dir(&layout::index_name(ShuffleId(0), MapId(0))), index).unwrap();
    }

    /// The program with the configuration of this place.
    fn configured(&self, arguments: &[&str]) -> Command {
        let mut command = sealed_shuffle();
        command
            .args(arguments)
            .env("STATE_DIRECTORY", self.state())
            .env("PATH", std::env::var_os("PATH").unwrap());
        command.arg("--properties-file").arg(self.path("properties"));
        command
    }

    fn serve(&self) -> Command {
        let mut serve = serve(self.dir.path());
        serve.env("PATH", std::env::var_os("PATH").unwrap());
        serve.arg("--properties-file").arg(self.path("properties"));
        serve
    }

    /// Starts a server with more lines of properties.
    pub(crate) fn start(self, properties: &str) -> Machine {
        self.start_as(properties, |serve| serve, None)
    }

    /// The same by another command than `serve`, and where its log goes, if it is not to be read.
    pub(crate) fn start_as(
        self,
        properties: &str,
        command: impl FnOnce(Command) -> Command,
        log: Option<&Path>,
    ) -> Machine {
        let root = self.root();
        let text =
            format!("spark.local.dir {}\nspark.authenticate.secret {SECRET}\n{properties}\n", root.display());
        self.write("properties", &text);
        let serve = self.serve();
        let (has_log, log) = (log.is_none(), log.map_or_else(|| self.path("log"), Path::to_owned));
        let serving = Serving::start(command(serve), &log);
        Machine { serving, place: self, has_log, kept: Vec::new() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.mounted.iter().for_each(|at| sealed_shuffle_faulty_disk::unmount(at));
    }
}

impl Machine {
    pub(crate) fn start(properties: &str) -> Self {
        Place::new().start(properties)
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Holds `thing` for as long as the server is looked at.
    pub(crate) fn keep(&mut self, thing: impl Any) {
        self.kept.push(Box::new(thing));
    }

    pub(crate) fn log(&self) -> String {
        if self.has_log { self.serving.log() } else { String::new() }
    }

    /// The metrics page.
    pub(crate) fn page(&self) -> String {
        let mut socket = TcpStream::connect(&self.serving.admin).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        socket.read_to_string(&mut page).unwrap();
        page.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    /// What a command of the operator prints. Those that ask the server do so at its socket.
    pub(crate) fn tell(&self, command: &str) -> String {
        let arguments: Vec<_> = command.split(' ').collect();
        let mut run = self.place.configured(&arguments);
        let output = run.output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// The same server, anew, as it was configured.
    pub(crate) fn start_again(self) -> Self {
        let Self { serving, place, has_log, kept } = self;
        drop(serving);
        let serving = Serving::start(place.serve(), &place.path("log"));
        Self { serving, place, has_log, kept }
    }

    /// Registers an executor of `app` as a client of ours does; whether that was taken.
    pub(crate) fn register(&self, app: &str, shuffle_manager: &str) -> bool {
        self.register_at(app, &self.place.executor(), shuffle_manager)
    }

    pub(crate) fn register_at(&self, app: &str, dir: &Path, shuffle_manager: &str) -> bool {
        let mut client = sealed_shuffle();
        client.args([
            "register",
            "--app-id",
            app,
            "--executor-id",
            "1",
            "--shuffle-manager",
            shuffle_manager,
        ]);
        client.arg("--server").arg(self.serving.address.to_string());
        client.arg("--local-dir").arg(dir).env("_SPARK_AUTH_SECRET", SECRET);
        client.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }
}
