//! Text of a peer, made harmless for logs, terminals and lists.
//!
//! Everything that could begin a line, move a cursor, hide or turn a text around is escaped, and a long text is cut. Ids
//! and paths are shown so wherever they are formatted; whatever else repeats a peer's words passes [`Shown`] first.

use std::fmt::{self, Write};

/// Most characters that are shown of a text.
pub const LONGEST: usize = 1000;

/// Most characters of a text that is kept.
const LONGEST_KEPT: usize = 256;

/// A text of a peer as it is kept in records: made harmless, and cut where it is long.
pub fn short(text: &str) -> String {
    let shown = Shown(text).to_string();
    match shown.char_indices().nth(LONGEST_KEPT) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

/// A text as it is shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl<'a> Shown<'a> {
    /// The first line of it alone: the rest is a stack trace of Java's.
    pub fn first_line(text: &'a str) -> Self {
        Self(text.lines().next().unwrap_or_default())
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, c) in self.0.chars().enumerate() {
            if at == LONGEST {
                return f.write_char('…');
            }
            // Alphanumeric characters neither control nor format; of the rest only what Spark and we write.
            match c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() || c == '…' {
                true => f.write_char(c)?,
                false => write!(f, "{}", c.escape_default())?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_cannot_steer_a_terminal() {
        let hostile = "a\u{1b}[2J\u{9b}b\u{202e}c\u{200b}\td\nsecond line";
        let shown = "a\\u{1b}[2J\\u{9b}b\\u{202e}c\\u{200b}\\td";
        assert_eq!(Shown::first_line(hostile).to_string(), shown);
        assert_eq!(Shown(hostile).to_string(), format!("{shown}\\nsecond line"));
    }

    #[test]
    fn what_is_harmless_is_shown_as_it_is() {
        for text in ["app-20261122052236-0000", "/data 1/größe/表", "java.lang.X: \"a\" (b) …", ""] {
            assert_eq!(Shown(text).to_string(), text);
        }
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(Shown(&"x".repeat(LONGEST)).to_string(), "x".repeat(LONGEST));
        assert_eq!(Shown(&"x".repeat(1 << 20)).to_string(), "x".repeat(LONGEST) + "…");
    }
}
