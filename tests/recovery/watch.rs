//! Looks at every byte that a server has on disk, again and again: what is secret is nowhere.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use memchr::memmem;

use crate::content::CANARY;
use crate::place::{APP, OTHER_APP, Place, SECRET};

/// A thread that looks all the time, until it is dropped.
pub(crate) struct Watch {
    looking: Arc<Mutex<Looking>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(crate) fn over(place: &Place) -> Self {
        let looking = Looking {
            merged: place.merge_dir(APP),
            state: place.state(),
            log: place.log(),
            seen: HashMap::new(),
            found: Vec::new(),
            looks: 0,
        };
        let (looking, ended) = (Arc::new(Mutex::new(looking)), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (looking, ended) = (Arc::clone(&looking), Arc::clone(&ended));
            std::thread::spawn(move || {
                while !ended.load(Ordering::SeqCst) {
                    looking.lock().unwrap().look();
                    std::thread::sleep(Duration::from_millis(3));
                }
            })
        };
        Self { looking, ended, thread: Some(thread) }
    }

    /// Looks now; nothing is there, nor was it at any time before. Says how often it has looked.
    #[track_caller]
    pub(crate) fn assert_clean(&self) -> u64 {
        let found = self.found();
        assert!(found.is_empty(), "{found:#?}");
        self.looking.lock().unwrap().looks
    }

    fn found(&self) -> Vec<String> {
        let mut looking = self.looking.lock().unwrap();
        looking.look();
        looking.found.clone()
    }

    /// The same for files that have not changed since they were looked at.
    #[track_caller]
    pub(crate) fn assert_all_clean(&self) {
        self.looking.lock().unwrap().seen.clear();
        self.assert_clean();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        drop(self.thread.take().map(JoinHandle::join));
    }
}

struct Looking {
    merged: PathBuf,
    state: PathBuf,
    log: PathBuf,
    /// Length and time of change of what was looked at.
    seen: HashMap<PathBuf, (u64, i64, i64)>,
    found: Vec<String>,
    looks: u64,
}

impl Looking {
    fn look(&mut self) {
        self.looks += 1;
        for path in files(&self.merged.clone()) {
            self.look_into(&path, &[CANARY, SECRET]);
        }
        for path in files(&self.state.clone()) {
            self.look_into(&path, &[CANARY, SECRET, APP, OTHER_APP]);
        }
        self.look_into(&self.log.clone(), &[CANARY, SECRET]);
    }

    fn look_into(&mut self, path: &Path, secrets: &[&str]) {
        // Files come and go.
        let Ok(metadata) = fs::metadata(path) else { return };
        let now = (metadata.len(), metadata.mtime(), metadata.mtime_nsec());
        if self.seen.insert(path.to_owned(), now) == Some(now) {
            return;
        }
        let Ok(content) = fs::read(path) else { return };
        for secret in secrets {
            if memmem::find(&content, secret.as_bytes()).is_some() {
                self.found.push(format!("{} shows {secret:?}", path.display()));
            }
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let (mut all, mut dirs) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                _ => all.push(entry.path()),
            }
        }
    }
    all
}

#[test]
fn what_shows_is_seen() {
    let place = Place::new();
    let watch = Watch::over(&place);
    fs::create_dir_all(place.state()).unwrap();
    let merged = place.merged(APP, "shuffleMerged_app_0_0_0.data");
    for (path, secret) in
        [(merged.clone(), CANARY), (merged, SECRET), (place.state().join("x"), APP), (place.log(), SECRET)]
    {
        let before = watch.found().len();
        fs::write(&path, format!("\0\0{secret}\0 and of another length: {before}{secret}")).unwrap();
        assert!(watch.found().len() > before, "{secret} in {}", path.display());
        fs::remove_file(path).unwrap();
    }
}
