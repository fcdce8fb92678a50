//! Every relative link of the Markdown files beneath a directory, and whether it leads somewhere.
//!
//! A link leads somewhere when its file exists and, for an anchor, when a heading of that file has this anchor, as GitHub
//! and mdBook make it. Addresses of other hosts are not asked. The book that `make docs` builds holds `docs/` alone, so a
//! link out of there is a fault, too.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::fs;
use std::path::{Component, Path, PathBuf};

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The directory of the book.
const BOOK: &str = "docs";

/// The Markdown files beneath a directory, by their paths from there.
pub(crate) struct Documents {
    root: PathBuf,
    texts: BTreeMap<PathBuf, String>,
}

impl Documents {
    /// Reads all `*.md` beneath `root`, but for hidden directories and `target`.
    pub(crate) fn beneath(root: &Path) -> Self {
        let mut texts = BTreeMap::new();
        let mut open = vec![root.to_owned()];
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(&dir).expect("the tree is readable") {
                let path = entry.expect("the tree is readable").path();
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                if path.is_dir() && !name.starts_with('.') && name != "target" {
                    open.push(path);
                } else if path.extension().is_some_and(|extension| extension == "md") {
                    let text = fs::read_to_string(&path).expect("documents are UTF-8");
                    let path = path.strip_prefix(root).expect("entries lie beneath their directory");
                    texts.insert(path.to_owned(), text);
                }
            }
        }
        Self { root: root.to_owned(), texts }
    }

    /// The text of the document at `path`.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> &str {
        &self.texts[path.as_ref()]
    }

    /// The paths of the documents.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.texts.keys().map(PathBuf::as_path)
    }

    /// The number of relative links, and one line for each that leads nowhere.
    pub(crate) fn faults(&self) -> (usize, Vec<String>) {
        let anchors: HashMap<&Path, Vec<String>> =
            self.texts.iter().map(|(path, text)| (path.as_path(), anchors(text))).collect();
        let (mut links, mut faults) = (0, Vec::new());
        for (path, text) in &self.texts {
            for (line, link) in relative_links(text) {
                links += 1;
                if let Err(fault) = self.follow(path, &link, &anchors) {
                    faults.push(format!("{}:{line}: {link}: {fault}", path.display()));
                }
            }
        }
        (links, faults)
    }

    /// One line for each file of the tree that a document names as code and that is not there, neither seen from the top
    /// nor from the document. Decisions are left out: they speak of their own time.
    pub(crate) fn missing_files(&self) -> (usize, Vec<String>) {
        let (mut named, mut missing) = (0, Vec::new());
        for (path, text) in self.texts.iter().filter(|(path, _)| !path.starts_with("docs/decisions")) {
            for code in codes(text) {
                let is_path = code.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
                let is_ours = code.split_once('/').is_some_and(|(dir, _)| {
                    !["", "..", "target"].contains(&dir) && self.root.join(dir).is_dir()
                });
                if is_path && is_ours {
                    named += 1;
                    let dir = path.parent().expect("a document lies in a directory");
                    if !self.root.join(&code).exists() && !self.root.join(dir).join(&code).exists() {
                        missing.push(format!("{}: there is no {code}", path.display()));
                    }
                }
            }
        }
        (named, missing)
    }

    /// The documents that `path` links to.
    pub(crate) fn linked(&self, path: impl AsRef<Path>) -> Vec<PathBuf> {
        let path = path.as_ref();
        let links = relative_links(self.text(path)).into_iter();
        links.filter_map(|(_, link)| joined(path, link.split('#').next()?)).collect()
    }

    fn follow(
        &self,
        from: &Path,
        link: &str,
        anchors: &HashMap<&Path, Vec<String>>,
    ) -> Result<(), &'static str> {
        let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
        let target = match file {
            "" => from.to_owned(),
            _ => joined(from, file).ok_or("leads out of the tree")?,
        };
        if from.starts_with(BOOK) && !target.starts_with(BOOK) {
            return Err("leads out of the book");
        }
        if !self.root.join(&target).exists() {
            return Err("there is no such file");
        }
        let Some(anchor) = anchor else { return Ok(()) };
        let known = anchors.get(target.as_path()).ok_or("an anchor in a file that is no document")?;
        known.iter().any(|known| known == anchor).then_some(()).ok_or("there is no such heading")
    }
}

/// `link` seen from the directory of `from`, without `..`; `None` where it leads out of the tree.
fn joined(from: &Path, link: &str) -> Option<PathBuf> {
    let mut path = from.parent()?.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => path.pop().then_some(())?,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(path)
}

/// The links and pictures of `text` that name no host, each with its line.
fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (event, range) in Parser::new_ext(text, Options::ENABLE_TABLES).into_offset_iter() {
        if let Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) = event
            && !dest_url.contains("://")
            && !dest_url.starts_with("mailto:")
        {
            let line = text[..range.start].matches('\n').count() + 1;
            links.push((line, dest_url.into_string()));
        }
    }
    links
}

/// The pieces of code within the sentences of `text`.
fn codes(text: &str) -> Vec<String> {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES);
    events
        .filter_map(|event| if let Event::Code(code) = event { Some(code.into_string()) } else { None })
        .collect()
}

/// The anchors of the headings of `text`, in order.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    let mut heading = None;
    for event in Parser::new_ext(text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => {
                let mut anchor = anchor(&heading.take().unwrap_or_default());
                let same = anchors.iter().filter(|known| **known == anchor).count();
                if same > 0 {
                    write!(anchor, "-{same}").expect("text grows");
                }
                anchors.push(anchor);
            }
            Event::Text(words) | Event::Code(words) => {
                if let Some(heading) = &mut heading {
                    *heading += &words;
                }
            }
            _ => {}
        }
    }
    anchors
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}
