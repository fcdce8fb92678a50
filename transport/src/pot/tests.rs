//! Waiting, and what is given back.

use tokio::task::yield_now;

use super::*;

fn app(name: &str) -> Tenant {
    Tenant::App(AppId::new(name))
}

#[tokio::test]
async fn what_is_dropped_serves_the_next_in_turn() {
    let pot = Pot::of_turns("test", 1);
    let (a, b) = (pot.account(&app("a")), pot.account(&app("b")));
    let first = a.take(1).await;
    let order = Arc::new(Mutex::new(Vec::new()));
    let wait = |account: &Account, name: &'static str| {
        let (account, order) = (account.clone(), Arc::clone(&order));
        tokio::spawn(async move {
            let _one = account.take(1).await;
            order.lock().unwrap().push(name);
            yield_now().await;
        })
    };
    let mut waits = Vec::new();
    for (account, name) in [(&a, "a"), (&a, "a"), (&a, "a"), (&b, "b")] {
        waits.push(wait(account, name));
        yield_now().await;
    }
    assert_eq!(pot.figures().waiters, 4);
    drop(first);
    for wait in waits {
        wait.await.unwrap();
    }
    assert_eq!(*order.lock().unwrap(), ["a", "b", "a", "a"]);
    assert_eq!(pot.used(), 0);
}

#[tokio::test]
async fn a_wait_that_is_dropped_takes_nothing() {
    let pot = Pot::of_turns("test", 1);
    let account = pot.account(&app("a"));
    let first = account.take(1).await;
    {
        let second = account.take(1);
        tokio::pin!(second);
        assert!(Future::poll(second.as_mut(), &mut cx()).is_pending());
        // It is served, and dropped before it looks.
        drop(first);
    }
    assert_eq!((pot.used(), pot.figures().waiters), (0, 0));
    let again = account.try_take(1).unwrap();
    {
        let second = account.take(1);
        tokio::pin!(second);
        assert!(Future::poll(second.as_mut(), &mut cx()).is_pending());
    }
    assert_eq!((pot.used(), pot.figures().waiters), (1, 0));
    drop(again);
}

fn cx() -> std::task::Context<'static> {
    std::task::Context::from_waker(std::task::Waker::noop())
}

#[tokio::test]
async fn a_wish_is_cut_to_what_one_account_can_have() {
    let pot = Pot::with_reserve("test", 100, 10);
    let account = pot.account(&app("a"));
    assert_eq!(account.take(u64::MAX).await.amount(), 80);
    assert!(account.try_take(u64::MAX).is_err());
}

#[tokio::test]
async fn urgent_claims_have_the_reserve() {
    let pot = Pot::with_reserve("test", 20, 10);
    let (a, b) = (pot.account(&app("a")), pot.account(&Tenant::Strangers));
    let held = [a.take(8).await, b.take(2).await];
    assert!(b.try_take(1).is_err());
    assert_eq!(b.take_urgent(1).await.amount(), 1);
    drop(held);
}

#[test]
fn an_account_lasts_as_long_as_somebody_has_it() {
    let pot = Pot::new("test", 100);
    let account = pot.account(&app("a"));
    let holding = account.try_take(5).unwrap();
    drop(account);
    assert_eq!(pot.figures(), PotFigures { total: 100, used: 5, largest: 5, ..PotFigures::default() });
    drop(holding);
    let state = pot.inner.state();
    assert!(state.accounts.is_empty() && state.tenants.is_empty());
}

#[tokio::test]
async fn a_quota_holds_up_the_application_that_reaches_it_and_nobody_else() {
    let pot = Pot::new("test", 1000).with_quota(Some(10));
    let (a, b, own) = (pot.account(&app("a")), pot.account(&app("b")), pot.account(&Tenant::Own));
    let first = a.take(10).await;
    let refused = a.try_take(1).unwrap_err();
    assert_eq!(
        (refused.is_quota, refused.to_string().as_str()),
        (true, "the quota of test is used up (10 in all)")
    );
    let mut waits = Box::pin(a.take(u64::MAX));
    assert!(waits.as_mut().poll(&mut cx()).is_pending());
    let figures = pot.figures();
    assert_eq!(
        (figures.quota, figures.at_quota, figures.reached_quota, figures.waiters),
        (Some(10), 1, 2, 1)
    );
    // It evicts nobody, and is said to be at its quota as long as it waits.
    let evicted = CancellationToken::new();
    let others = [b.take(10).await.moved_by(&b.mover(&evicted)), own.take(800).await];
    let start = Instant::now();
    for seconds in [0, 10, 20] {
        assert_eq!(pot.look(start + Duration::from_secs(seconds), 1000), 0);
        assert_eq!(pot.figures().at_quota, 1);
    }
    drop(first);
    assert_eq!(waits.await.amount(), 10, "a wish is cut to the quota");
    pot.look(start + Duration::from_secs(40), 1000);
    assert_eq!(pot.figures().at_quota, 0);
    drop(others);
}

#[test]
fn what_is_there_already_is_held_beyond_a_quota() {
    let pot = Pot::of_turns("test", u64::MAX / 2).with_quota(Some(10));
    let account = pot.account(&app("a"));
    let mut held = account.hold(25);
    assert!(account.try_take(1).unwrap_err().is_quota);
    held.join(account.hold(5));
    assert_eq!((held.amount(), pot.used()), (30, 30));
    drop(held);
    assert_eq!(account.try_take(10).unwrap().amount(), 10);
}
