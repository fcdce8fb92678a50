//! What is logged.

use super::{Grammar, Reject, java_trim};

/// A filter of `tracing-subscriber`: a level, or entries `target=level` separated by commas. Filters of spans, in
/// brackets, are checked when logging is set up.
#[derive(Clone, Copy, Debug)]
pub struct LogFilter;

impl Grammar for LogFilter {
    type Value = String;

    fn parse(&self, text: &str) -> Result<String, Reject> {
        let text = java_trim(text);
        if text.is_empty() {
            return Err(Reject::new("empty: write a level such as info"));
        }
        for directive in text.split(',').map(str::trim) {
            check(directive)?;
        }
        Ok(text.to_owned())
    }

    fn shape(&self) -> String {
        "off, error, warn, info, debug, trace, or a list of target=level".into()
    }
}

/// A level, or a target and its level.
fn check(directive: &str) -> Result<(), Reject> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    if directive.contains(['[', ']', '{', '}']) {
        return Ok(());
    }
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let is_number = |word: &str| matches!(word.as_bytes(), [b'0'..=b'5']);
    let is_target = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':' | '-'))
    };
    match directive.split_once('=') {
        None if is_level(directive) => Ok(()),
        None => Err(Reject::new(format!("{directive:?} is no level"))),
        Some((target, level)) if is_target(target) && (is_level(level) || is_number(level)) => Ok(()),
        Some(_) => Err(Reject::new(format!("not a log filter: {directive:?} is no target=level"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_levels_and_targets() {
        for text in ["info", "warn,sealed_shuffle::wire=trace", "WARN, a-b=3", "[span{field=1}]=debug"] {
            assert_eq!(LogFilter.parse(text), Ok(text.to_owned()));
        }
        for text in ["", "a=loud", "inof", "info,wire", "?=info", "?=", "a=6", "a=info=b"] {
            assert!(LogFilter.parse(text).is_err(), "{text}");
        }
    }
}
