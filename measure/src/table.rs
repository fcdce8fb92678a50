//! Tables of Markdown.

use std::fmt::{self, Display};

/// A table with a heading, row by row.
#[derive(Clone, Debug)]
pub struct Table {
    columns: usize,
    text: String,
}

impl Table {
    /// A table with these headings and no rows.
    pub fn new(headings: &[&str]) -> Self {
        let mut table = Self { columns: headings.len(), text: String::new() };
        table.line(headings.iter().copied());
        table.text += "\n|";
        table.text += &"---|".repeat(headings.len());
        table
    }

    /// Adds a row with a cell for each heading.
    pub fn row(&mut self, cells: &[&dyn Display]) {
        debug_assert_eq!(cells.len(), self.columns, "a cell for each heading");
        self.text.push('\n');
        self.line(cells.iter());
    }

    fn line<T: Display>(&mut self, cells: impl Iterator<Item = T>) {
        self.text.push('|');
        for cell in cells {
            self.text += &format!(" {cell} |");
        }
    }
}

/// The lines, without one that is empty at the end.
impl Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_under_their_headings() {
        let mut table = Table::new(&["mode", "MB/s"]);
        table.row(&[&"tls", &12]);
        table.row(&[&"", &format!("{:.1}", 0.25)]);
        assert_eq!(table.to_string(), "| mode | MB/s |\n|---|---|\n| tls | 12 |\n|  | 0.2 |");
    }
}
