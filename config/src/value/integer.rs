//! Whole numbers.

use std::fmt;

use super::{Grammar, Reject, java_trim};

/// A decimal integer with an optional sign, within bounds.
#[derive(Clone, Copy, Debug)]
pub struct Int<T> {
    trimmed: bool,
    bounded: bool,
    min: T,
    max: T,
}

impl<T> Int<T> {
    /// The form of Spark's registry: surrounding blanks do not matter.
    pub const fn registry(min: T, max: T) -> Self {
        Self { trimmed: true, bounded: true, min, max }
    }

    /// The form of Spark's transport: no blanks.
    pub const fn transport(min: T, max: T) -> Self {
        Self { trimmed: false, bounded: true, min, max }
    }
}

impl Int<i32> {
    /// Every 32-bit integer, in the form of Spark's transport: no blanks.
    pub const ANY: Self = Self { trimmed: false, bounded: false, min: i32::MIN, max: i32::MAX };
}

impl<T> Grammar for Int<T>
where
    T: Copy + fmt::Display + PartialOrd + Send + Sync + TryFrom<i128>,
{
    type Value = T;

    fn parse(&self, text: &str) -> Result<T, Reject> {
        let word = if self.trimmed { java_trim(text) } else { text };
        let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(Reject::new("not a whole number"));
        }
        // A number with more digits than an i128 holds is out of every range as well.
        let number = word.parse::<i128>().ok().and_then(|n| T::try_from(n).ok());
        number
            .filter(|n| (self.min..=self.max).contains(n))
            .ok_or_else(|| Reject::new(format!("out of range {} to {}", self.min, self.max)))
    }

    fn shape(&self) -> String {
        if self.bounded { format!("integer, {} to {}", self.min, self.max) } else { "integer".into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORT: Int<u16> = Int::registry(0, u16::MAX);

    #[test]
    fn reads_decimal_with_optional_sign() {
        for (text, value) in
            [("7337", 7337), (" 7337 ", 7337), ("+7337", 7337), ("007", 7), ("-0", 0), ("65535", 65535)]
        {
            assert_eq!(PORT.parse(text), Ok(value), "{text}");
        }
        assert_eq!(Int::ANY.parse("-1"), Ok(-1));
    }

    #[test]
    fn rejects_what_spark_rejects() {
        for text in ["7337.0", "0x10", "1_0", "1k", "", "abc", "+", "--1", "1 0", "٧"] {
            assert_eq!(PORT.parse(text), Err(Reject::new("not a whole number")), "{text}");
        }
        for text in ["70000", "-1", "99999999999999999999999999999999999999999999"] {
            assert_eq!(PORT.parse(text), Err(Reject::new("out of range 0 to 65535")), "{text}");
        }
    }

    #[test]
    fn the_transport_does_not_trim() {
        assert!(Int::transport(0, i32::MAX).parse(" 1").is_err());
    }

    #[test]
    fn reaches_the_ends_of_a_long() {
        let long = Int::transport(0, i64::MAX);
        assert_eq!(long.parse("9223372036854775807"), Ok(i64::MAX));
        assert!(long.parse("9223372036854775808").is_err());
    }
}
