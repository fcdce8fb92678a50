//! Secrets that were handed over, one for each application, and their storage over a restart.
//!
//! They live in memory, and come before every other source: an application with such a secret must prove it and no
//! other. A change is stored first and then in force, so that an acknowledged change is not lost; changes are made
//! one after the other. [`RememberSecrets`] stores them: it is the recovery store. If that is switched off, a restart
//! loses the secrets, and the resource manager hands them over again. At the end of an application the store forgets
//! everything about it at once: `applications` asks it to.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;
use thiserror::Error;
use tracing::warn;

/// Longest secret; Spark's own have 64 characters.
pub(crate) const LONGEST_SECRET: usize = 64 << 10;

/// Most applications with a secret at the same time: far more than a node ever runs.
const MOST_HELD: usize = 10_000;

/// Stores secrets that were handed over, so that they outlast a restart. Both calls may wait for a disk.
pub trait RememberSecrets: fmt::Debug + Send + Sync {
    /// Stores the secret of an application in the place of the previous one. It is safe when this returns.
    fn remember(&self, app: &AppId, secret: &AppSecret) -> Result<(), Box<dyn Error + Send + Sync>>;

    /// Deletes the secret. It is no error if there was none.
    fn forget(&self, app: &AppId) -> Result<(), Box<dyn Error + Send + Sync>>;
}

/// The secret cannot be taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HandOverError {
    /// Handing over is switched off.
    #[error("this server takes no secrets: set spark.sealed.handover.socket")]
    NotTaken,
    /// There are too many secrets already.
    #[error(
        "secrets of {MOST_HELD} applications are held, which is the most: end some (sealed-shuffle apps --end ID)"
    )]
    TooMany,
    /// The text is no secret.
    #[error("a secret of {0} bytes; it has 1 to {LONGEST_SECRET}")]
    Length(usize),
    /// The secret would not outlast a restart.
    #[error("the secret cannot be remembered, or forgotten, in the state store: {0}")]
    Memory(Box<dyn Error + Send + Sync>),
}

/// The secrets of all applications that were handed over.
#[derive(Debug, Default)]
pub(super) struct HandedSecrets {
    /// Longest time that a handshake waits for its secret; `None` where handing over is switched off.
    wait: Option<Duration>,
    held: Mutex<HashMap<AppId, HandedSecret>>,
    memory: OnceLock<Arc<dyn RememberSecrets>>,
    /// Held while a secret is taken.
    changing: Mutex<()>,
}

#[derive(Debug)]
struct HandedSecret {
    secret: Arc<AppSecret>,
    remembered: bool,
}

impl HandedSecrets {
    pub(super) fn waiting(wait: Option<Duration>) -> Self {
        Self { wait, ..Self::default() }
    }

    /// The first call wins. Secrets that were taken before are remembered now.
    pub(super) fn remember_in(&self, memory: Arc<dyn RememberSecrets>) {
        let _changing = lock(&self.changing);
        if self.memory.set(Arc::clone(&memory)).is_err() {
            return;
        }
        for (app, HandedSecret { secret, remembered }) in &*self.held() {
            let done = if *remembered { memory.remember(app, secret) } else { memory.forget(app) };
            if let Err(error) = done {
                warn!(%app, %error, "the secret of an application is not remembered as it was asked to be");
            }
        }
    }

    /// Takes a secret, and says whether it is news. `remembered` tells whether it has to outlast a restart. May wait for a
    /// disk.
    pub(super) fn take(
        &self,
        app: &AppId,
        secret: AppSecret,
        remembered: bool,
    ) -> Result<bool, HandOverError> {
        if self.wait.is_none() {
            return Err(HandOverError::NotTaken);
        }
        let length = secret.as_bytes().len();
        if !(1..=LONGEST_SECRET).contains(&length) {
            return Err(HandOverError::Length(length));
        }
        let _changing = lock(&self.changing);
        let before = self.held().get(app).map(|held| (Arc::clone(&held.secret), held.remembered));
        match &before {
            // NodeManagers send it again for every container.
            Some((same, as_before)) if **same == secret && *as_before == remembered => return Ok(false),
            None if self.held().len() >= MOST_HELD => return Err(HandOverError::TooMany),
            _ => {}
        }
        if let Some(memory) = self.memory.get() {
            let done = if remembered { memory.remember(app, &secret) } else { memory.forget(app) };
            done.map_err(HandOverError::Memory)?;
        }
        self.held().insert(app.clone(), HandedSecret { secret: Arc::new(secret), remembered });
        Ok(true)
    }

    /// Takes a secret that the store had.
    pub(super) fn restore(&self, app: AppId, secret: AppSecret) {
        // One that was handed over since is newer.
        self.held().entry(app).or_insert(HandedSecret { secret: Arc::new(secret), remembered: true });
    }

    /// Drops the secret of an application from memory. Returns whether there was one.
    pub(super) fn drop_of(&self, app: &AppId) -> bool {
        self.held().remove(app).is_some()
    }

    pub(super) fn of(&self, app: &AppId) -> Option<Arc<AppSecret>> {
        self.held().get(app).map(|held| Arc::clone(&held.secret))
    }

    pub(super) fn count(&self) -> usize {
        self.held().len()
    }

    pub(super) fn apps(&self) -> Vec<AppId> {
        self.held().keys().cloned().collect()
    }

    pub(super) fn wait(&self) -> Option<Duration> {
        self.wait
    }

    fn held(&self) -> MutexGuard<'_, HashMap<AppId, HandedSecret>> {
        lock(&self.held)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(name: &str) -> AppId {
        AppId::new(name)
    }

    fn secret(text: &str) -> AppSecret {
        AppSecret::new(text.to_owned())
    }

    fn handed() -> HandedSecrets {
        HandedSecrets::waiting(Some(Duration::ZERO))
    }

    /// Records its calls; fails on request.
    #[derive(Debug, Default)]
    struct Memory {
        told: Mutex<Vec<String>>,
        fails: Mutex<bool>,
    }

    impl Memory {
        fn told(&self, what: String) -> Result<(), Box<dyn Error + Send + Sync>> {
            if *lock(&self.fails) {
                return Err("the disk is full".into());
            }
            lock(&self.told).push(what);
            Ok(())
        }
    }

    impl RememberSecrets for Memory {
        fn remember(&self, app: &AppId, secret: &AppSecret) -> Result<(), Box<dyn Error + Send + Sync>> {
            self.told(format!("{app}={}", String::from_utf8_lossy(secret.as_bytes())))
        }

        fn forget(&self, app: &AppId) -> Result<(), Box<dyn Error + Send + Sync>> {
            self.told(format!("-{app}"))
        }
    }

    #[test]
    fn a_change_is_remembered_once_and_before_it_is_in_force() {
        let (handed, memory) = (handed(), Arc::new(Memory::default()));
        handed.remember_in(Arc::clone(&memory) as Arc<dyn RememberSecrets>);
        assert!(handed.take(&app("a"), secret("one"), true).unwrap(), "it is news");
        assert!(!handed.take(&app("a"), secret("one"), true).unwrap(), "each container says it again");
        *lock(&memory.fails) = true;
        let error = handed.take(&app("a"), secret("two"), true).unwrap_err();
        assert!(error.to_string().contains("disk is full"), "{error}");
        assert_eq!(handed.of(&app("a")).unwrap().as_bytes(), b"one");
        *lock(&memory.fails) = false;
        handed.take(&app("a"), secret("two"), true).unwrap();
        assert!(handed.drop_of(&app("a")));
        assert!(!handed.drop_of(&app("a")));
        assert_eq!(*lock(&memory.told), ["a=one", "a=two"], "whoever ends an application has it forgotten");
    }

    #[test]
    fn an_application_that_does_not_want_to_be_remembered_is_not() {
        let (handed, memory) = (handed(), Arc::new(Memory::default()));
        handed.remember_in(Arc::clone(&memory) as Arc<dyn RememberSecrets>);
        handed.restore(app("a"), secret("one"));
        handed.take(&app("a"), secret("one"), false).unwrap();
        assert_eq!(*lock(&memory.told), ["-a"], "from now on");
    }

    #[test]
    fn secrets_are_bounded_in_length_and_number() {
        let handed = handed();
        for length in [0, LONGEST_SECRET + 1] {
            let refused = handed.take(&app("a"), secret(&"s".repeat(length)), true).unwrap_err();
            assert!(matches!(refused, HandOverError::Length(_)), "{refused}");
        }
        for number in 0..MOST_HELD {
            handed.take(&app(&number.to_string()), secret("s"), true).unwrap();
        }
        assert!(matches!(handed.take(&app("a"), secret("s"), true), Err(HandOverError::TooMany)));
        handed.take(&app("0"), secret("t"), true).unwrap();
        assert!(handed.drop_of(&app("1")));
        handed.take(&app("a"), secret("s"), true).unwrap();
        let off = HandedSecrets::default();
        assert!(matches!(off.take(&app("a"), secret("s"), true), Err(HandOverError::NotTaken)));
    }
}
