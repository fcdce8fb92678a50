//! The rules of a pot, without clocks, locks and waiting.
//!
//! An account may hold `weight` times as much as is left over once it has taken what it asks for. So a single account
//! has nearly all of the pot (eight ninths, with a weight of 8), several have equal parts, and something is always left
//! for one that comes anew. What others wait for counts as taken: an account that has much takes no more until they are
//! served. This is the dynamic threshold of Choudhury and Hahne (1998), which switches divide their buffers by.
//!
//! An account may have a most of its own, its quota. What waits for nothing but that holds nobody else up, and nobody
//! gives anything up for it.

use std::collections::VecDeque;

/// How a pot is divided.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    pub(super) total: u64,
    /// The last part of it, for urgent claims alone.
    pub(super) reserve: u64,
    /// `None`: an account may hold all, and only the turns are fair.
    pub(super) weight: Option<u64>,
}

impl Rule {
    /// The most that one account can hold by itself, at least 1.
    pub(super) fn most(&self) -> u64 {
        let room = self.total.saturating_sub(self.reserve);
        let most = self.weight.map_or(room, |weight| {
            let share = u128::from(room) * u128::from(weight) / (u128::from(weight) + 1);
            u64::try_from(share).unwrap_or(room)
        });
        most.max(1)
    }
}

/// Names an account of a ledger.
pub(super) type Slot = usize;

/// Somebody who waits. `W` is how it is told.
#[derive(Debug)]
struct Waiter<W> {
    number: u64,
    amount: u64,
    urgent: bool,
    told: W,
}

#[derive(Debug)]
struct Account<W> {
    held: u64,
    /// What it may hold, whatever is left.
    quota: u64,
    waiters: VecDeque<Waiter<W>>,
}

/// Who holds how much, and who waits.
#[derive(Debug)]
pub(super) struct Ledger<W> {
    rule: Rule,
    held: u64,
    /// By slot. Those of `closed` are taken for the next accounts.
    accounts: Vec<Account<W>>,
    closed: Vec<Slot>,
    next_number: u64,
    /// The accounts with waiters, in the order of their turns.
    turns: VecDeque<Slot>,
    waiters: usize,
}

/// A waiter that was served.
#[derive(Debug)]
pub(super) struct Grant<W> {
    pub(super) slot: Slot,
    pub(super) amount: u64,
    pub(super) told: W,
}

impl<W> Ledger<W> {
    pub(super) fn new(rule: Rule) -> Self {
        Self {
            rule,
            held: 0,
            accounts: Vec::new(),
            closed: Vec::new(),
            next_number: 0,
            turns: VecDeque::new(),
            waiters: 0,
        }
    }

    pub(super) fn rule(&self) -> &Rule {
        &self.rule
    }

    pub(super) fn open(&mut self, quota: u64) -> Slot {
        let slot = self.closed.pop().unwrap_or_else(|| {
            self.accounts.push(Account { held: 0, quota, waiters: VecDeque::new() });
            self.accounts.len() - 1
        });
        if let Some(account) = self.accounts.get_mut(slot) {
            account.quota = quota;
        }
        slot
    }

    /// The most that one claim of an account can have.
    pub(super) fn most(&self, slot: Slot) -> u64 {
        let quota = self.accounts.get(slot).map_or(u64::MAX, |account| account.quota);
        self.rule.most().min(quota.max(1))
    }

    /// Nobody uses the account any more: it holds nothing, and nobody waits.
    pub(super) fn close(&mut self, slot: Slot) {
        self.closed.push(slot);
    }

    /// What all accounts hold.
    pub(super) fn held(&self) -> u64 {
        self.held
    }

    /// What the account with the most holds.
    pub(super) fn largest(&self) -> Option<(Slot, u64)> {
        let held = self.accounts.iter().enumerate().map(|(slot, account)| (slot, account.held));
        held.filter(|(_, held)| *held > 0).max_by_key(|(_, held)| *held)
    }

    /// How many wait.
    pub(super) fn waiters(&self) -> usize {
        self.waiters
    }

    /// The account that has waited longest for what others hold, by `since`, and since when.
    pub(super) fn waits_longest<T: Ord>(&self, since: impl Fn(&W) -> T) -> Option<(Slot, T)> {
        let firsts = self.firsts().map(|(slot, first)| (slot, since(&first.told)));
        firsts.min_by(|(_, one), (_, other)| one.cmp(other))
    }

    /// The accounts that wait for what they hold themselves.
    pub(super) fn held_by_quota(&self) -> impl Iterator<Item = Slot> {
        let first = |slot: Slot| self.accounts.get(slot)?.waiters.front();
        let waits = move |slot: &&Slot| {
            first(**slot).is_some_and(|first| !first.urgent && self.is_beyond_quota(**slot, first.amount))
        };
        self.turns.iter().filter(waits).copied()
    }

    /// Whether it would hold more than its quota.
    pub(super) fn is_beyond_quota(&self, slot: Slot, amount: u64) -> bool {
        self.accounts.get(slot).is_some_and(|account| account.held.saturating_add(amount) > account.quota)
    }

    /// What is held already, whatever the rules say.
    pub(super) fn hold(&mut self, slot: Slot, amount: u64) {
        self.add(slot, amount);
    }

    /// Takes `amount` if it may be had now, and nobody of the same account waits before it.
    pub(super) fn take(&mut self, slot: Slot, amount: u64, urgent: bool) -> bool {
        let Some(account) = self.accounts.get(slot) else { return false };
        let waits = account.waiters.front().is_some_and(|first| first.urgent || !urgent);
        if waits || !self.may_take(slot, amount, urgent) {
            return false;
        }
        self.add(slot, amount);
        true
    }

    /// Queues a claim behind the others of its account, an urgent one before those that are not; its number.
    pub(super) fn wait(&mut self, slot: Slot, amount: u64, urgent: bool, told: W) -> u64 {
        let number = self.next_number;
        let Some(account) = self.accounts.get_mut(slot) else { return number };
        self.next_number += 1;
        self.waiters += 1;
        if account.waiters.is_empty() {
            self.turns.push_back(slot);
        }
        let at = match urgent {
            true => account.waiters.iter().take_while(|waiter| waiter.urgent).count(),
            false => account.waiters.len(),
        };
        account.waiters.insert(at, Waiter { number, amount, urgent, told });
        number
    }

    /// Somebody waits no more. Whether it still did.
    pub(super) fn leave(&mut self, slot: Slot, number: u64) -> bool {
        let Some(account) = self.accounts.get_mut(slot) else { return false };
        let Some(at) = account.waiters.iter().position(|waiter| waiter.number == number) else {
            return false;
        };
        account.waiters.remove(at);
        self.waiters -= 1;
        if account.waiters.is_empty() {
            self.turns.retain(|turn| *turn != slot);
        }
        true
    }

    pub(super) fn give_back(&mut self, slot: Slot, amount: u64) {
        self.held = self.held.saturating_sub(amount);
        if let Some(account) = self.accounts.get_mut(slot) {
            account.held = account.held.saturating_sub(amount);
        }
    }

    /// The next one that is served by what is free now. An account that was served goes to the end of the turns.
    pub(super) fn next_grant(&mut self) -> Option<Grant<W>> {
        for at in 0..self.turns.len() {
            let slot = *self.turns.get(at)?;
            let Some(account) = self.accounts.get(slot) else { continue };
            let Some((amount, urgent)) = account.waiters.front().map(|first| (first.amount, first.urgent))
            else {
                continue;
            };
            if !self.may_take(slot, amount, urgent) {
                continue;
            }
            self.turns.remove(at);
            self.add(slot, amount);
            self.waiters -= 1;
            let account = self.accounts.get_mut(slot)?;
            let first = account.waiters.pop_front()?;
            if !account.waiters.is_empty() {
                self.turns.push_back(slot);
            }
            return Some(Grant { slot, amount, told: first.told });
        }
        None
    }

    fn add(&mut self, slot: Slot, amount: u64) {
        self.held = self.held.saturating_add(amount);
        if let Some(account) = self.accounts.get_mut(slot) {
            account.held = account.held.saturating_add(amount);
        }
    }

    fn may_take(&self, slot: Slot, amount: u64, urgent: bool) -> bool {
        let free = self.rule.total.saturating_sub(self.held);
        if urgent {
            return amount <= free;
        }
        if self.is_beyond_quota(slot, amount) {
            return false;
        }
        let Some(left) = free.checked_sub(self.rule.reserve).and_then(|free| free.checked_sub(amount)) else {
            return false;
        };
        let held = self.accounts.get(slot).map_or(0, |account| account.held);
        match self.rule.weight {
            Some(weight) if held > 0 => {
                let left = left.saturating_sub(self.others_wait_for(slot));
                held.saturating_add(amount) <= left.saturating_mul(weight)
            }
            // One that has nothing is not held up by its share; what is left must do for the others that wait, or they
            // wait for more than it does.
            Some(_) => left >= self.others_wait_for(slot) || amount <= self.least_that_others_wait_for(slot),
            None => true,
        }
    }

    /// What the first waiters of the other accounts wait for.
    fn others_wait_for(&self, slot: Slot) -> u64 {
        self.firsts_of_others(slot).fold(0, u64::saturating_add)
    }

    fn least_that_others_wait_for(&self, slot: Slot) -> u64 {
        self.firsts_of_others(slot).min().unwrap_or(u64::MAX)
    }

    fn firsts_of_others(&self, slot: Slot) -> impl Iterator<Item = u64> {
        self.firsts().filter(move |(turn, _)| *turn != slot).map(|(_, first)| first.amount)
    }

    /// The first waiters of the accounts, in the order of their turns, but for those that wait for what they hold
    /// themselves.
    fn firsts(&self) -> impl Iterator<Item = (Slot, &Waiter<W>)> {
        let firsts =
            self.turns.iter().filter_map(|slot| Some((*slot, self.accounts.get(*slot)?.waiters.front()?)));
        firsts.filter(|(slot, first)| first.urgent || !self.is_beyond_quota(*slot, first.amount))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Rule = Rule { total: 100, reserve: 10, weight: Some(8) };

    fn fill<W>(ledger: &mut Ledger<W>, slot: Slot) -> u64 {
        let mut held = 0;
        while ledger.take(slot, 1, false) {
            held += 1;
        }
        held
    }

    #[test]
    fn one_account_alone_has_nearly_all_and_leaves_something_for_another() {
        let mut ledger = Ledger::<()>::new(RULE);
        let (a, b) = (ledger.open(u64::MAX), ledger.open(u64::MAX));
        assert_eq!(fill(&mut ledger, a), RULE.most());
        assert_eq!(RULE.most(), 80);
        assert!(fill(&mut ledger, b) >= 8);
        assert!(ledger.take(b, 10, true), "the reserve is for what is urgent");
    }

    #[test]
    fn accounts_that_take_in_turn_have_equal_parts() {
        let mut ledger = Ledger::<()>::new(RULE);
        let accounts = [ledger.open(u64::MAX), ledger.open(u64::MAX), ledger.open(u64::MAX)];
        let mut held = [0; 3];
        loop {
            let took = accounts.map(|slot| ledger.take(slot, 1, false));
            held.iter_mut().zip(took).for_each(|(held, took)| *held += u32::from(took));
            if took == [false; 3] {
                break;
            }
        }
        assert!(held.iter().max().unwrap() - held.iter().min().unwrap() <= 1, "{held:?}");
        assert!(held.iter().sum::<u32>() >= 80, "{held:?}");
    }

    #[test]
    fn what_others_wait_for_is_not_taken_by_one_that_has_much() {
        let mut ledger = Ledger::new(RULE);
        let (a, b) = (ledger.open(u64::MAX), ledger.open(u64::MAX));
        assert!(ledger.take(a, 60, false));
        assert!(!ledger.take(b, 40, false));
        assert!(ledger.take(a, 1, false));
        ledger.give_back(a, 1);
        ledger.wait(b, 40, false, "b");
        assert!(!ledger.take(a, 1, false));
        ledger.give_back(a, 10);
        let served = ledger.next_grant().unwrap();
        assert_eq!((served.slot, served.amount, served.told), (b, 40, "b"));
    }

    #[test]
    fn of_two_that_wait_for_much_the_one_with_less_goes_first() {
        let mut ledger = Ledger::new(RULE);
        let (a, b, c) = (ledger.open(u64::MAX), ledger.open(u64::MAX), ledger.open(u64::MAX));
        assert!(ledger.take(c, 60, false));
        ledger.wait(a, 80, false, "a");
        ledger.wait(b, 50, false, "b");
        ledger.give_back(c, 60);
        assert_eq!(ledger.next_grant().unwrap().told, "b");
        assert!(ledger.next_grant().is_none());
        // It takes no more before the other is served.
        ledger.wait(b, 1, false, "b again");
        ledger.give_back(b, 40);
        assert!(ledger.next_grant().is_none());
        ledger.give_back(b, 10);
        assert_eq!(ledger.next_grant().unwrap().told, "a");
        assert_eq!(ledger.next_grant().unwrap().told, "b again");
    }

    #[test]
    fn urgent_claim_goes_before_the_others_of_its_account() {
        let mut ledger = Ledger::new(RULE);
        let a = ledger.open(u64::MAX);
        let held = fill(&mut ledger, a);
        ledger.wait(a, 80, false, "bulk");
        assert!(ledger.take(a, 10, true), "it does not wait behind what may take long");
        ledger.wait(a, 20, true, "urgent");
        ledger.wait(a, 20, true, "urgent, too");
        ledger.give_back(a, held + 10);
        let order: Vec<_> = std::iter::from_fn(|| ledger.next_grant().map(|grant| grant.told)).collect();
        assert_eq!(order, ["urgent", "urgent, too"]);
        ledger.give_back(a, 40);
        assert_eq!(ledger.next_grant().map(|grant| grant.told), Some("bulk"));
    }

    #[test]
    fn accounts_are_served_in_turn_however_many_of_one_wait() {
        let mut ledger = Ledger::new(Rule { total: 1, reserve: 0, weight: None });
        let (a, b) = (ledger.open(u64::MAX), ledger.open(u64::MAX));
        assert!(ledger.take(a, 1, false));
        for _ in 0..5 {
            ledger.wait(a, 1, false, "a");
        }
        ledger.wait(b, 1, false, "b");
        let mut order = Vec::new();
        let mut holder = a;
        for _ in 0..6 {
            ledger.give_back(holder, 1);
            let served = ledger.next_grant().unwrap();
            holder = served.slot;
            order.push(served.told);
            assert!(ledger.next_grant().is_none());
        }
        assert_eq!(order, ["a", "b", "a", "a", "a", "a"]);
        assert_eq!(ledger.waiters(), 0);
    }

    #[test]
    fn one_with_a_quota_has_no_more_and_what_it_waits_for_holds_nobody_up() {
        let mut ledger = Ledger::new(RULE);
        let (a, b) = (ledger.open(20), ledger.open(u64::MAX));
        assert_eq!((ledger.most(a), ledger.most(b)), (20, 80));
        assert!(ledger.take(a, 20, false));
        assert!(!ledger.take(a, 1, false));
        assert!(ledger.take(a, 1, true), "small answers go out");
        ledger.give_back(a, 1);
        ledger.wait(a, 20, false, "a");
        assert_eq!(ledger.held_by_quota().collect::<Vec<_>>(), [a]);
        assert!(ledger.waits_longest(|_| 0).is_none(), "nobody has anything of it");
        assert_eq!(fill(&mut ledger, b), 62, "as much as without the one that waits");
        assert!(ledger.next_grant().is_none());
        ledger.give_back(b, 62);
        assert!(ledger.next_grant().is_none(), "there is enough, and its quota is used up");
        ledger.give_back(a, 20);
        assert_eq!(ledger.next_grant().unwrap().told, "a");
    }

    #[test]
    fn one_that_leaves_is_not_served() {
        let mut ledger = Ledger::new(Rule { total: 1, reserve: 0, weight: None });
        let (a, b) = (ledger.open(u64::MAX), ledger.open(u64::MAX));
        assert!(ledger.take(a, 1, false));
        let number = ledger.wait(b, 1, false, "b");
        assert!(ledger.leave(b, number));
        assert!(!ledger.leave(b, number));
        ledger.give_back(a, 1);
        assert!(ledger.next_grant().is_none());
        assert_eq!((ledger.held(), ledger.waiters()), (0, 0));
    }
}
