//! A child process whose output is kept and which does not survive its owner.

use std::{
    collections::VecDeque,
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex, MutexGuard,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// More lines than a test should ever produce; the oldest go first.
const KEPT_LINES: usize = 20_000;

/// A running program with both of its outputs captured by line.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    out: Lines,
    err: Lines,
}

impl Process {
    /// Starts `command`; its standard input is a pipe that stays open until the process is dropped.
    pub fn start(name: &str, command: &mut Command) -> Self {
        Self::of(name, Self::spawned(name, command))
    }

    /// The child alone, for a thread that may start no reader of its output.
    pub(super) fn spawned(name: &str, command: &mut Command) -> Child {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {name}: {command:?}: {e}"))
    }

    /// The process of a child that was started so.
    pub(super) fn of(name: &str, mut child: Child) -> Self {
        let log = Log::of(name);
        let out = Lines::kept(child.stdout.take().expect("standard output is a pipe"), log.as_ref(), "out");
        let err = Lines::kept(child.stderr.take().expect("standard error is a pipe"), log.as_ref(), "err");
        Self { name: name.to_owned(), child, out, err }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Standard output so far and to come.
    pub fn out(&self) -> &Lines {
        &self.out
    }

    /// Standard error so far and to come.
    pub fn err(&self) -> &Lines {
        &self.err
    }

    /// Waits for a line of standard output or standard error on which `wanted` answers.
    pub fn wait_for<T>(&mut self, limit: Duration, wanted: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        loop {
            let ended = self.child.try_wait().ok().flatten();
            if ended.is_some() {
                // Its last words may still be on their way.
                self.out.finished(Duration::from_secs(2));
                self.err.finished(Duration::from_secs(2));
            }
            let found =
                [&self.out, &self.err].iter().find_map(|lines| lines.all().iter().find_map(|l| wanted(l)));
            if let Some(found) = found {
                return found;
            }
            assert!(ended.is_none(), "{} ended early with {ended:?}\n{}", self.name, self.tail());
            assert!(Instant::now() < deadline, "{} was not ready in {limit:?}\n{}", self.name, self.tail());
            self.out.changed(Duration::from_millis(20));
        }
    }

    /// Waits for the end of the process.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                self.out.finished(Duration::from_secs(2));
                self.err.finished(Duration::from_secs(2));
                return status;
            }
            if Instant::now() > deadline {
                self.end();
                panic!("{} did not end in {limit:?}\n{}", self.name, self.tail());
            }
            self.out.changed(Duration::from_millis(20));
        }
    }

    /// Waits for the end of the process, in a drop, too; whether it came.
    pub fn ends_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return true;
            }
            thread::sleep(Duration::from_millis(10));
        }
        false
    }

    /// Asks the process to end (SIGTERM) and waits.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
            return status;
        }
        self.signal(Signal::TERM);
        self.wait(limit)
    }

    /// Sends a signal to this very process.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        // A process that has just ended by itself is no failure of the harness.
        kill_process(Pid::from_raw(id).expect("process ids are positive"), signal).ok();
    }

    /// The last lines that the process wrote, for messages.
    pub fn tail(&self) -> String {
        format!("--- {} wrote ---\n{}\n{}", self.name, self.out.tail(20), self.err.tail(60))
    }

    /// Closes the input, asks for an end, gives the process a moment, then kills it.
    fn end(&mut self) {
        drop(self.child.stdin.take());
        if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
            return;
        }
        self.signal(Signal::TERM);
        if self.ends_within(Duration::from_secs(5)) {
            return;
        }
        self.child.kill().ok();
        self.child.wait().ok();
    }

    /// The standard input, for a process that takes lines until it ends.
    pub fn input(&mut self) -> &mut std::process::ChildStdin {
        self.child.stdin.as_mut().expect("the input was not taken")
    }

    /// The standard input, for a process that takes commands.
    pub fn take_input(&mut self) -> std::process::ChildStdin {
        self.child.stdin.take().expect("the input is taken once")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.tail());
        }
        self.end();
    }
}

/// Lines read by a thread of their own.
#[derive(Clone, Debug)]
pub struct Lines(Arc<(Mutex<Buffer>, Condvar)>);

#[derive(Debug, Default)]
struct Buffer {
    lines: VecDeque<String>,
    ended: bool,
}

impl Lines {
    pub(crate) fn of(source: impl Read + Send + 'static) -> Self {
        Self::kept(source, None, "")
    }

    /// The same, with a copy of all of them where the logs are kept.
    fn kept(source: impl Read + Send + 'static, log: Option<&Log>, stream: &str) -> Self {
        let lines = Self(Arc::default());
        let writer = lines.clone();
        let mut copy = log.map(|log| log.file(stream));
        thread::spawn(move || {
            for line in BufReader::new(source).split(b'\n').map_while(Result::ok) {
                if let Some(copy) = &mut copy {
                    copy.write_all(&[&line[..], b"\n"].concat()).expect("the directory of logs is writable");
                }
                let mut buffer = writer.lock();
                if buffer.lines.len() == KEPT_LINES {
                    buffer.lines.pop_front();
                }
                buffer.lines.push_back(String::from_utf8_lossy(&line).into_owned());
                writer.0.1.notify_all();
            }
            writer.lock().ended = true;
            writer.0.1.notify_all();
        });
        lines
    }

    /// Everything so far.
    pub fn all(&self) -> Vec<String> {
        self.lock().lines.iter().cloned().collect()
    }

    /// The last `count` lines.
    pub fn tail(&self, count: usize) -> String {
        let all = self.all();
        all[all.len().saturating_sub(count)..].join("\n")
    }

    /// Waits for another line, but no longer than the limit.
    pub(crate) fn changed(&self, limit: Duration) {
        drop(self.0.1.wait_timeout(self.lock(), limit));
    }

    /// Waits until every process that writes there has ended, or for `limit`.
    pub(crate) fn finished(&self, limit: Duration) {
        drop(self.0.1.wait_timeout_while(self.lock(), limit, |buffer| !buffer.ended));
    }

    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.0.lock().expect("no reader of lines panics")
    }
}

/// Where the outputs of one program are kept whole.
#[derive(Debug)]
struct Log(PathBuf);

impl Log {
    /// `None` where nothing is to be kept.
    fn of(name: &str) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Some(Self(logs()?.join(format!("{number:03}-{}", name.replace(['/', ' '], "-")))))
    }

    fn file(&self, stream: &str) -> File {
        let path = self.0.with_added_extension(stream);
        File::create(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()))
    }
}

/// The directory in which the outputs of all programs are kept whole: `SEALED_SHUFFLE_LOGS`.
pub fn logs() -> Option<PathBuf> {
    std::env::var_os("SEALED_SHUFFLE_LOGS").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}
