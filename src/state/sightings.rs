//! Which channel each application was seen to use, over a restart: who raises the minimum reads it.
//!
//! One file beside the store, `sightings.sealed`, made whole each time and sealed as a value of the store is, under a
//! name that no record has. It is no record: an older release does not know it, and without it a start forgets who spoke
//! how, and nothing else. The tally does not cover it, so that an older one that is put back is believed.
//!
//! ```text
//! version (u8: 1), number of entries (u32), for each: application, proven (u8), level (u8: its place in
//! SecurityLevel::ALL), handshake (u8), TLS (u8: 0 none, 1 TLSv1.2, 2 TLSv1.3), seconds since 1970 (u64)
//! ```

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::channel::{Channel, Handshake, SecurityLevel, TlsVersion};
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::OnLane;
use tempfile::NamedTempFile;

use super::State;
use super::record::{Fields, Text, put};
use super::seal::StateKeys;
use crate::private_file::{beside, directory_of, keep_owner, read, replace};

/// The file, in the state directory.
const FILE_NAME: &str = "sightings.sealed";

/// What it is sealed as. Names of records have sixteen bytes and more.
const NAME: &[u8] = b"sightings";

const VERSION: u8 = 1;

/// Longest file. 10,000 applications take about a megabyte.
const LONGEST: u64 = 32 << 20;

/// An application was seen to use a channel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Sighting {
    pub(crate) app: AppId,
    /// It had proven its name.
    pub(crate) proven: bool,
    pub(crate) channel: Channel,
    /// The last use, to the second.
    pub(crate) at: SystemTime,
}

impl State {
    /// Writes the sightings, in the place of those before. An application that asked to be in no record is left out.
    pub(crate) fn keep_sightings(&self, on: &OnLane, sightings: &[Sighting]) -> io::Result<()> {
        let kept: Vec<_> = sightings.iter().filter(|one| !self.is_exempt(&one.app)).collect();
        let sealed = self.keys.seal(NAME, &encode(&kept)).map_err(io::Error::other)?;
        let path = self.sightings_path();
        let file = beside(on, &path, |mut file| file.write_all(&sealed))?;
        replace(on, file, &path)
    }

    /// The sightings that were written last; none where there is no file. An error says that it is damaged or of a later
    /// release.
    pub(crate) fn sightings(&self, on: &OnLane) -> io::Result<Vec<Sighting>> {
        let Some(sealed) = read(on, &self.sightings_path(), LONGEST)? else { return Ok(vec![]) };
        let text = self.keys.open(NAME, &sealed).ok_or_else(|| io::Error::other("it does not verify"))?;
        decode(&text).ok_or_else(|| io::Error::other("it is of a later release, or makes no sense"))
    }

    /// The file.
    pub(crate) fn sightings_path(&self) -> PathBuf {
        path_beside(&self.path)
    }
}

/// The file beside a store.
fn path_beside(store: &Path) -> PathBuf {
    directory_of(store).join(FILE_NAME)
}

/// The file beside a store, under the keys that the store gets. It takes its place with [`SightingsUnderNewKeys::put`], once the
/// store is under them: a crash between the two forgets who spoke how.
pub(super) struct SightingsUnderNewKeys {
    file: NamedTempFile,
    path: PathBuf,
}

impl SightingsUnderNewKeys {
    /// `None` where there is no file, or none that verifies.
    pub(super) fn of(
        on: &OnLane,
        store: &Path,
        old: &StateKeys,
        new: &StateKeys,
    ) -> io::Result<Option<Self>> {
        let path = path_beside(store);
        let Some(text) = read(on, &path, LONGEST)?.and_then(|sealed| old.open(NAME, &sealed)) else {
            return Ok(None);
        };
        let sealed = new.seal(NAME, &text).map_err(io::Error::other)?;
        let file = beside(on, &path, |mut file| file.write_all(&sealed))?;
        keep_owner(on, file.as_file(), &File::open(&path)?)?;
        Ok(Some(Self { file, path }))
    }

    pub(super) fn put(self, on: &OnLane) -> io::Result<()> {
        replace(on, self.file, &self.path)
    }
}

fn encode(sightings: &[&Sighting]) -> Text {
    let mut out = Text::default();
    out.push(VERSION);
    out.extend_from_slice(&u32::try_from(sightings.len()).unwrap_or(u32::MAX).to_be_bytes());
    for Sighting { app, proven, channel, at } in sightings {
        put(&mut out, app.as_str());
        out.push(u8::from(*proven));
        out.push(channel.level as u8);
        out.push(HANDSHAKES.iter().position(|one| *one == channel.handshake).map_or(u8::MAX, |n| n as u8));
        out.push(match channel.tls {
            None => 0,
            Some(TlsVersion::V1_2) => 1,
            Some(TlsVersion::V1_3) => 2,
        });
        let seconds = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        out.extend_from_slice(&seconds.to_be_bytes());
    }
    out
}

fn decode(text: &[u8]) -> Option<Vec<Sighting>> {
    let mut from = Fields::of(text);
    if from.byte()? != VERSION {
        return None;
    }
    let count = from.i32()?;
    let mut sightings = Vec::new();
    for _ in 0..count {
        let app = AppId::new(from.text()?);
        let proven = from.byte()? == 1;
        let level = *SecurityLevel::ALL.get(usize::from(from.byte()?))?;
        let handshake = *HANDSHAKES.get(usize::from(from.byte()?))?;
        let tls = match from.byte()? {
            0 => None,
            1 => Some(TlsVersion::V1_2),
            2 => Some(TlsVersion::V1_3),
            _ => return None,
        };
        let at = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_be_bytes(from.array()?)))?;
        let channel = Channel { level, handshake, cipher: cipher(level), tls };
        sightings.push(Sighting { app, proven, channel, at });
    }
    from.end().then_some(sightings)
}

/// In the order of their numbers.
const HANDSHAKES: [Handshake; 5] = [
    Handshake::None,
    Handshake::Sasl,
    Handshake::Pbkdf2,
    Handshake::X25519(EngineVersion::V1),
    Handshake::X25519(EngineVersion::V2),
];

/// The cipher, where the level says it.
const fn cipher(level: SecurityLevel) -> &'static str {
    match level {
        SecurityLevel::Plaintext => Channel::PLAINTEXT.cipher,
        SecurityLevel::AesLegacy | SecurityLevel::AesCtr => SessionCipher::Ctr.name(),
        SecurityLevel::AesGcm => SessionCipher::Gcm.name(),
        SecurityLevel::SaslConf | SecurityLevel::Tls => "not kept",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sightings_are_read_as_they_were_written_and_nothing_else_is() {
        let at = UNIX_EPOCH + Duration::from_secs(1_764_500_000);
        let all: Vec<_> = SecurityLevel::ALL
            .into_iter()
            .zip(HANDSHAKES.into_iter().chain([Handshake::None]))
            .map(|(level, handshake)| {
                let tls = (level == SecurityLevel::Tls).then_some(TlsVersion::V1_3);
                let channel = Channel { level, handshake, cipher: cipher(level), tls };
                Sighting { app: AppId::new(format!("app-{level}")), proven: tls.is_none(), channel, at }
            })
            .collect();
        let text = encode(&all.iter().collect::<Vec<_>>());
        assert_eq!(decode(&text).as_deref(), Some(&all[..]));
        for end in 0..text.len() {
            assert_eq!(decode(&text[..end]), None, "cut at {end}");
        }
        for (place, byte) in [(0, 2), (1, 0xff), (5, 0xff)] {
            let mut odd = text.to_vec();
            odd[place] = byte;
            assert_eq!(decode(&odd), None, "byte {place} is {byte}");
        }
    }
}
