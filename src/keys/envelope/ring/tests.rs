//! The ring with a scripted provider.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::advance;

use super::super::provider::Answer;
use super::*;

/// Wraps by writing the context behind the key, which no real provider may do.
#[derive(Default)]
struct Scripted {
    calls: AtomicUsize,
    /// The errors of the next calls; a call without an error succeeds.
    failures: Mutex<VecDeque<KeyErrorKind>>,
    /// Calls wait here while it is closed.
    gate: tokio::sync::RwLock<()>,
    /// Calls for this application never end.
    hangs_for: Mutex<Option<AppId>>,
}

impl Scripted {
    async fn enter(&self, context: &Context) -> Result<u8, KeyError> {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let hangs = self.hangs_for.lock().unwrap().as_ref() == Some(&context.app);
        if hangs {
            std::future::pending::<()>().await;
        }
        drop(self.gate.read().await);
        match self.failures.lock().unwrap().pop_front() {
            Some(kind) => Err(KeyError::new(kind, "k", "it was told to", "tell it otherwise")),
            None => Ok(u8::try_from(call % 256).unwrap()),
        }
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    fn fail(&self, kinds: &[KeyErrorKind]) {
        self.failures.lock().unwrap().extend(kinds);
    }
}

impl KeyProvider for Scripted {
    fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)> {
        Box::pin(async {
            let byte = self.enter(context).await?;
            let bytes: Bytes = [&[byte], &context.encode()[..]].concat().into();
            Ok((DataKey::new([byte; 32]), WrappedKey { key_id: "k".into(), bytes }))
        })
    }

    fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, context: &'a Context) -> Answer<'a, DataKey> {
        Box::pin(async {
            self.enter(context).await?;
            if wrapped.bytes[1..] != context.encode() {
                return Err(KeyError::new(KeyErrorKind::WrongContext, "k", "not yours", "go away"));
            }
            Ok(DataKey::new([wrapped.bytes[0]; 32]))
        })
    }

    fn describe(&self) -> String {
        "scripted".into()
    }

    fn name(&self) -> &'static str {
        "scripted"
    }
}

const MOST: usize = 100;

fn ring(outage: OutagePolicy) -> (EnvelopeKeys, Arc<Scripted>) {
    let provider = Arc::new(Scripted::default());
    let settings = RingSettings {
        cluster: "c".into(),
        node: Some("n".into()),
        outage,
        timeout: Duration::from_secs(10),
        most_applications: MOST,
    };
    let keys = EnvelopeKeys::new(Arc::clone(&provider) as _, settings, KeyCalls::default());
    (keys, provider)
}

fn refusing() -> (EnvelopeKeys, Arc<Scripted>) {
    ring(OutagePolicy::Refuse)
}

fn app(name: &str) -> AppId {
    AppId::new(name)
}

#[tokio::test(start_paused = true)]
async fn however_many_ask_one_call_is_made_for_each_application() {
    let (keys, provider) = refusing();
    let closed = provider.gate.write().await;
    let mut asking = JoinSet::new();
    for n in 0..300 {
        let (keys, app) = (keys.clone(), app(["a", "b", "c"][n % 3]));
        asking.spawn(async move { (app.clone(), keys.current(&app).await.unwrap()) });
    }
    tokio::task::yield_now().await;
    drop(closed);
    let all = asking.join_all().await;
    assert_eq!(provider.calls(), 3);
    for (app, key) in &all {
        assert!(Arc::ptr_eq(key, &keys.current(app).await.unwrap()));
    }
    assert_eq!((provider.calls(), keys.len()), (3, 3));
    assert_eq!(keys.inner.metrics.count("scripted", "generate", "ok"), 3);
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_on_when_the_one_who_asked_goes_away() {
    let (keys, provider) = refusing();
    let closed = provider.gate.write().await;
    let first = tokio::spawn({
        let keys = keys.clone();
        async move { keys.current(&app("a")).await.map(drop) }
    });
    tokio::task::yield_now().await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    drop(closed);
    keys.current(&app("a")).await.unwrap();
    assert_eq!(provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_one_unwrap_serves_old_files_and_new_ones() {
    let (before, _) = refusing();
    let key = before.current(&app("a")).await.unwrap();
    let (after, provider) = refusing();
    let opened = after.unwrap(&app("a"), &key.wrapped).await.unwrap();
    assert!(opened.key == key.key && opened.wrapped == key.wrapped);
    assert!(Arc::ptr_eq(&after.current(&app("a")).await.unwrap(), &opened));
    assert!(Arc::ptr_eq(&after.unwrap(&app("a"), &key.wrapped).await.unwrap(), &opened));
    assert_eq!(provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_key_of_another_application_cluster_or_node_does_not_unwrap() {
    let (keys, _) = refusing();
    let key = keys.current(&app("a")).await.unwrap();
    let error = keys.unwrap(&app("b"), &key.wrapped).await.unwrap_err();
    assert_eq!(error.kind(), KeyErrorKind::WrongContext);
    for (cluster, node) in [("d", Some("n")), ("c", Some("m")), ("c", None)] {
        let (provider, mut settings) = (Arc::new(Scripted::default()), keys.inner.settings.clone());
        (settings.cluster, settings.node) = (cluster.into(), node.map(Into::into));
        let moved = EnvelopeKeys::new(provider, settings, KeyCalls::default());
        assert!(moved.unwrap(&app("a"), &key.wrapped).await.is_err(), "{cluster} {node:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_application_leaves_nothing_and_a_late_answer_brings_nothing() {
    let (keys, provider) = refusing();
    let held = Arc::downgrade(&keys.current(&app("a")).await.unwrap());
    keys.forget(&app("a"));
    assert!(held.upgrade().is_none(), "wiped when nobody uses it");
    assert!(keys.is_empty());

    let closed = provider.gate.write().await;
    let late = tokio::spawn({
        let keys = keys.clone();
        async move { keys.current(&app("a")).await.unwrap() }
    });
    tokio::task::yield_now().await;
    keys.forget(&app("a"));
    drop(closed);
    let late = late.await.unwrap();
    assert!(keys.is_empty());
    assert!(keys.current(&app("a")).await.unwrap().wrapped != late.wrapped, "the next one gets a new key");
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_the_answer_for_a_while_and_then_tried_again() {
    let (keys, provider) = refusing();
    provider.fail(&[KeyErrorKind::Unavailable]);
    let error = keys.current(&app("a")).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(keys.current(&app("a")).await.unwrap_err(), error);
    assert_eq!(provider.calls(), 1);
    keys.current(&app("b")).await.unwrap();
    advance(HOLD_OFF).await;
    keys.current(&app("a")).await.unwrap();
    assert_eq!(keys.inner.metrics.count("scripted", "generate", "unavailable"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_given_up() {
    let (keys, provider) = refusing();
    let _closed = provider.gate.write().await;
    let began = Instant::now();
    let error = keys.current(&app("a")).await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("within 10s"), "{error}");
    assert_eq!(began.elapsed(), Duration::from_secs(10) + GRACE);
}

#[tokio::test(start_paused = true)]
async fn refuse_refuses_new_applications_and_never_asks_again_about_known_ones() {
    let (keys, provider) = refusing();
    keys.current(&app("old")).await.unwrap();
    advance(Duration::from_secs(86_400)).await;
    provider.fail(&[KeyErrorKind::Unavailable]);
    assert!(keys.current(&app("new")).await.unwrap_err().is_retryable());
    keys.current(&app("old")).await.unwrap();
    keys.sweep();
    assert_eq!((keys.len(), provider.calls()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_loan_is_confirmed_at_half_of_its_time_without_holding_anybody_up() {
    let ttl = Duration::from_secs(600);
    let (keys, provider) = ring(OutagePolicy::UseCached { ttl });
    let key = keys.current(&app("a")).await.unwrap();
    for round in 1..5 {
        advance(ttl / 2).await;
        let closed = provider.gate.write().await;
        assert!(Arc::ptr_eq(&key, &keys.current(&app("a")).await.unwrap()), "at once");
        drop(closed);
        settle().await;
        assert_eq!(provider.calls(), 1 + round, "one call, no more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_loan_ends_when_the_provider_was_not_reached_in_time() {
    let ttl = Duration::from_secs(600);
    let (keys, provider) = ring(OutagePolicy::UseCached { ttl });
    let key = Arc::downgrade(&keys.current(&app("a")).await.unwrap());
    provider.fail(&[KeyErrorKind::Unavailable; 3]);
    advance(ttl / 2).await;
    keys.current(&app("a")).await.unwrap();
    settle().await;
    advance(ttl / 2 - Duration::from_secs(1)).await;
    keys.current(&app("a")).await.unwrap();
    settle().await;
    advance(Duration::from_secs(1)).await;
    keys.sweep();
    assert!(key.upgrade().is_none(), "wiped");
    let error = keys.current(&app("a")).await.unwrap_err();
    assert!(error.is_retryable());
    advance(HOLD_OFF).await;
    let back = keys.current(&app("a")).await.unwrap();
    assert_eq!(back.key, DataKey::new([0; 32]), "the same key, from its wrapped form");
    assert_eq!(provider.calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_withdrawn_is_gone_at_once() {
    let ttl = Duration::from_secs(600);
    let (keys, provider) = ring(OutagePolicy::UseCached { ttl });
    let key = keys.current(&app("a")).await.unwrap().wrapped.clone();
    provider.fail(&[KeyErrorKind::Disabled; 2]);
    advance(ttl / 2).await;
    keys.current(&app("a")).await.unwrap();
    settle().await;
    assert!(keys.is_empty());
    assert_eq!(keys.unwrap(&app("a"), &key).await.unwrap_err().kind(), KeyErrorKind::Disabled);
    assert_eq!(keys.current(&app("a")).await.unwrap_err().kind(), KeyErrorKind::Disabled);
}

#[tokio::test(start_paused = true)]
async fn applications_keys_and_calls_are_bounded() {
    let (keys, provider) = refusing();
    for n in 0..MOST {
        keys.current(&app(&n.to_string())).await.unwrap();
    }
    let error = keys.current(&app("one too many")).await.unwrap_err();
    assert!(error.to_string().contains("spark.sealed.applications.max"), "{error}");
    keys.forget(&app("7"));
    // A caller that fails leaves its place to others.
    provider.fail(&[KeyErrorKind::Denied]);
    keys.current(&app("denied")).await.unwrap_err();
    advance(HOLD_OFF).await;
    keys.current(&app("one too many")).await.unwrap();

    // Many wrapped keys of one application: the oldest is dropped, the one for new files stays.
    let context = keys.context(&app("0"));
    let current = keys.current(&app("0")).await.unwrap();
    for byte in 100..200 {
        let bytes: Bytes = [&[byte], &context.encode()[..]].concat().into();
        keys.unwrap(&app("0"), &WrappedKey { key_id: "k".into(), bytes }).await.unwrap();
    }
    assert_eq!(keys.inner.apps()[&app("0")].held.len(), MOST_KEYS);
    assert!(Arc::ptr_eq(&current, &keys.current(&app("0")).await.unwrap()));

    let _closed = provider.gate.write().await;
    let mut asking = JoinSet::new();
    for byte in 200..=255 {
        let (keys, bytes) = (keys.clone(), Bytes::from(vec![byte]));
        asking.spawn(async move {
            keys.unwrap(&app("0"), &WrappedKey { key_id: "k".into(), bytes }).await.unwrap_err().to_string()
        });
    }
    settle().await;
    assert_eq!(keys.inner.apps()[&app("0")].flights.len(), MOST_FLIGHTS);
    asking.abort_all();
}

/// Asks for many keys of one application, whose calls hang.
async fn many_that_hang(keys: &EnvelopeKeys, provider: &Scripted) -> JoinSet<KeyError> {
    *provider.hangs_for.lock().unwrap() = Some(app("hog"));
    let mut asking = JoinSet::new();
    for byte in 0..=255 {
        let (keys, bytes) = (keys.clone(), Bytes::from(vec![byte]));
        asking.spawn(async move {
            keys.unwrap(&app("hog"), &WrappedKey { key_id: "k".into(), bytes }).await.unwrap_err()
        });
    }
    settle().await;
    asking
}

#[tokio::test(start_paused = true)]
async fn calls_of_one_application_that_hang_leave_some_for_others() {
    let (keys, provider) = refusing();
    keys.current(&app("before")).await.unwrap();
    let asking = many_that_hang(&keys, &provider).await;
    let figures = keys.calls().figures();
    assert_eq!((figures.used, figures.waiters), (14, 2), "it has what one application can have");
    let began = Instant::now();
    for n in 0..50 {
        keys.current(&app(&n.to_string())).await.unwrap();
    }
    assert_eq!(began.elapsed(), Duration::ZERO, "nobody waits for the calls that hang");

    // Its own calls are given up in their time; then it is served again.
    assert!(asking.join_all().await.iter().all(KeyError::is_retryable));
    assert_eq!((began.elapsed(), keys.calls().used()), (Duration::from_secs(10) + GRACE, 0));
    *provider.hangs_for.lock().unwrap() = None;
    advance(HOLD_OFF).await;
    keys.current(&app("hog")).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_into_a_header_is_refused() {
    struct Verbose;
    impl KeyProvider for Verbose {
        fn generate<'a>(&'a self, _: &'a Context) -> Answer<'a, (DataKey, WrappedKey)> {
            let bytes = vec![0; WrappedKey::MAX_BYTES + 1].into();
            Box::pin(async { Ok((DataKey::new([0; 32]), WrappedKey { key_id: "k".into(), bytes })) })
        }
        fn unwrap<'a>(&'a self, _: &'a WrappedKey, _: &'a Context) -> Answer<'a, DataKey> {
            unreachable!("nothing was wrapped")
        }
        fn describe(&self) -> String {
            "verbose".into()
        }
        fn name(&self) -> &'static str {
            "verbose"
        }
    }
    let (keys, _) = refusing();
    let keys = EnvelopeKeys::new(Arc::new(Verbose), keys.inner.settings.clone(), KeyCalls::default());
    assert_eq!(keys.current(&app("a")).await.unwrap_err().kind(), KeyErrorKind::Misconfigured);
}

/// Lets tasks run until they wait.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
