//! Which keys of a key service the sealed files beneath some directories need.
//!
//! The index file of a merged partition is opened first and carries the wrapped key, so only index files are looked at.
//! No symbolic link is followed beneath the directories themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::name::{Kind, SparkName};
use super::reading::{open_regular, read_at};
use super::sealed::{SEALED_HEAD, may_be_sealed, sealed_header};

/// Most applications that are named for one key.
const NAMED: usize = 3;

/// The sealed partitions that one key is needed for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct SealedUse {
    /// How many there are.
    pub partitions: u64,
    apps: BTreeSet<String>,
}

impl std::fmt::Display for SealedUse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named: Vec<_> = self.apps.iter().take(NAMED).map(String::as_str).collect();
        let dots = if self.apps.len() > NAMED { ", …" } else { "" };
        write!(f, "{} merged partitions of {}{dots}", self.partitions, named.join(", "))
    }
}

/// The uses of each key, and the paths that could not be looked at, each with the reason.
#[derive(Debug, Default)]
pub struct KeysBeneath {
    /// By the name of the key.
    pub uses: BTreeMap<String, SealedUse>,
    /// What may need further keys.
    pub unknown: Vec<(PathBuf, String)>,
}

impl KeysBeneath {
    /// Looks at everything beneath `roots`.
    pub fn of<'a>(roots: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut found = Self::default();
        let mut waiting: Vec<PathBuf> = roots.into_iter().map(Path::to_owned).collect();
        while let Some(dir) = waiting.pop() {
            let entries = fs::read_dir(&dir).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
            let entries = match entries {
                Ok(entries) => entries,
                Err(error) => {
                    found.not_looked_at(&dir, &error);
                    continue;
                }
            };
            for entry in entries {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                    Ok(kind) if kind.is_file() => found.file(&entry.path()),
                    Ok(_) => {}
                    Err(error) => found.not_looked_at(&entry.path(), &error),
                }
            }
        }
        found
    }

    fn file(&mut self, path: &Path) {
        let name = path.file_name().and_then(|name| name.to_str()).and_then(SparkName::parse);
        if name.is_none_or(|name| name.kind != Kind::MergedIndex) {
            return;
        }
        match head_of(path) {
            Ok(head) if may_be_sealed(&head) => match sealed_header(&head).filter(|header| header.is_whole())
            {
                Some(header) => {
                    let used = self.uses.entry(header.key_id).or_default();
                    used.partitions += 1;
                    used.apps.insert(header.app);
                }
                None => self.unknown.push((path.to_owned(), "its header does not name its key".to_owned())),
            },
            // Another service's, which has no key.
            Ok(_) => {}
            Err(error) => self.not_looked_at(path, &error),
        }
    }

    fn not_looked_at(&mut self, path: &Path, error: &io::Error) {
        // What is gone needs no key.
        if error.kind() != io::ErrorKind::NotFound {
            self.unknown.push((path.to_owned(), error.to_string()));
        }
    }
}

fn head_of(path: &Path) -> io::Result<Vec<u8>> {
    let file = open_regular(path)?;
    let mut head = vec![0; SEALED_HEAD];
    let n = read_at(&file, &mut head, 0)?;
    head.truncate(n);
    Ok(head)
}
