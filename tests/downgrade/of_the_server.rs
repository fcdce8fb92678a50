//! No sequence of messages gets a block over less than the policy serves.
//!
//! One block is there, registered by its application over AES-GCM, with content that nothing else has. Attackers say
//! what proptest makes up; then everything that came back is opened with every key that they could know, and the
//! content must not be in it, unless it came over a channel that the policy serves to that application.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use sealed_shuffle_config::{AppPolicy, Policy, SaslSettings, TlsVersions};
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::ids::StreamId;
use sealed_shuffle_protocol::sasl::{Demand, SaslCipher};
use sealed_shuffle_transport::random::random_bytes;
use sealed_shuffle_transport::tls::LiveClientTls;

use crate::attacker::{Attacker, Heard};
use crate::authority::{Authority, Bundle};
use crate::running::{self, APP, CTR, GCM, Peer, Running, register};
use crate::step::{Ask, OTHER, Step, Told, honest, play, sequences, told};

use SecurityLevel::{AesCtr, AesGcm, AesLegacy, Plaintext, SaslConf, Tls};

/// A server with the block, and what it may be served over.
struct Scene {
    running: Running,
    served: BTreeSet<SecurityLevel>,
    canary: [u8; 16],
    /// Holds a stream open, whose number attackers know.
    owner: std::sync::Mutex<Peer>,
    stream: StreamId,
    tls: Arc<LiveClientTls>,
    _files: [Bundle; 2],
}

impl Scene {
    fn new(policy: Policy, served: &[SecurityLevel]) -> Self {
        let authority = Authority::new("an authority");
        let files = [Bundle::new(Some(&authority.issue()), &[]), Bundle::new(None, &[&authority])];
        let running = Running::start_with(|config| {
            config.tls = Some(files[0].config());
            config.sasl = SaslSettings { ciphers: SaslCipher::ALL.to_vec(), ..SaslSettings::default() };
            // The owner registers over GCM; where that is not served, over TLS below.
            config.policy = policy;
        });
        let canary: [u8; 16] = random_bytes().unwrap();
        let data = running.write_map(1, &[4096]);
        std::fs::write(data, canary.repeat(256)).unwrap();
        running.write_rdd("rdd_1_2", &canary.repeat(256));
        let tls = files[1].client(TlsVersions::Both);
        let served: BTreeSet<_> = served.iter().copied().collect();
        let mut owner = Peer::connect(running.address);
        if !served.contains(&AesGcm) {
            owner.start_tls(&tls);
        }
        owner.handshake(APP, &running.secret, GCM).unwrap();
        owner.rpc(&register(&[running.dir.to_str().unwrap()])).unwrap();
        let stream = owner.open(1, &[0, 0]).unwrap().stream;
        Self { running, served, canary, owner: owner.into(), stream, tls, _files: files }
    }

    /// What was heard of the block, as channels; empty where it did not come out.
    fn attack(&self, in_tls: bool, steps: &[Told]) -> Vec<(SecurityLevel, bool)> {
        let mut attacker = Attacker::connect(self.running.address, &self.running.secret, self.stream);
        if in_tls {
            attacker.start_tls(&self.tls);
        }
        play(&mut attacker, steps, self.running.dir.to_str().unwrap());
        let heard = attacker.finish();
        let came = heard.iter().filter(|heard| self.is_in(heard));
        came.map(|heard| (heard.level, heard.proven)).collect()
    }

    /// The content repeats, so that any 31 bytes of it hold the canary once.
    fn is_in(&self, heard: &Heard) -> bool {
        heard.plain.windows(16).any(|window| window == self.canary)
    }

    /// Honest clients get it over what is served and over nothing else; everybody gets it nowhere else.
    fn holds(&self) {
        for in_tls in [false, true] {
            for handshake in honest() {
                let asks = [
                    [Step::Ask(Ask::Fetch), Step::Ask(Ask::Chunk)],
                    [Step::Ask(Ask::OpenRdd), Step::Ask(Ask::Stream)],
                ];
                for ask in asks {
                    let steps: Vec<_> = handshake.iter().cloned().chain(ask).map(told).collect();
                    let came = self.attack(in_tls, &steps);
                    let level = if in_tls { Tls } else { level_of(&handshake) };
                    let expected: &[_] = if self.served.contains(&level) { &[(level, true)] } else { &[] };
                    let came: Vec<_> = BTreeSet::from_iter(came).into_iter().collect();
                    assert_eq!(came, expected, "TLS {in_tls}, {steps:?}");
                }
            }
        }
    }

    fn check(&self, in_tls: bool, steps: &[Told]) -> Result<(), TestCaseError> {
        for (level, proven) in self.attack(in_tls, steps) {
            prop_assert!(proven, "the block came over {level} to a peer that had not proven its application");
            prop_assert!(self.served.contains(&level), "the block came over {level}");
        }
        running::assert_no_panics();
        Ok(())
    }
}

fn level_of(handshake: &[Step]) -> SecurityLevel {
    match &handshake[0] {
        Step::X25519 { then: Some(mode), .. } => SecurityLevel::from(mode.cipher),
        Step::Pbkdf2 { .. } => AesLegacy,
        Step::SaslStart { wanted: Demand::Conf(_), .. } => SaslConf,
        _ => Plaintext,
    }
}

/// What an attacker would try first; the properties find the rest.
fn tricks() -> Vec<Vec<Told>> {
    let x25519 = |then| Step::X25519 { app: APP, knows: true, then: Some(then) };
    let start = |app, wanted: &Demand| Step::SaslStart { app, knows: true, wanted: wanted.clone() };
    let answer = |app| Step::SaslAnswer { app, enters: true };
    let legacy = |says| Step::Pbkdf2 { app: APP, knows: true, says, key_bits: 128, enters: true };
    let (auth, conf) = (Demand::Auth, Demand::Conf(vec![SaslCipher::TripleDes]));
    let (fetch, chunk) = (Step::Ask(Ask::Fetch), Step::Ask(Ask::Chunk));
    let block = [fetch.clone(), chunk.clone()];
    let then_block = |steps: &[Step]| [steps, &block].concat();
    let waiting = [
        // A second handshake, behind one that is good enough and behind one that is not.
        then_block(&[x25519(GCM), x25519(CTR)]),
        then_block(&[x25519(CTR), x25519(GCM)]),
        then_block(&[x25519(GCM), start(APP, &auth), answer(APP), Step::DropLayers]),
        then_block(&[legacy(None), x25519(GCM)]),
        // Another handshake in the middle of one.
        then_block(&[start(APP, &auth), x25519(GCM)]),
        then_block(&[start(APP, &auth), legacy(None), answer(APP)]),
        then_block(&[start(APP, &conf), start(APP, &auth), answer(APP)]),
        // A proof for one application, and a claim of another.
        then_block(&[start(OTHER, &auth), answer(APP)]),
        then_block(&[start(OTHER, &conf), answer(APP)]),
        then_block(&[Step::X25519 { app: OTHER, knows: true, then: Some(GCM) }]),
        // A good beginning, and a chunk over something else.
        vec![x25519(GCM), fetch.clone(), Step::DropLayers, chunk.clone()],
        vec![x25519(GCM), fetch.clone(), Step::ChangeMode(CTR), chunk.clone()],
        vec![x25519(GCM), fetch.clone(), Step::AskRaw(Ask::Chunk)],
        vec![x25519(GCM), fetch, Step::ClientHello, chunk.clone()],
        // The stream of somebody else.
        vec![x25519(CTR), chunk.clone()],
        vec![chunk],
        then_block(&[legacy(Some(i32::MAX))]),
        then_block(&[legacy(Some(0))]),
        then_block(&[Step::ClientHello]),
    ];
    let pipelined = [
        then_block(&[x25519(CTR), x25519(GCM)]),
        then_block(&[x25519(GCM)]),
        then_block(&[start(APP, &auth), answer(APP)]),
        then_block(&[legacy(None)]),
    ];
    let hasty = |steps: Vec<Step>| steps.into_iter().map(|step| (step, false)).collect();
    let patient = |steps: Vec<Step>| steps.into_iter().map(told).collect();
    waiting.into_iter().map(patient).chain(pipelined.into_iter().map(hasty)).collect()
}

/// The same for each policy: a module with a server of its own.
macro_rules! scenes {
    ($($(#[$doc:meta])* $name:ident: $policy:expr, serves $served:expr;)*) => {
        $($(#[$doc])* mod $name {
            use super::*;

            fn scene() -> &'static Scene {
                static SCENE: OnceLock<Scene> = OnceLock::new();
                SCENE.get_or_init(|| Scene::new($policy, &$served))
            }

            #[test]
            fn serves_exactly_what_it_says() {
                scene().holds();
            }

            proptest! {
                #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

                #[test]
                fn no_sequence_gets_a_block_over_less(
                    in_tls in prop_oneof![4 => Just(false), 1 => Just(true)], steps in sequences(),
                ) {
                    scene().check(in_tls, &steps)?;
                }
            }

            #[test]
            fn no_trick_gets_a_block_over_less() {
                for in_tls in [false, true] {
                    tricks().iter().for_each(|steps| scene().check(in_tls, steps).unwrap());
                }
            }

            #[test]
            fn the_owner_is_served_all_the_while() {
                let scene = scene();
                let mut owner = scene.owner.lock().unwrap();
                let stream = owner.open(1, &[0]).unwrap().stream;
                assert_eq!(owner.chunk(stream, 0).unwrap(), scene.canary.repeat(256));
            }
        })*
    };
}

fn only(levels: &[SecurityLevel]) -> Policy {
    Policy { allow: Some(levels.iter().copied().collect()), ..Policy::at_least(levels[0]) }
}

/// Lenient to all but the application with the block.
fn own_rules(own: AppPolicy) -> Policy {
    let mut policy = Policy { anonymous: true, ..Policy::at_least(Plaintext) };
    policy.per_app.insert(AppId::new(APP), own);
    policy
}

scenes! {
    minimum_gcm: Policy::at_least(AesGcm), serves [AesGcm, Tls];
    minimum_gcm_and_peers_without_identity:
        Policy { anonymous: true, ..Policy::at_least(AesGcm) }, serves [AesGcm, Tls];
    minimum_tls: Policy::at_least(Tls), serves [Tls];
    an_exact_set: only(&[SaslConf, AesGcm]), serves [SaslConf, AesGcm];
    an_own_minimum: own_rules(AppPolicy { minimum: Some(AesGcm), ..AppPolicy::default() }),
        serves [AesGcm, Tls];
    an_own_set:
        own_rules(AppPolicy { allow: Some([AesCtr, AesGcm].into()), ..AppPolicy::default() }),
        serves [AesCtr, AesGcm];
    everything_for_whoever_proves_it:
        Policy { anonymous: true, ..Policy::at_least(Plaintext) },
        serves [Plaintext, SaslConf, AesLegacy, AesCtr, AesGcm, Tls];
}

/// What SASL's own keys refuse is a refusal in the table, too.
#[test]
fn sasl_that_its_own_keys_refuse_is_no_use_of_the_table() {
    let running = Running::start_with(|config| {
        config.policy = Policy::at_least(Plaintext);
        config.sasl = SaslSettings { always_encrypt: true, ..SaslSettings::default() };
    });
    let mut attacker = Attacker::connect(running.address, &running.secret, StreamId(1));
    let start = Step::SaslStart { app: APP, knows: true, wanted: Demand::Auth };
    let steps = [start, Step::SaslAnswer { app: APP, enters: true }, Step::Ask(Ask::Fetch)].map(told);
    play(&mut attacker, &steps, "");
    let heard = attacker.finish();
    let text = String::from_utf8_lossy(&heard[0].plain).into_owned();
    assert!(text.contains("spark.authenticate.enableSaslEncryption=true"), "{text}");
    let table = running.server.applications(None, None);
    let row = &table["applications"][0];
    assert_eq!((&row["channels"], &row["refused"]), (&serde_json::json!([]), &1.into()), "{row}");
    assert_eq!(row["last_refusal"]["channel"], "plaintext", "{row}");
}
