//! A key service that is away when the server starts: what needs no key is served, and the rest comes back.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use tokio::runtime::Runtime;

use crate::content::{Read, block, merge, partition, read};
use crate::place::{OTHER_APP, Place, eventually};

/// A key service made of shell and files, which is away while a file named `away` is there. It refuses where `denied` is.
const KEEPER: &str = r#"
    [ -e "$DIR/away" ] && exit 75
    [ -e "$DIR/denied" ] && exit 77
    read -r line
    context=$(printf %s "$line" | sed 's/.*"context":\({[^}]*}\).*/\1/')
    member() { printf %s "$line" | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
    case $1 in
        wrap) printf '{"key_id":"shelf","ciphertext":"%s"}\n' "$(printf '%s %s' "$(member plaintext)" "$context" | base64 -w0)" ;;
        unwrap)
            opened=$(member ciphertext | base64 -d)
            [ "${opened#* }" = "$context" ] || exit 65
            printf '{"plaintext":"%s"}\n' "${opened%% *}" ;;
    esac
"#;

/// A place whose keys come from that service.
struct Away {
    place: Place,
    conf: Vec<String>,
}

impl Away {
    fn new() -> Self {
        let place = Place::new();
        fs::create_dir_all(place.state()).unwrap();
        let keeper = place.state().join("keeper");
        fs::write(&keeper, format!("DIR={}\n{KEEPER}", place.state().display())).unwrap();
        fs::set_permissions(&keeper, fs::Permissions::from_mode(0o755)).unwrap();
        let conf = vec![
            "spark.sealed.keys.provider=command".to_owned(),
            format!("spark.sealed.keys.command=/bin/sh {}", keeper.display()),
        ];
        Self { place: place.without_key_file(), conf }
    }

    fn conf(&self) -> Vec<&str> {
        self.conf.iter().map(String::as_str).collect()
    }

    fn is(&self, what: &str) -> PathBuf {
        self.place.state().join(what)
    }
}

#[test]
fn server_starts_without_its_key_service_and_takes_up_its_records_when_it_is_back() {
    let runtime = Runtime::new().unwrap();
    let away = Away::new();
    let server = away.place.serve(&away.conf());
    away.place.hand_over();
    let reached = server.reach();
    runtime.block_on(async {
        away.place.register(reached.clone(), "1").await.unwrap();
        let merge = merge(0);
        reached.client.push_block(&reached.server, merge, block(merge, 1, 0, 3000)).await.unwrap();
        assert_eq!(reached.client.finalize_shuffle_merge(&reached.server, merge).await.unwrap().len(), 1);
    });
    server.stop();

    for fault in ["away", "denied"] {
        fs::write(away.is(fault), "").unwrap();
        let server = away.place.serve(&away.conf());
        away.place.hand_over();
        let (before, other) = (server.reach(), server.reach_as(OTHER_APP));
        runtime.block_on(async {
            // It needs no key: another application, which does not merge.
            away.place.register_plainly(other.clone(), "7").await.unwrap();
            other.plain("7").await.unwrap();
            // It needs the records: the answer waits for them.
            let asked = tokio::spawn({
                let before = before.clone();
                async move { before.plain("1").await }
            });
            tokio::task::yield_now().await;
            assert!(!asked.is_finished());
            fs::remove_file(away.is(fault)).unwrap();
            asked.await.unwrap().unwrap();
            assert!(matches!(read(&before, partition(merge(0), 0)).await, Read::Whole { .. }), "{fault}");
        });
        server.stop();
    }

    // What registered meanwhile was written.
    let server = away.place.serve(&away.conf());
    runtime.block_on(async {
        server.reach_as(OTHER_APP).plain("7").await.unwrap();
        server.reach().plain("1").await.unwrap();
    });
    server.stop();
}

#[test]
fn server_that_stops_before_its_key_service_is_back_loses_nothing_of_before() {
    let runtime = Runtime::new().unwrap();
    let away = Away::new();
    let server = away.place.serve(&away.conf());
    away.place.hand_over();
    runtime.block_on(away.place.register(server.reach(), "1")).unwrap();
    server.stop();
    fs::write(away.is("away"), "").unwrap();
    let server = away.place.serve(&away.conf());
    // The store does not know the application's secret yet, and nobody hands it over: the connection ends, in the end.
    let asked = runtime.spawn({
        let reached = server.reach();
        async move { reached.plain("1").await }
    });
    server.stop_now();
    assert!(runtime.block_on(asked).unwrap().is_err());
    fs::remove_file(away.is("away")).unwrap();
    let server = away.place.serve(&away.conf());
    eventually("it knows the executor", || runtime.block_on(server.reach().plain("1")).is_ok());
}
