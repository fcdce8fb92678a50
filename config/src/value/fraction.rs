//! A part of all.

use super::{Grammar, Reject, java_trim};

/// A decimal number from 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Fraction;

impl Grammar for Fraction {
    type Value = f64;

    fn parse(&self, text: &str) -> Result<f64, Reject> {
        let word = java_trim(text);
        let is_plain = word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let number = word.parse::<f64>().ok().filter(|_| is_plain);
        let number = number.ok_or_else(|| Reject::new("not a decimal number such as 0.01"))?;
        Some(number)
            .filter(|number| (0.0..=1.0).contains(number))
            .ok_or_else(|| Reject::new("out of range 0 to 1"))
    }

    fn shape(&self) -> String {
        "decimal number, 0 to 1".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_lies_between_nothing_and_all() {
        for (text, value) in
            [("0", 0.0), ("1", 1.0), (" 0.25 ", 0.25), (".5", 0.5), ("1.0", 1.0), ("0.000001", 1e-6)]
        {
            assert_eq!(Fraction.parse(text), Ok(value), "{text}");
        }
        for text in ["", ".", "-0", "+1", "1e-3", "NaN", "inf", "0,5", "1.01", "2", "50%"] {
            assert!(Fraction.parse(text).is_err(), "{text}");
        }
    }
}
