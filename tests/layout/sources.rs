//! The sources of a package as a list of modules, and which of them uses which.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::paths::{Import, imports, paths, without_tests};

/// A package's source files without its tests.
pub(crate) struct Package {
    /// Text by module path: `["disk", "store"]`. A program beside a library is the module `main`.
    modules: BTreeMap<Vec<String>, Module>,
    /// The module behind each name that the root brings: `["server"]` for `use self::server::Server`.
    reexports: BTreeMap<String, Vec<String>>,
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
        let has_library = files.iter().any(|(file, _)| *file == "lib.rs");
        let modules = files.iter().filter(|(file, _)| !is_test(file)).map(|(file, text)| {
            let path = match *file {
                "main.rs" if has_library => vec!["main".to_owned()],
                file => module_of(file),
            };
            (path, Module { file: (*file).to_owned(), text: without_tests(text) })
        });
        let mut package = Self { modules: modules.collect(), reexports: BTreeMap::new() };
        package.reexports = package
            .imports_of_the_root()
            .filter_map(|import| Some((import.name, package.resolve(&[], &import.path)?)))
            .collect();
        package
    }

    fn imports_of_the_root(&self) -> impl Iterator<Item = Import> {
        self.modules.get(&[][..]).into_iter().flat_map(|root| imports(&root.text))
    }

    /// All names that the root shows: its public modules, and what it exports again.
    pub(crate) fn shown(&self) -> Vec<String> {
        let root = self.modules.get(&[][..]).map_or("", |root| &root.text);
        let modules = root.lines().filter_map(|line| line.trim().strip_prefix("pub mod ")?.strip_suffix(';'));
        let exports = self.imports_of_the_root().filter(|import| import.public).map(|import| import.name);
        modules.map(str::to_owned).chain(exports).collect()
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
        let exported = rest.first().filter(|_| at.is_empty()).and_then(|name| self.reexports.get(name));
        if let Some(module) = exported {
            return Some(module.clone());
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
