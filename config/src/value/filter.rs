//! The filter of the log.

use tracing_subscriber::EnvFilter;

use super::{Grammar, Reject, java_trim};

/// A filter of `tracing-subscriber`: a level, or entries `target=level` separated by commas.
#[derive(Clone, Copy, Debug)]
pub struct LogFilter;

impl Grammar for LogFilter {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, Reject> {
        let text = java_trim(text);
        if text.is_empty() {
            return Err(Reject::new("empty: write a level such as info"));
        }
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let is_level = |word: &str| levels.iter().any(|level| level.eq_ignore_ascii_case(word));
        if let Some(word) = text.split(',').map(str::trim).find(|word| !word.contains('=') && !is_level(word))
        {
            return Err(Reject::new(format!("{word:?} is no level")));
        }
        EnvFilter::builder()
            .parse(text)
            .map_err(|error| Reject::new(format!("not a log filter: {error}")))?;
        Ok(text.to_owned())
    }

    fn shape(&self) -> String {
        "off, error, warn, info, debug, trace, or a list of target=level".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_levels_and_targets() {
        for text in ["info", "warn,sealed_shuffle::wire=trace"] {
            assert_eq!(LogFilter.parse(text), Ok(text.to_owned()));
        }
        for text in ["", "a=loud", "inof", "info,wire"] {
            assert!(LogFilter.parse(text).is_err(), "{text}");
        }
    }
}
