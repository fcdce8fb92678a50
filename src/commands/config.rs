//! `config`: the keys that can be set, what they mean, and what they are here.

use std::io::{Write, stdout};

use clap::{Args, Subcommand};
use sealed_shuffle_config::{
    AnyKey, DefaultValue, ListedKey, ListedValue, Listing, NameLookup, Origin, ProcessEnvironment, Reader,
    keys, named,
};
use serde_json::{Value, json};

use super::table::columns;
use super::versioned::versioned;
use super::{ConfigArgs, Exit, Failure, complain};

/// Explain configuration keys, and show what they are here
///
/// Reads the same sources as serve, and checks each key by itself. Nothing is started. Variables such as
/// SPARK_LOCAL_DIRS come before their keys: serve --check-config shows what all of it leads to.
#[derive(Args, Debug)]
pub(crate) struct Config {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List every key with its value and where that comes from
    List {
        /// Only the keys that somebody set
        #[arg(long)]
        changed: bool,

        /// Print JSON
        #[arg(long)]
        json: bool,

        #[command(flatten)]
        config: ConfigArgs,
    },
    /// Say what a key means: its values, its default, what it is here, and whether SIGHUP takes it up
    Explain {
        /// Its name, such as spark.sealed.memory.budget
        #[arg(value_name = "KEY")]
        key: String,

        #[command(flatten)]
        config: ConfigArgs,
    },
}

impl Config {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::List { changed, json, config } => list(&listing(config), changed, json),
            What::Explain { key, config } => explain(&key, &listing(config)),
        }
    }
}

fn listing(config: ConfigArgs) -> Listing {
    Listing::from_sources(&config.sources(), &ProcessEnvironment)
}

fn list(listing: &Listing, changed: bool, as_json: bool) -> Result<(), Failure> {
    let shown: Vec<_> = listing.keys.iter().filter(|listed| listed.is_changed() || !changed).collect();
    if as_json {
        let file = listing.properties_file.as_ref().map(|path| path.display().to_string());
        let keys: Vec<_> = shown.into_iter().map(as_value).collect();
        print(&format!("{:#}\n", versioned(json!({ "properties_file": file, "keys": keys }))))?;
    } else {
        let rows: Vec<_> = shown.into_iter().map(row).collect();
        print(&columns(&rows))?;
    }
    listing.issues.iter().for_each(complain);
    let faulty = listing.keys.iter().filter(|listed| listed.fault.is_some()).count();
    match faulty + listing.issues.len() {
        0 => Ok(()),
        faults => Err(Failure::new(Exit::Config, format!("{faults} of them cannot be used: see above"))),
    }
}

fn row(listed: &ListedKey) -> [String; 3] {
    [listed.key.clone(), shown(&listed.value), format!("({})", whence(listed))]
}

/// Where a value comes from, and why it cannot be used.
fn whence(listed: &ListedKey) -> String {
    let by_way_of = listed.by_way_of.as_ref().map(|key| format!(" of {key}")).unwrap_or_default();
    let fault = listed.fault.as_ref().map(|fault| format!("; cannot be used: {fault}")).unwrap_or_default();
    format!("{}{by_way_of}{fault}", listed.origin)
}

fn shown(value: &ListedValue) -> String {
    match value {
        ListedValue::Text(text) => text.clone(),
        ListedValue::Secret => "(secret)".to_owned(),
        ListedValue::Unset(_) => "-".to_owned(),
    }
}

fn as_value(listed: &ListedKey) -> Value {
    let value = match &listed.value {
        ListedValue::Text(text) => Some(text),
        ListedValue::Secret | ListedValue::Unset(_) => None,
    };
    json!({
        "key": listed.key,
        "value": value,
        "secret": listed.value == ListedValue::Secret,
        "changed": listed.is_changed(),
        "origin": listed.origin.to_string(),
        "by_way_of": listed.by_way_of,
        "fault": listed.fault,
    })
}

fn explain(name: &str, listing: &Listing) -> Result<(), Failure> {
    match named(name) {
        NameLookup::Key(key) => print(&explanation(key, name, listing)),
        NameLookup::Ignored(because) => print(&format!("{name}\n  has no effect here: {because}\n")),
        NameLookup::Unknown(meant) => {
            let meant = match meant {
                Some(meant) => format!("did you mean {meant}?"),
                None => "`sealed-shuffle config list` has all of them".to_owned(),
            };
            Err(Failure::new(Exit::Missing, format!("{name}: no key that is read here; {meant}")))
        }
    }
}

fn explanation(key: &'static dyn AnyKey, asked: &str, listing: &Listing) -> String {
    let mut lines = vec![
        ("value", key.shape()),
        ("default", default(key)),
        (
            "read by",
            match key.reader() {
                Reader::Serve => "serve",
                Reader::Client => "client commands and the client library",
                Reader::Both => "serve and client commands",
            }
            .to_owned(),
        ),
    ];
    if key.reader() != Reader::Client {
        let taken_up = if key.reloads() { "at SIGHUP, and at a restart" } else { "at a restart" };
        lines.push(("taken up", taken_up.to_owned()));
    }
    if let Some(spark) = key.nearest_of_spark() {
        lines.push(("near to", format!("{spark} of Spark's")));
    }
    if !key.old_names().is_empty() {
        lines.push(("older name", key.old_names().join(", ")));
    }
    let members: Vec<_> = listing.of(key).collect();
    // A member that was asked for and is not set has no line of its own.
    let only_asked = members.iter().any(|listed| listed.key == asked);
    for listed in members.into_iter().filter(|listed| !only_asked || listed.key == asked) {
        let name = if listed.key == key.name() { String::new() } else { format!("{} = ", listed.key) };
        let here = match (&listed.value, &listed.origin) {
            (ListedValue::Unset(words), Origin::Default) => format!("not set: {words}"),
            (value, _) => format!("{name}{}  ({})", shown(value), whence(listed)),
        };
        lines.push(("here", here));
    }
    let mut text = format!("{}\n", key.name());
    text += &format!("  {}\n\n", key.meaning());
    for (what, is) in lines {
        text += &format!("  {what:<12}{is}\n");
    }
    text
}

fn default(key: &dyn AnyKey) -> String {
    if let Some(ancestor) = keys::ancestor(key) {
        return format!("that of {}", ancestor.name());
    }
    match key.default() {
        DefaultValue::Text(text) => text.to_owned(),
        DefaultValue::Same(other) => format!("that of {}", other.name()),
        DefaultValue::Unset(words) => words.to_owned(),
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut out = stdout();
    let shown = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    shown.map_err(|error| Failure::new(Exit::Failed, format!("cannot print: {error}")))
}
