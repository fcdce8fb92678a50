//! Pots: a bounded amount of one thing that all applications share, and the share of each of them.
//!
//! ```text
//! Pot ──account──► Account (one for each tenant) ──take──► Holding ──drop──► given back, the next in turn is served
//!                     └──mover──► Mover: what a connection holds, and whether it moves bytes
//! ```
//!
//! | module | knows |
//! |---|---|
//! | `ledger` | how much an account may hold, and whose turn it is |
//! | `mover` | who holds something and moves nothing |
//! | here | waiting, and what the log says |
//!
//! Invariants: no more is handed out than there is; an account that holds nothing is not held up by another one's
//! share; accounts are served in turn, the claims of an account in their order, and urgent ones before others; a wait that is
//! dropped takes nothing.

mod ledger;
mod mover;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::AppId;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::ledger::{Ledger, Rule, Slot};
pub use self::mover::Mover;
use self::mover::Movers;

/// How many times as much as is left over an account may hold. See `ledger`.
const WEIGHT: u64 = 8;

/// Who waits longer is held up. Shorter waits are how a busy server works.
const HELD_UP: Duration = Duration::from_secs(3);

/// A pot that holds nobody up for so long is said to do so no more.
const QUIET: Duration = Duration::from_secs(10);

/// Whether an account may hold so much where so much would be left over: the rule of a pot, for tables that count by
/// themselves.
pub fn is_fair(held: u64, left: u64) -> bool {
    held <= left.saturating_mul(WEIGHT)
}

/// On whose account something is held.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Tenant {
    /// Peers that have not said for whom they come, all together.
    Strangers,
    /// An application, proven or (where nobody proves anything) named.
    App(AppId),
    /// This process itself.
    Own,
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Strangers => f.write_str("strangers"),
            Self::App(app) => write!(f, "application {app}"),
            Self::Own => f.write_str("this server"),
        }
    }
}

/// A bounded amount of one thing. Clones share it.
#[derive(Clone)]
pub struct Pot {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    state: Mutex<State>,
}

struct State {
    ledger: Ledger<Waiter>,
    accounts: HashMap<Tenant, Weak<AccountKey>>,
    /// The tenant of each account that is open.
    tenants: HashMap<Slot, Tenant>,
    movers: Movers,
    /// When somebody was last held up, while the log says that somebody is.
    holds_up: Option<Instant>,
    refused: u64,
    /// What one application may have; none without a quota.
    quota: Option<u64>,
    /// When the applications that the log says to be at their quota were last at it.
    at_quota: HashMap<Tenant, Instant>,
    reached_quota: u64,
    /// What an operator does where somebody is held up; it may be empty.
    remedy: &'static str,
}

/// How somebody who waits is told, and since when it waits.
type Waiter = (oneshot::Sender<Holding>, Instant);

/// What a pot shows of itself.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PotFigures {
    /// All that there is.
    pub total: u64,
    /// Gauge: what is handed out.
    pub used: u64,
    /// Gauge: what the account with the most holds.
    pub largest: u64,
    /// Gauge: claims that wait.
    pub waiters: u64,
    /// Counter: claims that did not wait and were refused.
    pub refused: u64,
    /// What one application may have, where there is a quota.
    pub quota: Option<u64>,
    /// Gauge: applications that are at their quota.
    pub at_quota: u64,
    /// Counter: claims that went beyond a quota.
    pub reached_quota: u64,
}

impl PotFigures {
    /// Those of two pots of one kind together; the largest account is that of either.
    pub fn and(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            used: self.used + other.used,
            largest: self.largest.max(other.largest),
            waiters: self.waiters + other.waiters,
            refused: self.refused + other.refused,
            quota: self.quota.max(other.quota),
            at_quota: self.at_quota + other.at_quota,
            reached_quota: self.reached_quota + other.reached_quota,
        }
    }
}

/// The account of one tenant. Clones share it.
#[derive(Clone)]
pub struct Account {
    key: Arc<AccountKey>,
}

struct AccountKey {
    pot: Arc<Inner>,
    tenant: Tenant,
    slot: Slot,
}

/// Something that was taken; given back on drop.
#[must_use = "what is dropped is given back"]
pub struct Holding {
    account: Account,
    amount: u64,
    mover: Option<Mover>,
}

/// The pot has nothing for this account now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UsedUp {
    /// The name of the pot.
    pub pot: &'static str,
    /// All that there is, or that the quota leaves.
    pub total: u64,
    /// Whether it is the application's quota, and not what others hold.
    pub is_quota: bool,
}

impl fmt::Display for UsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { pot, total, is_quota } = self;
        let limit = if *is_quota { "quota" } else { "share" };
        write!(f, "the {limit} of {pot} is used up ({total} in all)")
    }
}

impl std::error::Error for UsedUp {}

impl Pot {
    /// A pot of `total`, at least 1, in which every account has a share: one alone may hold eight ninths of it.
    pub fn new(name: &'static str, total: u64) -> Self {
        Self::with_reserve(name, total, 0)
    }

    /// The same, of which the last `reserve` is for urgent claims ([`Account::take_urgent`]).
    pub fn with_reserve(name: &'static str, total: u64, reserve: u64) -> Self {
        Self::of(name, Rule { total: total.max(1), reserve, weight: Some(WEIGHT) })
    }

    /// A pot that one account may have all of, for what is held for moments: only the turns are fair.
    pub fn of_turns(name: &'static str, total: u64) -> Self {
        Self::of(name, Rule { total: total.max(1), reserve: 0, weight: None })
    }

    fn of(name: &'static str, rule: Rule) -> Self {
        let state = State {
            ledger: Ledger::new(rule),
            accounts: HashMap::new(),
            tenants: HashMap::new(),
            movers: Movers::default(),
            holds_up: None,
            refused: 0,
            quota: None,
            at_quota: HashMap::new(),
            reached_quota: 0,
            remedy: "",
        };
        Self { inner: Arc::new(Inner { name, state: Mutex::new(state) }) }
    }

    /// The same pot, before its first use, of which one application has no more than `quota`, where there is one.
    pub fn with_quota(self, quota: Option<u64>) -> Self {
        self.inner.state().quota = quota;
        self
    }

    /// The same, with words for the log of what an operator does where somebody is held up.
    pub fn with_remedy(self, remedy: &'static str) -> Self {
        self.inner.state().remedy = remedy;
        self
    }

    /// Whether it is a clone of `other`.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// The account of a tenant. It lasts as long as somebody has it.
    pub fn account(&self, tenant: &Tenant) -> Account {
        let mut state = self.inner.state();
        if let Some(key) = state.accounts.get(tenant).and_then(Weak::upgrade) {
            return Account { key };
        }
        let quota = state.quota.filter(|_| matches!(tenant, Tenant::App(_)));
        let slot = state.ledger.open(quota.unwrap_or(u64::MAX));
        let key = Arc::new(AccountKey { pot: Arc::clone(&self.inner), tenant: tenant.clone(), slot });
        state.accounts.insert(tenant.clone(), Arc::downgrade(&key));
        state.tenants.insert(slot, tenant.clone());
        Account { key }
    }

    /// All that there is.
    pub fn total(&self) -> u64 {
        self.inner.state().ledger.rule().total
    }

    /// What is handed out.
    pub fn used(&self) -> u64 {
        self.inner.state().ledger.held()
    }

    /// The name in metrics and logs.
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// What metrics show.
    pub fn figures(&self) -> PotFigures {
        let state = self.inner.state();
        PotFigures {
            total: state.ledger.rule().total,
            used: state.ledger.held(),
            largest: state.ledger.largest().map_or(0, |(_, held)| held),
            waiters: state.ledger.waiters() as u64,
            refused: state.refused,
            quota: state.quota,
            at_quota: state.at_quota.len() as u64,
            reached_quota: state.reached_quota,
        }
    }

    /// Looks who holds something, moves less than `floor` bytes a second and is waited for, and takes its place away
    /// ([`Account::mover`]); how many. Says in the log when the pot holds nobody up any more. Call it about every
    /// second.
    pub fn look(&self, now: Instant, floor: u64) -> usize {
        let mut state = self.inner.state();
        let longest = state.ledger.waits_longest(|(_, since)| *since);
        let evicted = state.movers.look(now, floor, longest.is_some());
        self.inner.look_at_quotas(&mut state, now);
        let held_up = longest.filter(|(_, since)| now.saturating_duration_since(*since) >= HELD_UP);
        if let Some(tenant) = held_up.and_then(|(slot, _)| state.tenants.get(&slot).cloned()) {
            self.inner.hold_up(&mut state, &tenant);
        } else if state.holds_up.is_some_and(|last| now.saturating_duration_since(last) >= QUIET) {
            state.holds_up = None;
            info!(pot = self.inner.name, "nobody is held up any more");
        }
        evicted
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says once that somebody is held up.
    fn hold_up(&self, state: &mut State, tenant: &Tenant) {
        let now = Instant::now();
        if state.holds_up.replace(now).is_some() {
            return;
        }
        let (total, used) = (state.ledger.rule().total, state.ledger.held());
        let largest = state.ledger.largest().and_then(|(slot, held)| Some((state.tenants.get(&slot)?, held)));
        let (by, most) = largest.map_or((None, 0), |(tenant, held)| (Some(tenant), held));
        let (semicolon, remedy) = (if state.remedy.is_empty() { "" } else { "; " }, state.remedy);
        // That one uses up its share itself is how a busy server works.
        if by == Some(tenant) {
            info!(
                pot = self.name,
                total,
                used,
                its = most,
                "{tenant} has used up its share{semicolon}{remedy}"
            );
            return;
        }
        let by = by.map_or_else(String::new, ToString::to_string);
        warn!(
            pot = self.name,
            total,
            used,
            largest = by,
            its = most,
            "{tenant} is held up: others use its share{semicolon}{remedy}"
        );
    }

    /// Says once that an application is at its quota.
    fn reach_quota(&self, state: &mut State, tenant: &Tenant) {
        state.reached_quota += 1;
        if state.at_quota.insert(tenant.clone(), Instant::now()).is_none() {
            let quota = state.quota;
            info!(pot = self.name, quota, "{tenant} has reached its quota (spark.sealed.quota.*)");
        }
    }

    /// Who waits is still at its quota; who was not for a while is said to be so no more.
    fn look_at_quotas(&self, state: &mut State, now: Instant) {
        if state.at_quota.is_empty() {
            return;
        }
        let State { ledger, tenants, at_quota, .. } = state;
        for tenant in ledger.held_by_quota().filter_map(|slot| tenants.get(&slot)) {
            at_quota.entry(tenant.clone()).and_modify(|last| *last = now);
        }
        at_quota.retain(|tenant, last| {
            let is_at_it = now.saturating_duration_since(*last) < QUIET;
            if !is_at_it {
                info!(pot = self.name, "{tenant} is no longer at its quota");
            }
            is_at_it
        });
    }

    /// Gives back, and serves those whose turn has come.
    fn give_back(self: &Arc<Self>, slot: Slot, amount: u64) {
        let mut state = self.state();
        state.ledger.give_back(slot, amount);
        self.serve(state);
    }

    fn serve(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut served = Vec::new();
        while let Some(grant) = state.ledger.next_grant() {
            let key = state.tenants.get(&grant.slot).and_then(|tenant| state.accounts.get(tenant)?.upgrade());
            match key {
                Some(key) => {
                    let holding = Holding { account: Account { key }, amount: grant.amount, mover: None };
                    served.push((grant.told, holding));
                }
                // Whoever waits has the account.
                None => state.ledger.give_back(grant.slot, grant.amount),
            }
        }
        drop(state);
        // Outside of the lock: one that waits no more gives back at once.
        for ((told, _), holding) in served {
            drop(told.send(holding));
        }
    }
}

impl Account {
    /// Waits for `amount`. A wish for more than the account can ever have is cut to that, so that the wait ends.
    /// Cancel safe.
    pub async fn take(&self, amount: u64) -> Holding {
        self.claim(amount, false).await
    }

    /// The same for what is small and must not wait for bulk: it may have the reserve.
    pub async fn take_urgent(&self, amount: u64) -> Holding {
        self.claim(amount, true).await
    }

    /// Takes `amount` now, or says that it cannot be had. Nothing is cut.
    pub fn try_take(&self, amount: u64) -> Result<Holding, UsedUp> {
        let Inner { name, .. } = *self.key.pot;
        let mut state = self.key.pot.state();
        if state.ledger.take(self.key.slot, amount, false) {
            drop(state);
            return Ok(self.holding(amount));
        }
        state.refused += 1;
        let quota = state.quota.filter(|_| state.ledger.is_beyond_quota(self.key.slot, amount));
        match quota {
            Some(_) => self.key.pot.reach_quota(&mut state, &self.key.tenant),
            None => self.key.pot.hold_up(&mut state, &self.key.tenant),
        }
        let total = quota.unwrap_or_else(|| state.ledger.rule().total);
        Err(UsedUp { pot: name, total, is_quota: quota.is_some() })
    }

    /// Counts `amount` as held, whatever is left: it is there already.
    pub fn hold(&self, amount: u64) -> Holding {
        self.key.pot.state().ledger.hold(self.key.slot, amount);
        self.holding(amount)
    }

    /// Whose it is.
    pub fn tenant(&self) -> &Tenant {
        &self.key.tenant
    }

    /// A part of the account that is watched: who holds something through it has to move bytes, or `evicted` is cancelled
    /// when others wait.
    pub fn mover(&self, evicted: &CancellationToken) -> Mover {
        self.key.pot.state().movers.add(evicted.clone())
    }

    async fn claim(&self, amount: u64, urgent: bool) -> Holding {
        let wait = {
            let mut state = self.key.pot.state();
            let amount = amount.min(state.ledger.most(self.key.slot));
            if state.ledger.take(self.key.slot, amount, urgent) {
                drop(state);
                return self.holding(amount);
            }
            if !urgent && state.ledger.is_beyond_quota(self.key.slot, amount) {
                self.key.pot.reach_quota(&mut state, &self.key.tenant);
            }
            let (told, telling) = oneshot::channel();
            let number = state.ledger.wait(self.key.slot, amount, urgent, (told, Instant::now()));
            Wait { account: self, number, telling }
        };
        wait.served().await
    }

    fn holding(&self, amount: u64) -> Holding {
        Holding { account: self.clone(), amount, mover: None }
    }
}

/// A claim that waits; dropping it leaves the queue.
struct Wait<'a> {
    account: &'a Account,
    number: u64,
    telling: oneshot::Receiver<Holding>,
}

impl Wait<'_> {
    async fn served(mut self) -> Holding {
        match (&mut self.telling).await {
            Ok(holding) => holding,
            // The pot does not drop a waiter; without an account there would be nobody who waits.
            Err(_) => self.account.holding(0),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let AccountKey { pot, slot, .. } = &*self.account.key;
        let mut state = pot.state();
        if state.ledger.leave(*slot, self.number) {
            // What it waited for held up others.
            pot.serve(state);
        }
    }
}

impl Holding {
    /// How much it is.
    pub fn amount(&self) -> u64 {
        self.amount
    }

    /// Holds what `other` holds, of the same account, beside its own.
    pub fn join(&mut self, mut other: Self) {
        debug_assert!(Arc::ptr_eq(&self.account.key, &other.account.key) && other.mover.is_none());
        self.amount += std::mem::take(&mut other.amount);
    }

    /// Counts it as held by `mover` from now on.
    pub fn moved_by(mut self, mover: &Mover) -> Self {
        mover.holds(self.amount);
        self.mover = Some(mover.clone());
        self
    }
}

impl fmt::Debug for Holding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} for {}", self.amount, self.account.key.pot.name, self.account.key.tenant)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "account of {} in {}", self.key.tenant, self.key.pot.name)
    }
}

impl fmt::Debug for Pot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pot").field("name", &self.inner.name).field("figures", &self.figures()).finish()
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        if let Some(mover) = &self.mover {
            mover.gave_back(self.amount);
        }
        self.account.key.pot.give_back(self.account.key.slot, self.amount);
    }
}

impl Drop for AccountKey {
    fn drop(&mut self) {
        let mut state = self.pot.state();
        state.ledger.close(self.slot);
        state.tenants.remove(&self.slot);
        // Another account of the same tenant may have been opened meanwhile.
        if state.accounts.get(&self.tenant).is_some_and(|key| key.strong_count() == 0) {
            state.accounts.remove(&self.tenant);
        }
    }
}

#[cfg(test)]
mod tests;
