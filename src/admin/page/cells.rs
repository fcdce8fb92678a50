//! JSON as the text of cells.

use std::fmt;

use serde_json::Value;

/// A text between tags or quotes.
pub(crate) struct HtmlText<'a>(pub(crate) &'a str);

impl fmt::Display for HtmlText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                other => write!(f, "{other}")?,
            }
        }
        Ok(())
    }
}

/// A value as it is, and a dash where there is none.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => HtmlText(text).to_string(),
        other => HtmlText(&other.to_string()).to_string(),
    }
}

/// A number with its thousands apart.
pub(crate) fn count(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".to_owned(), thousands)
}

/// The same of things, whose name is that of one.
pub(crate) fn counted(value: &Value, one: &str) -> String {
    let ending = if value.as_u64() == Some(1) { "" } else { "s" };
    format!("{} {one}{ending}", count(value))
}

/// The same of a number.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut apart = String::with_capacity(digits.len() + digits.len() / 3);
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            apart.push('\u{202f}');
        }
        apart.push(digit);
    }
    apart
}

/// Bytes in units of 1024.
pub(crate) fn bytes(value: &Value) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    match value.as_u64() {
        None => "-".to_owned(),
        Some(bytes) if bytes < 1024 => format!("{bytes} B"),
        Some(bytes) => {
            let unit = (bytes.ilog2() / 10).clamp(1, 6);
            let rest = bytes as f64 / (1_u64 << (10 * unit)) as f64;
            format!("{rest:.2} {}", UNITS.get(unit as usize - 1).unwrap_or(&""))
        }
    }
}

/// The entries of a list; none where it is no list.
pub(crate) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_for_people() {
        for (number, shown) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1.00 KiB"), (87_241_523_200_u64, "81.25 GiB")]
        {
            assert_eq!(bytes(&Value::from(number)), shown);
        }
        assert_eq!(bytes(&Value::from(u64::MAX)), "16.00 EiB");
        for (number, shown) in
            [(7, "7"), (999, "999"), (1000, "1\u{202f}000"), (1_234_567, "1\u{202f}234\u{202f}567")]
        {
            assert_eq!(count(&Value::from(number)), shown);
        }
        assert_eq!(count(&Value::Null), "-");
    }
}
