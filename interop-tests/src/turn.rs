//! Turns for heavy tests: a Spark application is three JVMs, and small machines have two cores.
//!
//! The slots are lock files in the cache, so they hold among test processes too; a slot is given back when its
//! process ends, however it ends.

use std::{fs::File, thread, time::Duration};

use crate::spark::cache;

/// Whole applications that may run at a time.
const SLOTS: usize = 2;

/// Held while an application runs.
#[derive(Debug)]
pub struct Turn(#[expect(dead_code, reason = "dropping it unlocks")] File);

impl Turn {
    /// Waits until fewer than two applications run.
    pub fn wait() -> Self {
        let files: Vec<File> = (0..SLOTS)
            .map(|slot| {
                let path = cache().join(format!("application-{slot}.lock"));
                File::create(&path).unwrap_or_else(|e| panic!("cannot create {}: {e}", path.display()))
            })
            .collect();
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
