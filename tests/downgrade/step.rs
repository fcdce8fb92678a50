//! What an attacker may say, one message after the other, and how proptest strings it together.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::auth::legacy::LegacySettings;
use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};
use sealed_shuffle_protocol::ids::{
    AppId, ChunkIndex, ExecutorId, ReduceId, RequestId, ShuffleId, ShuffleMergeId, StreamId,
};
use sealed_shuffle_protocol::message::Head;
use sealed_shuffle_protocol::sasl::{Demand, SaslCipher};
use sealed_shuffle_protocol::shuffle::{
    BlockTransferMessage, GetLocalDirsForExecutors, OpenBlocks, RemoveBlocks, Strings,
};

use crate::attacker::Attacker;
use crate::running::{APP, EXECUTOR, fetch, register};

/// Another application than the one with the block.
pub(crate) const OTHER: &str = "app-2";

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Ask(Ask),
    /// The same past all layers.
    AskRaw(Ask),
    X25519 {
        app: &'static str,
        knows: bool,
        then: Option<SessionMode>,
    },
    Pbkdf2 {
        app: &'static str,
        knows: bool,
        says: Option<i32>,
        key_bits: u32,
        enters: bool,
    },
    SaslStart {
        app: &'static str,
        knows: bool,
        wanted: Demand,
    },
    SaslAnswer {
        app: &'static str,
        enters: bool,
    },
    ChangeMode(SessionMode),
    DropLayers,
    /// The first record of a TLS handshake.
    ClientHello,
    Bytes(Vec<u8>),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Register,
    Fetch,
    FetchOther,
    OpenShuffle,
    OpenRdd,
    LocalDirs,
    Remove,
    OneWay,
    /// Of the stream that was opened last, or of somebody else's.
    Chunk,
    Stream,
    Merged,
    Upload,
    Unknown(u8),
}

/// A step, and whether its answer is waited for.
pub(crate) type Told = (Step, bool);

/// A step whose answer is waited for.
pub(crate) fn told(step: Step) -> Told {
    (step, true)
}

pub(crate) const MODES: [SessionMode; 4] = [
    SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Ctr },
    SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Ctr },
    SessionMode { version: EngineVersion::V1, cipher: SessionCipher::Gcm },
    SessionMode { version: EngineVersion::V2, cipher: SessionCipher::Gcm },
];

/// Every handshake as an honest client has it.
pub(crate) fn honest() -> Vec<Vec<Step>> {
    let aes = MODES.map(|mode| vec![Step::X25519 { app: APP, knows: true, then: Some(mode) }]);
    let legacy = Step::Pbkdf2 { app: APP, knows: true, says: None, key_bits: 128, enters: true };
    let mut wanted = vec![Demand::Auth];
    wanted.extend(SaslCipher::ALL.map(|cipher| Demand::Conf(vec![cipher])));
    let sasl = wanted.into_iter().map(|wanted| {
        vec![Step::SaslStart { app: APP, knows: true, wanted }, Step::SaslAnswer { app: APP, enters: true }]
    });
    aes.into_iter().chain([vec![legacy]]).chain(sasl).collect()
}

/// Some messages, mostly of kinds that lead somewhere.
pub(crate) fn sequences() -> impl Strategy<Value = Vec<Told>> {
    let pieces = prop_oneof![
        4 => handshake(),
        3 => Just(vec![Step::Ask(Ask::Fetch), Step::Ask(Ask::Chunk)]),
        1 => Just(vec![Step::Ask(Ask::OpenRdd), Step::Ask(Ask::Stream)]),
        3 => ask().prop_map(|ask| vec![Step::Ask(ask)]),
        1 => ask().prop_map(|ask| vec![Step::AskRaw(ask)]),
        1 => noise().prop_map(|step| vec![step]),
    ];
    let waits = prop_oneof![5 => Just(true), 1 => Just(false)];
    vec((pieces, vec(waits, 2)), 1..6).prop_map(|pieces| {
        let tell = |(steps, waits): (Vec<Step>, Vec<bool>)| steps.into_iter().zip(waits);
        pieces.into_iter().flat_map(tell).collect()
    })
}

fn app() -> impl Strategy<Value = &'static str> {
    prop_oneof![6 => Just(APP), 1 => Just(OTHER), 1 => Just("")]
}

fn knows() -> impl Strategy<Value = bool> {
    prop_oneof![4 => Just(true), 1 => Just(false)]
}

fn mode() -> impl Strategy<Value = SessionMode> {
    proptest::sample::select(&MODES[..])
}

fn wanted() -> impl Strategy<Value = Demand> {
    let cipher = proptest::sample::select(&SaslCipher::ALL[..]);
    prop_oneof![Just(Demand::Auth), cipher.prop_map(|cipher| Demand::Conf(vec![cipher]))]
}

fn handshake() -> impl Strategy<Value = Vec<Step>> {
    let then = prop_oneof![6 => mode().prop_map(Some), 1 => Just(None)];
    let x25519 =
        (app(), knows(), then).prop_map(|(app, knows, then)| vec![Step::X25519 { app, knows, then }]);
    let says = prop_oneof![
        4 => Just(None),
        1 => proptest::sample::select(vec![0, -1, 1, 10_001, 1 << 20, i32::MAX, i32::MIN]).prop_map(Some),
    ];
    let key_bits = proptest::sample::select(vec![128, 192, 256]);
    let pbkdf2 =
        (app(), knows(), says, key_bits, knows()).prop_map(|(app, knows, says, key_bits, enters)| {
            vec![Step::Pbkdf2 { app, knows, says, key_bits, enters }]
        });
    let sasl = (app(), app(), knows(), wanted(), knows()).prop_map(|(app, second, knows, wanted, enters)| {
        vec![Step::SaslStart { app, knows, wanted }, Step::SaslAnswer { app: second, enters }]
    });
    prop_oneof![4 => x25519, 1 => pbkdf2, 3 => sasl]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        Just(Ask::Register),
        Just(Ask::Fetch),
        Just(Ask::FetchOther),
        Just(Ask::OpenShuffle),
        Just(Ask::OpenRdd),
        Just(Ask::LocalDirs),
        Just(Ask::Remove),
        Just(Ask::OneWay),
        Just(Ask::Chunk),
        Just(Ask::Stream),
        Just(Ask::Merged),
        Just(Ask::Upload),
        any::<u8>().prop_map(Ask::Unknown),
    ]
}

fn noise() -> impl Strategy<Value = Step> {
    let length = prop_oneof![0..100i64, Just(i64::MAX), Just(-1), Just(0x8000_0006), any::<i64>()];
    let frame = (length, 0..14u8, vec(any::<u8>(), 0..40))
        .prop_map(|(length, kind, rest)| [&length.to_be_bytes()[..], &[kind], &rest].concat());
    prop_oneof![
        mode().prop_map(Step::ChangeMode),
        Just(Step::DropLayers),
        Just(Step::ClientHello),
        (wanted(), app(), knows()).prop_map(|(wanted, app, knows)| Step::SaslStart { app, knows, wanted }),
        (app(), any::<bool>()).prop_map(|(app, enters)| Step::SaslAnswer { app, enters }),
        vec(any::<u8>(), 0..60).prop_map(Step::Bytes),
        frame.prop_map(Step::Bytes),
    ]
}

/// Says everything, and waits where it should.
pub(crate) fn play(attacker: &mut Attacker, steps: &[Told], dir: &str) {
    for (step, waits) in steps {
        tell(attacker, step, dir);
        if *waits {
            attacker.listen();
        }
    }
}

fn tell(attacker: &mut Attacker, step: &Step, dir: &str) {
    let right = attacker.secret();
    let secret = |knows: &bool| if *knows { right.clone() } else { "another".to_owned() };
    match step {
        Step::Ask(ask) => {
            let (head, body) = ask.words(attacker.request(), attacker.stream, dir);
            attacker.say(&head, &body);
        }
        Step::AskRaw(ask) => {
            let (head, body) = ask.words(attacker.request(), attacker.stream, dir);
            attacker.say_raw(&crate::running::message(&head, &body));
        }
        Step::X25519 { app, knows, then } => attacker.x25519(app, &secret(knows), *then),
        Step::Pbkdf2 { app, knows, says, key_bits, enters } => {
            let settings = LegacySettings { iterations: 100, key_bits: *key_bits, ..Default::default() };
            attacker.pbkdf2(app, &secret(knows), settings, says.unwrap_or(100), *enters);
        }
        Step::SaslStart { app, knows, wanted } => attacker.sasl_start(app, &secret(knows), wanted.clone()),
        Step::SaslAnswer { app, enters } => attacker.sasl_answer(app, *enters),
        Step::ChangeMode(mode) => attacker.change_mode(*mode),
        Step::DropLayers => attacker.drop_layers(),
        Step::ClientHello => attacker.say_raw(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"),
        Step::Bytes(bytes) => attacker.say_raw(bytes),
    }
}

impl Ask {
    fn words(self, request: RequestId, stream: StreamId, dir: &str) -> (Head, Bytes) {
        let (app, executor) = (AppId::new(APP), ExecutorId::new(EXECUTOR));
        let rpc = |body: BlockTransferMessage| (Head::RpcRequest { request }, body.encode().unwrap());
        let names = |names: &[&str]| Strings::try_from_iter(names.iter().copied()).unwrap();
        match self {
            Self::Register => rpc(register(&[dir])),
            Self::Fetch => rpc(fetch(APP, 1, &[0])),
            Self::FetchOther => rpc(fetch(OTHER, 1, &[0])),
            Self::OpenShuffle => rpc(OpenBlocks { app, executor, blocks: names(&["shuffle_0_1_0"]) }.into()),
            Self::OpenRdd => rpc(OpenBlocks { app, executor, blocks: names(&["rdd_1_2"]) }.into()),
            Self::LocalDirs => rpc(GetLocalDirsForExecutors { app, executors: names(&[EXECUTOR]) }.into()),
            Self::Remove => rpc(RemoveBlocks { app, executor, blocks: names(&["rdd_9_9"]) }.into()),
            Self::OneWay => (Head::OneWayMessage, fetch(APP, 1, &[0]).encode().unwrap()),
            Self::Chunk => (Head::ChunkFetchRequest { stream, chunk: ChunkIndex(0) }, Bytes::new()),
            Self::Stream => (Head::StreamRequest { stream: format!("{}_0", stream.0) }, Bytes::new()),
            Self::Merged => {
                let (shuffle, merge, reduce) = (ShuffleId(0), ShuffleMergeId(0), ReduceId(0));
                (Head::MergedBlockMetaRequest { request, app, shuffle, merge, reduce }, Bytes::new())
            }
            Self::Upload => {
                let meta = fetch(APP, 1, &[0]).encode().unwrap();
                (Head::UploadStream { request, meta }, Bytes::from_static(b"a body"))
            }
            Self::Unknown(kind) => {
                (Head::RpcRequest { request }, Bytes::copy_from_slice(&[kind, 0, 0, 0, 0]))
            }
        }
    }
}
