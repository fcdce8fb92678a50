//! No text of a peer is longer than its bound, in any message: the tables of `WIRE.md` list the messages, their fields
//! and the bounds, and each field of text is tried at its bound and one byte above.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use sealed_shuffle_protocol::auth::legacy::ClientChallenge;
use sealed_shuffle_protocol::auth::{AuthMessage, AuthMessageError};
use sealed_shuffle_protocol::codec::DecodeError;
use sealed_shuffle_protocol::frame::{FrameDecoder, FrameError};
use sealed_shuffle_protocol::sasl::SaslMessage;
use sealed_shuffle_protocol::shuffle::BlockTransferMessage;

const WIRE: &str = include_str!("../WIRE.md");

/// A field of a message: its type and its name.
type Field = (String, String);

/// The rows of the table behind a heading, cell by cell, without the two lines of its head.
fn table(heading: &str) -> Vec<Vec<String>> {
    let behind = WIRE.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading}")).1;
    let lines =
        behind.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    lines.skip(2).map(cells).collect()
}

/// `` `str` app, `i32` shuffle `` as types and names.
fn fields(text: &str) -> Vec<Field> {
    let text = text.replace("ExecutorShuffleInfo", &executor_shuffle_info());
    let mut fields = Vec::new();
    let mut left = text.as_str();
    while let Some((_, rest)) = left.split_once('`') {
        let (kind, rest) = rest.split_once('`').unwrap();
        let name = rest.split([',', ';', '`']).next().unwrap().trim();
        fields.push((kind.to_owned(), name.to_owned()));
        left = rest;
    }
    fields
}

fn executor_shuffle_info() -> String {
    let said = WIRE.split_once("ExecutorShuffleInfo is ").unwrap().1;
    said.split_once(';').unwrap().0.replace('\n', " ")
}

fn bounds() -> BTreeMap<String, usize> {
    let rows = table("### Bounds of texts");
    let of = |row: Vec<String>| {
        let most: usize = row[1].parse().unwrap();
        row[0].split(", ").map(|name| (name.to_owned(), most)).collect::<Vec<_>>()
    };
    rows.into_iter().flat_map(of).collect()
}

/// The fields, each as small as it can be, but for the text `grown` of `len` bytes.
fn body(fields: &[Field], grown: usize, len: usize) -> BytesMut {
    let mut out = BytesMut::new();
    for (at, (kind, _)) in fields.iter().enumerate() {
        match kind.as_str() {
            "[str]" if at == grown => {
                out.put_i32(1);
                put_text(&mut out, len);
            }
            "str" if at == grown => put_text(&mut out, len),
            "u8" => out.put_u8(0),
            "i64" => out.put_i64(0),
            // A number, a length, or a count.
            _ => out.put_i32(0),
        }
    }
    out
}

fn put_text(out: &mut BytesMut, len: usize) {
    out.put_i32(i32::try_from(len).unwrap());
    out.put_bytes(b'a', len);
}

/// Tries every text of every message of a table; how many there were.
fn try_all(heading: &str, fields_at: usize, decode: impl Fn(u8, &[u8]) -> Result<(), DecodeError>) -> usize {
    let bounds = bounds();
    let mut tried = 0;
    for row in table(heading) {
        let (kind, message) = (row[0].parse().unwrap(), &row[1]);
        let fields = fields(&row[fields_at]);
        for (at, (_, name)) in fields.iter().enumerate().filter(|(_, (kind, _))| kind.contains("str")) {
            let most = *bounds.get(name).unwrap_or_else(|| panic!("{message}: {name} has no bound"));
            assert_eq!(decode(kind, &body(&fields, at, most)), Ok(()), "{message}: {name} at its bound");
            let refused = decode(kind, &body(&fields, at, most + 1));
            let is_named = matches!(&refused, Err(DecodeError::TextTooLong { len, most: bound, .. })
                if (*len, *bound) == (most + 1, most));
            assert!(is_named, "{message}: {name} above its bound: {refused:?}");
            tried += 1;
        }
    }
    tried
}

#[test]
fn every_text_of_a_block_transfer_message_is_refused_above_its_bound() {
    let tried = try_all("## Block transfer", 3, |kind, body| {
        let message = [&[kind][..], body].concat();
        BlockTransferMessage::decode(Bytes::from(message)).map(drop)
    });
    assert_eq!(tried, 31, "texts in the table");
}

#[test]
fn every_text_of_a_transport_message_is_refused_above_its_bound() {
    let tried = try_all("## Messages", 2, |kind, body| {
        let length = 9 + body.len() as u64;
        let mut decoder = FrameDecoder::new(4 << 20);
        decoder.feed(Bytes::from([&length.to_be_bytes()[..], &[kind], body].concat()));
        match decoder.next() {
            Ok(event) => {
                assert!(event.is_some(), "the frame is whole");
                Ok(())
            }
            Err(FrameError::Malformed { source, .. }) => Err(source),
            Err(other) => panic!("{other}"),
        }
    });
    assert_eq!(tried, 7, "texts in the table");
}

#[test]
fn an_application_id_above_its_bound_is_refused_in_every_handshake() {
    let text = |len: usize| [&i32::try_from(len).unwrap().to_be_bytes()[..], &vec![b'a'; len]].concat();
    let most = bounds()["app"];
    for (app, is_taken) in [(text(most), true), (text(most + 1), false)] {
        let x25519 = AuthMessage::decode(&[&[0xfb][..], &app, &[0; 8]].concat());
        assert_eq!(x25519.is_ok(), is_taken, "{x25519:?}");
        assert!(is_taken || x25519 == Err(AuthMessageError::AppIdTooLong(most + 1)));

        let name = text(3);
        let number = [0, 0, 0, 1];
        let nonce = [0, 0, 0, 1, 9];
        let pbkdf2 = [&[0xfa][..], &app, &name, &number, &name, &number, &nonce, &nonce].concat();
        let pbkdf2 = ClientChallenge::decode(&Bytes::from(pbkdf2));
        assert_eq!(pbkdf2.is_ok(), is_taken, "{pbkdf2:?}");
        assert!(is_taken || pbkdf2.unwrap_err().to_string().contains("longer than the 255"));

        let sasl = SaslMessage::decode(&Bytes::from([&[0xea][..], &app, &[0; 4]].concat()));
        assert_eq!(sasl.is_ok(), is_taken, "{sasl:?}");
        assert!(is_taken || sasl.unwrap_err().to_string().contains("longer than the 255"));
    }
}
