//! One configuration key as data: name, grammar, default, reader and meaning.

use super::value::{Grammar, Reject};

/// One configuration key. The keys themselves are the statics of [`keys`](super::keys).
#[derive(Debug)]
pub struct Key<G> {
    name: &'static str,
    grammar: G,
    default: DefaultValue,
    reader: Reader,
    meaning: &'static str,
    literal: bool,
    old_names: &'static [&'static str],
    spark: Option<&'static str>,
    inherits: Option<&'static str>,
    reloads: bool,
}

/// The value of a key that is not set.
#[derive(Clone, Copy)]
pub enum DefaultValue {
    /// A value, as it would be written.
    Text(&'static str),
    /// The value of another key.
    Same(&'static dyn AnyKey),
    /// No value; the words say what happens instead.
    Unset(&'static str),
}

impl std::fmt::Debug for DefaultValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => write!(f, "Text({text:?})"),
            Self::Same(key) => write!(f, "Same({})", key.name()),
            Self::Unset(words) => write!(f, "Unset({words:?})"),
        }
    }
}

/// The reader of a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reader {
    /// The server.
    Serve,
    /// The client library and the commands that use it.
    Client,
    /// Both.
    Both,
}

impl Reader {
    /// Whether `self`, as the reader of a key, includes `who`.
    pub fn includes(self, who: Self) -> bool {
        self == Self::Both || who == Self::Both || self == who
    }
}

impl<G> Key<G> {
    pub(super) const fn new(
        name: &'static str,
        grammar: G,
        default: DefaultValue,
        reader: Reader,
        meaning: &'static str,
    ) -> Self {
        Self {
            name,
            grammar,
            default,
            reader,
            meaning,
            literal: false,
            old_names: &[],
            spark: None,
            inherits: None,
            reloads: false,
        }
    }

    /// `${…}` is plain text in this key, as in every key that Spark's transport reads for itself.
    pub(super) const fn literal(mut self) -> Self {
        self.literal = true;
        self
    }

    /// Names that Spark still honours when the key itself is not set, first one first.
    pub(super) const fn formerly(mut self, names: &'static [&'static str]) -> Self {
        self.old_names = names;
        self
    }

    /// Where it is not set, the key with `prefix` before the last part of its name stands in for it, which makes that a
    /// key, too. Its default is that of neither being set.
    pub(super) const fn inherits(mut self, prefix: &'static str) -> Self {
        self.inherits = Some(prefix);
        self
    }

    /// SIGHUP takes up what it says; other keys wait for a restart.
    pub(super) const fn reloads(mut self) -> Self {
        self.reloads = true;
        self
    }

    /// The key of Spark's that is nearest in meaning to this one of ours.
    pub(super) const fn near(mut self, spark: &'static str) -> Self {
        self.spark = Some(spark);
        self
    }
}

impl<G: Grammar> Key<G> {
    /// Reads a value.
    pub fn parse(&self, text: &str) -> Result<G::Value, Reject> {
        self.grammar.parse(text)
    }
}

/// A key, whatever its grammar.
pub trait AnyKey: Send + Sync {
    /// The name, as written in files and after `--conf`.
    fn name(&self) -> &'static str;
    /// The values that are accepted, in a few words.
    fn shape(&self) -> String;
    /// The value if the key is not set.
    fn default(&self) -> DefaultValue;
    /// The reader.
    fn reader(&self) -> Reader;
    /// One sentence: what it does, what it costs.
    fn meaning(&self) -> &'static str;
    /// Whether `${…}` is replaced in its value.
    fn substitutes(&self) -> bool;
    /// Names that stand for it when it is not set.
    fn old_names(&self) -> &'static [&'static str];
    /// For a key of ours, the nearest one of Spark's.
    fn nearest_of_spark(&self) -> Option<&'static str>;
    /// The prefix of the key that stands in for it where it is not set.
    fn inherits(&self) -> Option<&'static str>;
    /// Whether SIGHUP takes up what it says.
    fn reloads(&self) -> bool;
    /// Whether values must never be printed.
    fn is_secret(&self) -> bool;
    /// Whether a value can be read.
    fn check(&self, text: &str) -> Result<(), Reject>;
}

impl<G: Grammar> AnyKey for Key<G> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shape(&self) -> String {
        self.grammar.shape()
    }

    fn default(&self) -> DefaultValue {
        self.default
    }

    fn reader(&self) -> Reader {
        self.reader
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn substitutes(&self) -> bool {
        !self.literal
    }

    fn old_names(&self) -> &'static [&'static str] {
        self.old_names
    }

    fn nearest_of_spark(&self) -> Option<&'static str> {
        self.spark
    }

    fn inherits(&self) -> Option<&'static str> {
        self.inherits
    }

    fn reloads(&self) -> bool {
        self.reloads
    }

    fn is_secret(&self) -> bool {
        self.grammar.is_secret()
    }

    fn check(&self, text: &str) -> Result<(), Reject> {
        self.grammar.parse(text).map(drop)
    }
}
