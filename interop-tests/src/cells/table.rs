//! Rows as a table.

use std::fmt::Write as _;

use super::row::{Role, Row};

/// One row a mode, one column a release, in Markdown; in each cell Spark's client at our server, then our client at Spark's
/// service.
pub fn table(rows: &[Row]) -> String {
    let (mut versions, mut ways) = (Vec::new(), Vec::new());
    for row in rows {
        if !versions.contains(&row.mode.version) {
            versions.push(row.mode.version);
        }
        if !ways.contains(&row.mode.way()) {
            ways.push(row.mode.way());
        }
    }
    let mut text = format!("| mode | {} |\n|---|{}\n", versions.join(" | "), "---|".repeat(versions.len()));
    for way in ways {
        write!(text, "| {way} |").expect("text grows");
        for version in &versions {
            let row = rows.iter().find(|row| row.mode.version == *version && row.mode.way() == way);
            let cell = row.map_or_else(String::new, |row| {
                format!("{} {}", row.verdict(Role::Server).sign(), row.verdict(Role::Client).sign())
            });
            write!(text, " {cell} |").expect("text grows");
        }
        text.push('\n');
    }
    text
}
