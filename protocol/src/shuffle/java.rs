//! The parts of Java's text handling on which Spark's texts of errors depend.

use std::str::FromStr;

/// `String.split("_")`: empty parts at the end are dropped, except that an empty text is one empty part.
pub(super) fn split(text: &str) -> impl Iterator<Item = &str> {
    let trimmed = text.trim_end_matches('_');
    let parts = if trimmed.is_empty() && !text.is_empty() { 0 } else { usize::MAX };
    trimmed.split('_').take(parts)
}

/// The parts of [`split`], if there are just `N` of them.
pub(super) fn split_exactly<const N: usize>(text: &str) -> Option<[&str; N]> {
    let mut parts = split(text);
    let mut exactly = [""; N];
    for part in &mut exactly {
        *part = parts.next()?;
    }
    parts.next().is_none().then_some(exactly)
}

/// `Integer.parseInt` and `Long.parseLong`, which like Rust take one sign and then digits. Java takes digits
/// of every script; we take ASCII.
pub(super) fn parse<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// First line of the exception of [`parse`].
pub(super) fn number_format_exception(text: &str) -> String {
    format!("java.lang.NumberFormatException: For input string: \"{text}\"")
}

/// First line of the exception of an array access past its end.
pub(super) fn array_index_exception(index: usize, len: usize) -> String {
    format!("java.lang.ArrayIndexOutOfBoundsException: Index {index} out of bounds for length {len}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_drops_empty_parts_at_the_end_only() {
        let cases: [(&str, &[&str]); 6] = [
            ("a_b", &["a", "b"]),
            ("a_b__", &["a", "b"]),
            ("__a", &["", "", "a"]),
            ("a", &["a"]),
            ("", &[""]),
            ("__", &[]),
        ];
        for (text, parts) in cases {
            assert_eq!(split(text).collect::<Vec<_>>(), parts, "{text:?}");
        }
        assert_eq!(split_exactly::<2>("a_b_"), Some(["a", "b"]));
        assert_eq!(split_exactly::<2>("a_b_c"), None);
        assert_eq!(split_exactly::<2>("a"), None);
    }
}
