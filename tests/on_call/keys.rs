//! A key service that is down.

use std::fs;

use rustix::process::Signal;

use crate::machine::{MERGING, Machine, Place};
use crate::row::{Is, Metric, Row};

/// A key service made of shell and files, which is away while a file named `away` is there.
const KEEPER: &str = r#"
    [ -e "$DIR/away" ] && { echo "cannot connect to keys.example:443" >&2; exit 75; }
    read -r line
    context=$(printf %s "$line" | sed 's/.*"context":\({[^}]*}\).*/\1/')
    member() { printf %s "$line" | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
    case $1 in
        wrap) printf '{"key_id":"shelf","ciphertext":"%s"}\n' "$(printf '%s %s' "$(member plaintext)" "$context" | base64 -w0)" ;;
        unwrap) printf '{"plaintext":"%s"}\n' "$(member ciphertext | base64 -d | cut -d' ' -f1)" ;;
    esac
"#;

fn properties(place: &Place) -> String {
    let keeper = place.write("keeper", &format!("DIR={}\n{KEEPER}", place.path("").display()));
    format!(
        "spark.sealed.keys.provider command\nspark.sealed.keys.command /bin/sh {}\n\
         spark.shuffle.push.server.mergedShuffleFileManagerImpl RemoteBlockPushResolver",
        keeper.display()
    )
}

pub(crate) const DOWN: Row = Row {
    fault: "The key service fails while the server runs",
    log: "WARN … the key service gave no data key app=app-1 … outcome=\"unavailable\" … cannot connect to keys.example:443 … it is run again later",
    metric: Metric::new(
        "sealed_shuffle_key_calls_total{provider=\"command\",call=\"generate\",outcome=\"unavailable\"}",
        Is::Positive,
    ),
    command: ("status", "key service … FAILS: unavailable; … `sealed-shuffle keys check` makes one"),
    action: "Bring it back: the server asks on by itself. Applications that have a key go on; new ones merge nothing meanwhile",
    alert: "SealedShuffleKeyServiceFails",
};

pub(crate) fn down() -> Result<Machine, String> {
    let place = Place::new();
    let properties = properties(&place);
    let machine = place.start(&properties);
    fs::write(machine.place().path("away"), "").unwrap();
    machine.register("app-1", MERGING);
    Ok(machine)
}

pub(crate) const AWAY: Row = Row {
    fault: "The key service is down when the server starts",
    log: "WARN … what was registered before the restart is not known until then",
    metric: Metric::new("sealed_shuffle_state_waits_for_key", Is::One),
    command: (
        "status",
        "recovery store … waits for its key: what was registered before the start is not known",
    ),
    action: "Bring it back: the records are taken up by themselves. What needs no key is served meanwhile",
    alert: "SealedShuffleStateWaitsForKey",
};

pub(crate) fn away() -> Result<Machine, String> {
    let place = Place::new();
    let properties = properties(&place);
    let mut machine = place.start(&properties);
    assert!(machine.register("app-1", MERGING));
    machine.serving.signal(Signal::TERM);
    assert!(machine.serving.wait().success());
    fs::write(machine.place().path("away"), "").unwrap();
    Ok(machine.start_again())
}
