//! Values of one quantity, and what is said of them.

use std::fmt;

use serde_json::{Value, json};

/// Values of one quantity, in order.
#[derive(Clone, Debug, Default)]
pub struct Sample(Vec<f64>);

impl Sample {
    /// Takes values in any order.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The value that `of` in a hundred do not exceed, one that was seen; 0 of an empty sample.
    pub fn percentile(&self, of: usize) -> f64 {
        let at = (self.0.len() * of).div_ceil(100).max(1) - 1;
        self.0.get(at).copied().unwrap_or(0.0)
    }

    /// Least, median and most; `None` of an empty sample. The median of an even number lies between the two in the middle.
    pub fn spread(&self) -> Option<Spread> {
        let (&least, &most) = (self.0.first()?, self.0.last()?);
        let (low, high) = (self.0[(self.0.len() - 1) / 2], self.0[self.0.len() / 2]);
        Some(Spread { least, median: f64::midpoint(low, high), most })
    }
}

/// Median, least and most of several values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The smallest value.
    pub least: f64,
    /// The value in the middle.
    pub median: f64,
    /// The largest value.
    pub most: f64,
}

impl Spread {
    /// The spread of nothing: no number, which JSON shows as `null`.
    pub const NOTHING: Self = Self { least: f64::NAN, median: f64::NAN, most: f64::NAN };

    /// Of values in any order; [`Self::NOTHING`] of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        Sample::of(values).spread().unwrap_or(Self::NOTHING)
    }

    /// Of the ratios of neighbouring runs, the first of a pair over the second. A machine is not equally fast all the time:
    /// the ratio of two medians would show its moods.
    pub fn of_ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Self {
        Self::of(pairs.into_iter().map(|(one, other)| one / other))
    }

    /// This spread, unless it is of nothing.
    pub fn known(self) -> Option<Self> {
        self.median.is_finite().then_some(self)
    }

    /// `median`, `least`, `most`.
    pub fn json(&self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}

/// `median (least – most)` with as many digits as the precision says, else three.
impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(3);
        write!(f, "{:.digits$} ({:.digits$} – {:.digits$})", self.median, self.least, self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let seen = Sample::of((1..=200).rev().map(f64::from));
        assert_eq!((seen.percentile(50), seen.percentile(99)), (100.0, 198.0));
        let one = Sample::of([1.0]);
        assert_eq!((one.percentile(50), one.percentile(99)), (1.0, 1.0));
        assert_eq!(Sample::default().percentile(50), 0.0);
    }

    #[test]
    fn median_of_an_even_number_lies_between_the_two_in_the_middle() {
        assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]), Spread { least: 1.0, median: 2.5, most: 4.0 });
        assert_eq!(Spread::of([3.0, 1.0, 2.0]).median, 2.0);
    }

    #[test]
    fn ratios_are_formed_within_a_pair() {
        let ratio = Spread::of_ratios([(2.0, 1.0), (20.0, 10.0), (9.0, 3.0)]);
        assert_eq!((ratio.least, ratio.median, ratio.most), (2.0, 2.0, 3.0));
    }

    #[test]
    fn nothing_has_no_spread() {
        assert_eq!(Sample::default().spread(), None);
        assert_eq!(Spread::of([]).known(), None);
        assert_eq!(Spread::of([]).json(), json!({ "median": null, "least": null, "most": null }));
        assert!(Spread::of([1.0]).known().is_some());
    }

    #[test]
    fn text_has_the_digits_that_were_asked_for() {
        let spread = Spread::of([1.0, 2.0, 4.0]);
        assert_eq!(format!("{spread}"), "2.000 (1.000 – 4.000)");
        assert_eq!(format!("{spread:.1}"), "2.0 (1.0 – 4.0)");
    }
}
