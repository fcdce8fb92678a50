//! The grammar of `java.util.Properties`, as Spark uses it to read its files.
//!
//! Logical lines, separators, continuation and escapes are those of the Java class (its `load` method, Java 17);
//! afterwards Spark trims each value, but keeps line breaks that came from escapes (Utils.trimExceptCRLF,
//! Spark 4.3.0). A pure function of the text: the caller reads the file.

use zeroize::Zeroizing;

/// One entry of a file.
pub struct Property {
    /// The key, as it stands after unescaping.
    pub key: String,
    /// The value, unescaped and trimmed; wiped, since it may be a secret.
    pub value: Zeroizing<String>,
    /// The line on which the entry begins, counted from 1.
    pub line: usize,
}

/// The text is no properties file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub struct PropertiesError {
    /// The line on which the entry begins, counted from 1.
    pub line: usize,
    /// The fault.
    pub reason: &'static str,
}

/// All entries, in the order of the file; a repeated key appears repeatedly.
pub fn parse(text: &str) -> Result<Vec<Property>, PropertiesError> {
    logical_lines(text).into_iter().map(|line| entry(&line.text, line.number)).collect()
}

struct LogicalLine {
    text: Zeroizing<String>,
    number: usize,
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\u{c}')
}

/// Joins continued lines, drops comments and blank lines. Escapes stay, other than a backslash before a line end.
fn logical_lines(text: &str) -> Vec<LogicalLine> {
    let mut lines = Vec::new();
    // The buffer has room for the longest possible line, so that growing leaves no copy of a secret behind.
    let mut current = Zeroizing::new(String::with_capacity(text.len()));
    let mut number = 0;
    for (index, natural) in natural_lines(text).enumerate() {
        if current.is_empty() {
            number = index + 1;
        }
        let line = natural.trim_start_matches(is_blank);
        // The Java class accepts a comment wherever the logical line is still empty.
        if current.is_empty() && (line.is_empty() || line.starts_with(['#', '!'])) {
            continue;
        }
        let backslashes = line.bytes().rev().take_while(|b| *b == b'\\').count();
        let continues = backslashes % 2 == 1;
        current.push_str(if continues { &line[..line.len() - 1] } else { line });
        if !continues && !current.is_empty() {
            lines.push(LogicalLine { text: Zeroizing::new(current.as_str().to_owned()), number });
            zeroize::Zeroize::zeroize(&mut *current);
        }
    }
    if !current.is_empty() {
        lines.push(LogicalLine { text: current, number });
    }
    lines
}

/// Splits into lines, which end with `\n`, `\r` or both.
fn natural_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let Some(end) = text.find(['\n', '\r']) else {
            rest = None;
            return Some(text);
        };
        let after = &text[end..];
        let after = after.strip_prefix("\r\n").unwrap_or_else(|| &after[1..]);
        rest = Some(after);
        Some(&text[..end])
    })
}

fn entry(line: &str, number: usize) -> Result<Property, PropertiesError> {
    let mut escaped = false;
    let key_end = line.find(|c: char| {
        let ends = !escaped && (is_blank(c) || matches!(c, '=' | ':'));
        escaped = c == '\\' && !escaped;
        ends
    });
    let (key, rest) = line.split_at(key_end.unwrap_or(line.len()));
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start_matches(is_blank);
    let error = |reason| PropertiesError { line: number, reason };
    let value = unescape(rest).map_err(error)?;
    let trimmed = value.trim_matches(|c: char| c <= ' ' && c != '\n' && c != '\r');
    Ok(Property {
        key: unescape(key).map_err(error)?.as_str().to_owned(),
        value: Zeroizing::new(trimmed.to_owned()),
        line: number,
    })
}

fn unescape(text: &str) -> Result<Zeroizing<String>, &'static str> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    let mut chars = text.chars();
    // Escapes are UTF-16 units; the first half of a pair waits here for the second.
    let mut high: Option<u32> = None;
    while let Some(c) = chars.next() {
        let unit = match c {
            '\\' => match chars.next() {
                None => break,
                Some('u') => Some(hex4(&mut chars)?),
                Some(escaped) => {
                    reject_lone(high)?;
                    plain.push(match escaped {
                        't' => '\t',
                        'n' => '\n',
                        'r' => '\r',
                        'f' => '\u{c}',
                        other => other,
                    });
                    None
                }
            },
            other => {
                reject_lone(high)?;
                plain.push(other);
                None
            }
        };
        let Some(unit) = unit else { continue };
        match (high.take(), unit) {
            (Some(first), 0xDC00..=0xDFFF) => {
                let code = 0x10000 + ((first - 0xD800) << 10) + (unit - 0xDC00);
                plain.push(char::from_u32(code).ok_or(LONE_SURROGATE)?);
            }
            (None, 0xD800..=0xDBFF) => high = Some(unit),
            (None, unit) => plain.push(char::from_u32(unit).ok_or(LONE_SURROGATE)?),
            (Some(_), _) => return Err(LONE_SURROGATE),
        }
    }
    reject_lone(high)?;
    Ok(plain)
}

const LONE_SURROGATE: &str = "half of a surrogate pair after \\u, which is no character";

fn reject_lone(high: Option<u32>) -> Result<(), &'static str> {
    if high.is_some() { Err(LONE_SURROGATE) } else { Ok(()) }
}

fn hex4(chars: &mut std::str::Chars<'_>) -> Result<u32, &'static str> {
    (0..4).try_fold(0, |unit, _| {
        let digit = chars.next().and_then(|c| c.to_digit(16));
        digit.map(|digit| unit << 4 | digit).ok_or("\\u is not followed by four hexadecimal digits")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let entries = parse(text).unwrap();
        entries.into_iter().map(|entry| (entry.key, entry.value.as_str().to_owned())).collect()
    }

    fn value(text: &str) -> String {
        let pairs = pairs(text);
        assert_eq!(pairs.len(), 1, "{text:?}");
        assert_eq!(pairs[0].0, "k", "{text:?}");
        pairs[0].1.clone()
    }

    #[test]
    fn comments_are_lines_of_their_own() {
        for text in ["# x", "! x", "   # x", "\t! x", "", "\n\n", "  \t\u{c} \n"] {
            assert_eq!(pairs(text), [], "{text:?}");
        }
        assert_eq!(value("k=a#b"), "a#b");
        assert_eq!(value("# k=1\nk=2"), "2");
    }

    #[test]
    fn separators_and_blanks() {
        for text in
            ["k   v", "k=v", "k = v", "k:v", "k\tv\t", "  k = v", "k=v   ", "k=v\r\n", "k v\r", "k\u{c}v"]
        {
            assert_eq!(value(text), "v", "{text:?}");
        }
        for (text, expected) in
            [("k a b  c", "a b  c"), ("k==y", "=y"), ("k = : y", ": y"), ("k=\"q\"", "\"q\"")]
        {
            assert_eq!(value(text), expected, "{text:?}");
        }
    }

    /// A key without a value is set to the empty string, not unset.
    #[test]
    fn a_key_without_a_value_is_empty() {
        assert_eq!(value("k"), "");
        assert_eq!(value("k="), "");
    }

    #[test]
    fn spark_trims_escaped_blanks_but_keeps_escaped_line_breaks() {
        assert_eq!(value("k=\\  x"), "x");
        assert_eq!(value("k=\\tx\\t"), "x");
        assert_eq!(value("k=\\nx\\r"), "\nx\r");
        assert_eq!(value("k=\\n x"), "\n x");
    }

    #[test]
    fn continued_lines_lose_their_indentation() {
        assert_eq!(value("k=a,\\\n    b"), "a,b");
        assert_eq!(value("k=a,\\\r\n    b"), "a,b");
        assert_eq!(value("k=a\\\n#b"), "a#b");
        assert_eq!(value("k=a\\\\\n"), "a\\");
        assert_eq!(value("k=a\\"), "a");
        assert_eq!(pairs("k=a\\\n\nj=b"), [("k".into(), "a".into()), ("j".into(), "b".into())]);
        assert_eq!(value("\\\n# nothing was collected yet\nk=v"), "v");
    }

    #[test]
    fn escapes() {
        assert_eq!(value("k=\\u0041"), "A");
        assert_eq!(value("k=\\uD83D\\uDE00"), "😀");
        assert_eq!(value("k=a\\tb\\\\c\\q"), "a\tb\\cq");
        assert_eq!(pairs("a\\ b=1"), [("a b".into(), "1".into())]);
        assert_eq!(pairs("a\\=b\\:c=1"), [("a=b:c".into(), "1".into())]);
    }

    #[test]
    fn rejects_a_malformed_unicode_escape_with_its_line() {
        for text in [
            "k=\\u12",
            "k=\\u12xy",
            "k=\\uD83D",
            "k=\\uD83Dx",
            "k=\\uDE00",
            "k=\\uD83D\\u0041",
            "k=\\uD83D\\n",
        ] {
            let error = parse(&format!("a=1\n\n{text}")).err().unwrap();
            assert_eq!(error.line, 3, "{text}");
        }
    }

    #[test]
    fn entries_keep_their_order_and_their_first_line() {
        let entries = parse("# x\nk=1\nj=a\\\n b\nk=2\n").unwrap();
        let seen: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.value.as_str(), e.line)).collect();
        assert_eq!(seen, [("k", "1", 2), ("j", "ab", 3), ("k", "2", 5)]);
    }

    proptest! {
        #[test]
        fn never_panics(text in "([ \t\u{c}\r\n\\\\=:#!uk0a]|\\PC){0,60}") {
            let _entries = parse(&text);
        }

        #[test]
        fn plain_entries_survive(key in "[a-z.]{1,20}", value in "[!-\\[\\]-~]{0,20}") {
            let value = value.trim_start_matches(['=', ':']).to_owned();
            prop_assert_eq!(pairs(&format!("{key} = {value}")), [(key, value)]);
        }
    }
}
