//! A picture of spreads as horizontal bars (SVG): the median is the bar, a line over it goes from the least to the most.

use std::fmt::{self, Display};

use crate::Spread;

const WIDTH: f64 = 860.0;
/// Where bars begin, and how long the longest is.
const LEFT: f64 = 220.0;
const LONGEST: f64 = 540.0;
const TOP: f64 = 84.0;
const BAR: f64 = 15.0;
/// From one bar of a row to the next, and from the last to the next row.
const STEP: f64 = BAR + 2.0;
const GAP: f64 = 12.0;
/// One part of the legend.
const LEGEND: f64 = 130.0;

/// Rows of bars, one bar for each of the series.
#[derive(Clone, Debug)]
pub struct Bars<'a> {
    title: &'a str,
    about: &'a str,
    /// Name and colour.
    series: &'a [(&'a str, &'a str)],
    rows: Vec<(String, Vec<Option<Spread>>)>,
}

impl<'a> Bars<'a> {
    /// A picture without rows; each of the series has a name and a colour.
    pub fn new(title: &'a str, about: &'a str, series: &'a [(&'a str, &'a str)]) -> Self {
        Self { title, about, series, rows: Vec::new() }
    }

    /// Adds a row with a bar for each of the series that is known there.
    pub fn row(&mut self, label: &str, spreads: &[Option<Spread>]) {
        debug_assert_eq!(spreads.len(), self.series.len(), "a bar for each of the series");
        self.rows.push((label.to_owned(), spreads.to_vec()));
    }

    fn most(&self) -> f64 {
        let spreads = self.rows.iter().flat_map(|(_, spreads)| spreads.iter().flatten());
        spreads.map(|spread| spread.most).fold(f64::MIN_POSITIVE, f64::max)
    }
}

impl Display for Bars<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = STEP * self.series.len() as f64 + GAP;
        let height = TOP + row * self.rows.len() as f64 + 20.0;
        writeln!(
            f,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
             font-family=\"DejaVu Sans, Verdana, Helvetica, Arial, sans-serif\" font-size=\"13\">\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"20\" y=\"30\" font-size=\"17\" font-weight=\"bold\">{}</text>\n\
             <text x=\"20\" y=\"52\" fill=\"#555555\">{}</text>",
            self.title, self.about
        )?;
        let legend = WIDTH - LEGEND * self.series.len() as f64;
        for (at, (name, colour)) in self.series.iter().enumerate() {
            let x = legend + LEGEND * at as f64;
            writeln!(
                f,
                "<rect x=\"{x}\" y=\"19\" width=\"12\" height=\"12\" fill=\"{colour}\"/><text x=\"{}\" y=\"30\">{name}</text>",
                x + 18.0
            )?;
        }
        let most = self.most();
        for (at, (label, spreads)) in self.rows.iter().enumerate() {
            let y = TOP + row * at as f64;
            let middle = y + (row - GAP) / 2.0 + 4.0;
            writeln!(f, "<text x=\"{}\" y=\"{middle}\" text-anchor=\"end\">{label}</text>", LEFT - 12.0)?;
            for (at, (spread, (_, colour))) in spreads.iter().zip(self.series).enumerate() {
                let Some(spread) = spread else { continue };
                bar(f, y + STEP * at as f64, *spread, most, colour)?;
            }
        }
        writeln!(f, "</svg>")
    }
}

fn bar(f: &mut fmt::Formatter<'_>, y: f64, spread: Spread, most: f64, colour: &str) -> fmt::Result {
    let long = |value: f64| value / most * LONGEST;
    let Spread { least, median, most: worst } = spread;
    let (middle, end) = (y + BAR / 2.0, LEFT + long(worst).max(long(median)) + 8.0);
    writeln!(
        f,
        "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" fill=\"{colour}\"/>\
         <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#222222\"/>\
         <text x=\"{end:.1}\" y=\"{:.1}\" font-size=\"12\">{median:.2}</text>",
        long(median),
        LEFT + long(least),
        LEFT + long(worst),
        middle + 4.5,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_bar_is_the_most_that_was_seen_and_what_is_unknown_has_none() {
        let series = [("Spark's", "#111111"), ("ours", "#222222")];
        let mut bars = Bars::new("Seconds", "median", &series);
        bars.row("clear", &[Some(Spread { least: 1.0, median: 2.0, most: 4.0 }), None]);
        let picture = bars.to_string();
        assert!(picture.contains("width=\"270.0\" height=\"15\" fill=\"#111111\""), "{picture}");
        assert!(picture.contains("x1=\"355.0\" x2=\"760.0\""), "{picture}");
        assert!(!picture.contains("height=\"15\" fill=\"#222222\""), "{picture}");
    }
}
