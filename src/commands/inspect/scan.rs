//! `inspect --scan DIR...`: one line for each application.

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sealed_shuffle_protocol::shown::Shown;
use serde_json::{Value, json};

use super::super::versioned::versioned;
use super::super::{Exit, Failure, complain, tell};
use crate::commands::table::columns;
use crate::inspect::content::Depth;
use crate::inspect::opened::SealedKeys;
use crate::inspect::owner::Owner;
use crate::inspect::scan::{self, Count, Event, MOST_OWNERS, PARTITIONS, Scan, Tally};

/// Most failures that the JSON names; standard error names all of them.
const NAMED: usize = 1000;

/// Time between two lines of progress where there is no terminal.
const QUIET: Duration = Duration::from_secs(10);

pub(super) fn run(
    dirs: &[PathBuf],
    depth: Depth,
    keys: &mut SealedKeys<'_>,
    as_json: bool,
) -> Result<(), Failure> {
    let roots = roots(dirs)?;
    let progress = Progress::new();
    let mut last = Instant::now();
    let mut failures = Vec::new();
    let scan = scan::scan(&roots, depth, keys, &mut |event| match event {
        Event::Counted(files) => progress.counted(files, &mut last),
        Event::Failed(path, why) => {
            let (path, why) = (Shown(&path.display().to_string()).to_string(), why.to_owned());
            progress.suspended(|| complain(format_args!("{path}: {why}")));
            if failures.len() < NAMED {
                failures.push(json!({"path": path, "error": why}));
            }
        }
    });
    progress.finish();
    let total = scan.total();
    super::print(&match as_json {
        true => format!("{:#}\n", versioned(to_json(&scan, &total, depth, &failures))),
        false => text(&scan, &total, depth),
    })?;
    if total.readable.files > 0 {
        let text =
            format!("readable files: {}, with {}", total.readable.files, super::bytes(total.readable.bytes));
        return Err(Failure::new(Exit::Failed, text));
    }
    let judged = total.sealed.files + total.encrypted.files + total.metadata.files;
    let why = match (scan.failures, total.cannot_tell.files) {
        (0, 0) if judged > 0 => return Ok(()),
        (0, 0) => "there was nothing to judge: are these the directories of executors?".to_owned(),
        (failures, cannot_tell) => format!(
            "nothing readable was seen, but not all was judged: {failures} files and directories could not be looked at, \
             {cannot_tell} files could not be told"
        ),
    };
    Err(Failure::new(Exit::Unreachable, why))
}

/// What lies beneath directories, as `--json` shows it, with samples of each file.
pub(in crate::commands) fn findings(dirs: &[PathBuf], keys: &mut SealedKeys<'_>) -> Result<Value, Failure> {
    let depth = Depth::Samples { partitions: PARTITIONS };
    let mut failures = Vec::new();
    let scan = scan::scan(&roots(dirs)?, depth, keys, &mut |event| {
        if let Event::Failed(path, why) = event
            && failures.len() < NAMED
        {
            failures.push(json!({"path": Shown(&path.display().to_string()).to_string(), "error": why}));
        }
    });
    Ok(to_json(&scan, &scan.total(), depth, &failures))
}

/// The directories by their canonical names; none lies within another.
fn roots(dirs: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut roots: Vec<PathBuf> = Vec::new();
    for dir in dirs {
        let path = dir.canonicalize().map_err(|error| {
            let exit =
                if error.kind() == std::io::ErrorKind::NotFound { Exit::Missing } else { Exit::Failed };
            Failure::new(exit, format!("cannot look at {}: {error}", dir.display()))
        })?;
        if !path.is_dir() {
            let text = format!("--scan is for directories, and {} is none", dir.display());
            return Err(Failure::new(Exit::Usage, text));
        }
        roots.push(path);
    }
    roots.sort();
    roots.dedup_by(|inner, outer| inner.starts_with(outer));
    Ok(roots)
}

fn text(scan: &Scan, total: &Tally, depth: Depth) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    lines
        .extend(scan.owners.iter().map(|(owner, tally)| line(&Shown(&owner.to_string()).to_string(), tally)));
    lines.extend(scan.further.iter().map(|tally| line(&format!("more than {MOST_OWNERS}"), tally)));
    lines.push(line("all", total));
    let mut text = columns(&lines);
    text.push('\n');
    for (owner, tally) in &scan.owners {
        if let Some(example) = &tally.example {
            let (owner, example) =
                (Shown(&owner.to_string()).to_string(), Shown(&example.display().to_string()).to_string());
            text += &format!("readable in {owner}: {}, for instance {example}\n", marks(tally));
        }
    }
    text += &format!("{}\n", super::extent(depth));
    if total.sealed.files > 0 {
        let (opened, sealed) = (total.opened.files, total.sealed.files);
        text += &format!("opened with their key: {opened} of {sealed} sealed files\n");
    }
    for (count, what) in [
        (scan.without_index, "data files without an index, whose partitions are not known"),
        (scan.links, "symbolic links, not followed"),
        (scan.vanished, "files deleted meanwhile"),
        (scan.failures, "not looked at, or not wholly"),
    ] {
        if count > 0 {
            text += &format!("{what}: {count}\n");
        }
    }
    text
}

/// The owner stands last, since directories are long.
const HEAD: [&str; 7] =
    ["SEALED", "ENCRYPTED (LIKELY)", "READABLE", "CANNOT TELL", "METADATA", "OTHER", "APPLICATION"];

fn line(owner: &str, tally: &Tally) -> [String; 7] {
    let cell = |count: Count| match count.files {
        0 => "-".to_owned(),
        files => format!("{} ({files})", super::bytes(count.bytes)),
    };
    let Tally { sealed, encrypted, readable, cannot_tell, metadata, other, .. } = tally;
    [
        cell(*sealed),
        cell(*encrypted),
        cell(*readable),
        cell(*cannot_tell),
        cell(*metadata),
        cell(*other),
        owner.to_owned(),
    ]
}

fn marks(tally: &Tally) -> String {
    let marks: Vec<_> = tally.marks.iter().map(|(mark, files)| format!("{mark} ({files})")).collect();
    match marks.is_empty() {
        true => "bytes that are not random".to_owned(),
        false => marks.join(", "),
    }
}

fn to_json(scan: &Scan, total: &Tally, depth: Depth, failures: &[Value]) -> Value {
    let mut owners: Vec<_> =
        scan.owners.iter().map(|(owner, tally)| owner_json(Some(owner), tally)).collect();
    owners.extend(scan.further.iter().map(|tally| owner_json(None, tally)));
    json!({
        "applications": owners,
        "total": owner_json(None, total),
        "files": scan.files,
        "not_looked_at": {"count": scan.failures, "first": failures},
        "without_index": scan.without_index,
        "links": scan.links,
        "vanished": scan.vanished,
        "sampling": super::sampling(depth),
    })
}

fn owner_json(owner: Option<&Owner>, tally: &Tally) -> Value {
    let (app, dir) = match owner {
        Some(Owner::Application(app)) => (Some(app.clone()), None),
        Some(Owner::Directory(dir)) => (None, Some(dir.display().to_string())),
        None => (None, None),
    };
    let count = |count: Count| json!({"files": count.files, "bytes": count.bytes});
    let marks = tally.marks.iter().map(|(mark, files)| (mark.name().to_owned(), json!(files))).collect();
    json!({
        "app": app,
        "directory": dir,
        "sealed": count(tally.sealed),
        "opened": count(tally.opened),
        "encrypted_likely": count(tally.encrypted),
        "readable": count(tally.readable),
        "cannot_tell": count(tally.cannot_tell),
        "metadata": count(tally.metadata),
        "other": count(tally.other),
        "marks": Value::Object(marks),
        "example": tally.example.as_ref().map(|path| path.display().to_string()),
    })
}

/// A spinner on a terminal, a line at intervals elsewhere.
struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    fn new() -> Self {
        let terminal = stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let style = ProgressStyle::with_template("{spinner} {pos} files  {elapsed}");
        bar.set_style(style.expect("the template is valid"));
        Self { bar, terminal }
    }

    fn counted(&self, files: u64, last: &mut Instant) {
        self.bar.set_position(files);
        if !self.terminal && last.elapsed() >= QUIET {
            *last = Instant::now();
            tell(format_args!("looked at {files} files"));
        }
    }

    fn suspended(&self, work: impl FnOnce()) {
        self.bar.suspend(work);
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
