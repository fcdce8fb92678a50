//! Every cell of the matrix: a Spark release, a mode that it has, and who stands on which side. In each one executor
//! is registered, blocks of several sizes are fetched and compared, the counters and the wire prove how they went,
//! and a wrong secret is refused. Spark's client with Spark's own service, in the same cells, shows that the recipe
//! of each mode is right.
//!
//! By default a few releases; `SEALED_SHUFFLE_MATRIX=full` (`make interop-matrix`) goes through all of them. The
//! table goes to `target/interop-matrix.md`. One JVM runs at a time: the cells of a release share it.

use std::{
    fmt::Write as _,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    fixture::{APP, Fixture, SECRET},
    modes::matrix::{VERSIONS, cell_versions, cells},
    modes::{Mode, Service},
    oracle::{Digest, Executor, content},
    ours::{OurCommand, binary},
    spark::{Connection, Credentials, Outcome, Peer, Spark, Store},
    wire::{Proxy, assert_looks_like},
};
use serde_json::json;

const WRONG_SECRET: &str = "sixteen-herons-wade-at-dusk";
/// Empty, tiny, small, beyond 64 KiB, beyond 1 MiB.
const SIZES: [usize; 5] = [0, 1, 3000, 70_000, 1_300_000];

/// How long a client waits for an answer, where waiting is what is tested.
const DEADLINE: (&str, &str) = ("spark.shuffle.io.connectionTimeout", "3s");
const RETRY_WAIT: (&str, &str) = ("spark.shuffle.io.retryWait", "1s");

/// What came of one cell.
enum Cell {
    Passed,
    /// Refused, as it must be, with a text that says why.
    Refused,
    /// Nobody can be on that side in this mode.
    Impossible,
    Failed(String),
}

/// One row of the table: what Spark does with Spark, with our server, with our client.
struct Row {
    mode: Mode,
    spark: Cell,
    server: Cell,
    client: Cell,
}

#[test]
fn every_mode_of_every_release_in_both_roles() {
    let mut rows = Vec::new();
    for version in cell_versions() {
        let begun = Instant::now();
        let peer = Arc::new(Peer::start(Spark::release(version)));
        for mode in cells(version) {
            let begun = Instant::now();
            let row = Row {
                mode,
                spark: spark_with_spark(&peer, mode),
                server: our_server(&peer, mode),
                client: our_client(&peer, mode),
            };
            eprintln!("{mode}: {} {:?}", row.words().join(", "), begun.elapsed());
            rows.push(row);
        }
        eprintln!("Spark {version} took {:?}", begun.elapsed());
    }
    let path = table_path();
    fs::write(&path, table(&rows)).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    eprintln!("the table is in {}", path.display());
    update_docs(&table(&rows));
    let failed: Vec<String> = rows.iter().flat_map(Row::failures).collect();
    assert!(failed.is_empty(), "{} cells failed:\n{}", failed.len(), failed.join("\n"));
}

fn spark_with_spark(peer: &Arc<Peer>, mode: Mode) -> Cell {
    if !mode.spark_serves() {
        return Cell::Impossible;
    }
    caught(|| {
        let f = Fixture::start_on(Arc::clone(peer), Service::Spark, mode, &[]);
        if mode.is_broken_gcm() {
            loses_the_second_message(&f);
            return Cell::Impossible;
        }
        serves_sparks_client(&f);
        Cell::Passed
    })
}

fn our_server(peer: &Arc<Peer>, mode: Mode) -> Cell {
    caught(|| {
        if mode.is_broken_gcm() {
            // As by default, both ends have the same deadline.
            refuses_the_broken_gcm_by_name(&Fixture::start_on(
                Arc::clone(peer),
                Service::Ours,
                mode,
                &[DEADLINE],
            ));
            return Cell::Refused;
        }
        let f = Fixture::start_on(Arc::clone(peer), Service::Ours, mode, &[]);
        if mode.authenticates() {
            f.expect_warning("refused a handshake");
        }
        serves_sparks_client(&f);
        Cell::Passed
    })
}

fn our_client(peer: &Arc<Peer>, mode: Mode) -> Cell {
    if !mode.spark_serves() {
        return Cell::Impossible;
    }
    caught(|| {
        let f = Fixture::start_on(Arc::clone(peer), Service::Spark, mode, &[]);
        if mode.is_broken_gcm() {
            explains_the_broken_gcm(&f);
            return Cell::Refused;
        }
        serves_our_client(&f);
        Cell::Passed
    })
}

/// An executor with one map output of all the sizes, not registered.
fn with_blocks(f: &Fixture) -> (Executor, Vec<Vec<u8>>, Vec<String>) {
    let executor = Executor::beneath(f.root(), "1");
    let blocks: Vec<Vec<u8>> = (0..).zip(SIZES).map(|(seed, size)| content(seed, size)).collect();
    executor.write_map(0, 3, &blocks);
    let names = (0..SIZES.len()).map(|reduce| format!("shuffle_0_3_{reduce}")).collect();
    (executor, blocks, names)
}

fn serves_sparks_client(f: &Fixture) {
    let (executor, blocks, names) = with_blocks(f);
    let proxy = Proxy::before(f.address());
    let connection = Connection::open(&f.peer, proxy.address(), &f.credentials())
        .unwrap_or_else(|e| panic!("cannot connect: {e:?}"));
    connection.register(APP, "1", &executor).answer();
    let stream =
        connection.open_stream(json!({"type": "OpenBlocks", "app": APP, "exec": "1", "blocks": names}));
    for (chunk, bytes) in connection.chunks(&stream, 0..blocks.len() as i64).into_iter().zip(&blocks) {
        assert_eq!(chunk.digest(), Digest::of(bytes));
    }
    let store = Store::open(&f.peer, proxy.address(), &f.credentials());
    store.register("1", &executor).answer();
    for to_disk in [false, true] {
        let mut fetched = store.fetch("1", &names, to_disk);
        for (name, bytes) in names.iter().zip(&blocks) {
            assert_eq!(fetched.remove(name).expect("an outcome").digest(), Digest::of(bytes), "{name}");
        }
    }
    let total: usize = SIZES.iter().sum();
    assert_eq!(f.block_bytes_served_as_configured(), 3 * total as u64, "{}", f.mode);
    let recordings = proxy.recordings();
    assert!(recordings.len() >= 2, "the connections went another way");
    recordings.iter().filter(|r| r.total > total as u64).for_each(|r| assert_looks_like(&f.mode, r));
    if !f.mode.authenticates() {
        return;
    }
    let wrong = Credentials::new(&f.mode, APP, WRONG_SECRET);
    let failure = f.connect_as(&wrong).expect_err("the secret is wrong");
    assert!(!format!("{failure:?}").contains(SECRET));
    connection.register(APP, "1", &executor).answer();
}

fn serves_our_client(f: &Fixture) {
    let (executor, blocks, names) = with_blocks(f);
    let proxy = Proxy::before(f.address());
    let client = OurCommand::new(&f.mode, proxy.address(), APP, SECRET);
    client.register("1", &executor).unwrap_or_else(|e| panic!("not registered: {e:?}"));
    let fetched = client.fetch("1", &names).unwrap_or_else(|e| panic!("not fetched: {e:?}"));
    for (name, bytes) in names.iter().zip(&blocks) {
        assert_eq!(fetched[name], Digest::of(bytes), "{name}");
    }
    let total: usize = SIZES.iter().sum();
    assert_eq!(f.block_bytes_served(), total as u64);
    let recordings = proxy.recordings();
    assert!(recordings.iter().any(|r| r.total > total as u64), "the blocks went another way");
    recordings.iter().filter(|r| r.total > total as u64).for_each(|r| assert_looks_like(&f.mode, r));
    if !f.mode.authenticates() {
        return;
    }
    let wrong = OurCommand::new(&f.mode, f.address(), APP, WRONG_SECRET);
    let refusal = wrong.register("1", &executor).expect_err("the secret is wrong");
    assert_eq!(refusal.code, Some(77), "{refusal:?}");
    assert!(!refusal.text.contains(SECRET) && !refusal.text.contains(WRONG_SECRET), "{refusal:?}");
}

/// What Spark 3.4 does in GCM even with itself: one message comes through, the next is lost.
fn loses_the_second_message(f: &Fixture) {
    let (executor, _, _) = with_blocks(f);
    let connection = f.connect();
    connection.register(APP, "1", &executor).answer();
    let outcome = connection.rpc_bytes("0700000000", 2000);
    assert!(matches!(outcome, Outcome::Silence), "Spark 3.4 is not broken: {outcome:?}");
}

/// The block store client, whose deadline is short so that the test is: it must read the sentence before its tries are
/// spent, and everybody of the application reads it from then on.
fn refuses_the_broken_gcm_by_name(f: &Fixture) {
    f.expect_warning("recognised Spark 3.4");
    let (executor, _, names) = with_blocks(f);
    let hasty = f.credentials().with(DEADLINE.0, DEADLINE.1).with(RETRY_WAIT.0, RETRY_WAIT.1);
    let store = Store::open(&f.peer, f.address(), &hasty);
    store.register("1", &executor).answer();
    for (name, outcome) in store.fetch("1", &names, false) {
        assert_names_the_broken_gcm(&name, &outcome.failure().message);
    }
    assert_names_the_broken_gcm("register", &f.connect().register(APP, "1", &executor).failure().message);
    let ours = f.ours().expect("the service is ours");
    assert!(ours.metric("sealed_shuffle_refusals_total") >= 2.0);
    let table: serde_json::Value =
        serde_json::from_str(&ours.admin_page("/applications")).expect("the table is JSON");
    let row = &table["applications"][0];
    assert_eq!(row["channels"][0]["spark"], "3.4", "{row:#}");
    assert_names_the_broken_gcm("the table", &row["last_refusal"]["reason"].to_string());
}

fn explains_the_broken_gcm(f: &Fixture) {
    let (executor, _, names) = with_blocks(f);
    let client = OurCommand::new(&f.mode, f.address(), APP, SECRET)
        .with(DEADLINE.0, DEADLINE.1)
        .with(RETRY_WAIT.0, RETRY_WAIT.1);
    client.register("1", &executor).unwrap_or_else(|e| panic!("one message comes through: {e:?}"));
    let begun = Instant::now();
    let refusal = client.fetch("1", &names[1..3]).expect_err("Spark 3.4 cannot serve in GCM");
    assert_names_the_broken_gcm("fetch", &refusal.text);
    assert!(begun.elapsed() < Duration::from_secs(12), "it was tried in vain: {:?}", begun.elapsed());
}

#[track_caller]
fn assert_names_the_broken_gcm(what: &str, text: &str) {
    for word in ["Spark 3.4", "3.5.9", "spark.network.crypto.cipher=AES/CTR/NoPadding"] {
        assert!(text.contains(word), "{what} says nothing of {word}: {text}");
    }
}

/// A failure of one cell keeps no other from being gone through.
fn caught(cell: impl FnOnce() -> Cell) -> Cell {
    catch_unwind(AssertUnwindSafe(cell)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Cell::Failed(
            text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default(),
        )
    })
}

impl Cell {
    fn word(&self) -> &'static str {
        match self {
            Self::Passed => "yes",
            Self::Refused => "refused by name",
            Self::Impossible => "–",
            Self::Failed(_) => "**no**",
        }
    }

    /// The same, short.
    fn sign(&self) -> &'static str {
        match self {
            Self::Passed => "✔",
            Self::Refused => "✖",
            Self::Impossible => "–",
            Self::Failed(_) => "**no**",
        }
    }
}

impl Row {
    fn words(&self) -> [&'static str; 3] {
        [&self.spark, &self.server, &self.client].map(Cell::word)
    }

    fn failures(&self) -> Vec<String> {
        let roles =
            [("Spark with Spark", &self.spark), ("our server", &self.server), ("our client", &self.client)];
        let failed = roles.iter().filter_map(|(role, cell)| match cell {
            Cell::Failed(text) => Some(format!("{}, {role}: {text}", self.mode)),
            _ => None,
        });
        failed.collect()
    }
}

/// One row a mode, one column a release; in each cell Spark's client at our server, then our client at Spark's service.
fn table(rows: &[Row]) -> String {
    let (mut versions, mut modes) = (Vec::new(), Vec::new());
    for row in rows {
        if !versions.contains(&row.mode.version) {
            versions.push(row.mode.version);
        }
        if !modes.contains(&row.mode.way()) {
            modes.push(row.mode.way());
        }
    }
    let mut text = format!("| mode | {} |\n|---|{}\n", versions.join(" | "), "---|".repeat(versions.len()));
    for mode in modes {
        write!(text, "| {mode} |").expect("text grows");
        for version in &versions {
            let row = rows.iter().find(|row| row.mode.version == *version && row.mode.way() == mode);
            let cell =
                row.map_or_else(String::new, |row| format!("{} {}", row.server.sign(), row.client.sign()));
            write!(text, " {cell} |").expect("text grows");
        }
        text.push('\n');
    }
    text
}

/// Puts the table between the marks of `docs/compatibility.md`, where all of it was run and `UPDATE_DOCS` is set.
fn update_docs(table: &str) {
    if std::env::var_os("UPDATE_DOCS").is_none() || cell_versions().len() != VERSIONS.len() {
        return;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let chapter = fs::read_to_string(&path).expect("the chapter can be read");
    let (before, rest) = chapter.split_once("<!-- matrix:begin -->\n").expect("the table has a beginning");
    let (_, after) = rest.split_once("<!-- matrix:end -->").expect("and an end");
    let chapter = format!("{before}<!-- matrix:begin -->\n\n{table}\n<!-- matrix:end -->{after}");
    fs::write(&path, chapter).expect("the chapter can be written");
}

/// `target/interop-matrix.md`: beside the directory of the profile that our binary lies in, or of this test.
fn table_path() -> PathBuf {
    let profile = binary();
    let target = profile.ancestors().nth(2).expect("binaries lie in target/PROFILE");
    target.join("interop-matrix.md")
}
