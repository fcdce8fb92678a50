//! `demo`: the whole path on loopback, with proof that the wire is sealed.
//!
//! Directory, secrets, data and ports are made for this run and removed after it. The fetched bytes are compared with
//! the computed data, never with the bytes that the server read.

mod data;
mod service;
mod tap;

use std::fmt::Display;
use std::io::{Write, stderr, stdout};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use indicatif::HumanBytes;
use sealed_shuffle_client::{Address, Client, ErrorKind, Security, Settings};
use sealed_shuffle_protocol::auth::EngineVersion;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::cipher::SessionCipher;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;
use sealed_shuffle_protocol::shuffle::{BlockId, ExecutorShuffleInfo, Strings};
use sealed_shuffle_transport::random::random_bytes;
use serde_json::{Value, json};
use tempfile::TempDir;
use zeroize::Zeroizing;

use self::data::{CANARY, SUB_DIRS, Shuffle, WrittenData};
use self::service::Service;
use self::tap::Tap;
use super::versioned::versioned;
use super::{Exit, Failure};

/// Prove on this machine that blocks travel sealed and arrive whole
///
/// Starts a server on loopback, writes a synthetic shuffle with encrypted blocks, fetches everything
/// through the AES session, compares every byte, listens on the wire, and cleans up. Nothing is read from
/// your configuration and nothing leaves the machine. The last line begins "OK:".
#[derive(Args, Debug)]
#[command(after_help = "Example:
  sealed-shuffle demo --size 64 --cipher ctr

The data lies in a directory of its own beneath TMPDIR (/tmp) while the demo runs.")]
pub(crate) struct Demo {
    /// Size of the shuffle in MiB
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=65536))]
    size: u64,

    /// Cipher of the session
    #[arg(long, value_enum, default_value_t = Cipher::Gcm)]
    cipher: Cipher,

    /// Print one JSON object on standard output, and the story on standard error
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cipher {
    /// AES/GCM/NoPadding: sealed and authenticated (Spark 3.5.9, 4.0.4, 4.1.3, 4.2 or later)
    #[value(alias = "AES/GCM/NoPadding")]
    Gcm,
    /// AES/CTR/NoPadding: Spark's default, without integrity
    #[value(alias = "AES/CTR/NoPadding")]
    Ctr,
}

/// Map outputs and reduce partitions of the shuffle.
const MAPS: i64 = 8;
const REDUCES: i32 = 64;

impl Demo {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| failed("cannot start threads", error))?;
        let dir = tempfile::Builder::new()
            .prefix("sealed-shuffle-demo-")
            .tempdir()
            .map_err(|error| failed("cannot make a directory for the data (TMPDIR names where)", error))?;
        let done = runtime.block_on(async {
            tokio::select! {
                done = self.prove(&dir) => done,
                _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Failed, "interrupted")),
            }
        });
        // Tasks of the server and of the tap hold files of the directory.
        runtime.shutdown_timeout(Duration::from_secs(2));
        let removed = dir.close().map_err(|error| failed("cannot remove the data", error));
        let (summary, result) = done?;
        removed?;
        self.tell(&summary)?;
        if self.json { say(stdout(), &versioned(result).to_string()) } else { Ok(()) }
    }

    async fn prove(&self, dir: &TempDir) -> Result<(String, Value), Failure> {
        let secret = generated_secret()?;
        let security = self.security(&secret);
        let mode = match &security {
            Security::Aes { mode, .. } => mode.to_string(),
            _ => return Err(Failure::new(Exit::Failed, "the demo is about sealed sessions")),
        };
        self.tell(&format!("A shuffle server and its client in this process, on loopback, {mode}"))?;

        // The data to serve.
        let blockmgr = dir.path().join("blockmgr-demo");
        let started = Instant::now();
        let shuffles =
            Shuffles::write(&blockmgr, self.size << 20).map_err(|error| failed("cannot write", error))?;
        let bytes = shuffles.written.bytes;
        self.tell(&format!(
            "wrote      {MAPS} map outputs of {REDUCES} partitions, {} in {:.1} s, each block with spark.io.encryption \
             (16-byte IV, AES-CTR)",
            HumanBytes(bytes),
            started.elapsed().as_secs_f64(),
        ))?;
        self.tell(
            "           and a small shuffle with spark.io.encryption off, which the session alone protects",
        )?;
        let server = service::start(dir.path(), Some(&secret), self.minimum()).await?;
        self.tell(&format!("serving    {}, under a secret generated for this run", server.address))?;
        let client = Client::new(quick(security.clone()), app());
        register(&client, &server.address, &blockmgr).await?;
        self.tell(&format!("registered executor {} of application {}", executor(), app()))?;

        // Every way to fetch.
        let single =
            self.timed("one by one", "FetchShuffleBlocks", fetch_single(&client, &server, &shuffles)).await?;
        let batch =
            self.timed("in ranges", "the same, batch", fetch_ranges(&client, &server, &shuffles)).await?;
        let stream = self
            .timed("to a file", "StreamRequest", fetch_to_file(&client, &server, &shuffles, dir.path()))
            .await?;

        // The bytes on the wire.
        let tapped = self.tapped(&server.address, &security, &shuffles, &blockmgr).await?;
        let control = self.control(dir.path(), &shuffles, &blockmgr).await?;
        let refused = self.wrong_secret(&server.address).await?;

        let blocks = shuffles.main.blocks().len();
        let gib = single.rate / f64::from(1 << 30);
        let summary = format!(
            "OK: {blocks} blocks, {bytes} bytes fetched and compared, {gib:.2} GiB/s over {mode}, \
             canary seen 0 times on the wire, wrong secret refused"
        );
        let result = json!({
            "ok": true, "mode": mode, "blocks": blocks, "bytes": bytes,
            "single": single.json(), "batch": batch.json(), "stream": stream.json(),
            "tap": { "bytes": tapped, "canary": 0, "canary_in_clear": control },
            "wrong_secret": refused,
        });
        Ok((summary, result))
    }

    /// Fetches everything through a tap and compares every byte; then shows one block in its three forms.
    async fn tapped(
        &self,
        server: &Address,
        security: &Security,
        shuffles: &Shuffles,
        blockmgr: &Path,
    ) -> Result<u64, Failure> {
        let texts = shuffles.texts(blockmgr);
        let tap = Tap::start(server, texts).await.map_err(|error| failed("cannot tap", error))?;
        let client = Client::new(quick(security.clone()), app());
        register(&client, &tap.address, blockmgr).await?;
        let mut blocks = 0;
        for shuffle in [&shuffles.main, &shuffles.clear, &shuffles.small] {
            blocks += fetch_and_compare(&client, &tap.address, shuffle).await?;
        }
        self.tell(&format!(
            "verified   every byte of {blocks} blocks, fetched once more through a tap on the wire"
        ))?;
        let sample = shuffles.main.rows(3, 17);
        let row = String::from_utf8_lossy(&sample[..72]).into_owned();
        self.tell(&format!("           decrypted, shuffle_0_3_17 begins: {row}…"))?;

        let seen = tap.seen();
        let tail = 16;
        let rows = shuffles.small.rows(0, 0);
        let stored = shuffles.small.stored(0, 0);
        // GCM closes each message with a tag of 16 bytes.
        let behind = if matches!(self.cipher, Cipher::Gcm) { 16 } else { 0 };
        let wire = seen.last_from_server(tail + behind, tail);
        let (rows, stored) = (&rows[rows.len() - tail..], &stored[stored.len() - tail..]);
        self.tell(&format!("tapped     {} passed; the end of shuffle_2_0_0:", HumanBytes(seen.bytes)))?;
        self.tell(&format!("             rows         {}  {:?}", hex(rows), String::from_utf8_lossy(rows)))?;
        self.tell(&format!("             on the disk  {}  encrypted by the executor", hex(stored)))?;
        self.tell(&format!("             on the wire  {}  sealed by the session", hex(&wire)))?;
        if wire.len() != tail || wire == stored || wire == rows {
            return Err(Failure::new(Exit::Failed, "the wire showed a block as it lies on the disk"));
        }
        if let Some(at) = seen.found.iter().position(|found| *found > 0) {
            let what = SOUGHT[at];
            return Err(Failure::new(Exit::Failed, format!("{what} was seen on the wire")));
        }
        self.tell(&format!("searched   the tap for {}: never seen", SOUGHT.join(", ")))?;
        Ok(seen.bytes)
    }

    /// Control: on a server in clear the same tap sees the canary, so the silence above is not a fault of the tap.
    async fn control(&self, root: &Path, shuffles: &Shuffles, blockmgr: &Path) -> Result<u64, Failure> {
        let server = service::start(root, None, SecurityLevel::Plaintext).await?;
        let tap = Tap::start(&server.address, shuffles.texts(blockmgr)).await;
        let tap = tap.map_err(|error| failed("cannot tap", error))?;
        let client = Client::new(quick(Security::Plaintext), app());
        register(&client, &tap.address, blockmgr).await?;
        fetch_and_compare(&client, &tap.address, &shuffles.clear).await?;
        let found = tap.seen().found[0];
        if found == 0 {
            return Err(Failure::new(Exit::Failed, "the tap missed the canary on a connection in clear"));
        }
        self.tell(&format!(
            "           (control: over a connection in clear the same tap saw the canary {found} times)"
        ))?;
        Ok(found)
    }

    async fn wrong_secret(&self, server: &Address) -> Result<String, Failure> {
        let client = Client::new(quick(self.security(&generated_secret()?)), app());
        let mut fetch = client.fetch(server, &executor(), vec!["shuffle_0_0_0".parse().map_err(internal)?]);
        match fetch.next().await {
            Some(Err(error)) if error.kind() == ErrorKind::Refused => {
                self.tell(&format!("refused    a client with another secret: {}", error.error))?;
                Ok(error.to_string())
            }
            Some(Err(error)) => Err(failed("a wrong secret should have been refused", error)),
            _ => Err(Failure::new(Exit::Failed, "a client with a wrong secret was served")),
        }
    }

    async fn timed(
        &self,
        how: &str,
        message: &str,
        fetch: impl Future<Output = Result<(usize, u64), Failure>>,
    ) -> Result<Timing, Failure> {
        let started = Instant::now();
        let (blocks, bytes) = fetch.await?;
        let seconds = started.elapsed().as_secs_f64().max(1e-6);
        let rate = bytes as f64 / seconds;
        self.tell(&format!(
            "fetched    {how:10} ({message}): {blocks} {}, {} in {seconds:.2} s, {}/s",
            if blocks == 1 { "chunk" } else { "chunks" },
            HumanBytes(bytes),
            HumanBytes(rate as u64),
        ))?;
        Ok(Timing { blocks, bytes, seconds, rate })
    }

    fn tell(&self, line: &str) -> Result<(), Failure> {
        if self.json { say(stderr(), line) } else { say(stdout(), line) }
    }

    fn security(&self, secret: &str) -> Security {
        let cipher = match self.cipher {
            Cipher::Gcm => SessionCipher::Gcm,
            Cipher::Ctr => SessionCipher::Ctr,
        };
        Security::aes(AppSecret::new(secret.to_owned()), EngineVersion::V2, cipher)
    }

    fn minimum(&self) -> SecurityLevel {
        match self.cipher {
            Cipher::Gcm => SecurityLevel::AesGcm,
            Cipher::Ctr => SecurityLevel::AesCtr,
        }
    }
}

/// Names of the texts that are searched on the wire; the texts are [`Shuffles::texts`].
const SOUGHT: [&str; 4] =
    ["the canary of every row", "bytes of the disk", "the shuffle manager's name", "the directory's name"];

/// How long a fetch took.
struct Timing {
    blocks: usize,
    bytes: u64,
    seconds: f64,
    rate: f64,
}

impl Timing {
    fn json(&self) -> Value {
        json!({ "chunks": self.blocks, "bytes": self.bytes, "seconds": self.seconds, "bytes_per_second": self.rate })
    }
}

/// The shuffles that are served.
struct Shuffles {
    main: Shuffle,
    written: WrittenData,
    /// Not encrypted on the disk.
    clear: Shuffle,
    /// One block that fits into one segment; it is shown.
    small: Shuffle,
}

impl Shuffles {
    fn write(blockmgr: &Path, bytes: u64) -> std::io::Result<Self> {
        let main = Shuffle::new(0, MAPS, REDUCES, bytes, true)?;
        let clear = Shuffle::new(1, 2, 4, 64 << 10, false)?;
        let small = Shuffle::new(2, 1, 1, 1 << 10, true)?;
        let written = main.write(blockmgr)?;
        clear.write(blockmgr)?;
        small.write(blockmgr)?;
        Ok(Self { main, written, clear, small })
    }

    /// The texts that must not be seen on the wire, in the order of [`SOUGHT`].
    fn texts(&self, blockmgr: &Path) -> Vec<Vec<u8>> {
        let stored = self.main.stored(0, 0);
        vec![
            CANARY.into(),
            stored[..32.min(stored.len())].to_vec(),
            SORT_MANAGER.into(),
            blockmgr.as_os_str().as_encoded_bytes().to_vec(),
        ]
    }
}

const SORT_MANAGER: &str = "org.apache.spark.shuffle.sort.SortShuffleManager";

async fn register(client: &Client, server: &Address, blockmgr: &Path) -> Result<(), Failure> {
    let dir = blockmgr.to_str().ok_or_else(|| internal("TMPDIR is not UTF-8"))?;
    let info = ExecutorShuffleInfo {
        local_dirs: Strings::try_from_iter([dir]).map_err(internal)?,
        sub_dirs_per_local_dir: SUB_DIRS,
        shuffle_manager: SORT_MANAGER.to_owned(),
    };
    client.register(server, &executor(), info).await.map_err(|error| failed("cannot register", error))
}

async fn fetch_single(
    client: &Client,
    server: &Service,
    shuffles: &Shuffles,
) -> Result<(usize, u64), Failure> {
    let Shuffles { main, written, .. } = shuffles;
    let expected = |block: &BlockId| match block {
        BlockId::Shuffle { map, reduce, .. } => written.blocks.get(main.position(map.0, reduce.0)).copied(),
        _ => None,
    };
    fetch_checksums(client, server, main.blocks(), expected).await
}

async fn fetch_ranges(
    client: &Client,
    server: &Service,
    shuffles: &Shuffles,
) -> Result<(usize, u64), Failure> {
    let expected = |block: &BlockId| match block {
        BlockId::ShuffleBatch { map, .. } => {
            usize::try_from(map.0).ok().and_then(|map| shuffles.written.maps.get(map)).copied()
        }
        _ => None,
    };
    fetch_checksums(client, server, shuffles.main.ranges(), expected).await
}

/// Fetches blocks and compares their checksums with those of the written blocks.
async fn fetch_checksums(
    client: &Client,
    server: &Service,
    blocks: Vec<BlockId>,
    expected: impl Fn(&BlockId) -> Option<u32>,
) -> Result<(usize, u64), Failure> {
    let wanted = blocks.len();
    let mut fetch = client.fetch(&server.address, &executor(), blocks);
    let (mut count, mut bytes) = (0, 0);
    while let Some(outcome) = fetch.next().await {
        let (block, content) = outcome.map_err(|error| failed("cannot fetch", error))?;
        if expected(&block) != Some(crc32c::crc32c(&content)) {
            return Err(Failure::new(Exit::Failed, format!("{block} differs from what was written")));
        }
        count += 1;
        bytes += content.len() as u64;
    }
    all_there(count, wanted)?;
    Ok((count, bytes))
}

/// Fetches one range as a stream and compares the checksum of the file.
async fn fetch_to_file(
    client: &Client,
    server: &Service,
    shuffles: &Shuffles,
    dir: &Path,
) -> Result<(usize, u64), Failure> {
    let range = shuffles.main.ranges().swap_remove(0);
    let fetch = client.fetch_to_files(&server.address, &executor(), vec![range], dir, Arc::new(|_| {}));
    let mut fetch = fetch.map_err(|error| failed("cannot fetch", error))?;
    match fetch.next().await {
        Some(Ok((block, saved))) => {
            if shuffles.written.maps.first() != Some(&saved.crc32c) {
                return Err(Failure::new(
                    Exit::Failed,
                    format!("the file of {block} differs from what was written"),
                ));
            }
            Ok((1, saved.len))
        }
        Some(Err(error)) => Err(failed("cannot fetch", error)),
        None => all_there(0, 1).map(|()| (0, 0)),
    }
}

/// Fetches a whole shuffle and compares every byte with the computed one.
async fn fetch_and_compare(client: &Client, server: &Address, shuffle: &Shuffle) -> Result<usize, Failure> {
    let blocks = shuffle.blocks();
    let wanted = blocks.len();
    let mut fetch = client.fetch(server, &executor(), blocks);
    let mut count = 0;
    while let Some(outcome) = fetch.next().await {
        let (block, content) = outcome.map_err(|error| failed("cannot fetch", error))?;
        let BlockId::Shuffle { map, reduce, .. } = block else {
            return Err(internal("another kind of block"));
        };
        let meant = shuffle.stored(map.0, reduce.0);
        if let Some(at) = first_difference(&content, &meant) {
            let text = format!(
                "{block} differs from byte {at}: {} bytes arrived, {} were written",
                content.len(),
                meant.len(),
            );
            return Err(Failure::new(Exit::Failed, text));
        }
        if reduce.0 % 16 == 1 && shuffle.opened(&content) != shuffle.rows(map.0, reduce.0) {
            return Err(Failure::new(Exit::Failed, format!("{block} does not decrypt to its rows")));
        }
        count += 1;
    }
    all_there(count, wanted)?;
    Ok(count)
}

fn first_difference(left: &[u8], right: &[u8]) -> Option<usize> {
    if left == right {
        return None;
    }
    let common = left.iter().zip(right).take_while(|(left, right)| left == right).count();
    Some(common)
}

fn all_there(count: usize, wanted: usize) -> Result<(), Failure> {
    if count == wanted {
        return Ok(());
    }
    Err(Failure::new(Exit::Failed, format!("{count} of {wanted} blocks arrived")))
}

/// Nothing on loopback takes long.
fn quick(security: Security) -> Settings {
    Settings::new(security).max_retries(0).registration_attempts(1).answer_timeout(Duration::from_secs(30))
}

fn app() -> AppId {
    AppId::new("app-demo")
}

fn executor() -> ExecutorId {
    ExecutorId::new("1")
}

fn generated_secret() -> Result<Zeroizing<String>, Failure> {
    let bytes = Zeroizing::new(random_bytes::<32>().map_err(internal)?);
    Ok(Zeroizing::new(hex(&bytes[..])))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn say(mut out: impl Write, line: &str) -> Result<(), Failure> {
    writeln!(out, "{line}").map_err(|error| failed("cannot print", error))
}

fn failed(what: &str, error: impl Display) -> Failure {
    Failure::new(Exit::Failed, format!("{what}: {error}"))
}

fn internal(error: impl Display) -> Failure {
    Failure::new(Exit::Failed, error)
}
