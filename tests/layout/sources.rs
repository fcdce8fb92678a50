//! The sources of a package as a list of modules, and which of them uses which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A package's source files without its tests.
pub(crate) struct Package {
    /// Text by module path: `["disk", "store"]`.
    modules: BTreeMap<Vec<String>, Module>,
}

struct Module {
    /// Relative to the package's sources.
    file: String,
    text: String,
}

/// One module names another.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) from: Vec<String>,
    pub(crate) to: Vec<String>,
    pub(crate) from_file: String,
    pub(crate) to_file: String,
    pub(crate) line: usize,
}

impl Package {
    /// Reads all `.rs` files below `dir`.
    pub(crate) fn read(dir: &Path) -> Self {
        let mut files = Vec::new();
        collect(dir, "", &mut files);
        assert!(!files.is_empty(), "no sources in {}", dir.display());
        let files: Vec<_> = files.iter().map(|(name, text)| (&**name, &**text)).collect();
        Self::of(&files)
    }

    /// A package of these files.
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let modules = files.iter().filter(|(file, _)| !is_test(file)).map(|(file, text)| {
            (module_of(file), Module { file: (*file).to_owned(), text: without_tests(text) })
        });
        Self { modules: modules.collect() }
    }

    /// Lines of code with one of `words`: file, line, word.
    pub(crate) fn lines_with(&self, words: &[&'static str]) -> Vec<(String, usize, &'static str)> {
        let mut found = Vec::new();
        for Module { file, text } in self.modules.values() {
            for (line, code) in text.lines().enumerate() {
                let words = words.iter().filter(|word| code.contains(**word));
                found.extend(words.map(|word| (file.clone(), line + 1, *word)));
            }
        }
        found
    }

    /// Rooms that are not in `order`.
    pub(crate) fn unknown_rooms(&self, order: &[&str]) -> Vec<String> {
        let rooms: BTreeSet<_> = self.modules.keys().filter_map(|module| module.first()).collect();
        rooms.into_iter().filter(|room| !order.contains(&&***room)).cloned().collect()
    }

    /// Lines of code with one of these words in them, outside of the module `room` and those below it.
    pub(crate) fn lines_outside(&self, words: &[&str], room: &[&str]) -> Vec<String> {
        let outside = self
            .modules
            .iter()
            .filter(|(path, _)| !path.iter().map(|step| &**step).take(room.len()).eq(room.iter().copied()));
        let lines = outside.flat_map(|(_, module)| {
            let numbered = module.text.lines().enumerate();
            let found = numbered.filter(|(_, line)| words.iter().any(|word| line.contains(word)));
            found.map(|(number, line)| format!("{}:{}: {}", module.file, number + 1, line.trim()))
        });
        lines.collect()
    }

    /// Every use of one module by another. The root module's own list of modules is none.
    pub(crate) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (from, module) in self.modules.iter().filter(|(from, _)| !from.is_empty()) {
            for (line, path) in paths(&module.text) {
                let Some(to) = self.resolve(from, &path) else { continue };
                if to != *from {
                    let to_file = self.modules[&to].file.clone();
                    let from_file = module.file.clone();
                    uses.push(Use { from: from.clone(), to, from_file, to_file, line });
                }
            }
        }
        uses
    }

    /// The deepest module that a path leads through.
    fn resolve(&self, from: &[String], path: &[String]) -> Option<Vec<String>> {
        let (mut at, mut rest) = match &*path[0] {
            "crate" | "sealed_shuffle" => (Vec::new(), &path[1..]),
            "self" => (from.to_vec(), &path[1..]),
            _ => (from.to_vec(), path),
        };
        while rest.first().is_some_and(|step| step == "super") {
            at.pop();
            rest = &rest[1..];
        }
        for step in rest {
            at.push(step.clone());
            if !self.modules.contains_key(&at) {
                at.pop();
                break;
            }
        }
        (!at.is_empty() && self.modules.contains_key(&at)).then_some(at)
    }
}

fn collect(dir: &Path, prefix: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let path = entry.path();
        if path.is_dir() {
            collect(&path, &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            files.push((name, fs::read_to_string(&path).expect("sources are UTF-8")));
        }
    }
}

fn is_test(file: &str) -> bool {
    file.split('/').any(|part| part == "tests" || part == "tests.rs")
}

fn module_of(file: &str) -> Vec<String> {
    let mut parts: Vec<_> = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| matches!(&**last, "mod" | "lib" | "main")) {
        parts.pop();
    }
    parts
}

/// Code alone: comments are emptied, and what stands behind the first inline test module is cut.
fn without_tests(text: &str) -> String {
    let mut lines = Vec::new();
    let mut source = text.lines().peekable();
    while let Some(line) = source.next() {
        let opens = |next: &&&str| next.trim_start().starts_with("mod ") && next.ends_with('{');
        if line.trim() == "#[cfg(test)]" && source.peek().filter(|next| opens(next)).is_some() {
            break;
        }
        lines.push(line.split_once("//").map_or(line, |(code, _)| code));
    }
    lines.join("\n")
}

/// Paths that begin at `crate`, `super` or `self`, with the lines in which their statements begin.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (start, _) in ["crate::", "super::", "self::", "sealed_shuffle::"]
        .iter()
        .flat_map(|begin| code.match_indices(begin))
    {
        let before = code[..start].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        let line = code[..start].matches('\n').count() + 1;
        expand(&code[start..], &mut Vec::new(), &mut |path| found.push((line, path)));
    }
    found
}

/// Every path of a `use` tree, or the one path that stands there; answers how many bytes it read.
fn expand(code: &str, prefix: &mut Vec<String>, found: &mut impl FnMut(Vec<String>)) -> usize {
    let word: String = code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    if word.is_empty() {
        return if code.starts_with('{') { expand_group(code, prefix, found) } else { 0 };
    }
    let mut read = word.len();
    prefix.push(word);
    if code[read..].starts_with("::") {
        read += 2;
        read += expand(&code[read..], prefix, found);
    } else {
        found(prefix.clone());
    }
    prefix.pop();
    read
}

fn expand_group(code: &str, prefix: &mut Vec<String>, found: &mut impl FnMut(Vec<String>)) -> usize {
    let mut read = 1;
    loop {
        let rest = code[read..].trim_start_matches([',', ' ', '\n']);
        read = code.len() - rest.len();
        match expand(rest, prefix, found) {
            0 => return read + 1,
            more => read += more,
        }
    }
}
