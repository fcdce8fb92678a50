//! Rows of cells as text. Each column is as wide as its widest cell; two blanks separate columns, and none end a
//! line.

use sealed_shuffle_protocol::shown::Shown;
use serde_json::Value;

/// A value of JSON as a cell; what a server said is made harmless.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::String(text) => Shown(text).to_string(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

/// So many things, whose name is that of one.
pub(super) fn counted(value: &Value, one: &str) -> String {
    let ending = if value.as_u64() == Some(1) { "" } else { "s" };
    format!("{} {one}{ending}", cell(value))
}

/// The rows, one a line.
pub(super) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}
