//! Certificates and authorities change under load: no transfer fails, and what is new is shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sealed_shuffle_client::{Client, Security};
use sealed_shuffle_config::{Origin, TlsConfig, TlsSource, TlsVersions};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_transport::tls::{LiveServerTls, Refresh};

use crate::authority::{Authority, Bundle, Issued, bundled};
use crate::running::{GCM, Running, eventually};
use crate::support::{aes, client, fetch, register, served, shown};

/// Clients that fetch over and over, each time on a new connection or always on the same.
struct Load {
    stop: Arc<AtomicBool>,
    fetched: Vec<Arc<AtomicUsize>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(running: &Arc<Running>, clients: Vec<Box<dyn Fn() -> Client + Send>>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut load = Self { stop: Arc::clone(&stop), fetched: Vec::new(), tasks: Vec::new() };
        for client in clients {
            let (stop, fetched) = (Arc::clone(&stop), Arc::new(AtomicUsize::new(0)));
            load.fetched.push(Arc::clone(&fetched));
            let served = Arc::clone(running);
            load.tasks.push(running.runtime.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    fetch(&served, &client())
                        .await
                        .unwrap_or_else(|error| panic!("a transfer failed: {error}"));
                    fetched.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
        load
    }

    /// Until what was under way has ended, and something has begun since.
    #[track_caller]
    fn goes_on(&self) {
        let before: Vec<_> = self.fetched.iter().map(|fetched| fetched.load(Ordering::Relaxed)).collect();
        eventually("everybody has fetched twice more", || {
            assert!(self.tasks.iter().all(|task| !task.is_finished()), "a transfer failed");
            self.fetched.iter().zip(&before).all(|(now, before)| now.load(Ordering::Relaxed) >= before + 2)
        });
    }
}

#[test]
fn leaf_and_issuer_change_under_load() {
    let (old, new) = (Authority::new("the old authority"), Authority::new("the new authority"));
    let first = old.issue();
    let own = Bundle::new(Some(&first), &[]);
    let trust = Bundle::new(None, &[&old]);
    let running = Arc::new(served(own.config(), SecurityLevel::Tls));
    let tls = running.server.tls().unwrap();
    let trusting = trust.client(TlsVersions::Both);

    let proving = {
        let (trusting, security) = (Arc::clone(&trusting), aes(&running, GCM));
        move || client("app", security.clone(), Some(Arc::clone(&trusting)))
    };
    running.runtime.block_on(register(&running, &proving()));
    let always = proving();
    let kept = always.clone();
    let clients: Vec<Box<dyn Fn() -> Client + Send>> = vec![
        Box::new(proving.clone()),
        Box::new({
            let old_tls = trust.client(TlsVersions::V1_2);
            let security = aes(&running, GCM);
            move || client("app", security.clone(), Some(Arc::clone(&old_tls)))
        }),
        Box::new(move || kept.clone()),
    ];
    running.runtime.block_on(fetch(&running, &always)).unwrap();
    let load = Load::start(&running, clients);
    load.goes_on();
    assert_eq!(shown(&running, &trusting), first.fingerprint());

    let take = |issued: &Issued| {
        own.replace(Some(issued), &[]);
        assert!(matches!(tls.refresh_if_changed(), Refresh::Replaced));
        load.goes_on();
        assert_eq!(shown(&running, &trusting), issued.fingerprint());
    };
    (0..2).for_each(|_| take(&old.issue()));
    // The new authority is trusted everywhere before anybody shows it, the old one as long as anybody does.
    trust.replace(None, &[&old, &new]);
    load.goes_on();
    let last = new.issue();
    take(&last);
    trust.replace(None, &[&new]);
    load.goes_on();

    keeps_its_own(&own, &tls, &new);
    trust.put(b"half a zip");
    load.goes_on();
    assert_eq!(shown(&running, &trusting), last.fingerprint(), "both ends go on with what they had");
    trust.replace(None, &[&new]);
    (0..2).for_each(|_| take(&new.issue()));

    load.stop.store(true, Ordering::Relaxed);
    for task in load.tasks {
        running.runtime.block_on(task).unwrap();
    }
    running.runtime.block_on(fetch(&running, &always)).unwrap();
    drop((proving, always));
    assert_eq!(running.closes("tls"), 0, "{}", running.server.metrics_page().unwrap());
}

/// What cannot be used changes nothing.
fn keeps_its_own(own: &Bundle, tls: &LiveServerTls, authority: &Authority) {
    let whole = bundled(Some(&authority.issue()), &[]);
    own.put(&whole[..whole.len() / 2]);
    assert!(matches!(tls.refresh_if_changed(), Refresh::Refused(_)));
    let (one, other) = (authority.issue(), authority.issue());
    own.replace(Some(&Issued { key: one.key, chain: other.chain, der: other.der }), &[]);
    let Refresh::Refused(error) = tls.refresh_if_changed() else { panic!("a key of another certificate") };
    assert!(error.to_string().contains("does not belong to the certificate"), "{error}");
    std::fs::remove_file(own.path()).unwrap();
    assert!(matches!(tls.refresh_if_changed(), Refresh::Refused(_)));
}

#[test]
fn the_server_finds_new_files_by_itself_and_keeps_the_old_ones_where_these_are_no_good() {
    let authority = Authority::new("an authority");
    let own = Bundle::new(Some(&authority.issue()), &[]);
    let trusting = Bundle::new(None, &[&authority]).client(TlsVersions::Both);
    let running = served(own.config(), SecurityLevel::Tls);
    let before = client("app", Security::Plaintext, Some(Arc::clone(&trusting)));
    running.runtime.block_on(register(&running, &before));
    let second = authority.issue();
    own.replace(Some(&second), &[]);
    eventually("the new one is shown", || shown(&running, &trusting) == second.fingerprint());
    running.runtime.block_on(fetch(&running, &before)).unwrap();
}

#[test]
fn a_command_is_run_again_for_a_reload_and_not_because_its_output_would_differ() {
    let authority = Authority::new("an authority");
    let dir = tempfile::tempdir().unwrap();
    let printed = dir.path().join("printed");
    let print = |issued: &Issued| {
        std::fs::write(&printed, [&issued.key, &issued.chain, &authority.pem].map(String::as_str).concat())
            .unwrap();
    };
    let (first, second) = (authority.issue(), authority.issue());
    print(&first);
    let argv = vec!["cat".to_owned(), printed.display().to_string()];
    let config = TlsConfig::new(TlsSource::Command { argv, origin: Origin::Conf });
    let running = served(config, SecurityLevel::Tls);
    let tls = running.server.tls().unwrap();
    let trusting = Bundle::new(None, &[&authority]).client(TlsVersions::Both);
    print(&second);
    assert!(matches!(tls.refresh_if_changed(), Refresh::Unchanged), "it is not due");
    assert_eq!(shown(&running, &trusting), first.fingerprint());
    tls.reload().unwrap();
    assert_eq!(shown(&running, &trusting), second.fingerprint());
    std::fs::remove_file(&printed).unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(shown(&running, &trusting), second.fingerprint());
}
