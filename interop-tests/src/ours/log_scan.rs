//! No warning passes unseen: a line of level WARN or ERROR that the test did not announce fails it.

/// Panics with every WARN and ERROR line that holds none of the `expected` texts.
pub fn assert_expected(lines: &[String], expected: &[&str]) {
    let unexpected = unexpected(lines, expected);
    assert!(
        unexpected.is_empty(),
        "the log warns of what the test did not expect:\n{}",
        unexpected.join("\n")
    );
}

fn unexpected(lines: &[String], expected: &[&str]) -> Vec<String> {
    lines
        .iter()
        .map(|line| without_colours(line))
        .filter(|line| is_warning(line))
        .filter(|line| !expected.iter().any(|text| line.contains(text)))
        .collect()
}

/// The level stands in the first words of a line (text), or in the field `level` (JSON). A panic is worse than both.
fn is_warning(line: &str) -> bool {
    let level = line.split_whitespace().take(4).any(|word| matches!(word, "WARN" | "ERROR"));
    level
        || line.contains("\"level\":\"WARN\"")
        || line.contains("\"level\":\"ERROR\"")
        || line.contains("panicked at")
}

fn without_colours(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        text.push_str(before);
        rest = after.split_once('m').map_or("", |(_, tail)| tail);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_levels_in_text_json_and_colour() {
        let lines = [
            "2026-01-01T00:00:00Z  INFO sealed_shuffle: WARNing is a word".to_owned(),
            "2026-01-01T00:00:00Z  WARN sealed_shuffle: a".to_owned(),
            "2026-01-01T00:00:00Z \u{1b}[31mERROR\u{1b}[0m sealed_shuffle: b".to_owned(),
            r#"{"level":"WARN","message":"c"}"#.to_owned(),
            "thread 'main' panicked at src/x.rs:1:1:".to_owned(),
        ];
        assert_eq!(unexpected(&lines, &[]).len(), 4);
        assert_eq!(unexpected(&lines, &["shuffle: a", "panicked", "\"c\""]).len(), 1);
    }
}
