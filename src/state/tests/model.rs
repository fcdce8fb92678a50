//! Random sequences of everything, with restarts between: the store and a model agree.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sealed_shuffle_protocol::ids::{ShuffleId, ShuffleMergeId};
use sealed_shuffle_protocol::secret::AppSecret;

use super::fixture::{Fixture, MANAGER, app, executor, lines};
use crate::disk::Proof;
use crate::merge::{Journal as _, StoredAttempt};
use crate::state::{RecoveredExecutor, Recovery, State};

#[derive(Clone, Debug)]
enum Event {
    Executor { app: u8, executor: u8, dirs: u8, proven: bool },
    ForgetExecutor { app: u8, executor: u8 },
    Forget { app: u8 },
    Secret { app: u8, secret: u8 },
    ForgetSecret { app: u8 },
    Attempt { app: u8, attempt: i32 },
    Over { app: u8, attempt: i32 },
    Finalized { app: u8, attempt: i32, shuffle: i32, merge: i32 },
    Superseded { app: u8, attempt: i32, shuffle: i32, merge: i32 },
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    let (apps, executors, attempts) = (0_u8..3, 0_u8..4, -1_i32..3);
    let merge = (apps.clone(), attempts.clone(), 0_i32..3, 0_i32..3);
    prop_oneof![
        6 => (apps.clone(), executors.clone(), 0_u8..3, any::<bool>())
            .prop_map(|(app, executor, dirs, proven)| Event::Executor { app, executor, dirs, proven }),
        2 => (apps.clone(), executors).prop_map(|(app, executor)| Event::ForgetExecutor { app, executor }),
        2 => apps.clone().prop_map(|app| Event::Forget { app }),
        2 => (apps.clone(), any::<u8>()).prop_map(|(app, secret)| Event::Secret { app, secret }),
        1 => apps.clone().prop_map(|app| Event::ForgetSecret { app }),
        3 => (apps.clone(), attempts.clone()).prop_map(|(app, attempt)| Event::Attempt { app, attempt }),
        1 => (apps, attempts).prop_map(|(app, attempt)| Event::Over { app, attempt }),
        4 => merge.clone().prop_map(|(app, attempt, shuffle, merge)| {
            Event::Finalized { app, attempt, shuffle, merge }
        }),
        2 => merge.prop_map(|(app, attempt, shuffle, merge)| {
            Event::Superseded { app, attempt, shuffle, merge }
        }),
        2 => Just(Event::Restart),
    ]
}

#[derive(Default)]
struct Model {
    executors: BTreeMap<(u8, u8), (u8, bool)>,
    secrets: BTreeMap<u8, u8>,
    attempts: BTreeMap<(u8, i32), ()>,
    finalized: BTreeMap<(u8, i32, i32), i32>,
}

fn name(app: u8) -> String {
    format!("app-{app}")
}

fn dirs(count: u8) -> Vec<String> {
    (0..count).map(|n| format!("/d{n}")).collect()
}

impl Model {
    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Executor { app, executor, dirs, proven } => {
                _ = self.executors.insert((app, executor), (dirs, proven));
            }
            Event::ForgetExecutor { app, executor } => _ = self.executors.remove(&(app, executor)),
            Event::Forget { app } => {
                self.executors.retain(|key, _| key.0 != app);
                self.secrets.remove(&app);
                // Its attempts stay until their files are deleted.
                self.finalized.retain(|key, _| key.0 != app);
            }
            Event::Secret { app, secret } => _ = self.secrets.insert(app, secret),
            Event::ForgetSecret { app } => _ = self.secrets.remove(&app),
            Event::Attempt { app, attempt } => _ = self.attempts.insert((app, attempt), ()),
            Event::Over { app, attempt } => {
                self.attempts.remove(&(app, attempt));
                self.finalized.retain(|key, _| (key.0, key.1) != (app, attempt));
            }
            Event::Finalized { app, attempt, shuffle, merge } => {
                _ = self.finalized.insert((app, attempt, shuffle), merge);
            }
            Event::Superseded { app, attempt, shuffle, merge } => {
                self.finalized.retain(|key, kept| *key != (app, attempt, shuffle) || *kept != merge);
            }
            Event::Restart => {}
        }
    }

    fn lines(&self, fixture: &Fixture) -> Vec<String> {
        let mut all = Recovery::default();
        for (&(of, id), &(count, proven)) in &self.executors {
            all.executors.push(RecoveredExecutor {
                app: app(&name(of)),
                executor: executor(&id.to_string()),
                proof: if proven { Proof::Proven } else { Proof::Unproven },
                dirs: dirs(count),
                sub_dirs: i32::from(count),
                shuffle_manager: MANAGER.to_owned(),
            });
        }
        for (&of, secret) in &self.secrets {
            all.secrets.push((app(&name(of)), AppSecret::new(secret.to_string())));
        }
        let newest: BTreeMap<u8, i32> = self.attempts.keys().copied().collect();
        for (&of, &attempt) in &newest {
            let finalized = self.finalized.iter().filter(|(key, _)| (key.0, key.1) == (of, attempt));
            all.merges.push(StoredAttempt {
                app: app(&name(of)),
                attempt,
                dirs: vec![fixture.dir("merge")],
                sub_dirs: 64,
                key: None,
                finalized: finalized.map(|(key, merge)| (ShuffleId(key.2), ShuffleMergeId(*merge))).collect(),
            });
        }
        lines(&all)
    }
}

fn tell(state: &State, fixture: &Fixture, event: &Event) {
    match *event {
        Event::Executor { app: of, executor: id, dirs: count, proven } => {
            let proof = if proven { Proof::Proven } else { Proof::Unproven };
            let (of, id) = (app(&name(of)), executor(&id.to_string()));
            state.executor(&of, &id, &dirs(count), i32::from(count), MANAGER, proof).detach();
        }
        Event::ForgetExecutor { app: of, executor: id } => {
            state.forget_executor(&app(&name(of)), &executor(&id.to_string())).detach();
        }
        Event::Forget { app: of } => state.forget(&app(&name(of))).detach(),
        Event::Secret { app: of, secret } => {
            state.remember_secret(&app(&name(of)), &AppSecret::new(secret.to_string())).detach();
        }
        Event::ForgetSecret { app: of } => state.forget_secret(&app(&name(of))).detach(),
        Event::Attempt { app: of, attempt } => {
            state.registered(&app(&name(of)), attempt, &fixture.merge_dirs(&["merge"]), None);
        }
        Event::Over { app: of, attempt } => state.over(&app(&name(of)), attempt),
        Event::Finalized { app: of, attempt, shuffle, merge } => {
            state.finalized(&app(&name(of)), attempt, ShuffleId(shuffle), ShuffleMergeId(merge)).detach();
        }
        Event::Superseded { app: of, attempt, shuffle, merge } => {
            state.superseded(&app(&name(of)), attempt, ShuffleId(shuffle), ShuffleMergeId(merge));
        }
        Event::Restart => {}
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn store_and_model_agree(events in prop::collection::vec(event(), 1..60)) {
        let fixture = Fixture::new();
        let mut model = Model::default();
        let (mut state, _) = fixture.open();
        for event in events.iter().chain([&Event::Restart]) {
            model.apply(event);
            tell(&state, &fixture, event);
            if matches!(event, Event::Restart) {
                let (again, recovered) = fixture.reopen(&state);
                prop_assert_eq!(lines(&recovered), model.lines(&fixture));
                state = again;
            }
        }
        prop_assert_eq!(state.counters().lost, 0);
    }
}
