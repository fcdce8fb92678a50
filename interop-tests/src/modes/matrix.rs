//! Which Spark in which mode: a representative part by default, everything with
//! `SEALED_SHUFFLE_MATRIX=full`, and with any other value the modes whose name holds it, for example
//! `SEALED_SHUFFLE_MATRIX=3.5.9` or `SEALED_SHUFFLE_MATRIX="4.0.5 Gcm v2"`.
//!
//! | default | request tests, ours and Spark's | cells | applications on ours | live block managers | standalone cluster |
//! |---|---|---|---|---|---|
//! | modes | five, one with 3.3.4 | those of three releases, and a broken AES-GCM | two, and four on one server | one | one |
//!
//! Applications and clusters on Spark's own service, which show that a recipe is right and say nothing about us, are
//! ignored like all that is slow and rarely red: `make nightly` runs them. Request tests run on both sides always. They use
//! messages that came with Spark 3.2 and run in the modes of the X25519 handshake, those about contents in a few others too
//! ([`other_modes`]); every mode of every release is a cell of `tests/matrix.rs` ([`cells`]).

use super::{
    abilities::{Abilities, Gcm},
    mode::{Auth, Cipher, Mode, SaslCipher},
    service::Service,
    tls::Stores,
};

/// All releases that the matrix of cells goes through, oldest first.
///
/// Of a line in which AES-GCM was mended, the last release before that and the newest.
pub const VERSIONS: [&str; 14] = [
    "2.4.8", "3.0.3", "3.1.3", "3.2.4", "3.3.4", "3.4.4", "3.5.8", "3.5.9", "4.0.3", "4.0.5", "4.1.2",
    "4.1.4", "4.2.1", "4.3.0",
];

/// Everything that a release of these abilities can speak, and what it can be made to speak.
pub fn cells(version: &'static str, abilities: Abilities) -> Vec<Mode> {
    let mut cells = vec![Mode::new(version, Auth::None), Mode::new(version, Auth::Sasl)];
    let weak = [SaslCipher::Des, SaslCipher::Rc4With56, SaslCipher::Rc4With40];
    let ciphers = [SaslCipher::TripleDes, SaslCipher::Rc4].into_iter().chain(weak);
    cells.extend(ciphers.map(|cipher| Mode::new(version, Auth::SaslConf(cipher))));
    if !abilities.x25519 {
        cells.extend([128, 256].map(|bits| Mode::new(version, Auth::Legacy { bits })));
        return cells;
    }
    let has_gcm = abilities.gcm != Gcm::Absent;
    for (cipher, engine, is_there) in [
        (Cipher::Ctr, 1, true),
        (Cipher::Ctr, 2, abilities.engines),
        (Cipher::Gcm, 1, has_gcm),
        (Cipher::Gcm, 2, has_gcm && abilities.engines),
    ] {
        if is_there {
            cells.push(Mode::aes(version, cipher, engine));
        }
    }
    if abilities.tls {
        cells.extend([
            Mode::new(version, Auth::None).inside_tls(Stores::Pkcs12),
            Mode::new(version, Auth::None).inside_tls(Stores::Pem),
            Mode::new(version, Auth::Sasl).inside_tls(Stores::Jks),
            Mode::new(version, Auth::SaslConf(SaslCipher::TripleDes)).inside_tls(Stores::Pkcs12),
            Mode::aes(version, Cipher::Ctr, 1).inside_tls(Stores::Pem),
            Mode::aes(version, Cipher::Gcm, 2).inside_tls(Stores::Jks),
        ]);
    }
    cells
}

fn cells_of(version: &'static str) -> Vec<Mode> {
    cells(version, Abilities::of(version))
}

/// The releases whose cells are gone through, each with what the names of its modes must hold: by default one of each
/// handshake, and of one whose AES-GCM is broken the modes with that; everything with `SEALED_SHUFFLE_MATRIX=full`; else the
/// releases that the variable's value names, or some cell of which it names.
pub fn cell_versions() -> Vec<(&'static str, &'static str)> {
    match std::env::var("SEALED_SHUFFLE_MATRIX") {
        Ok(value) if value == "full" => VERSIONS.map(|version| (version, "")).to_vec(),
        Ok(part) if !part.is_empty() => {
            let names = |version: &&'static str| {
                cells_of(version).iter().any(|mode| mode.to_string().contains(&part))
            };
            VERSIONS.into_iter().filter(names).map(|version| (version, "")).collect()
        }
        _ => vec![("3.0.3", ""), ("3.5.9", ""), ("4.1.2", "Gcm"), ("4.3.0", "")],
    }
}

/// The modes that request tests go through.
pub fn modes() -> Vec<Mode> {
    match std::env::var("SEALED_SHUFFLE_MATRIX") {
        Ok(value) if value == "full" => full(),
        Ok(part) if !part.is_empty() => {
            let named = |mode: &Mode| mode.to_string().contains(&part);
            let mut all = VERSIONS.into_iter().flat_map(cells_of).chain(OTHERS);
            assert!(all.any(|mode| named(&mode)), "SEALED_SHUFFLE_MATRIX={part} names no mode");
            full().into_iter().filter(named).collect()
        }
        _ => representative(),
    }
}

/// Modes other than those of the X25519 handshake that request tests go through, all of them with authentication, since
/// that is what many of the tests are about. Spark with itself is in these modes only when the matrix is chosen; its
/// part in `tests/matrix.rs` has shown that they are right.
pub fn other_modes(service: Service) -> Vec<Mode> {
    match std::env::var("SEALED_SHUFFLE_MATRIX") {
        Ok(value) if value == "full" => OTHERS.to_vec(),
        Ok(part) if !part.is_empty() => {
            OTHERS.into_iter().filter(|mode| mode.to_string().contains(&part)).collect()
        }
        _ if service == Service::Ours => OTHERS[..2].to_vec(),
        _ => Vec::new(),
    }
}

/// The representative ones first.
const OTHERS: [Mode; 6] = [
    Mode::new("4.3.0", Auth::SaslConf(SaslCipher::TripleDes)),
    Mode::new("4.3.0", Auth::Sasl).inside_tls(Stores::Pkcs12),
    Mode::new("3.5.9", Auth::SaslConf(SaslCipher::TripleDes)),
    Mode::new("3.5.9", Auth::Sasl),
    Mode::aes("4.0.5", Cipher::Gcm, 2).inside_tls(Stores::Jks),
    Mode::new("4.0.5", Auth::Sasl).inside_tls(Stores::Pem),
];

/// Whether more than the representative part was asked for.
pub fn is_chosen() -> bool {
    std::env::var_os("SEALED_SHUFFLE_MATRIX").is_some_and(|value| !value.is_empty())
}

/// The modes in which whole clusters run: by default one.
pub fn standalone_modes() -> Vec<Mode> {
    if is_chosen() { application_modes() } else { vec![Mode::newest(Cipher::Gcm, 2)] }
}

/// The modes in which blocks are fetched from live applications: by default one.
pub fn live_modes() -> Vec<Mode> {
    if is_chosen() { application_modes() } else { vec![Mode::newest(Cipher::Ctr, 2)] }
}

/// The modes that whole applications go through: by default one in each cipher, since `tests/all_modes.rs` has one of each
/// handshake. PySpark 3.3 needs an older Python than current systems have.
pub fn application_modes() -> Vec<Mode> {
    if !is_chosen() {
        return vec![Mode::newest(Cipher::Gcm, 2), Mode::aes("4.0.5", Cipher::Ctr, 2)];
    }
    modes().into_iter().filter(|mode| mode.version != "3.3.4").collect()
}

fn representative() -> Vec<Mode> {
    vec![
        Mode::newest(Cipher::Ctr, 1),
        Mode::newest(Cipher::Gcm, 2),
        Mode::aes("3.5.9", Cipher::Gcm, 1),
        Mode::aes("4.0.5", Cipher::Ctr, 2),
        Mode::aes("3.3.4", Cipher::Ctr, 1),
    ]
}

fn full() -> Vec<Mode> {
    let mut modes = Vec::new();
    for version in ["4.3.0", "4.0.5", "3.5.9"] {
        for cipher in [Cipher::Ctr, Cipher::Gcm] {
            for engine in [1, 2] {
                modes.push(Mode::aes(version, cipher, engine));
            }
        }
    }
    modes.push(Mode::aes("3.3.4", Cipher::Ctr, 1));
    modes
}
