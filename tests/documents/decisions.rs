//! The lists of decisions, made of the files in `docs/decisions/`.

use std::fmt::Write;
use std::path::Path;

use crate::links::Documents;

/// The index, whose list stands behind [`INDEX_HEAD`].
pub(crate) const INDEX: &str = "docs/decisions/index.md";
/// The table of contents, whose list of decisions stands behind [`CONTENTS_HEAD`], at its end.
pub(crate) const CONTENTS: &str = "docs/SUMMARY.md";
/// The line before the list in [`INDEX`].
pub(crate) const INDEX_HEAD: &str = "|---|---|---|\n";
/// The line before the list in [`CONTENTS`].
pub(crate) const CONTENTS_HEAD: &str = "- [Decisions](decisions/index.md)\n";

/// A decision, as its file says.
pub(crate) struct Decision {
    number: u32,
    title: String,
    file: String,
    successors: Vec<String>,
}

/// All decisions, by number. Panics with a sentence where a file is not named or headed like one.
pub(crate) fn all(documents: &Documents) -> Vec<Decision> {
    let dir = Path::new("docs/decisions");
    let files = documents.paths().filter(|path| path.parent() == Some(dir) && !path.ends_with("index.md"));
    files.map(|path| decision(path, documents.text(path))).collect()
}

fn decision(path: &Path, text: &str) -> Decision {
    let file = path.file_name().expect("a document has a name").to_string_lossy().into_owned();
    let number = file.split('-').next().filter(|digits| digits.len() == 4);
    let number: u32 = number
        .and_then(|digits| digits.parse().ok())
        .unwrap_or_else(|| panic!("{file}: a decision's file is named NNNN-title.md"));
    let head = format!("# {number}. ");
    let title = text.lines().next().and_then(|line| line.strip_prefix(&head));
    let title = title.unwrap_or_else(|| panic!("{file}: its first line is to be \"{head}Title\""));
    // **Status.** Replaced in part by [40](0040-title.md): the reason.
    let replaced = text.split_once("\n**Status.** Replaced ").and_then(|(_, rest)| rest.split_once(':'));
    let links = replaced.map_or("", |(links, _)| links).split("](").skip(1);
    let successors = links.filter_map(|rest| Some(rest.split_once(')')?.0.to_owned())).collect();
    Decision { number, title: title.to_owned(), successors, file }
}

/// The rows of the index.
pub(crate) fn index(decisions: &[Decision]) -> String {
    let mut text = String::new();
    for Decision { number, title, file, successors } in decisions {
        let links: Vec<String> = successors
            .iter()
            .map(|file| format!("[{}]({file})", file[..file.len().min(4)].trim_start_matches('0')))
            .collect();
        writeln!(text, "| {number} | [{title}]({file}) | {} |", links.join(", ")).expect("text grows");
    }
    text
}

/// The lines of the table of contents.
pub(crate) fn contents(decisions: &[Decision]) -> String {
    let mut text = String::new();
    for Decision { number, title, file, .. } in decisions {
        writeln!(text, "  - [{number}. {title}](decisions/{file})").expect("text grows");
    }
    text
}
