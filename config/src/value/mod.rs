//! The grammars of values: those of Spark, to the letter, and a few of this project.
//!
//! Spark has two parsers, and the key decides which one reads it (SparkConf's typed registry and network-common's
//! TransportConf, Spark 4.3.0). They agree on times and sizes, which both trim. They differ in whether integers and
//! booleans may be surrounded by blanks. One rule is different here: where Spark quietly reads a bad value as false
//! or as zero, the value is refused.

mod address;
mod boolean;
mod choice;
mod endpoint;
mod filter;
mod fraction;
mod integer;
mod size;
mod text;
mod time;

pub use self::address::{Address, Ip};
pub use self::boolean::Bool;
pub use self::choice::{
    AtRest, Choice, Choices, Clears, ClientAuth, ClientHandshake, Engine, Extent, KeySourceName, LogFormat,
    OnUnavailable, TlsVersions, UnknownKeys,
};
pub use self::endpoint::{Endpoint, HttpEndpoint};
pub use self::filter::LogFilter;
pub use self::fraction::Fraction;
pub use self::integer::Int;
pub(crate) use self::size::LARGEST;
pub use self::size::{Size, SizeUnit};
pub use self::text::{List, Secret, Text};
pub(crate) use self::time::FOREVER;
pub use self::time::{Time, TimeUnit};

/// The grammar of the values of a key.
pub trait Grammar: Send + Sync {
    /// The type of a parsed value.
    type Value;

    /// Parses a value. The text is as the source gave it, blanks included.
    fn parse(&self, text: &str) -> Result<Self::Value, Reject>;

    /// The accepted values in a few words, with units and bounds; for the documentation and for errors.
    fn shape(&self) -> String;

    /// Whether values must never be printed.
    fn is_secret(&self) -> bool {
        false
    }
}

/// Why a value was refused: lower case, without a full stop.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Reject(pub(crate) String);

impl Reject {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// Java's `String.trim`: white space is every character up to the blank, and none beyond ASCII.
fn java_trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ')
}

/// Splits `[0-9]+[a-z]*` into its two parts; `None` for any other text.
fn digits_and_suffix(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, suffix) = text.split_at(end);
    let well_formed = !digits.is_empty() && suffix.bytes().all(|b| b.is_ascii_lowercase());
    well_formed.then_some((digits, suffix))
}
