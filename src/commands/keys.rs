//! `keys`: the keys under which the server seals what it writes.

use std::collections::BTreeMap;
use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::{Method, StatusCode};
use sealed_shuffle_config::{AuditConfig, EnvelopeConfig, KeySource, ProcessEnvironment, Roots, Sources};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::OnLane;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use super::admin::{RunningServer, ServerArgs};
use super::note::note;
use super::{ConfigArgs, Exit, Failure, complain, tell};
use crate::admin::deed::Deed;
use crate::audit::verify::keys_of;
use crate::inspect::wrapped::KeysBeneath;
use crate::keys::envelope::{KeyError, KeyErrorKind, LocalKeyFile, open_provider};
use crate::state::{KeyNeed, State, StateError, node_app};

/// The application of the check. No application of Spark has such a name.
const CHECKED: &str = "sealed-shuffle keys check";

/// Manage the keys that seal data at rest
///
/// Reads the same configuration as `serve`: run it with the same properties file, as the same user.
#[derive(Args, Debug)]
pub(crate) struct Keys {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the keys in the local key file, oldest first: name, time, whether it wraps, and what needs it
    ///
    /// Asks a running server, and else opens the recovery store; and looks at the merged files beneath the roots
    /// (spark.local.dir).
    List(ServerArgs),
    /// Add a key to the local key file; it wraps from now on, the older ones still unwrap
    ///
    /// The recovery store is sealed anew under it; a running server wraps its store's key anew by itself, and seals the
    /// store anew when it is restarted. The file keeps its owner and mode.
    Rotate(ServerArgs),
    /// Seal the recovery store anew, under the key that wraps now; no server may have it open
    ///
    /// For key services whose key was rotated there. With a local key file, rotate and a start do it.
    Rewrap(ServerArgs),
    /// Take a key out of the local key file, unless something needs it
    Drop {
        /// Its name, as keys list shows it
        #[arg(value_name = "NAME")]
        key: String,

        #[command(flatten)]
        server: ServerArgs,
    },
    /// Check that the key service wraps and unwraps a key, as serve will
    Check(ConfigArgs),
}

impl Keys {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::List(args) => list(args),
            What::Rotate(args) => rotate(args),
            What::Rewrap(args) => rewrap(args),
            What::Drop { key, server } => drop_key(&key, server),
            What::Check(args) => check(&config(args)?),
        }
    }
}

impl From<KeyError> for Failure {
    fn from(error: KeyError) -> Self {
        let exit = match error.kind() {
            KeyErrorKind::Unavailable => Exit::Unreachable,
            KeyErrorKind::Misconfigured => Exit::Config,
            KeyErrorKind::NotFound => Exit::Missing,
            KeyErrorKind::Unauthenticated => Exit::Refused,
            _ => Exit::Refused,
        };
        Self::new(exit, error)
    }
}

fn config(args: ConfigArgs) -> Result<EnvelopeConfig, Failure> {
    Ok(EnvelopeConfig::from_sources(&args.sources(), &ProcessEnvironment)?)
}

/// The keys of a node, and the server that has them.
struct Node {
    sources: Sources,
    config: EnvelopeConfig,
    /// Why none is found, where it need not run.
    server: Result<RunningServer, Failure>,
}

impl Node {
    fn of(args: ServerArgs) -> Result<Self, Failure> {
        let sources = args.config().sources();
        let config = EnvelopeConfig::from_sources(&sources, &ProcessEnvironment)?;
        // Without a token it may be asked, over TCP, too, and not told.
        let server = args.clone().find_to_change(None).or_else(|_| args.find());
        Ok(Self { sources, config, server })
    }

    /// Has it noted in the audit trail. It was done by then, and says so.
    fn note(&self, deed: &Deed) -> Result<(), Failure> {
        note(self.server.as_ref(), &self.sources, deed)
    }
}

fn list(args: ServerArgs) -> Result<(), Failure> {
    let node = Node::of(args)?;
    let config = &node.config;
    let keys = {
        let on = OnLane::here();
        LocalKeyFile::open(&on, local_file(config)?)?.list(&on)?
    };
    let needs = Needs::find(&node)?;
    let mut lines = String::new();
    for key in keys {
        let made = key.made.format(&Rfc3339).map_err(|error| Failure::new(Exit::Failed, error))?;
        let role = if key.wraps { "wraps" } else { "unwraps" };
        lines += &format!("{}\t{made}\t{role}\t{}\n", key.name, needs.of(&key.name));
    }
    needs
        .unknown
        .iter()
        .for_each(|unknown| complain(format_args!("not all that needs keys is known: {unknown}")));
    print(&lines)
}

fn rotate(args: ServerArgs) -> Result<(), Failure> {
    let node = Node::of(args)?;
    let config = &node.config;
    let name = LocalKeyFile::rotate(&OnLane::here(), local_file(config)?)?;
    let noted = node.note(&Deed::rotated_keys(&name));
    print(&format!("{name}\n"))?;
    match rewrapped(config) {
        Ok(true) => tell("the recovery store is sealed anew under it"),
        Ok(false) => {}
        Err(RewrapFault::Store(error)) if error.is_locked() => {
            tell(
                "the server that runs wraps its recovery store's key anew within half a minute; its log says so",
            );
        }
        Err(fault) => complain(format_args!("{fault}; the next start tries again")),
    }
    noted
}

fn rewrap(args: ServerArgs) -> Result<(), Failure> {
    let node = Node::of(args)?;
    match rewrapped(&node.config) {
        Ok(true) => {
            print("the recovery store is sealed anew\n")?;
            node.note(&Deed::rewrapped_store())
        }
        Ok(false) => print("there is no recovery store\n"),
        Err(RewrapFault::Key(error)) => Err(error.into()),
        Err(RewrapFault::Store(error)) => {
            let exit = if error.is_configuration() { Exit::Config } else { Exit::Failed };
            Err(Failure::new(exit, error))
        }
    }
}

/// Why the recovery store was not sealed anew.
#[derive(Debug, thiserror::Error)]
enum RewrapFault {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Store(#[from] StateError),
}

/// Whether there is a recovery store, which is under the key that wraps now.
fn rewrapped(config: &EnvelopeConfig) -> Result<bool, RewrapFault> {
    let runtime = runtime().map_err(|failure| {
        KeyError::new(KeyErrorKind::Unavailable, "runtime", failure.to_string(), "try again")
    })?;
    runtime.block_on(async {
        let provider = open_provider(config).await?;
        Ok(State::rewrap(&config.state_dir, &*provider, &config.context(node_app())).await?)
    })
}

fn drop_key(key: &str, args: ServerArgs) -> Result<(), Failure> {
    let node = Node::of(args)?;
    let file = local_file(&node.config)?;
    let needs = Needs::find(&node)?;
    let refused = |why: String| Err(Failure::new(Exit::Refused, format!("{key} stays: {why}")));
    match needs.by_key.get(key) {
        Some(by) => return refused(format!("it is needed by {}", by.join("; "))),
        None if !needs.unknown.is_empty() => {
            return refused(format!("not all that may need it is known: {}", needs.unknown.join("; ")));
        }
        None => {}
    }
    LocalKeyFile::remove(&OnLane::here(), file, key)?;
    print(&format!("took {key} out of {}\n", file.display()))?;
    node.note(&Deed::dropped_key(key))
}

/// What needs the keys of the local file.
#[derive(Debug, Default)]
struct Needs {
    by_key: BTreeMap<String, Vec<String>>,
    /// What could not be looked at, and why.
    unknown: Vec<String>,
}

impl Needs {
    /// Asks the server that runs, or else opens the recovery store, and looks at the files beneath the roots.
    fn find(node: &Node) -> Result<Self, Failure> {
        let Node { sources, config, server } = node;
        let mut needs = Self::default();
        let opened = runtime()?.block_on(async {
            let provider = open_provider(config).await?;
            Ok::<_, KeyError>(
                State::keys_needed(&config.state_dir, &*provider, &config.context(node_app())).await,
            )
        })?;
        let is_running = match opened {
            Ok(of_store) => {
                of_store.into_iter().for_each(|KeyNeed { key, by }| needs.add(key, by));
                false
            }
            Err(error) if error.is_locked() => true,
            Err(error) => {
                needs.unknown.push(error.to_string());
                false
            }
        };
        match of_server(server) {
            Ok(of_server) => of_server.into_iter().for_each(|(key, by)| needs.add(key, by)),
            Err(why) if is_running => needs.unknown.push(why),
            // Nobody runs.
            Err(_) => {}
        }
        match Roots::from_sources(sources, &ProcessEnvironment) {
            Ok(roots) => {
                let KeysBeneath { uses, unknown } = KeysBeneath::of(roots.paths.iter().map(PathBuf::as_path));
                uses.into_iter().for_each(|(key, used)| needs.add(key, used.to_string()));
                let unknown = unknown.into_iter().map(|(path, why)| format!("{}: {why}", path.display()));
                needs.unknown.extend(unknown);
            }
            Err(error) => needs.unknown.push(format!("the files beneath the roots: {error}")),
        }
        match AuditConfig::place(sources, &ProcessEnvironment) {
            Ok((dir, _)) => match keys_of(&OnLane::here(), &dir) {
                Ok(keys) => {
                    let by = format!("the audit trail in {}", dir.display());
                    keys.into_iter().for_each(|key| needs.add(key.key_id, by.clone()));
                }
                Err(error) => needs.unknown.push(format!("the audit trail in {}: {error}", dir.display())),
            },
            Err(error) => needs.unknown.push(format!("the audit trail: {error}")),
        }
        Ok(needs)
    }

    fn add(&mut self, key: String, by: String) {
        let known = self.by_key.entry(key).or_default();
        if !known.contains(&by) {
            known.push(by);
        }
    }

    /// In words.
    fn of(&self, key: &str) -> String {
        match self.by_key.get(key) {
            Some(by) => format!("needed by {}", by.join("; ")),
            None if self.unknown.is_empty() => "not needed".to_owned(),
            None => "not known to be needed".to_owned(),
        }
    }
}

/// What the server that runs needs keys for; the error is for people.
fn of_server(server: &Result<RunningServer, Failure>) -> Result<Vec<(String, String)>, String> {
    let server = server.as_ref().map_err(ToString::to_string)?;
    let answer = server.ask(&Method::GET, "/keys").map_err(|failure| failure.to_string())?;
    if answer.status != StatusCode::OK {
        return Err(format!(
            "the server at {} does not say which keys it needs: {}",
            answer.place,
            answer.text()
        ));
    }
    let value: Value = serde_json::from_slice(&answer.body).map_err(|error| error.to_string())?;
    let needed = value["needed"].as_array().ok_or("the server's answer names no needs")?;
    let text = |need: &Value, name: &str| need[name].as_str().map(str::to_owned);
    Ok(needed.iter().filter_map(|need| Some((text(need, "key")?, text(need, "by")?))).collect())
}

fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().map_err(|error| Failure::new(Exit::Failed, error))
}

fn check(config: &EnvelopeConfig) -> Result<(), Failure> {
    if let KeySource::LocalFile { path } = &config.source
        && !path.exists()
    {
        return print(&format!(
            "{} is not there yet: serve makes it when it first needs it\n",
            path.display()
        ));
    }
    let runtime = runtime()?;
    let context = config.context(AppId::new(CHECKED));
    let (key_id, provider) = runtime.block_on(async {
        let provider = open_provider(config).await?;
        let (key, wrapped) = provider.generate(&context).await?;
        if provider.unwrap(&wrapped, &context).await? != key {
            let reason = "unwrap returned another key than the wrapped one";
            let remedy = "check the key service";
            return Err(KeyError::new(KeyErrorKind::Misconfigured, wrapped.key_id, reason, remedy));
        }
        let other = config.context(AppId::new(format!("{CHECKED}, of another")));
        if provider.unwrap(&wrapped, &other).await.is_ok() {
            let reason = "a key that was wrapped for one application opens for another";
            let remedy = "let the key service bind wrapped keys to the whole context";
            return Err(KeyError::new(KeyErrorKind::Misconfigured, wrapped.key_id, reason, remedy));
        }
        Ok((wrapped.key_id, provider.describe()))
    })?;
    print(&format!("{provider}\nwraps and unwraps under {key_id}, for the right application alone\n"))
}

fn local_file(config: &EnvelopeConfig) -> Result<&PathBuf, Failure> {
    match &config.source {
        KeySource::LocalFile { path } => Ok(path),
        _ => Err(Failure::new(
            Exit::Config,
            format!("keys are not in a local key file but with {config}: list and rotate them there"),
        )),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    stdout().write_all(text.as_bytes()).map_err(|error| Failure::new(Exit::Failed, error))
}
