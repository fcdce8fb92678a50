//! Turns for heavy tests: a Spark application is three JVMs, and small machines have two cores.
//!
//! The slots are lock files in the cache, so they hold among test processes too; a slot is given back when its
//! process ends, however it ends.

use std::{fs::File, thread, time::Duration};

use super::cache::cache;

/// Whole applications that may run at a time.
const SLOTS: usize = 2;

/// Held while an application runs.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "dropping it unlocks")] File);

impl Turn {
    /// Waits until no application runs and keeps all others waiting, for a test that runs several at a time.
    pub fn wait_for_all() -> Vec<Self> {
        let locked = slots().into_iter().map(|file| {
            file.lock().expect("a lock file can be locked");
            Self(file)
        });
        locked.collect()
    }

    /// Waits until fewer than two applications run.
    pub fn wait() -> Self {
        let files = slots();
        loop {
            for file in &files {
                if file.try_lock().is_ok() {
                    return Self(file.try_clone().expect("an open file can be duplicated"));
                }
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn slots() -> Vec<File> {
    let open = |slot| {
        let path = cache().join(format!("application-{slot}.lock"));
        File::create(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()))
    };
    (0..SLOTS).map(open).collect()
}
