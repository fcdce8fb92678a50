//! The corpus of the fuzz targets, replayed with a stable compiler: what was found once stays mended.
//!
//! The bodies are those of `fuzz/`, included as they are. `cargo test --test corpus -- --ignored` writes the seeds anew,
//! from the vectors of Spark and from messages of ours; what fuzzing has found lies beside them and is not touched.

#![allow(clippy::unwrap_used)]

mod support;
#[path = "../fuzz/src/lib.rs"]
#[allow(unreachable_pub)]
mod targets;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sealed_shuffle_protocol::auth::legacy::{self, LegacySettings};
use sealed_shuffle_protocol::auth::{Initiator, Responder};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::sasl::{Offer, Server};
use sealed_shuffle_protocol::secret::AppSecret;
use support::vectors;
use targets::random::Seeded;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn corpus(target: &str) -> PathBuf {
    fuzz().join("corpus").join(target)
}

#[test]
fn the_corpus_replays() {
    for (target, _) in targets::TARGETS {
        let mut inputs = 0;
        for entry in fs::read_dir(corpus(target)).unwrap() {
            let path = entry.unwrap().path();
            let data = fs::read(&path).unwrap();
            if let Err(panic) = std::panic::catch_unwind(|| targets::run(target, &data)) {
                eprintln!("{target}: {}", path.display());
                std::panic::resume_unwind(panic);
            }
            inputs += 1;
        }
        assert!(inputs >= 4, "{target} has {inputs} inputs");
        targets::run(target, &[]);
    }
}

#[test]
fn every_target_is_built_and_every_binary_is_a_target() {
    let names: BTreeSet<_> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let sources: BTreeSet<_> = fs::read_dir(fuzz().join("fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(sources, names);
    for name in names {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name} is no binary");
        let source = fs::read_to_string(fuzz().join(format!("fuzz_targets/{name}.rs"))).unwrap();
        assert!(source.contains(&format!("sealed_shuffle_fuzz::run(\"{name}\", data)")), "{name}");
    }
}

/// Writes a seed beside the others.
fn seed(target: &str, name: &str, parts: &[&[u8]]) {
    fs::create_dir_all(corpus(target)).unwrap();
    fs::write(corpus(target).join(name), parts.concat()).unwrap();
}

#[test]
#[ignore = "writes the seeds"]
fn write_the_seeds() {
    let latest = |file: &str| vectors(file).into_iter().filter(|vector| vector.spark == "4.3.0");
    let mut stream = vec![5];
    for vector in latest("transport.json") {
        let frame = vector.hex("hex");
        seed("frame", &vector.name, &[&[1], &frame]);
        seed("message", &vector.name, &[&frame[8..]]);
        stream.extend_from_slice(&frame);
    }
    seed("frame", "all", &[&stream]);
    for vector in latest("block_transfer.json") {
        seed("block_transfer", &vector.name, &[&vector.hex("hex")]);
    }
    for vector in latest("bitmaps.json").filter(|vector| vector.text("hex").len() < 8192) {
        seed("bitmap", &vector.name, &[&vector.hex("hex")]);
    }
    for (at, vector) in latest("block_ids.json").enumerate() {
        seed("names", &format!("block_id_{at}"), &[vector.name.as_bytes()]);
    }
    for (at, name) in ["1_2", "1_2_3", "6345036243736943969_2147483647", "-1_0"].into_iter().enumerate() {
        seed("names", &format!("stream_{at}"), &[name.as_bytes()]);
    }
    handshake_seeds();

    for choice in 0..12 {
        // A mask over nothing; over the front; a length alone.
        seed("gcm", &format!("genuine_{choice}"), &[&[choice | 1, choice, 0, 0]]);
        seed("gcm", &format!("raw_{choice}"), &[&[choice & !1, 3], &[0; 6], &[0x80, choice, 40], &[7; 64]]);
        seed("sasl_layer", &format!("genuine_{choice}"), &[&[choice | 1, choice, 0, 0]]);
        seed("sasl_layer", &format!("changed_{choice}"), &[&[choice | 1, 9, 0, choice], &[1]]);
        seed(
            "sasl_layer",
            &format!("raw_{choice}"),
            &[&[choice & !1, 3], &30_u64.to_be_bytes(), &[choice; 40]],
        );
    }
    let header = b"\x89SSF\r\n\x1a\n\0\x01\x02\x01\0\0\0\x60";
    for kind in 0..4 {
        seed("sealed", &format!("genuine_{kind}"), &[&[1, kind, 0, kind]]);
        seed("sealed", &format!("changed_{kind}"), &[&[1, 0, 0, 40 * kind], &[1 << kind]]);
        seed(
            "sealed",
            &format!("header_{kind}"),
            &[&[0, 7], &header[..10], &[kind], &header[11..], &[kind; 90]],
        );
    }
    for (at, seed_of) in [
        &[0, 0, 9, 0x30, 255, 0x93, 9, 0x60, 255][..],
        &[0, 2, 1, 3, 1, 4, 90, 5, 0, 1, 1, 0x30, 255, 0x94, 3, 0x95, 3, 0x96, 3, 0x90, 1, 0x60, 255],
        &[1, 0x30, 255, 0x60, 255, 0, 1, 0x30, 255, 0x91, 4, 0x60, 255],
        &[
            7, 0x30, 9, 0x30, 255, 0x60, 255, 3, 8, 2, 8, 0x30, 1, 0x30, 255, 0x95, 1, 0x96, 2, 0x60, 255,
            0xf9,
        ],
        &[1, 0xc5, 9, 0, 0, 0, 0, 0, 0, 0, 9, 9, 0x30, 0, 0xe3, 200, 0xf1],
    ]
    .into_iter()
    .enumerate()
    {
        seed("connection", &format!("operations_{at}"), &[seed_of]);
    }
    let marks: [(&str, &[u8]); 8] = [
        ("lz4", b"LZ4Block\x25\x10\0\0\0"),
        ("zstd", b"\x28\xb5\x2f\xfd\0\x58"),
        ("snappy", b"\x82SNAPPY\0\0\0\0\x01"),
        ("lzf", b"ZV\x01\0\x10\0\x20data"),
        ("java", b"\xac\xed\0\x05sr"),
        ("sealed", header),
        ("merged_name", b"shuffleMerged_application_1_0001_0_2_5.data"),
        ("checksum_name", b"shuffle_1_6_0.checksum.CRC32C"),
    ];
    for (name, bytes) in marks {
        seed("inspect", name, &[bytes]);
    }
    seed("inspect", "rows", &[&[0, 0, 0, 8], &[7; 8], &[0, 0, 0, 16], &[7; 16]]);
}

fn handshake_seeds() {
    let secret = std::sync::Arc::new(AppSecret::new("another secret".to_owned()));
    let app = || AppId::new("app-1");
    let random = || Seeded(9);
    let (_, challenge) = Initiator::start(app(), secret.clone(), &mut random()).unwrap();
    let (response, _) = Responder::respond(&challenge, &secret, &mut random()).unwrap();
    seed("x25519_handshake", "challenge", &[&[0], &challenge.encode()]);
    seed("x25519_handshake", "response", &[&[2], &response.encode()]);
    let settings = LegacySettings { iterations: 4, ..LegacySettings::default() };
    let (_, challenge) = legacy::Initiator::start(app(), secret.clone(), settings, &mut random()).unwrap();
    let limits = legacy::LegacyLimits::default();
    let (response, _) = legacy::Responder::respond(&challenge, &secret, &limits, &mut random()).unwrap();
    seed("pbkdf2_handshake", "challenge", &[&[0], &challenge.encode()]);
    seed("pbkdf2_handshake", "response", &[&[2], &response.encode()]);
    for role in [1, 3] {
        for target in ["x25519_handshake", "pbkdf2_handshake"] {
            seed(target, &format!("genuine_{role}"), &[&[role]]);
            seed(target, &format!("changed_{role}"), &[&[role], &[0; 12], &[1]]);
        }
    }
    let (_, challenge) = Server::start(&Offer::everything(), &mut random()).unwrap();
    seed("sasl", "challenge", &[&[0x11], &challenge]);
    seed("sasl", "start", &[&[0], b"\xea\0\0\0\x05app-1\0\0\0\0"]);
    for role in 0..4 {
        seed("sasl", &format!("genuine_{role}"), &[&[0x30 | role]]);
        seed("sasl", &format!("changed_{role}"), &[&[0x20 | role], &[0; 9], &[2]]);
    }
    let response =
        br#"charset=utf-8,username="c3BhcmtTYXNsVXNlcg==",realm="default",nonce="x",nc=00000001,qop=auth"#;
    seed("sasl", "response", &[&[2], response]);
}
