//! `true` and `false`.

use super::{Grammar, Reject, java_trim};

/// A boolean. Upper and lower case count the same.
#[derive(Clone, Copy, Debug)]
pub struct Bool {
    trimmed: bool,
}

impl Bool {
    /// The form of Spark's registry: surrounding blanks do not matter.
    pub const REGISTRY: Self = Self { trimmed: true };

    /// The form of Spark's transport. To the transport everything but `true` is false. Here everything but `true` and
    /// `false` is refused: a peer that seems to authenticate and does not is worse than a server that does not start.
    pub const TRANSPORT: Self = Self { trimmed: false };
}

impl Grammar for Bool {
    type Value = bool;

    fn parse(&self, text: &str) -> Result<bool, Reject> {
        let word = if self.trimmed { java_trim(text) } else { text };
        if word.eq_ignore_ascii_case("true") {
            return Ok(true);
        }
        if word.eq_ignore_ascii_case("false") {
            return Ok(false);
        }
        Err(Reject::new("neither true nor false"))
    }

    fn shape(&self) -> String {
        "true or false".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_words_in_any_case() {
        for grammar in [Bool::REGISTRY, Bool::TRANSPORT] {
            for (text, value) in
                [("true", true), ("TRUE", true), ("tRue", true), ("false", false), ("FALSE", false)]
            {
                assert_eq!(grammar.parse(text), Ok(value), "{text}");
            }
        }
    }

    #[test]
    fn only_the_registry_trims() {
        assert_eq!(Bool::REGISTRY.parse(" true\t"), Ok(true));
        assert!(Bool::TRANSPORT.parse(" true ").is_err());
    }

    #[test]
    fn refuses_what_the_transport_would_read_as_false() {
        for text in ["yes", "no", "1", "0", "on", "", "truee", "maybe"] {
            assert!(Bool::REGISTRY.parse(text).is_err(), "{text}");
            assert!(Bool::TRANSPORT.parse(text).is_err(), "{text}");
        }
    }
}
