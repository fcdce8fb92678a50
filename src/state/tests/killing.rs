//! kill -9 in the midst of writing: what was answered is there, and the store opens.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};

use super::fixture::{Fixture, app, executor, open_with};
use crate::disk::Proof;
use crate::keys::envelope::LocalKeyFile;
use crate::merge::{Journal as _, MergeDirs};

const DIR: &str = "SEALED_SHUFFLE_TEST_STATE_DIR";
const ROUNDS: usize = 12;

/// The process that is killed: writes and says what is written, until it is.
#[test]
#[ignore = "the process that the next test kills"]
fn victim() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    let provider = LocalKeyFile::for_test(&dir.join("keys"));
    let (state, recovered) = open_with(&dir.join("state"), &provider).unwrap();
    let start = recovered.executors.len();
    state.registered(&app("m"), 1, &MergeDirs::new(Vec::new(), 64), None);
    let said = std::sync::Mutex::new(std::io::stdout());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (state, said) = (&state, &said);
            scope.spawn(move || {
                for n in start.. {
                    let id = format!("{n}-{thread}");
                    let known = state.executor(&app("a"), &executor(&id), &["/d"], 64, "", Proof::Proven);
                    assert!(known.wait());
                    let mut out = said.lock().unwrap();
                    writeln!(out, "\nwritten {id}").unwrap();
                    drop(out);
                    if thread == 0 {
                        let shuffle = i32::try_from(n).unwrap();
                        assert!(state.finalized(&app("m"), 1, ShuffleId(shuffle), ShuffleMergeId(0)).wait());
                        writeln!(said.lock().unwrap(), "\nfinalized {shuffle}").unwrap();
                    }
                }
            });
        }
    });
}

#[test]
fn what_was_answered_survives_kill_9() {
    let fixture = Fixture::new();
    let (mut written, mut finalized) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "state::tests::killing::victim",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(DIR, fixture.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let enough = 1 + round * 7;
        let mut heard = 0;
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines();
        for line in &mut lines {
            let line = line.unwrap();
            heard += take(&line, &mut written, &mut finalized);
            if heard == enough {
                victim.kill().unwrap();
                break;
            }
        }
        // What was said before the kill and lies in the pipe counts, too; its last line may be torn.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        for line in rest.iter().take(rest.len().saturating_sub(1)) {
            take(line, &mut written, &mut finalized);
        }
        assert!(!victim.wait().unwrap().success());
        assert!(heard >= enough, "round {round}: the victim ended by itself");

        let (state, recovered) = fixture.open();
        let there = |id: &str| recovered.executors.iter().any(|known| known.executor.as_str() == id);
        assert!(written.iter().all(|id| there(id)), "round {round}");
        let merge = recovered.merges.first().unwrap();
        assert!(finalized.iter().all(|id| merge.finalized.contains(&(ShuffleId(*id), ShuffleMergeId(0)))));
        state.close();
    }
    println!("{} executors and {} merges after {ROUNDS} kills", written.len(), finalized.len());
}

fn take(line: &str, written: &mut Vec<String>, finalized: &mut Vec<i32>) -> usize {
    if let Some(id) = line.strip_prefix("written ") {
        written.push(id.to_owned());
        return 1;
    }
    if let Some(id) = line.strip_prefix("finalized ") {
        finalized.push(id.parse().unwrap());
        return 1;
    }
    0
}
