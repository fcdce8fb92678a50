//! Applications with proven connections, and their end when their secret is taken away.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sealed_shuffle_protocol::ids::AppId;
use tokio_util::sync::CancellationToken;

/// Number of checks in a row that miss the file before the secret counts as gone.
const LOOKS: u32 = 2;

/// The connected applications.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    apps: Arc<Mutex<HashMap<AppId, Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    revoked: CancellationToken,
    connections: usize,
    missing: u32,
}

impl Watchers {
    pub(super) fn watch(&self, app: &AppId) -> Watch {
        let mut apps = self.apps();
        let entry = apps.entry(app.clone()).or_default();
        entry.connections += 1;
        Watch { app: app.clone(), revoked: entry.revoked.clone(), apps: Arc::clone(&self.apps) }
    }

    /// Every application with a connection.
    pub(super) fn names(&self) -> Vec<AppId> {
        self.apps().keys().cloned().collect()
    }

    /// Takes the result of a check of the files; returns the applications whose access ends.
    pub(super) fn looked(&self, gone: &[AppId], there: &[AppId]) -> Vec<AppId> {
        let mut apps = self.apps();
        for app in there {
            if let Some(entry) = apps.get_mut(app) {
                entry.missing = 0;
            }
        }
        let mut ended = Vec::new();
        for app in gone {
            let Some(entry) = apps.get_mut(app) else { continue };
            entry.missing += 1;
            if entry.missing == LOOKS {
                // A connection that proves a new secret later is not affected.
                std::mem::take(&mut entry.revoked).cancel();
                entry.missing = 0;
                ended.push(app.clone());
            }
        }
        ended
    }

    /// Ends the access of an application at once.
    pub(super) fn revoke(&self, app: &AppId) {
        if let Some(entry) = self.apps().get_mut(app) {
            std::mem::take(&mut entry.revoked).cancel();
            entry.missing = 0;
        }
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<AppId, Entry>> {
        lock(&self.apps)
    }
}

fn lock(apps: &Mutex<HashMap<AppId, Entry>>) -> MutexGuard<'_, HashMap<AppId, Entry>> {
    apps.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The hold of one connection on its application's access.
#[derive(Debug)]
pub struct Watch {
    app: AppId,
    revoked: CancellationToken,
    apps: Arc<Mutex<HashMap<AppId, Entry>>>,
}

impl Watch {
    /// Resolves when the application's secret was taken away. Cancel safe.
    pub async fn revoked(&self) {
        self.revoked.cancelled().await;
    }

    /// Whether the secret was removed.
    pub fn is_revoked(&self) -> bool {
        self.revoked.is_cancelled()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut apps = lock(&self.apps);
        let Some(entry) = apps.get_mut(&self.app) else { return };
        entry.connections -= 1;
        if entry.connections == 0 {
            apps.remove(&self.app);
        }
    }
}
