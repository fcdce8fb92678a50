//! The data keys of the applications that this server works for.
//!
//! ```text
//! current(app)         ─► in memory? ─► yes: at once
//! unwrap(app, wrapped) ─►            └► no: one call to the provider; other callers for the key wait for it
//! at_hand(app, …)      ─► in memory? ─► yes: at once; no: the same call, and an error
//! renewed(key)         ─► the same for a key that is in use; its application must still be known
//! forget(app)          ─► its keys are dropped; the result of a running call is dropped, too
//! ```
//!
//! Invariants:
//!
//! - one call at a time for one key, for any number of callers, and it goes on when they go away; at most [`MOST_CALLS`]
//!   calls for all, of which every application has a share, so that calls of one that hang leave some for others; a failed
//!   call gives the same answer for [`HOLD_OFF`], so that a storm of requests is not a storm of calls;
//! - keys are in memory only, and wiped when the ring and the last file that uses them drop them;
//! - the number of applications, and of keys of one application, is bounded;
//! - a key that was unwrapped also serves the application's new files: after a restart no new one is generated.
//!
//! **An outage** ([`OutagePolicy`]). Under `refuse` a key in memory stays good until its application ends. The
//! provider is not asked about it again, so an outage affects only applications that have no key yet, and they are
//! refused. Under `use-cached` a key in memory is a [`Loan`], and so is everything derived from it. At half of `spark.sealed.keys.cache-ttl` the provider is
//! asked to unwrap it again, while it stays in use. If the provider confirms it, the time begins anew. If the
//! provider refuses it, it is dropped at once. While the provider cannot be reached, the key may be used until the
//! whole time since the last confirmation has passed; then it is dropped, its loan is over for open files and transfers,
//! too, and the application is refused until the provider is back. So `use-cached` costs calls. It bounds the use of a key that was withdrawn or whose provider
//! cannot be reached. After a restart nothing is in memory, and under both policies data waits for the provider.
//! Nothing is ever written in clear instead.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sealed_shuffle_config::OutagePolicy;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_transport::pot::{Pot, Tenant};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::calls::{self, KeyCalls};
use super::error::{KeyError, KeyErrorKind};
use super::loan::{Loan, LoanState};
use super::provider::KeyProvider;

/// Most calls to the provider at the same time.
const MOST_CALLS: u64 = 16;

/// Time for which a failed call is not repeated.
const HOLD_OFF: Duration = Duration::from_secs(1);

/// Most keys of one application. It has more than one after restarts that lost the record of its key.
const MOST_KEYS: usize = 16;

/// Most calls of one application that are running or have just failed.
const MOST_FLIGHTS: usize = 16;

/// Time after a provider's own timeout until its call is given up from outside.
const GRACE: Duration = Duration::from_secs(1);

/// A data key of an application and the form in which its files carry it.
#[derive(Debug)]
#[non_exhaustive]
pub struct AppKey {
    /// The key that seals files.
    pub key: DataKey,
    /// The wrapped form for the headers of files.
    pub wrapped: WrappedKey,
    /// Whose end is the end of everything that is derived from the key.
    pub loan: Arc<Loan>,
}

/// The settings of a ring.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RingSettings {
    /// Name of the cluster, for the context (`spark.sealed.cluster.name`).
    pub cluster: String,
    /// The node that keys are bound to (`spark.sealed.node.id`).
    pub node: Option<String>,
    /// The policy for an outage (`spark.sealed.keys.on-unavailable`, `spark.sealed.keys.cache-ttl`).
    pub outage: OutagePolicy,
    /// Time for one call, retries included (`spark.sealed.keys.timeout`).
    pub timeout: Duration,
    /// Most applications with keys (`spark.sealed.applications.max`).
    pub most_applications: usize,
}

impl RingSettings {
    /// Settings without cluster and node, for 10,000 applications.
    pub fn new(outage: OutagePolicy, timeout: Duration) -> Self {
        Self { cluster: String::new(), node: None, outage, timeout, most_applications: 10_000 }
    }
}

/// The data keys of this server, and their provider. Clones share them.
#[derive(Clone)]
pub struct EnvelopeKeys {
    inner: Arc<Inner>,
}

struct Inner {
    provider: Arc<dyn KeyProvider>,
    settings: RingSettings,
    apps: Mutex<HashMap<AppId, Entry>>,
    calls: Pot,
    metrics: KeyCalls,
}

/// The keys and calls of one application. A flight whose entry was replaced meanwhile drops its result.
#[derive(Default)]
struct Entry {
    born: Arc<()>,
    /// The first one is for new files.
    held: Vec<HeldKey>,
    flights: Vec<Flight>,
}

struct HeldKey {
    wrapped: WrappedKey,
    /// `None` when the loan is over.
    key: Option<Arc<AppKey>>,
    /// It outlasts the key: where the provider confirms the key after its end, it goes on.
    loan: Arc<Loan>,
}

struct Flight {
    wanted: KeyWish,
    state: FlightState,
}

enum FlightState {
    Under(watch::Receiver<Option<Outcome>>),
    Failed(Instant, KeyError),
}

#[derive(Clone, PartialEq)]
enum KeyWish {
    New,
    Known(WrappedKey),
}

/// What a call brought.
type CallResult = Result<(DataKey, WrappedKey), KeyError>;

/// The result of a call, for all who wait for it.
type Outcome = Result<Arc<AppKey>, KeyError>;

/// The result of a look at the ring.
enum Look {
    Ready(Arc<AppKey>),
    Wait(watch::Receiver<Option<Outcome>>),
}

impl EnvelopeKeys {
    /// An empty ring. Its keys come from `provider`.
    pub fn new(provider: Arc<dyn KeyProvider>, settings: RingSettings, metrics: KeyCalls) -> Self {
        let outcomes = [&[calls::DONE], KeyErrorKind::NAMES].concat();
        metrics.begin_at_zero(provider.name(), &outcomes);
        let calls =
            Pot::new("key_calls", MOST_CALLS).with_remedy("the key service is slow, or asked too much");
        let inner = Inner { provider, settings, apps: Mutex::default(), calls, metrics };
        Self { inner: Arc::new(inner) }
    }

    /// The provider of the keys.
    pub fn provider(&self) -> &Arc<dyn KeyProvider> {
        &self.inner.provider
    }

    /// The calls to the provider that may run at the same time.
    pub fn calls(&self) -> &Pot {
        &self.inner.calls
    }

    /// The key for new files of `app`: the known one, else a new one. Cancel safe.
    pub async fn current(&self, app: &AppId) -> Result<Arc<AppKey>, KeyError> {
        self.obtain(app, None).await
    }

    /// The key that a file of `app` carries in wrapped form. Cancel safe.
    pub async fn unwrap(&self, app: &AppId, wrapped: &WrappedKey) -> Result<Arc<AppKey>, KeyError> {
        self.obtain(app, Some(wrapped)).await
    }

    /// The same without waiting, for threads that others wait for. If the key is not in memory, it starts the call
    /// for the key, and the error asks to come back. Must be called within a runtime.
    pub fn at_hand(&self, app: &AppId, wrapped: Option<&WrappedKey>) -> Result<Arc<AppKey>, KeyError> {
        match self.look(app, wrapped)? {
            Look::Ready(key) => Ok(key),
            Look::Wait(_) => Err(KeyError::new(
                KeyErrorKind::Unavailable,
                self.inner.provider.name(),
                "the key service is being asked for the key",
                "try again",
            )),
        }
    }

    /// A key of `app` that is in use, as it is now; starts a call where the provider is to be asked. An application that
    /// has ended gets none. Must be called within a runtime.
    pub fn renewed(&self, app: &AppId, key: &AppKey) -> Result<Arc<AppKey>, KeyError> {
        if self.inner.apps().contains_key(app) {
            return self.at_hand(app, Some(&key.wrapped));
        }
        let reason = format!("application {app} has ended");
        Err(KeyError::new(KeyErrorKind::NotFound, &key.wrapped.key_id, reason, "nothing of it is served"))
    }

    /// The application has ended: drops its keys, which are wiped as soon as no open file uses them. After that only
    /// the provider can open data that was sealed under them, with the wrapped form in the files.
    pub fn forget(&self, app: &AppId) {
        let gone = self.inner.apps().remove(app);
        drop(gone);
    }

    /// Drops keys whose loan is over. It is for housekeeping: without it they are dropped when they are asked for.
    pub fn sweep(&self) {
        let now = Instant::now();
        for entry in self.inner.apps().values_mut() {
            for held in &mut entry.held {
                if held.loan.at(now) == LoanState::Over {
                    held.key = None;
                }
            }
            entry.land(now);
        }
    }

    /// Time goes by for all loans.
    #[cfg(test)]
    pub(crate) fn age(&self, by: Duration) {
        self.inner.apps().values().flat_map(|entry| &entry.held).for_each(|held| held.loan.age(by));
    }

    /// Number of applications with a key in memory.
    pub fn len(&self) -> usize {
        self.inner.apps().values().filter(|entry| entry.held.iter().any(|held| held.key.is_some())).count()
    }

    /// Whether no application has a key in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The context that binds the keys of `app`.
    pub fn context(&self, app: &AppId) -> Context {
        let mut context = Context::of(app.clone());
        context.cluster.clone_from(&self.inner.settings.cluster);
        context.node.clone_from(&self.inner.settings.node);
        context
    }

    async fn obtain(&self, app: &AppId, wrapped: Option<&WrappedKey>) -> Result<Arc<AppKey>, KeyError> {
        let mut waiting = match self.look(app, wrapped)? {
            Look::Ready(key) => return Ok(key),
            Look::Wait(waiting) => waiting,
        };
        // The flight sets the outcome before it ends, unless it was cut short.
        match waiting.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone().unwrap_or_else(|| Err(self.torn())),
            Err(_) => Err(self.torn()),
        }
    }

    fn torn(&self) -> KeyError {
        KeyError::new(
            KeyErrorKind::Unavailable,
            self.inner.provider.name(),
            "the call to the key service was torn apart",
            "try again",
        )
    }

    /// Looks without waiting; starts the call that is needed.
    fn look(&self, app: &AppId, wrapped: Option<&WrappedKey>) -> Result<Look, KeyError> {
        let now = Instant::now();
        let mut apps = self.inner.apps();
        if !apps.contains_key(app) {
            self.inner.make_room(&mut apps, now)?;
        }
        let entry = apps.entry(app.clone()).or_default();
        entry.land(now);
        let held = match wrapped {
            None => entry.held.first_mut(),
            Some(wrapped) => entry.held.iter_mut().find(|held| held.wrapped == *wrapped),
        };
        let Some(held) = held else {
            let wanted = wrapped.map_or(KeyWish::New, |wrapped| KeyWish::Known(wrapped.clone()));
            return Ok(Look::Wait(self.fly(app, entry, wanted)?));
        };
        let loan = held.loan.at(now);
        if loan == LoanState::Over {
            held.key = None;
        }
        let (key, wanted) = (held.key.clone(), KeyWish::Known(held.wrapped.clone()));
        let Some(key) = key else { return Ok(Look::Wait(self.fly(app, entry, wanted)?)) };
        if loan == LoanState::WantsConfirmation {
            // The key stays good while the call runs, and if the call gets no answer.
            self.fly(app, entry, wanted).ok();
        }
        Ok(Look::Ready(key))
    }

    /// The call for the wanted key: the running one or a new one; or the error of the one that has just failed.
    fn fly(
        &self,
        app: &AppId,
        entry: &mut Entry,
        wanted: KeyWish,
    ) -> Result<watch::Receiver<Option<Outcome>>, KeyError> {
        if let Some(flight) = entry.flights.iter().find(|flight| flight.wanted == wanted) {
            return match &flight.state {
                FlightState::Under(waiting) => Ok(waiting.clone()),
                FlightState::Failed(_, error) => Err(error.clone()),
            };
        }
        if entry.flights.len() >= MOST_FLIGHTS {
            return Err(KeyError::new(
                KeyErrorKind::Unavailable,
                self.inner.provider.name(),
                format!("{MOST_FLIGHTS} calls for keys of {app} are under way or have just failed"),
                "try again later",
            ));
        }
        let (done, waiting) = watch::channel(None);
        entry.flights.push(Flight { wanted: wanted.clone(), state: FlightState::Under(waiting.clone()) });
        let (ring, app, born) = (self.clone(), app.clone(), Arc::clone(&entry.born));
        // The call is a task of its own: its caller may go away, and others wait for it.
        tokio::spawn(async move {
            let brought = ring.inner.call(&ring.context(&app), &wanted).await;
            let outcome = ring.inner.arrived(&app, &born, &wanted, brought);
            done.send_replace(Some(outcome));
        });
        Ok(waiting)
    }
}

impl std::fmt::Debug for EnvelopeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnvelopeKeys")
            .field("provider", &self.inner.provider.name())
            .field("applications", &self.len())
            .finish_non_exhaustive()
    }
}

impl Inner {
    /// One call, counted and within its time.
    async fn call(&self, context: &Context, wanted: &KeyWish) -> CallResult {
        let (name, limit, began) = (self.provider.name(), self.settings.timeout + GRACE, Instant::now());
        let account = self.calls.account(&Tenant::App(context.app.clone()));
        let answer = async {
            let _place = account.take(1).await;
            match wanted {
                KeyWish::New => self.provider.generate(context).await,
                KeyWish::Known(wrapped) => {
                    Ok((self.provider.unwrap(wrapped, context).await?, wrapped.clone()))
                }
            }
        };
        let answered = timeout(limit, answer).await;
        let outcome = answered
            .unwrap_or_else(|_| Err(self.unanswered()))
            .and_then(|(key, wrapped)| self.sound(key, wrapped));
        let call = match wanted {
            KeyWish::New => calls::GENERATE,
            KeyWish::Known(_) => calls::UNWRAP,
        };
        let word = outcome.as_ref().map_or_else(|error| error.kind().name(), |_| calls::DONE);
        self.metrics.ended(name, call, word, began.elapsed());
        let app = &context.app;
        match &outcome {
            Ok((_, wrapped)) => info!(%app, key = wrapped.key_id, call, "the key service gave a data key"),
            Err(error) => warn!(%app, call, outcome = word, %error, "the key service gave no data key"),
        }
        outcome
    }

    /// A call that had its time, the wait for its turn included.
    fn unanswered(&self) -> KeyError {
        KeyError::new(
            KeyErrorKind::Unavailable,
            self.provider.name(),
            format!("the key service has not answered within {:?}", self.settings.timeout),
            "look whether it can be reached; spark.sealed.keys.timeout is the time that a call has",
        )
    }

    /// The answer of a provider must fit into a header.
    fn sound(&self, key: DataKey, wrapped: WrappedKey) -> CallResult {
        if wrapped.key_id.len() > WrappedKey::MAX_ID || wrapped.bytes.len() > WrappedKey::MAX_BYTES {
            return Err(KeyError::new(
                KeyErrorKind::Misconfigured,
                self.provider.name(),
                format!(
                    "the key service answered a name of {} bytes and a wrapped key of {}, more than {} and {}",
                    wrapped.key_id.len(),
                    wrapped.bytes.len(),
                    WrappedKey::MAX_ID,
                    WrappedKey::MAX_BYTES
                ),
                "let it answer less",
            ));
        }
        Ok((key, wrapped))
    }

    /// Takes up what a call brought, unless the application was forgotten meanwhile. Returns what its callers get.
    fn arrived(&self, app: &AppId, born: &Arc<()>, wanted: &KeyWish, brought: CallResult) -> Outcome {
        let mut apps = self.apps();
        let loan = Loan::new(self.settings.outage);
        let Some(entry) = apps.get_mut(app).filter(|entry| Arc::ptr_eq(&entry.born, born)) else {
            return brought.map(|(key, wrapped)| Arc::new(AppKey { key, wrapped, loan: Arc::new(loan) }));
        };
        let now = Instant::now();
        entry.flights.retain(|flight| flight.wanted != *wanted);
        match brought {
            Ok((key, wrapped)) => Ok(entry.hold(key, wrapped, loan, now)),
            Err(error) => {
                if !error.is_retryable()
                    && let KeyWish::Known(wrapped) = wanted
                {
                    // The key was withdrawn: it is dropped although its loan might last.
                    let is_it = |held: &HeldKey| held.wrapped == *wrapped;
                    entry.held.iter().filter(|held| is_it(held)).for_each(|held| held.loan.end());
                    entry.held.retain(|held| !is_it(held));
                }
                let state = FlightState::Failed(now, error.clone());
                entry.flights.push(Flight { wanted: wanted.clone(), state });
                Err(error)
            }
        }
    }

    /// Makes a place for one more application, or fails.
    fn make_room(&self, apps: &mut HashMap<AppId, Entry>, now: Instant) -> Result<(), KeyError> {
        let most = self.settings.most_applications;
        if apps.len() < most {
            return Ok(());
        }
        apps.retain(|_, entry| {
            entry.land(now);
            !entry.held.is_empty() || !entry.flights.is_empty()
        });
        if apps.len() < most {
            return Ok(());
        }
        Err(KeyError::new(
            KeyErrorKind::Unavailable,
            self.provider.name(),
            format!("{most} applications have keys already"),
            "raise spark.sealed.applications.max, or wait until applications have ended",
        ))
    }

    fn apps(&self) -> MutexGuard<'_, HashMap<AppId, Entry>> {
        self.apps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Drops finished flights: failures that may be tried again, and calls that were cut short.
    fn land(&mut self, now: Instant) {
        self.flights.retain(|flight| match &flight.state {
            FlightState::Under(waiting) => waiting.has_changed().is_ok(),
            FlightState::Failed(when, _) => now - *when < HOLD_OFF,
        });
    }

    /// Keeps a key that has come. Returns the one that is kept.
    fn hold(&mut self, key: DataKey, wrapped: WrappedKey, loan: Loan, now: Instant) -> Arc<AppKey> {
        if let Some(held) = self.held.iter_mut().find(|held| held.wrapped == wrapped) {
            held.loan.confirm(now);
            // Open files have the older key, so it stays the only one in memory. Whatever is left of one that was dropped
            // shares the loan.
            let anew = || Arc::new(AppKey { key, wrapped, loan: Arc::clone(&held.loan) });
            return Arc::clone(held.key.get_or_insert_with(anew));
        }
        if self.held.len() >= MOST_KEYS {
            // Files name the key again when they are opened again.
            self.held.remove(1);
        }
        let loan = Arc::new(loan);
        let key = Arc::new(AppKey { key, wrapped: wrapped.clone(), loan: Arc::clone(&loan) });
        self.held.push(HeldKey { wrapped, key: Some(Arc::clone(&key)), loan });
        key
    }
}

#[cfg(test)]
mod tests;
