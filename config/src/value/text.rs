//! Values that are text: plain, a list, or a secret.

use zeroize::Zeroizing;

use super::{Grammar, Reject};

/// Any text, as it stands.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The meaning of the text, for the documentation.
    pub what: &'static str,
}

impl Grammar for Text {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, Reject> {
        Ok(text.to_owned())
    }

    fn shape(&self) -> String {
        self.what.into()
    }
}

/// Entries between commas: trimmed, empty ones dropped. (Spark does not trim, so that with `/a, /b` its second
/// directory never matches.)
#[derive(Clone, Copy, Debug)]
pub struct List;

impl Grammar for List {
    type Value = Vec<String>;

    fn parse(&self, text: &str) -> Result<Vec<String>, Reject> {
        Ok(text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(str::to_owned).collect())
    }

    fn shape(&self) -> String {
        "comma-separated list".into()
    }
}

/// Text that is never printed and is wiped from memory.
#[derive(Clone, Copy, Debug)]
pub struct Secret;

impl Grammar for Secret {
    type Value = Zeroizing<String>;

    fn parse(&self, text: &str) -> Result<Zeroizing<String>, Reject> {
        if text.is_empty() {
            return Err(Reject::new("the secret is empty"));
        }
        Ok(Zeroizing::new(text.to_owned()))
    }

    fn shape(&self) -> String {
        "secret text".into()
    }

    fn is_secret(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_entries_are_trimmed_and_empty_ones_dropped() {
        assert_eq!(List.parse(" /a, /b ,,\t"), Ok(vec!["/a".to_owned(), "/b".to_owned()]));
        assert_eq!(List.parse(" , "), Ok(vec![]));
    }

    #[test]
    fn rejects_an_empty_secret() {
        assert!(Secret.parse("").is_err());
    }
}
