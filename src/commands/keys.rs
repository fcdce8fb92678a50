//! `keys`: the keys under which the server seals what it writes.

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use sealed_shuffle_config::{EnvelopeConfig, KeySource, ProcessEnvironment};
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::lane::OnLane;
use time::format_description::well_known::Rfc3339;

use super::{ConfigArgs, Exit, Failure};
use crate::keys::envelope::{KeyError, KeyErrorKind, LocalKeyFile, open_provider};

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
    /// List the keys in the local key file, oldest first: name, time, and whether it wraps
    List(ConfigArgs),
    /// Add a key to the local key file; it wraps from now on, the older ones still unwrap
    ///
    /// A running server takes it up by itself. Remove an old key from the file by hand when no data sealed under it
    /// is left.
    Rotate(ConfigArgs),
    /// Check that the key service wraps and unwraps a key, as serve will
    Check(ConfigArgs),
}

impl Keys {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::List(args) => list(&config(args)?),
            What::Rotate(args) => rotate(&config(args)?),
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
            _ => Exit::Refused,
        };
        Self::new(exit, error)
    }
}

fn config(args: ConfigArgs) -> Result<EnvelopeConfig, Failure> {
    Ok(EnvelopeConfig::from_sources(&args.sources(), &ProcessEnvironment)?)
}

fn list(config: &EnvelopeConfig) -> Result<(), Failure> {
    let (on, mut lines) = (OnLane::here(), String::new());
    for key in LocalKeyFile::open(&on, local_file(config)?)?.list(&on)? {
        let made = key.made.format(&Rfc3339).map_err(|error| Failure::new(Exit::Failed, error))?;
        let role = if key.wraps { "wraps" } else { "unwraps" };
        lines += &format!("{}\t{made}\t{role}\n", key.name);
    }
    print(&lines)
}

fn rotate(config: &EnvelopeConfig) -> Result<(), Failure> {
    let name = LocalKeyFile::rotate(&OnLane::here(), local_file(config)?)?;
    print(&format!("{name}\n"))
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
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new(Exit::Failed, error))?;
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
