//! Every key with the value that it has here, and what one name stands for: for people who look, before anything starts.
//!
//! Nothing is refused here. A value that cannot be used is listed with the reason, so that a look at one key does not
//! need all others to be right. Variables that come before a key (`SPARK_LOCAL_DIRS`, `_SPARK_AUTH_SECRET`) are not
//! looked at: the meaning of the key names them, and `serve --check-config` shows what they lead to.

use std::path::PathBuf;

use super::environment::Environment;
use super::error::Issue;
use super::key::{AnyKey, DefaultValue, Reader};
use super::load::{LoadedConfig, Setting, Sources};
use super::origin::Origin;
use super::unknown::{self, Standing};
use super::{ignored, keys};

/// Every key, as of now.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The file that was read.
    pub properties_file: Option<PathBuf>,
    /// The keys in the order of the documentation. Members stand for their family where some are set.
    pub keys: Vec<ListedKey>,
    /// What is wrong with the sources themselves, unknown keys among it.
    pub issues: Vec<Issue>,
}

/// One key, as of now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListedKey {
    /// Its name.
    pub key: String,
    /// What it is.
    pub value: ListedValue,
    /// Where that comes from.
    pub origin: Origin,
    /// The key whose value it takes, where that is another one.
    pub by_way_of: Option<String>,
    /// Why the value cannot be used.
    pub fault: Option<String>,
}

/// What a key is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ListedValue {
    /// A value, as it would be written.
    Text(String),
    /// A value that is never printed.
    Secret,
    /// No value; the words say what happens instead.
    Unset(&'static str),
}

/// What a name stands for.
#[derive(Clone, Copy)]
pub enum NameLookup {
    /// A key that is read, by this name, by an older one, or as a member of its family.
    Key(&'static dyn AnyKey),
    /// A key of Spark's that has no effect here, for this reason.
    Ignored(&'static str),
    /// Nothing that is read here; perhaps this one was meant.
    Unknown(Option<&'static str>),
}

/// Finds what a name stands for.
pub fn named(name: &str) -> NameLookup {
    match unknown::standing(name) {
        Standing::Known | Standing::Old => {
            let old = || keys::all().find(|key| key.old_names().contains(&name));
            keys::find(name).or_else(old).map_or(NameLookup::Unknown(None), NameLookup::Key)
        }
        Standing::Ignored(ignored::IgnoredKey { because, .. }) => NameLookup::Ignored(because),
        _ => NameLookup::Unknown(unknown::nearest(name)),
    }
}

impl Listing {
    /// Reads all sources as a server does.
    pub fn from_sources(sources: &Sources, environment: &dyn Environment) -> Self {
        let loaded = LoadedConfig::from_sources(sources, environment, Reader::Both);
        let keys = keys::all().flat_map(|key| listed(key, &loaded, environment)).collect();
        Self {
            properties_file: loaded.properties_file().map(Into::into),
            keys,
            issues: loaded.issues().to_vec(),
        }
    }

    /// What is listed of one key: itself, or the members of its family.
    pub fn of<'a>(&'a self, key: &'a dyn AnyKey) -> impl Iterator<Item = &'a ListedKey> {
        let is_it =
            |listed: &&ListedKey| listed.key == key.name() || keys::member(key.name(), &listed.key).is_some();
        self.keys.iter().filter(is_it)
    }
}

impl ListedKey {
    /// Whether somebody set it.
    pub fn is_changed(&self) -> bool {
        self.origin != Origin::Default
    }
}

fn listed(key: &'static dyn AnyKey, loaded: &LoadedConfig, environment: &dyn Environment) -> Vec<ListedKey> {
    if key.name().contains('*') {
        let members: Vec<_> = loaded
            .members(key)
            .map(|(name, _, setting)| set(name, key, None, setting, loaded, environment))
            .collect();
        if !members.is_empty() {
            return members;
        }
    }
    vec![one(key, loaded, environment)]
}

fn one(key: &'static dyn AnyKey, loaded: &LoadedConfig, environment: &dyn Environment) -> ListedKey {
    let mut source = key;
    loop {
        if let Some((name, setting)) = loaded.setting(source) {
            let by_way_of = (name != key.name()).then(|| name.to_owned());
            return set(key.name(), key, by_way_of, setting, loaded, environment);
        }
        let next = match (keys::ancestor(source), source.default()) {
            (Some(ancestor), _) => ancestor,
            (None, DefaultValue::Same(other)) => other,
            (None, DefaultValue::Text(text)) => {
                return unset(key, source, ListedValue::Text(text.to_owned()));
            }
            (None, DefaultValue::Unset(words)) => return unset(key, source, ListedValue::Unset(words)),
        };
        source = next;
    }
}

/// A key that nobody set; `source` has its default.
fn unset(key: &dyn AnyKey, source: &dyn AnyKey, value: ListedValue) -> ListedKey {
    let by_way_of = (source.name() != key.name()).then(|| source.name().to_owned());
    ListedKey { key: key.name().to_owned(), value, origin: Origin::Default, by_way_of, fault: None }
}

fn set(
    name: &str,
    key: &'static dyn AnyKey,
    by_way_of: Option<String>,
    setting: &Setting,
    loaded: &LoadedConfig,
    environment: &dyn Environment,
) -> ListedKey {
    let (value, fault) = match loaded.expanded(key, setting, environment) {
        Err(reference) => {
            let fault = format!("${{{reference}}} leads back to itself");
            (setting.text.as_str().to_owned(), Some(fault))
        }
        Ok(text) => {
            let fault = key.check(&text).err().map(|reject| reject.to_string());
            (text.as_str().to_owned(), fault)
        }
    };
    let value = if key.is_secret() { ListedValue::Secret } else { ListedValue::Text(value) };
    ListedKey { key: name.to_owned(), value, origin: setting.origin.clone(), by_way_of, fault }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::FakeEnvironment;

    fn listing(conf: &[&str]) -> Listing {
        let conf = conf.iter().map(|&text| text.to_owned()).collect();
        Listing::from_sources(&Sources { conf, ..Sources::default() }, &FakeEnvironment::default())
    }

    fn find<'a>(listing: &'a Listing, key: &str) -> &'a ListedKey {
        listing.keys.iter().find(|listed| listed.key == key).unwrap()
    }

    #[test]
    fn every_key_is_listed_once_and_none_is_changed_without_a_source() {
        let listing = listing(&[]);
        let names: Vec<_> = listing.keys.iter().map(|listed| listed.key.as_str()).collect();
        assert_eq!(names, keys::all().map(|key| key.name()).collect::<Vec<_>>());
        assert!(listing.keys.iter().all(|listed| !listed.is_changed() && listed.fault.is_none()));
    }

    #[test]
    fn a_value_is_shown_with_its_origin_and_the_key_that_it_came_by() {
        let listing = listing(&[
            "spark.network.timeout=77s",
            "spark.sealed.memory.budget=${spark.x}",
            "spark.x=64m",
            "spark.sealed.security.app.app-1.minimum=tls",
        ]);
        let budget = find(&listing, "spark.sealed.memory.budget");
        assert_eq!((&budget.value, &budget.origin), (&ListedValue::Text("64m".into()), &Origin::Conf));
        let timeout = find(&listing, "spark.shuffle.io.connectionTimeout");
        assert_eq!(timeout.value, ListedValue::Text("77s".into()));
        assert_eq!(timeout.by_way_of.as_deref(), Some("spark.network.timeout"));
        assert_eq!(
            find(&listing, "spark.sealed.security.app.app-1.minimum").value,
            ListedValue::Text("tls".into())
        );
    }

    #[test]
    fn a_secret_is_never_shown_and_a_bad_value_hides_no_other_key() {
        let listing =
            listing(&["spark.authenticate.secret=hunter2hunter2", "spark.sealed.memory.budget=soon"]);
        assert_eq!(find(&listing, "spark.authenticate.secret").value, ListedValue::Secret);
        assert!(!format!("{listing:?}").contains("hunter2"));
        assert!(find(&listing, "spark.sealed.memory.budget").fault.is_some());
        assert!(find(&listing, "spark.sealed.bind").fault.is_none());
    }

    #[test]
    fn a_name_stands_for_its_key_its_family_or_a_reason() {
        let key = |name: &str| match named(name) {
            NameLookup::Key(key) => Some(key.name()),
            _ => None,
        };
        assert_eq!(key("spark.sealed.bind"), Some("spark.sealed.bind"));
        assert_eq!(key("spark.reducer.maxMbInFlight"), Some("spark.reducer.maxSizeInFlight"));
        assert_eq!(
            key("spark.sealed.security.app.app-1.minimum"),
            Some("spark.sealed.security.app.*.minimum")
        );
        assert!(matches!(named("spark.shuffle.service.enabled"), NameLookup::Ignored(_)));
        assert!(matches!(named("spark.sealed.bnd"), NameLookup::Unknown(Some("spark.sealed.bind"))));
    }
}
