//! A table of points, each with the values of several rounds.

use std::fmt::Write;

use sealed_shuffle_measure::Spread;
use serde_json::{Map, Value, json};

use super::super::mode::Mode;

/// A quantity of a series.
pub(super) struct Column {
    /// The name in JSON. The value is in the unit of the measurement.
    pub(super) key: &'static str,
    /// The heading in the table.
    pub(super) heading: &'static str,
    /// The factor from the unit of the measurement to that of the table.
    pub(super) scale: f64,
    pub(super) digits: usize,
}

/// Points in the order of their first measurement.
pub(in super::super) struct Series {
    title: &'static str,
    columns: &'static [Column],
    /// The point by which the others are divided, in the first column, round by round.
    reference: &'static str,
    points: Vec<Point>,
}

struct Point {
    label: String,
    /// The values of each round, for each column.
    rounds: Vec<Vec<f64>>,
}

const LABEL: usize = 34;
const WIDTH: usize = 19;

impl Series {
    pub(super) fn new(title: &'static str, columns: &'static [Column], reference: &'static str) -> Self {
        Self { title, columns, reference, points: Vec::new() }
    }

    /// Adds the values of the next round at a point: as many values as there are columns.
    pub(super) fn add(&mut self, label: impl Into<String>, values: Vec<f64>) {
        let label = label.into();
        debug_assert_eq!(values.len(), self.columns.len(), "{label}");
        match self.points.iter_mut().find(|point| point.label == label) {
            Some(point) => point.rounds.push(values),
            None => self.points.push(Point { label, rounds: vec![values] }),
        }
    }

    /// The table for people: medians, and the smallest and largest ratio.
    pub(in super::super) fn text(&self, mode: Mode) -> String {
        let mut text = format!("\n{} ({})\n{:<LABEL$}", self.title, mode.name(), "");
        // Writing to a string cannot fail.
        for column in self.columns {
            write!(text, "{:>WIDTH$}", column.heading).ok();
        }
        if !self.reference.is_empty() {
            write!(text, "   OF {}", self.reference).ok();
        }
        for point in &self.points {
            write!(text, "\n{:<LABEL$}", point.label).ok();
            for (at, column) in self.columns.iter().enumerate() {
                let value = Spread::of(point.column(at)).median * column.scale;
                write!(text, "{value:>WIDTH$.0$}", column.digits).ok();
            }
            if let Some(ratio) = self.ratio(point) {
                write!(text, "   {:.2} ({:.2} - {:.2})", ratio.median, ratio.least, ratio.most).ok();
            }
        }
        text
    }

    pub(in super::super) fn json(&self, mode: Mode) -> Value {
        let point = |point: &Point| {
            let mut fields = Map::new();
            fields.insert("point".to_owned(), json!(point.label));
            for (at, column) in self.columns.iter().enumerate() {
                fields.insert(column.key.to_owned(), Spread::of(point.column(at)).json());
            }
            if let Some(ratio) = self.ratio(point) {
                fields.insert("ratio".to_owned(), ratio.json());
            }
            Value::Object(fields)
        };
        let points: Vec<_> = self.points.iter().map(point).collect();
        json!({ "series": self.title, "mode": mode.name(), "reference": self.reference, "points": points })
    }

    fn ratio(&self, point: &Point) -> Option<Spread> {
        let reference = self.points.iter().find(|point| point.label == self.reference)?;
        Some(Spread::of_ratios(point.column(0).zip(reference.column(0))))
    }
}

impl Point {
    fn column(&self, at: usize) -> impl Iterator<Item = f64> {
        self.rounds.iter().map(move |values| values[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: &[Column] = &[Column { key: "seconds", heading: "MS", scale: 1000.0, digits: 1 }];

    #[test]
    fn ratios_are_formed_within_a_round() {
        let mut series = Series::new("x", COLUMNS, "1");
        for (one, two) in [(1.0, 2.0), (10.0, 20.0), (3.0, 9.0)] {
            series.add("1", vec![one]);
            series.add("2", vec![two]);
        }
        let ratio = series.ratio(&series.points[1]).unwrap();
        assert_eq!((ratio.least, ratio.median, ratio.most), (2.0, 2.0, 3.0));
        assert_eq!(series.json(Mode::Tls)["points"][0]["seconds"]["median"], 3.0);
        assert!(series.text(Mode::Tls).contains("3000.0"));
    }
}
