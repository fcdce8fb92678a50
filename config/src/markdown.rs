//! The table of keys as Markdown, for `docs/reference.md`.

use super::key::{AnyKey, DefaultValue, Reader};
use super::keys;

/// The keys that are read, as Markdown tables: for the server, for both, for the client.
pub fn markdown_table() -> String {
    let sections = [
        (Reader::Serve, "Read by `serve`:"),
        (Reader::Both, "Read by `serve` and by client commands:"),
        (Reader::Client, "Read by client commands and the library's client:"),
    ];
    let mut text = String::new();
    for (reader, title) in sections {
        text += &format!("{title}\n\n| key | value | default | meaning |\n|---|---|---|---|\n");
        for key in keys::all().filter(|key| key.reader() == reader) {
            text += &row(key);
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn row(key: &dyn AnyKey) -> String {
    let default = match (keys::ancestor(key), key.default()) {
        (Some(ancestor), _) => format!("that of `{}`", ancestor.name()),
        (None, DefaultValue::Text(value)) => format!("`{value}`"),
        (None, DefaultValue::Same(other)) => format!("`{}`", other.name()),
        (None, DefaultValue::Unset(words)) => words.to_owned(),
    };
    let near = key.nearest_of_spark().map(|name| format!(" Spark's nearest: `{name}`.")).unwrap_or_default();
    let old = match key.old_names() {
        [] => String::new(),
        names => format!(" Older names: `{}`.", names.join("`, `")),
    };
    format!("| `{}` | {} | {default} | {}{near}{old} |\n", key.name(), key.shape(), key.meaning())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEGIN: &str = "<!-- config:begin -->\n";
    const END: &str = "<!-- config:end -->";

    /// `UPDATE_DOCS=1 cargo test -p sealed-shuffle-config reference_holds_the_table` writes the table instead.
    #[test]
    fn reference_holds_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference.md");
        let chapter = std::fs::read_to_string(path).unwrap();
        let (before, rest) = chapter.split_once(BEGIN).expect("the chapter has the marker before the table");
        let (table, after) = rest.split_once(END).expect("the chapter has the marker after the table");
        let wanted = format!("\n{}\n", markdown_table());
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{before}{BEGIN}{wanted}{END}{after}")).unwrap();
            return;
        }
        assert!(table == wanted, "the table in docs/reference.md is out of date: run with UPDATE_DOCS=1");
    }

    #[test]
    fn every_key_has_a_row() {
        let table = markdown_table();
        for key in keys::all() {
            assert_eq!(table.matches(&format!("\n| `{}` |", key.name())).count(), 1, "{}", key.name());
        }
    }
}
