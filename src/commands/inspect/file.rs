//! `inspect FILE...`: one file at a time.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::super::versioned::versioned;
use super::super::{Exit, Failure};
use crate::inspect::beside;
use crate::inspect::content::{self, Content, Depth, Protection};
use crate::inspect::metadata::{self, Agreement, MetadataError};
use crate::inspect::name::{Kind, SparkName};
use crate::inspect::opened::{Opening, SealedKeys};
use crate::inspect::randomness::Measurement;
use crate::inspect::reading::open_regular;
use crate::inspect::sealed::SealedHeader;

pub(super) fn run(
    paths: &[PathBuf],
    local_dirs: &[PathBuf],
    depth: Depth,
    keys: &mut SealedKeys<'_>,
    as_json: bool,
) -> Result<(), Failure> {
    let mut told = Vec::new();
    let mut first: Option<Failure> = None;
    for path in paths {
        let mut report = Report::new(path);
        let failure = match look(path, local_dirs, depth, keys, &mut report) {
            Ok(()) => report.wrong.as_ref().map(|why| Failure::new(Exit::Corrupt, why)),
            Err(failure) => {
                report.line("error", failure.to_string());
                report.json["error"] = failure.to_string().into();
                Some(failure)
            }
        };
        if let Some(failure) = failure
            && first.is_none()
        {
            first = Some(Failure::new(failure.exit, format!("{}: {failure}", path.display())));
        }
        match as_json {
            true => told.push(report.json),
            false => super::print(&report.text)?,
        }
    }
    if as_json {
        let object = json!({"files": told, "sampling": super::sampling(depth)});
        super::print(&format!("{:#}\n", versioned(object)))?;
    }
    first.map_or(Ok(()), Err)
}

/// The report about one file, in both forms.
struct Report {
    text: String,
    json: Value,
    /// The faults.
    wrong: Option<String>,
}

impl Report {
    fn new(path: &Path) -> Self {
        let text = format!("{}\n", path.display());
        Self { text, json: json!({"file": path.display().to_string()}), wrong: None }
    }

    fn line(&mut self, name: &str, value: impl std::fmt::Display) {
        self.text += &format!("  {name:<12}{value}\n");
    }

    fn agreement(&mut self, name: &str, agreement: &Agreement) {
        let (agrees, path, why) = match agreement {
            Agreement::With(path) => (Some(true), Some(path), format!("agrees with {}", path.display())),
            Agreement::Not(path, why) => {
                (Some(false), Some(path), format!("does NOT agree with {}: {why}", path.display()))
            }
            Agreement::NotFound(wanted) => (None, None, format!("{wanted} was not found (--local-dir)")),
            Agreement::NotNeeded => {
                (Some(true), None, "none, and none is needed: everything is empty".to_owned())
            }
        };
        self.line(name, &why);
        let path = path.map(|path| path.display().to_string());
        self.json[name] = json!({"agrees": agrees, "file": path, "text": why});
        if agrees == Some(false) {
            self.wrong = Some(why);
        }
    }
}

fn look(
    path: &Path,
    local_dirs: &[PathBuf],
    depth: Depth,
    keys: &mut SealedKeys<'_>,
    report: &mut Report,
) -> Result<(), Failure> {
    let stat = path.metadata().map_err(|error| failed(&error))?;
    if stat.is_dir() {
        return Err(Failure::new(Exit::Usage, "it is a directory: add --scan"));
    }
    let name = path.file_name().and_then(|name| name.to_str()).and_then(SparkName::parse);
    let kind = name.as_ref().map_or("not named by Spark", |name| name.kind.describe());
    let unfinished = name.as_ref().is_some_and(|name| name.temporary);
    report.line(
        "kind",
        format_args!("{kind}{}", if unfinished { ", being written or left behind" } else { "" }),
    );
    report.line("size", format_args!("{} ({} bytes)", super::bytes(stat.len()), stat.len()));
    report.json["kind"] = kind.into();
    report.json["unfinished"] = unfinished.into();
    report.json["bytes"] = stat.len().into();
    let file = open_regular(path).map_err(|error| failed(&error))?;
    let head = content::of_file(&file, depth).map_err(|error| failed(&error))?;
    if let Protection::Sealed(_) = head.protection {
        protection(&head, report);
        let opening = Opening::of(path, &file, depth, local_dirs, keys).map_err(|error| failed(&error))?;
        opened(&opening, report);
        return Ok(());
    }
    match name.as_ref().map(|name| (name, &name.kind)) {
        Some((name, Kind::Index | Kind::MergedIndex)) => index(path, name, local_dirs, report),
        Some((name, Kind::Checksum(algorithm))) => checksums(path, name, algorithm, local_dirs, report),
        Some((name, Kind::MergedMeta)) => meta(path, name, local_dirs, report),
        Some((name, Kind::Data)) if !unfinished => data(path, &file, name, local_dirs, depth, report),
        _ => {
            protection(&head, report);
            Ok(())
        }
    }
}

fn index(path: &Path, name: &SparkName, more: &[PathBuf], report: &mut Report) -> Result<(), Failure> {
    let found = metadata::index(path, name, more).map_err(|error| wrong(&error))?;
    let summary = found.summary;
    let what = if name.kind == Kind::MergedIndex { "chunks" } else { "partitions" };
    let text = format!(
        "{}, {} of them not empty, the largest {}, in all {}",
        summary.partitions,
        summary.filled,
        super::bytes(summary.largest),
        super::bytes(summary.end)
    );
    report.line(what, text);
    report.json[what] = json!({
        "count": summary.partitions, "filled": summary.filled, "largest": summary.largest, "end": summary.end,
    });
    report.agreement("data", &found.data);
    Ok(())
}

fn checksums(
    path: &Path,
    name: &SparkName,
    algorithm: &str,
    more: &[PathBuf],
    report: &mut Report,
) -> Result<(), Failure> {
    let found = metadata::checksums(path, name, algorithm, more).map_err(|error| wrong(&error))?;
    let first: Vec<_> = found.first.iter().map(|value| format!("{value:08x}")).collect();
    let more_of_them = if found.partitions > first.len() as u64 { " …" } else { "" };
    report.line(algorithm, format_args!("{} values: {}{more_of_them}", found.partitions, first.join(" ")));
    report.json["algorithm"] = algorithm.into();
    report.json["values"] = json!({"count": found.partitions, "first": first});
    report.agreement("data", &found.data);
    if found.wrong > 0 {
        let wrong: Vec<_> = found.first_wrong.iter().map(u64::to_string).collect();
        let dots = if found.wrong > wrong.len() as u64 { " …" } else { "" };
        report.line("differ", format_args!("partitions {}{dots}", wrong.join(" ")));
        report.line(
            "",
            "with spark.io.encryption a task that spilled more than once stores the checksums of its spills",
        );
        report.json["wrong"] = json!({"count": found.wrong, "first": found.first_wrong});
    }
    Ok(())
}

fn meta(path: &Path, name: &SparkName, more: &[PathBuf], report: &mut Report) -> Result<(), Failure> {
    let found = metadata::merged_meta(path, name, more).map_err(|error| wrong(&error))?;
    report.line("chunks", format_args!("{} with {} map outputs", found.chunks, found.maps));
    report.json["chunks"] = found.chunks.into();
    report.json["maps"] = found.maps.into();
    report.agreement("index", &found.index);
    Ok(())
}

fn data(
    path: &Path,
    file: &File,
    name: &SparkName,
    more: &[PathBuf],
    depth: Depth,
    report: &mut Report,
) -> Result<(), Failure> {
    let wanted = name.sibling("index");
    let Some(index_path) = beside::find(path, &wanted, more) else {
        report.agreement("index", &Agreement::NotFound(wanted));
        protection(&content::of_file(file, depth).map_err(|error| failed(&error))?, report);
        return Ok(());
    };
    let index = open_regular(&index_path).map_err(|error| failed(&error))?;
    match content::of_partitions(file, &index, depth) {
        Ok(content) => {
            report.agreement("index", &Agreement::With(index_path));
            report.line(
                "looked at",
                format_args!("{} of {} partitions with content", content.looked_at, content.filled),
            );
            protection(&content, report);
        }
        Err(error) => {
            report.agreement("index", &Agreement::Not(index_path, error.to_string()));
            protection(&content::of_file(file, depth).map_err(|error| failed(&error))?, report);
        }
    }
    Ok(())
}

fn opened(opening: &Opening, report: &mut Report) {
    let (label, text) = match opening {
        Opening::Verified => ("verified", "with its key: it is what the server sealed".to_owned()),
        Opening::Unfinished => {
            ("unfinished", "no: it was never finalized, and its key opens nothing of it".to_owned())
        }
        Opening::Fails(why) => ("fails", format!("does NOT open with its key: {why}")),
        _ => ("not-tried", "not tried: its key or its index is not there (--keys, --local-dir)".to_owned()),
    };
    report.line("opened", &text);
    report.json["opened"] = label.into();
    if matches!(opening, Opening::Fails(_)) {
        report.wrong = Some(text);
    }
}

fn protection(content: &Content, report: &mut Report) {
    let (label, text, sample) = match &content.protection {
        Protection::Empty => ("empty", "nothing".to_owned(), None),
        Protection::Sealed(header) => {
            let SealedHeader { version, kind, key_id, app, .. } = header;
            report.json["sealed"] = json!({"version": version, "kind": kind, "key_id": key_id, "app": app});
            let text = format!("sealed {kind} of {app} (format {version}) under key {key_id}");
            ("sealed", text, None)
        }
        Protection::LikelyEncrypted(sample) => {
            let text = "no known mark, high entropy: consistent with spark.io.encryption";
            ("encrypted-likely", text.to_owned(), Some(sample))
        }
        Protection::Readable(_) if !content.marks.is_empty() => {
            let marks: Vec<_> =
                content.marks.iter().map(|(mark, count)| format!("{mark} ({count})")).collect();
            ("readable", format!("READABLE: {}", marks.join(", ")), None)
        }
        Protection::Readable(sample) => {
            ("readable", "READABLE: no known mark, but not random either".to_owned(), Some(sample))
        }
        Protection::CannotTell(reason, sample) => {
            ("cannot-tell", format!("cannot tell: {}", reason.describe()), Some(sample))
        }
    };
    report.line("content", text);
    if let Some(sample) = sample {
        report.line("measured", shown(sample));
        report.json["measured"] = super::measured(sample);
    }
    report.json["content"] = label.into();
    let marks = content.marks.iter().map(|(mark, count)| (mark.name().to_owned(), json!(count))).collect();
    report.json["marks"] = Value::Object(marks);
    report.json["looked_at"] = content.looked_at.into();
    report.json["filled"] = content.filled.into();
}

fn shown(sample: &Measurement) -> String {
    format!(
        "entropy {:.2} bits a byte, chi-square {:.0} over {} bytes (random: 255, give or take 23)",
        sample.entropy, sample.chi_square, sample.bytes
    )
}

fn wrong(error: &MetadataError) -> Failure {
    match error {
        MetadataError::Io(error) => failed(error),
        other => Failure::new(Exit::Corrupt, other),
    }
}

fn failed(error: &io::Error) -> Failure {
    let exit = if error.kind() == io::ErrorKind::NotFound { Exit::Missing } else { Exit::Failed };
    Failure::new(exit, format!("cannot look at it: {error}"))
}
