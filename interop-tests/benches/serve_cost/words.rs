//! What a client that is a process of its own is told: words of its command line.

use std::collections::HashMap;
use std::str::FromStr;

/// `KEY=VALUE` as on the command line.
#[derive(Debug)]
pub(crate) struct Words(HashMap<String, String>);

impl Words {
    pub(crate) fn of(words: impl Iterator<Item = String>) -> Self {
        let pairs =
            words.filter_map(|word| word.split_once('=').map(|(key, value)| (key.into(), value.into())));
        Self(pairs.collect())
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(crate) fn text(&self, key: &str) -> &str {
        self.0.get(key).unwrap_or_else(|| panic!("no {key}=VALUE"))
    }

    pub(crate) fn number<N: FromStr>(&self, key: &str) -> N {
        self.text(key).parse().unwrap_or_else(|_| panic!("{key} is no number that fits"))
    }
}
