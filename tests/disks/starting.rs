//! A start with roots that are not there.

use std::fs;

use sealed_shuffle::{Server, ServerConfig};

use crate::machine::{First, Machine};
use crate::operations::{Outcome, fetch, register};

#[test]
fn server_starts_with_a_root_that_is_not_there_and_takes_it_up() {
    let machine = Machine::start(First::Missing).unwrap();
    assert_eq!(machine.health(), "missing");
    let (status, text) = machine.ask("/readyz");
    assert!(status == 200 && text.contains("missing: ") && text.contains("ok\n"), "{text}");
    let app = machine.app("app-1", &[0, 1, 2]);
    app.make();
    let map = app.map_in(0, 0);
    app.write_map(map, 1000);
    machine.becomes("ok");
    let mut peer = machine.peer(&app);
    assert_eq!(register(&mut peer, &app), Outcome::Done);
    assert_eq!(fetch(&mut peer, &app, map, 1000), Outcome::Done);
}

#[test]
fn start_without_any_root_is_refused_and_waiting_may_cure_it() {
    let temp = tempfile::tempdir().unwrap();
    let roots = [temp.path().join("d0"), temp.path().join("d1")];
    let config = ServerConfig::new(roots.clone(), temp.path().join("state"));
    let refused = Server::check(&config).unwrap_err();
    assert!(refused.is_too_early() && !refused.is_configuration());
    let text = refused.to_string();
    assert!(text.starts_with("none of the local directories can be used:"), "{text}");
    assert!(roots.iter().all(|root| text.contains(root.to_str().unwrap())), "{text}");
    fs::create_dir(&roots[1]).unwrap();
    Server::check(&config).unwrap();
    // What no waiting cures is a matter of the configuration.
    fs::remove_dir(&roots[1]).unwrap();
    roots.iter().for_each(|root| fs::write(root, "a file").unwrap());
    assert!(Server::check(&config).unwrap_err().is_configuration());
}
