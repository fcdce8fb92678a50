//! `orphans`: block directories that no registration names, shown or removed by hand.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use hyper::{Method, StatusCode};
use sealed_shuffle_config::value::{Grammar, Time};
use sealed_shuffle_config::{ByteCount, CleanUpConfig, ProcessEnvironment};
use sealed_shuffle_protocol::shown::Shown;
use sealed_shuffle_transport::lane::OnLane;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::admin::{RunningServer, ServerArgs};
use super::note::tell;
use super::table::columns;
use super::versioned::versioned;
use super::{Exit, Failure, complain};
use crate::admin::deed::{Deed, Removal};
use crate::disk::remains::{OrphanLook, Purpose, Selection, Step, Tally, Walk};
use crate::disk::{LocalDir, Roots};

/// Names that one step of a walk looks at.
const STEP: usize = 4096;

/// For so long it is believed which directories belong to applications.
const FRESH: Duration = Duration::from_secs(1);

/// Show block directories that no application of the running server has registered, and remove them
///
/// Looks beneath the roots of the configuration for directories as Spark makes them (blockmgr-UUID, merge_manager), in
/// which nothing was written for long. The server says which ones belong to applications. --delete removes what Spark names
/// in the others, and has the server note it in its audit trail; without an answer of the server it removes nothing.
#[derive(Args, Debug)]
pub(crate) struct Orphans {
    /// Remove them
    #[arg(long)]
    delete: bool,

    /// Show those in which nothing was written for so long, such as 12h [default: spark.sealed.cleanup.orphans.age]
    #[arg(long, value_name = "TIME")]
    older_than: Option<String>,

    /// Token for asking over TCP; without it, spark.sealed.admin.token-file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    server: ServerArgs,
}

/// A directory that is nobody's.
struct Orphan {
    dir: LocalDir,
    tally: Tally,
    /// None where it was not to be removed.
    removed: Option<Result<Tally, String>>,
}

/// What a server says of its directories.
struct ServedDirs {
    paths: Vec<String>,
    at: Instant,
}

impl Orphans {
    pub(crate) fn run(mut self) -> Result<(), Failure> {
        let server = std::mem::take(&mut self.server);
        let (roots, configured) = CleanUpConfig::places(&server.config().sources(), &ProcessEnvironment)?;
        let age = self.age(configured)?;
        let roots = Roots::open(&roots.paths).map_err(|error| Failure::new(Exit::Config, error))?;
        let server = server.find_if_there(self.token_file.take());
        let server = server.map(|server| ServersView { server, roots: &roots });
        let known = server.and_then(|server| server.taken().map(|taken| (server, taken)));
        let on = OnLane::here();
        let orphans = match known {
            Ok((server, taken)) => {
                let mut orphans = find(&on, &roots, Some(&taken), age)?;
                if self.delete && !orphans.is_empty() {
                    remove_all(&on, &server, taken, &mut orphans, age)?;
                }
                orphans
            }
            Err(failure) if self.delete => return Err(failure),
            Err(failure) => {
                complain(format_args!("it is not known which of these belong to applications: {failure}"));
                find(&on, &roots, None, age)?
            }
        };
        self.show(&orphans, age)?;
        match orphans.iter().any(|orphan| matches!(orphan.removed, Some(Err(_)))) {
            true => Err(Failure::new(Exit::Failed, "not all of them could be removed")),
            false => Ok(()),
        }
    }

    fn age(&self, configured: Duration) -> Result<Duration, Failure> {
        let Some(text) = &self.older_than else { return Ok(configured) };
        let century = Duration::from_secs(100 * 365 * 86_400);
        let parsed = Time::ours(Duration::ZERO, century).parse(text);
        parsed.map_err(|reject| Failure::new(Exit::Usage, format!("--older-than {text:?}: {reject}")))
    }

    fn show(&self, orphans: &[Orphan], age: Duration) -> Result<(), Failure> {
        let sum = orphans.iter().fold(Tally::default(), |mut sum, orphan| {
            sum.add(&orphan.tally);
            sum
        });
        let text = match self.json {
            true => {
                let directories: Vec<_> = orphans.iter().map(Orphan::to_json).collect();
                let value = json!({
                    "older_than_seconds": age.as_secs(),
                    "directories": directories,
                    "files": sum.files,
                    "bytes": sum.bytes,
                });
                format!("{:#}\n", versioned(value))
            }
            false => table(orphans, &sum),
        };
        stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))
    }
}

/// What the server that serves these roots knows.
struct ServersView<'a> {
    server: RunningServer,
    roots: &'a Roots,
}

impl ServersView<'_> {
    /// The directories that belong to applications, as the server says now.
    fn taken(&self) -> Result<ServedDirs, Failure> {
        let at = Instant::now();
        let answer = self.server.ask(&Method::GET, "/directories")?;
        if answer.status != StatusCode::OK {
            return Err(answer.refused("is it a server that knows `orphans`?"));
        }
        let value = answer.json()?;
        let texts = |key: &str| {
            let list = value[key].as_array()?;
            list.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>()
        };
        let (Some(roots), Some(paths)) = (texts("roots"), texts("directories")) else {
            return Err(Failure::new(Exit::Failed, format!("{} answers something else", answer.place)));
        };
        for disk in self.roots.disks() {
            if !roots.iter().any(|root| disk.path() == Path::new(root)) {
                let text = format!(
                    "the server at {} serves other roots than {}",
                    answer.place,
                    disk.path().display()
                );
                return Err(Failure::new(Exit::Config, text));
            }
        }
        if value["outlasts_restart"] != true {
            let text = format!(
                "the server at {} forgets at a restart which directories belong to applications \
                 (spark.shuffle.service.db.enabled=false)",
                answer.place
            );
            return Err(Failure::new(Exit::Refused, text));
        }
        Ok(ServedDirs { paths, at })
    }
}

impl ServedDirs {
    /// Whether an application has `dir`, or one above or below it.
    fn has(&self, dir: &LocalDir) -> bool {
        let lies_in = |inner: &str, outer: &str| {
            inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.paths.iter().any(|path| lies_in(path, dir.shown()) || lies_in(dir.shown(), path))
    }
}

fn find(
    on: &OnLane,
    roots: &Roots,
    taken: Option<&ServedDirs>,
    age: Duration,
) -> Result<Vec<Orphan>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error);
    let mut orphans = Vec::new();
    for (n, disk) in roots.disks().iter().enumerate() {
        if roots.is_there_twice(on, n) {
            let text =
                format!("{} is another root, too, by another mount: name one of them", disk.path().display());
            return Err(Failure::new(Exit::Config, text));
        }
        let mut look = OrphanLook::default();
        while look.step(on, disk).map_err(|error| failed(&error))? == Step::More {}
        let (found, passed_over) = look.found();
        if passed_over > 0 {
            let root = disk.path().display();
            complain(format_args!(
                "{passed_over} directories beneath {root} cannot be looked into: run this as the executors' user"
            ));
        }
        for below in found {
            let path = disk.path().join(below);
            let Some(dir) = path.to_str().and_then(|path| roots.accept(on, path).ok()) else { continue };
            if taken.is_some_and(|taken| taken.has(&dir)) {
                continue;
            }
            match walk(on, roots, &dir, Purpose::Count(Selection::All), Some(age)) {
                Ok(Some(tally)) => orphans.push(Orphan { dir, tally, removed: None }),
                Ok(None) => {}
                Err(error) => complain(error),
            }
        }
    }
    orphans.sort_by(|a, b| a.dir.shown().cmp(b.dir.shown()));
    orphans.dedup_by(|a, b| a.dir.shown() == b.dir.shown());
    Ok(orphans)
}

/// Walks to the end; `None` where something was written within `age`.
fn walk(
    on: &OnLane,
    roots: &Roots,
    dir: &LocalDir,
    purpose: Purpose,
    age: Option<Duration>,
) -> Result<Option<Tally>, String> {
    let Some(walk) = Walk::new(dir.clone(), purpose) else { return Ok(None) };
    let mut walk = match age {
        Some(age) => walk.until_newer(ago(age)),
        None => walk,
    };
    while walk.step(on, roots, STEP).map_err(|error| error.to_string())? == Step::More {}
    Ok((!walk.met_newer()).then(|| walk.tally().clone()))
}

/// Removes them, and has each noted by the server: nothing goes that it has not heard of.
fn remove_all(
    on: &OnLane,
    server: &ServersView<'_>,
    taken: ServedDirs,
    orphans: &mut [Orphan],
    age: Duration,
) -> Result<(), Failure> {
    let mut taken = Some(taken);
    tell(&server.server, &Deed::removes_orphans(orphans.len() as u64))?;
    for orphan in orphans {
        let removed = remove(on, server, &mut taken, orphan, age)?;
        let (outcome, files, bytes) = match &removed {
            Ok(tally) if tally.kept == 0 => (Removal::All, tally.files, tally.bytes),
            Ok(tally) => (Removal::Part, tally.files, tally.bytes),
            Err(_) => (Removal::None, 0, 0),
        };
        orphan.removed = Some(removed);
        tell(&server.server, &Deed::removed_orphan(orphan.dir.shown(), outcome, files, bytes))?;
    }
    Ok(())
}

/// Removes one, after another look at it and another question to the server. Fails where the server does not answer.
fn remove(
    on: &OnLane,
    server: &ServersView<'_>,
    taken: &mut Option<ServedDirs>,
    orphan: &Orphan,
    age: Duration,
) -> Result<Result<Tally, String>, Failure> {
    let roots = server.roots;
    let known = match taken.take().filter(|taken| taken.at.elapsed() < FRESH) {
        Some(known) => known,
        None => server.taken()?,
    };
    let is_taken = known.has(&orphan.dir);
    *taken = Some(known);
    if is_taken {
        return Ok(Err("an application has it by now".to_owned()));
    }
    let removed = match walk(on, roots, &orphan.dir, Purpose::Count(Selection::All), Some(age)) {
        Ok(Some(_)) => walk(on, roots, &orphan.dir, Purpose::Remove(Selection::All), None),
        other => other,
    };
    Ok(removed.and_then(|tally| tally.ok_or_else(|| "something is written there now".to_owned())))
}

impl Orphan {
    fn to_json(&self) -> Value {
        let Tally { files, bytes, kept, examples, .. } = &self.tally;
        json!({
            "path": self.dir.shown(),
            "files": files,
            "bytes": bytes,
            "not_sparks": kept,
            "examples": examples,
            "last_written": written(self.tally.newest),
            "removed": self.removed.as_ref().map(|removed| removed.as_ref().is_ok_and(|tally| tally.kept == 0)),
            "error": self.removed.as_ref().and_then(|removed| removed.as_ref().err()),
        })
    }

    fn remark(&self) -> String {
        let kept = |tally: &Tally| format!("{} things that Spark does not make", tally.kept);
        match &self.removed {
            None if self.tally.kept > 0 => format!("holds {}", kept(&self.tally)),
            None => String::new(),
            Some(Ok(tally)) if tally.kept > 0 => {
                format!("files removed; the directory stays: it holds {}", kept(tally))
            }
            Some(Ok(_)) => "removed".to_owned(),
            Some(Err(error)) => format!("stays: {}", Shown(error)),
        }
    }
}

fn table(orphans: &[Orphan], sum: &Tally) -> String {
    if orphans.is_empty() {
        return "no block directory is left behind\n".to_owned();
    }
    let mut lines = vec![["DIRECTORY", "FILES", "BYTES", "LAST WRITTEN", "REMARK"].map(str::to_owned)];
    lines.extend(orphans.iter().map(|orphan| {
        [
            Shown(orphan.dir.shown()).to_string(),
            orphan.tally.files.to_string(),
            ByteCount::new(orphan.tally.bytes).to_string(),
            written(orphan.tally.newest).unwrap_or_else(|| "-".to_owned()),
            orphan.remark(),
        ]
    }));
    let (directories, files, bytes) = (orphans.len(), sum.files, ByteCount::new(sum.bytes));
    columns(&lines) + &format!("\n{directories} directories with {files} files of {bytes}\n")
}

fn written(seconds: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(seconds).ok()?.format(&Rfc3339).ok()
}

/// `age` ago, in seconds since 1970.
fn ago(age: Duration) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.saturating_sub(age).as_secs()).unwrap_or(i64::MAX)
}
