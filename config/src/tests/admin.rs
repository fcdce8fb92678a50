//! `spark.sealed.admin.*`.

use std::path::Path;

use super::*;
use crate::{AdminPlaces, AdminToken};

const ADDRESS: &str = "spark.sealed.admin.address=9091";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

#[test]
fn socket_lies_in_the_state_directory_unless_it_is_named_or_off() {
    let environment = surroundings("").with_dir("/run/s").with_var("HOME", "/home/spark");
    let socket = |conf: &[&str]| serve(conf, &environment).unwrap().admin.socket;
    let default = socket(&[]).unwrap();
    assert_eq!(default.path, Path::new("/home/spark/.local/state/sealed-shuffle/admin.sock"));
    assert!(default.by_default && default.users.is_empty());
    let state = socket(&["spark.sealed.state.dir=/state"]).unwrap();
    assert_eq!(state.path, Path::new("/state/admin.sock"));
    let named = socket(&["spark.sealed.admin.socket=/run/s/admin", "spark.sealed.admin.users=4711"]).unwrap();
    assert_eq!((named.path.as_path(), named.by_default), (Path::new("/run/s/admin"), false));
    assert_eq!(named.users, [4711]);
    assert_eq!(socket(&["spark.sealed.admin.socket=off"]), None);
}

#[test]
fn default_place_that_cannot_hold_a_socket_is_warned_about_and_a_named_one_refused() {
    let long = format!("spark.sealed.state.dir=/{}", "a".repeat(110));
    let config = serve(&[&long], &surroundings("")).unwrap();
    assert_eq!(config.admin.socket, None);
    assert!(warnings(&config.report.notices)[0].contains("spark.sealed.admin.socket"));
    for (path, reason) in [("run/admin", "no absolute path"), ("/nowhere/admin", "cannot look at")] {
        let refused = serve(&[&format!("spark.sealed.admin.socket={path}")], &surroundings(""));
        assert_refused(refused, "spark.sealed.admin.socket", &[reason]);
    }
}

#[test]
fn token_is_one_long_word_in_a_file_of_its_owner() {
    let keys = [ADDRESS, "spark.sealed.admin.token-file=/token"];
    let with = |text: &str| surroundings("").with_file("/token", text);
    for text in [TOKEN.to_owned(), format!("{TOKEN}\n"), format!("{TOKEN}\r\n")] {
        let token = serve(&keys, &with(&text)).unwrap().admin.token.unwrap();
        assert!(token.is(TOKEN) && !token.is("0123456789abcdef0123456789abcdeF") && !token.is(""));
        assert!(!format!("{token:?}").contains(TOKEN));
        assert_eq!(*token.authorization(), format!("Bearer {TOKEN}"));
    }
    for (text, reason) in [
        ("", "not one word"),
        ("two words 0123456789abcdef0123456789abcdef", "not one word"),
        ("short", "5 characters"),
    ] {
        let error = serve(&keys, &with(text)).unwrap_err().to_string();
        assert!(error.contains(reason) && error.contains("openssl rand"), "{error}");
    }
    let open = with(TOKEN).with_mode("/token", 0o640);
    assert_refused(serve(&keys, &open), "spark.sealed.admin.token-file", &["chmod 600"]);
    assert_refused(serve(&keys, &surroundings("")), "spark.sealed.admin.token-file", &["cannot be read"]);
}

#[test]
fn keys_without_effect_are_warned_about() {
    let environment = surroundings("").with_file("/token", TOKEN);
    for conf in ["spark.sealed.admin.token-file=/token", "spark.sealed.admin.hosts=node-1"] {
        let config = serve(&[conf], &environment).unwrap();
        assert!(warnings(&config.report.notices)[0].contains("no effect"), "{conf}");
    }
    let config =
        serve(&["spark.sealed.admin.socket=off", "spark.sealed.admin.users=4711"], &environment).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("no effect"));
    let far = ["spark.sealed.admin.address=0.0.0.0:9091", "spark.sealed.admin.token-file=/token"];
    let config = serve(&far, &environment).unwrap();
    assert!(warnings(&config.report.notices)[1].contains("in clear"));
}

#[test]
fn command_looks_where_the_server_of_its_configuration_listens() {
    let environment = FakeEnvironment::default().with_var("STATE_DIRECTORY", "/state");
    let places = |settings: &[&str]| AdminPlaces::from_sources(&conf(settings), &environment).unwrap();
    let default = places(&[]);
    assert_eq!(default.socket.as_deref(), Some(Path::new("/state/admin.sock")));
    assert_eq!((default.address, default.token_file), (None, None));
    let set = places(&[ADDRESS, "spark.sealed.admin.socket=off", "spark.sealed.admin.token-file=/not/there"]);
    assert_eq!(set.socket, None);
    assert!(set.address.is_some() && set.token_file.is_some());
    assert!(AdminToken::read(&environment, Path::new("/not/there")).unwrap_err().contains("cannot be read"));
}
