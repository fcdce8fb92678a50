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
    assert_eq!(pot.figures(), PotFigures { total: 100, used: 5, largest: 5, waiters: 0, refused: 0 });
    drop(holding);
    let state = pot.inner.state();
    assert!(state.accounts.is_empty() && state.tenants.is_empty());
}
