//! `sealed-shuffle-interop`: judges how Spark and Sealed Shuffle understand each other, with anybody's Spark.
//!
//! It needs a JDK (17 to 21), the program `sealed-shuffle` beside it, and a Spark: a directory, or a release that pip
//! downloads. Its Java is within it.

use std::{
    fs::{self, File},
    io::Write as _,
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    panic,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use sealed_shuffle_interop_tests::{
    cells::{Foreign, Row, Verdict, json, junit, rows_of, said},
    machine::{run_on, runtime_home},
    modes::{Gcm, matrix::VERSIONS},
    ours::binary,
    releases::{of_release, published, unknown},
    spark::{Peer, Spark},
};
use sealed_shuffle_protocol::cipher::SOUND_GCM;

/// Runs every mode of a Spark with Sealed Shuffle, in both roles
#[derive(Parser)]
#[command(name = "sealed-shuffle-interop", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Go through every mode that a Spark has: its client at our server, our client at its service, and it with itself
    ///
    /// Exits with 0 if each cell is as it must be, with 1 if one is not, with 2 if nothing could be run.
    Run {
        #[command(flatten)]
        spark: Sparks,
        /// Modes whose name holds this, for example "Gcm v2"
        #[arg(long, default_value = "")]
        mode: String,
        /// Write what came of each cell as JSON
        #[arg(long)]
        json: Option<PathBuf>,
        /// Write the same as build servers read results of tests (JUnit's XML)
        #[arg(long)]
        junit: Option<PathBuf>,
    },
    /// Ask a shuffle service that runs already, ours or any other, with Spark's client in every mode
    ///
    /// A mode that the service does not speak is told and is no failure. Exits with 1 if bytes differ, a wrong secret is
    /// taken, or no mode is spoken.
    Server {
        /// HOST:PORT
        address: String,
        #[command(flatten)]
        spark: Sparks,
        /// Modes whose name holds this, for example "Gcm v2"
        #[arg(long, default_value = "")]
        mode: String,
        /// The application to be; the service must know it
        #[arg(long)]
        app: String,
        /// A file with its secret; without one, only modes without authentication are asked for
        #[arg(long)]
        secret_file: Option<PathBuf>,
        /// A directory that the service accepts executors beneath, on this machine: blocks are registered and fetched then
        #[arg(long)]
        root: Option<PathBuf>,
        /// A further key of Spark's transport, KEY=VALUE; modes within TLS need spark.ssl.rpc.trustStore and its password
        #[arg(long = "conf", value_parser = key_and_value)]
        conf: Vec<(String, String)>,
    },
    /// List the releases of Spark that the matrix lacks, and what is new in their network classes
    Releases {
        /// Go through every mode of each of them
        #[arg(long)]
        run: bool,
    },
    /// Say what is new in the network classes of a release: messages, keys of configuration, classes
    Compare {
        /// A release, for example 4.2.1, or a directory
        old: String,
        /// Another
        new: String,
    },
}

#[derive(Args)]
#[group(required = true, multiple = true)]
struct Sparks {
    /// A directory with `jars` in it, as SPARK_HOME names it
    #[arg(long)]
    spark_home: Vec<PathBuf>,
    /// A release, which is downloaded with pip once
    #[arg(long, value_parser = release)]
    spark_version: Vec<String>,
    /// The Java that Spark runs on: a directory, or 21 or 25, which pip downloads once; else the JDK that compiles
    #[arg(long)]
    java: Option<String>,
}

fn release(text: &str) -> Result<String, String> {
    let numbers = text.split('.').map(|part| part.parse::<u32>().is_ok());
    match numbers.clone().count() == 3 && numbers.clone().all(|is_number| is_number) {
        true => Ok(text.to_owned()),
        false => Err("a release is wanted, such as 4.1.4".to_owned()),
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("KEY=VALUE is wanted")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // The harness panics with the reason, which is a line here and no trace; a cell keeps its own.
    let told = thread::current().id();
    panic::set_hook(Box::new(move |panic| {
        if thread::current().id() != told {
            eprintln!("{panic}");
        }
    }));
    match said(|| run(cli.command)).and_then(|outcome| outcome) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(text) => {
            eprintln!("sealed-shuffle-interop: {text}");
            ExitCode::from(2)
        }
    }
}

/// Whether everything is as it must be.
fn run(command: Command) -> Result<bool, String> {
    match command {
        Command::Run { spark, mode, json: json_file, junit: junit_file } => {
            binary();
            let [mut json_file, mut junit_file] = [created(json_file)?, created(junit_file)?];
            let mut rows = Vec::new();
            for spark in spark.all()? {
                rows.extend(rows_with(spark, &mode));
            }
            if rows.is_empty() {
                return Err(format!("no mode is named {mode:?}"));
            }
            let is_good = concluded(&rows);
            write(&mut json_file, || format!("{:#}\n", json(&rows)))?;
            write(&mut junit_file, || junit(&rows))?;
            Ok(is_good)
        }
        Command::Server { address, spark, mode, app, secret_file, root, conf } => {
            let secret = secret_file.map(|file| read(&file)).transpose()?;
            let secret = secret.map(|text| text.trim_end_matches('\n').to_owned());
            let root = root.map(|root| writable(&root)).transpose()?;
            let foreign = Foreign { address: resolved(&address)?, app, secret, conf, root };
            let mut is_good = true;
            for spark in spark.all()? {
                is_good &= asked(&foreign, spark, &mode)?;
            }
            Ok(is_good)
        }
        Command::Releases { run } => {
            binary();
            let published = published().map_err(|absent| absent.0)?;
            let unknown = unknown(&published);
            if unknown.is_empty() {
                println!(
                    "the matrix has the newest release of each line, up to {}",
                    VERSIONS[VERSIONS.len() - 1]
                );
            }
            let mut rows = Vec::new();
            for (version, known) in unknown {
                let known = known.unwrap_or(VERSIONS[VERSIONS.len() - 1]);
                compared(&Spark::release(known), &Spark::release(version));
                if run {
                    rows.extend(rows_with(Spark::release(version), ""));
                }
            }
            Ok(!run || rows.is_empty() || concluded(&rows))
        }
        Command::Compare { old, new } => {
            compared(&named(&old)?, &named(&new)?);
            Ok(true)
        }
    }
}

impl Sparks {
    fn all(&self) -> Result<Vec<Spark>, String> {
        self.java.iter().try_for_each(|java| run_on(java))?;
        let homes = self.spark_home.iter().map(|home| Spark::at(home).map_err(|no_spark| no_spark.0));
        let releases = self.spark_version.iter().map(|version| Ok(Spark::release(version)));
        homes.chain(releases).collect()
    }
}

/// A release, or a directory.
fn named(text: &str) -> Result<Spark, String> {
    match text.starts_with(|first: char| first.is_ascii_digit()) && !Path::new(text).exists() {
        true => release(text).map(|version| Spark::release(&version)),
        false => Spark::at(Path::new(text)).map_err(|no_spark| no_spark.0),
    }
}

/// Starts the JVM of a Spark and says what it is.
fn started(spark: Spark) -> (Arc<Peer>, &'static str) {
    // Modes carry the name for as long as the program runs, and there are few.
    let version: &'static str = spark.version().to_owned().leak();
    println!("Spark {version} in {}", spark.home().display());
    println!("Java in {}", runtime_home().display());
    let peer = Arc::new(Peer::start(spark));
    match peer.abilities().gcm {
        Gcm::Absent => println!("it has no AES-GCM: Spark {SOUND_GCM} has"),
        Gcm::Broken => println!(
            "its AES-GCM loses every message of a connection but the first: move to Spark {SOUND_GCM}"
        ),
        Gcm::Sound => {}
    }
    (peer, version)
}

fn rows_with(spark: Spark, part: &str) -> Vec<Row> {
    let (peer, version) = started(spark);
    let line =
        |[mode, spark, server, client]: [&str; 4]| println!("{mode:<38} {spark:<18} {server:<18} {client}");
    println!();
    line(["mode", "Spark with Spark", "our server", "our client"]);
    let rows = rows_of(&peer, version, peer.abilities(), part, |row| {
        let [spark, server, client] = row.verdicts.each_ref().map(|(_, verdict)| verdict.word());
        line([&row.mode.way(), spark, server, client]);
    });
    println!();
    rows
}

/// Says what went otherwise, and whether nothing did.
fn concluded(rows: &[Row]) -> bool {
    let failures: Vec<String> = rows.iter().flat_map(Row::failures).collect();
    for failure in &failures {
        println!("{failure}\n");
    }
    let cells = rows.iter().flat_map(|row| &row.verdicts);
    let count = |verdict: &Verdict| cells.clone().filter(|(_, of)| of == verdict).count();
    println!(
        "{} passed, {} refused by name as they must be, {} that cannot be, {} failed",
        count(&Verdict::Passed),
        count(&Verdict::Refused),
        count(&Verdict::Impossible),
        failures.len()
    );
    failures.is_empty()
}

/// Whether some mode is spoken, and nothing is wrong.
fn asked(foreign: &Foreign, spark: Spark, part: &str) -> Result<bool, String> {
    let (peer, version) = started(spark);
    println!("\n{:<38} {}", "mode", foreign.address);
    let rows = foreign.rows(&peer, version, peer.abilities(), part, |row| {
        let word = match row.verdict {
            Verdict::Passed => "is spoken",
            Verdict::Refused | Verdict::Impossible => "is not spoken",
            Verdict::Failed(_) => "is WRONG",
        };
        let reason = row.reason.lines().next().unwrap_or_default();
        println!("{:<38} {word:<14} {reason}", row.mode.way());
    });
    println!();
    let left_out = foreign.left_out(version, peer.abilities());
    if !left_out.is_empty() {
        println!(
            "left out: {} modes that need --secret-file, or --conf spark.ssl.rpc.trustStore=FILE",
            left_out.len()
        );
    }
    if rows.is_empty() {
        return Err(format!("no mode that can be asked is named {part:?}"));
    }
    let is_spoken = rows.iter().any(|row| row.verdict == Verdict::Passed);
    if !is_spoken {
        println!("no mode is spoken: look at the secret, the application, the port, and --root");
    }
    Ok(is_spoken && !rows.iter().any(|row| matches!(row.verdict, Verdict::Failed(_))))
}

fn compared(old: &Spark, new: &Spark) {
    println!("new in Spark {} since {}:", new.version(), old.version());
    let (before, after) = (of_release(old), of_release(new));
    let (mut news, mut gone) = (after.beyond(&before).peekable(), before.beyond(&after).peekable());
    if news.peek().is_none() && gone.peek().is_none() {
        println!("  nothing");
    }
    news.for_each(|fact| println!("  + {fact}"));
    gone.for_each(|fact| println!("  - {fact}"));
}

/// The first address of a name that takes connections.
fn resolved(address: &str) -> Result<SocketAddr, String> {
    let found = address.to_socket_addrs().map_err(|e| format!("{address}: {e} (HOST:PORT is wanted)"))?;
    let found: Vec<SocketAddr> = found.collect();
    let patience = Duration::from_secs(5);
    let open = found.iter().find(|address| TcpStream::connect_timeout(address, patience).is_ok());
    open.copied().ok_or_else(|| format!("nothing takes connections at {address} ({found:?})"))
}

/// The whole path of a directory, where files can be made in it.
fn writable(root: &Path) -> Result<PathBuf, String> {
    let whole = fs::canonicalize(root).map_err(|e| format!("--root {}: {e}", root.display()))?;
    tempfile::tempdir_in(&whole).map_err(|e| format!("nothing can be made in {}: {e}", whole.display()))?;
    Ok(whole)
}

fn read(file: &Path) -> Result<String, String> {
    fs::read_to_string(file).map_err(|e| format!("cannot read {}: {e}", file.display()))
}

/// Made before anything is run, which takes minutes.
fn created(file: Option<PathBuf>) -> Result<Option<File>, String> {
    let file =
        file.map(|file| File::create(&file).map_err(|e| format!("cannot make {}: {e}", file.display())));
    file.transpose()
}

fn write(file: &mut Option<File>, text: impl FnOnce() -> String) -> Result<(), String> {
    let Some(file) = file else { return Ok(()) };
    file.write_all(text().as_bytes()).map_err(|e| format!("cannot write a report: {e}"))
}
