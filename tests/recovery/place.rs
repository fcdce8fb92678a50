//! What outlives a server: its root, its state, its log; and the servers that come and go over it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::{Pid, Signal, kill_process};
use sealed_shuffle::internals::disk::layout::Placement;
use sealed_shuffle_client::{Address, Client, ClientError, Security, Settings};
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{ExecutorShuffleInfo, Strings};
use tempfile::TempDir;

/// In no file of the state, sealed or not.
pub(crate) const APP: &str = "application_1700000000000_0042";
/// Shares the secret.
pub(crate) const OTHER_APP: &str = "application_1700000000000_0043";
/// In no file at all, and in no log.
pub(crate) const SECRET: &str = "hunter-of-the-grey-heron-0042";
/// The block that an executor has written by itself.
pub(crate) const PLAIN_BLOCK: &str = "rdd_7_0";
pub(crate) const PLAIN: &[u8] = b"as the executor wrote it";

const SUB_DIRS: i32 = 4;
const PATIENCE: Duration = Duration::from_secs(20);
const MERGER: &str = "spark.shuffle.push.server.mergedShuffleFileManagerImpl=RemoteBlockPushResolver";

/// Waits until `condition` holds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + 3 * PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Directories of a node.
pub(crate) struct Place {
    dir: PathBuf,
    _temp: Option<TempDir>,
    /// The one that servers use, which another place may share.
    key_file: PathBuf,
    /// Whether keys come from the file.
    has_key_file: bool,
    /// Whether executors name their directories relative to where the server runs, which is here.
    is_relative: bool,
    program: PathBuf,
}

impl Place {
    /// With an executor's directories and one block of it.
    pub(crate) fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let place = Self::at(temp.path());
        place.make();
        Self { _temp: Some(temp), ..place }
    }

    /// Makes what executors make.
    pub(crate) fn make(&self) {
        for app in [APP, OTHER_APP] {
            for sub_dir in 0..SUB_DIRS {
                fs::create_dir_all(self.merge_dir(app).join(format!("{sub_dir:02x}"))).unwrap();
            }
            let sub_dir = Placement::of(PLAIN_BLOCK, 1, SUB_DIRS).unwrap().sub_dir();
            let block = self.executor_dir(app).join(sub_dir);
            fs::create_dir_all(&block).unwrap();
            fs::write(block.join(PLAIN_BLOCK), PLAIN).unwrap();
        }
    }

    /// What lies in `dir`, or is to.
    pub(crate) fn at(dir: &Path) -> Self {
        let program = PathBuf::from(env!("CARGO_BIN_EXE_sealed-shuffle"));
        let (dir, key_file) = (dir.to_owned(), dir.join("state/keys"));
        Self { dir, _temp: None, key_file, has_key_file: true, is_relative: false, program }
    }

    /// Executors name directories in a way that is right wherever this place lies.
    pub(crate) fn relative(self) -> Self {
        Self { is_relative: true, ..self }
    }

    /// Another program serves.
    pub(crate) fn served_by(self, program: &Path) -> Self {
        Self { program: program.to_owned(), ..self }
    }

    /// Where everything lies.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keys come from elsewhere.
    pub(crate) fn without_key_file(self) -> Self {
        Self { has_key_file: false, ..self }
    }

    /// Another node under the same key.
    pub(crate) fn under_key_of(other: &Self) -> Self {
        Self { key_file: other.key_file.clone(), ..Self::new() }
    }

    fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state")
    }

    pub(crate) fn key_file(&self) -> &Path {
        &self.key_file
    }

    /// What all servers here have logged.
    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// As YARN lays it out.
    fn app_dir(&self, app: &str) -> PathBuf {
        self.root().join("usercache/u/appcache").join(app)
    }

    fn executor_dir(&self, app: &str) -> PathBuf {
        self.app_dir(app).join("blockmgr-1")
    }

    pub(crate) fn merge_dir(&self, app: &str) -> PathBuf {
        self.app_dir(app).join("merge_manager_1")
    }

    /// Where the merged file of this name lies.
    pub(crate) fn merged(&self, app: &str, name: &str) -> PathBuf {
        self.merge_dir(app).join(Placement::of(name, 1, SUB_DIRS).unwrap().sub_dir()).join(name)
    }

    fn command(&self, conf: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.dir);
        command.env_clear().stdin(Stdio::null()).args(["serve", "--bind", "127.0.0.1", "--port", "0"]);
        for conf in self.conf().iter().map(String::as_str).chain(conf.iter().copied()) {
            command.args(["--conf", conf]);
        }
        command
    }

    fn conf(&self) -> Vec<String> {
        let key_file = format!("spark.sealed.keys.file={}", self.key_file.display());
        let own = [
            format!("spark.local.dir={}", self.root().display()),
            format!("spark.sealed.state.dir={}", self.state().display()),
            format!("spark.sealed.handover.socket={}", self.dir.join("socket").display()),
            "spark.shuffle.push.server.minChunkSizeInMergedShuffleFile=2k".to_owned(),
            MERGER.to_owned(),
        ];
        own.into_iter().chain(self.has_key_file.then_some(key_file)).collect()
    }

    /// Starts a server and kills it before it is ready, or soon after.
    pub(crate) fn kill_while_starting(&self, after: Duration) {
        let mut child = self.spawn(&[]);
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn spawn(&self, conf: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        self.command(conf).stdout(Stdio::piped()).stderr(Stdio::from(log)).spawn().unwrap()
    }

    /// Starts a server; `conf` wins over defaults.
    pub(crate) fn serve(&self, conf: &[&str]) -> Served {
        let mut child = self.spawn(conf);
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        match line.trim().strip_prefix("listening on ").and_then(|address| address.parse().ok()) {
            Some(address) => Served { child, address },
            None => panic!("{line:?} {:?}\n{}", child.wait(), fs::read_to_string(self.log()).unwrap()),
        }
    }

    /// Starts a server that must not start: its exit code and what it says.
    pub(crate) fn refused(&self, conf: &[&str]) -> (i32, String) {
        let mut child = self.command(conf).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("it started");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code().unwrap(), said)
    }

    /// `keys` with the configuration of this place: exit code, and what it says on both streams.
    pub(crate) fn keys(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
        command.env_clear().stdin(Stdio::null()).arg("keys").args(arguments);
        for conf in self.conf() {
            command.args(["--conf", &conf]);
        }
        let ended = command.output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    /// `inspect` with the configuration of this place; `more` comes behind it.
    pub(crate) fn inspect(&self, more: &[&str]) -> (i32, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealed-shuffle"));
        command.env_clear().stdin(Stdio::null()).arg("inspect");
        for conf in self.conf() {
            command.args(["--conf", &conf]);
        }
        let ended = command.args(more).output().unwrap();
        let said = [ended.stdout, ended.stderr].concat();
        (ended.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    /// Hands the applications over, as YARN does at their beginning.
    pub(crate) fn hand_over(&self) {
        self.tell([APP, OTHER_APP].map(|app| format!("started {app} {}", STANDARD.encode(SECRET))));
    }

    /// Says that they have ended.
    pub(crate) fn take_back(&self) {
        self.tell([APP, OTHER_APP].map(|app| format!("ended {app}")));
    }

    /// Tells the end of an application, as YARN does.
    pub(crate) fn end(&self, app: &str) {
        self.tell([format!("ended {app}")]);
    }

    fn tell<const N: usize>(&self, all: [String; N]) {
        let mut socket = UnixStream::connect(self.dir.join("socket")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answers = BufReader::new(socket.try_clone().unwrap()).lines();
        let mut lines = vec!["sealed-shuffle-handover 1".to_owned()];
        lines.extend(all);
        for line in lines {
            writeln!(socket, "{line}").unwrap();
            assert_eq!(answers.next().unwrap().unwrap(), "ok");
        }
    }

    /// Registers an executor that pushes.
    pub(crate) fn register(
        &self,
        to: Reached,
        executor: &str,
    ) -> impl Future<Output = Result<(), ClientError>> + use<> {
        const MERGING: &str = r#"org.apache.spark.shuffle.sort.SortShuffleManager:{"mergeDir":"merge_manager_1","attemptId":"1"}}}"#;
        self.register_as(to, executor, MERGING)
    }

    /// The same of one that does not push.
    pub(crate) fn register_plainly(
        &self,
        to: Reached,
        executor: &str,
    ) -> impl Future<Output = Result<(), ClientError>> + use<> {
        self.register_as(to, executor, "org.apache.spark.shuffle.sort.SortShuffleManager")
    }

    fn register_as(
        &self,
        to: Reached,
        executor: &str,
        shuffle_manager: &str,
    ) -> impl Future<Output = Result<(), ClientError>> + use<> {
        let executor = ExecutorId::new(executor);
        let dir = self.executor_dir(to.client.app().as_str());
        let dir = match self.is_relative {
            true => dir.strip_prefix(&self.dir).unwrap().to_owned(),
            false => dir,
        };
        let info = ExecutorShuffleInfo {
            local_dirs: Strings::try_from_iter([dir.to_str().unwrap()]).unwrap(),
            sub_dirs_per_local_dir: SUB_DIRS,
            shuffle_manager: shuffle_manager.to_owned(),
        };
        async move { to.client.register(&to.server, &executor, info).await }
    }
}

/// A running server; killed when it is dropped.
pub(crate) struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    /// A client of an application with connections of its own, which tries nothing twice.
    pub(crate) fn reach_as(&self, app: &str) -> Reached {
        let secret = AppSecret::new(SECRET.to_owned());
        let settings = Settings::new(Security::aes(secret, EngineVersion::V2, SessionCipher::Gcm))
            .max_retries(0)
            .registration_attempts(1)
            .registration_timeout(PATIENCE)
            .answer_timeout(PATIENCE);
        Reached { client: Client::new(settings, AppId::new(app)), server: Address::from(self.address) }
    }

    pub(crate) fn reach(&self) -> Reached {
        self.reach_as(APP)
    }

    /// SIGKILL, to this very process.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM twice: whoever waits for an answer gets none.
    pub(crate) fn stop_now(mut self) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        // It may have ended by then.
        _ = kill_process(id, Signal::TERM);
        self.child.wait().unwrap();
    }

    /// SIGTERM.
    pub(crate) fn stop(mut self) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        let status: ExitStatus = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // Neither fails where it has ended already.
        drop((self.child.kill(), self.child.wait()));
    }
}

/// A client and whom it speaks to.
#[derive(Clone)]
pub(crate) struct Reached {
    pub(crate) client: Client,
    pub(crate) server: Address,
}

impl Reached {
    /// Whether the block of this executor comes as it was written.
    pub(crate) async fn plain(&self, executor: &str) -> Result<(), String> {
        let blocks = vec![PLAIN_BLOCK.parse().unwrap()];
        let fetched =
            self.client.fetch(&self.server, &ExecutorId::new(executor), blocks).next().await.unwrap();
        let (_, bytes) = fetched.map_err(|error| error.error.to_string())?;
        assert_eq!(bytes, PLAIN);
        Ok(())
    }
}
