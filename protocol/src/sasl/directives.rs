//! The grammar that challenge, response and answer share: `name=value` or `name="value"`, between commas.
//!
//! Source: RFC 2831, sections 2.1 and 7.1, read as leniently as DigestMD5Base of the JDK 17 does: blanks separate like
//! commas do, empty elements are skipped, names are compared without case.

use super::error::SaslError;

/// The directives of one token.
pub(super) struct Directives<'a>(Vec<(&'a [u8], Vec<u8>)>);

impl<'a> Directives<'a> {
    /// Takes a token apart. Its length must have been bounded.
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, SaslError> {
        let mut found = Vec::new();
        let mut rest = skip(token, is_separator);
        while !rest.is_empty() {
            let (name, behind) = split(rest, |byte| byte == b'=' || is_separator(byte));
            let value = skip(behind, is_blank).strip_prefix(b"=");
            let value = value.ok_or(SaslError::Syntax("a directive without a value"))?;
            if name.is_empty() {
                return Err(SaslError::Syntax("a value without a directive"));
            }
            let (value, behind) = take_value(skip(value, is_blank))?;
            if behind.first().is_some_and(|&byte| !is_separator(byte)) {
                return Err(SaslError::Syntax("something between a quoted value and its comma"));
            }
            found.push((name, value));
            rest = skip(behind, is_separator);
        }
        Ok(Self(found))
    }

    /// The value of a directive that may occur once.
    pub(super) fn optional(&self, name: &'static str) -> Result<Option<&[u8]>, SaslError> {
        let mut values = self.0.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name.as_bytes()));
        let first = values.next();
        if values.next().is_some() {
            return Err(SaslError::Duplicate(name));
        }
        Ok(first.map(|(_, value)| &value[..]))
    }

    /// The value of a directive that must occur once.
    pub(super) fn required(&self, name: &'static str) -> Result<&[u8], SaslError> {
        self.optional(name)?.ok_or(SaslError::Missing(name))
    }

    /// Refuses a charset other than the one there is.
    pub(super) fn check_charset(&self) -> Result<bool, SaslError> {
        match self.optional("charset")? {
            None => Ok(false),
            Some(b"utf-8") => Ok(true),
            Some(_) => Err(SaslError::Charset),
        }
    }
}

/// Appends a value in quotes.
pub(super) fn put_quoted(out: &mut Vec<u8>, value: &[u8]) {
    out.push(b'"');
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// The words of a value that is a list itself.
pub(super) fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| is_separator(byte)).filter(|word| !word.is_empty())
}

/// Splits the value off the front: the text between quotes, or up to the next separator.
fn take_value(bytes: &[u8]) -> Result<(Vec<u8>, &[u8]), SaslError> {
    let Some(mut rest) = bytes.strip_prefix(b"\"") else {
        let (value, rest) = split(bytes, is_separator);
        return Ok((value.to_vec(), rest));
    };
    let mut value = Vec::new();
    loop {
        match rest {
            [b'"', behind @ ..] => return Ok((value, behind)),
            [b'\\', byte, behind @ ..] | [byte, behind @ ..] if !matches!(rest, [b'\\']) => {
                value.push(*byte);
                rest = behind;
            }
            _ => return Err(SaslError::Syntax("a quoted value without an end")),
        }
    }
}

fn split(bytes: &[u8], ends: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|&byte| ends(byte)).unwrap_or(bytes.len()))
}

fn skip(bytes: &[u8], skipped: impl Fn(u8) -> bool) -> &[u8] {
    split(bytes, |byte| !skipped(byte)).1
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_separator(byte: u8) -> bool {
    byte == b',' || is_blank(byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_quoted_and_bare_values_between_commas_and_blanks() {
        let token = b" ,,a=1 , b = \"x, \\\"y\\\\\" ,\r\n\tC=,";
        let directives = Directives::parse(token).unwrap();
        assert_eq!(directives.required("a").unwrap(), b"1");
        assert_eq!(directives.required("B").unwrap(), b"x, \"y\\");
        assert_eq!(directives.required("c").unwrap(), b"");
        assert_eq!(directives.optional("d").unwrap(), None);
    }

    #[test]
    fn refuses_what_is_no_directive() {
        for token in ["a", "a,b=1", "=1", "a=\"1", "a=\"1\\", "a=\"1\"2", "a b=1"] {
            let refused = Directives::parse(token.as_bytes());
            assert!(matches!(refused, Err(SaslError::Syntax(_))), "{token}");
        }
    }

    #[test]
    fn refuses_a_second_one_only_where_one_is_asked_for() {
        let directives = Directives::parse(b"nc=1,NC=1,a=2").unwrap();
        assert_eq!(directives.required("a").unwrap(), b"2");
        assert!(matches!(directives.optional("nc"), Err(SaslError::Duplicate("nc"))));
        assert!(matches!(directives.required("b"), Err(SaslError::Missing("b"))));
    }

    #[test]
    fn a_quoted_value_reads_back() {
        let mut out = b"a=".to_vec();
        put_quoted(&mut out, b"q\"b\\c,");
        assert_eq!(Directives::parse(&out).unwrap().required("a").unwrap(), b"q\"b\\c,");
    }
}
