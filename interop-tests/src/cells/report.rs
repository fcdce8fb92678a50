//! Rows for programs: JSON, and the XML that build servers read as results of tests (JUnit's).

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{
    row::{Role, Row},
    verdict::Verdict,
};

/// What was run: `[{"spark", "mode", "role", "verdict", "reason"}]`, one for each cell. `verdict` is one of `passed`,
/// `refused` (by name, as it must be), `impossible` (nobody can stand there), `failed`; `reason` is null but for the last.
pub fn json(rows: &[Row]) -> Value {
    cells(rows)
        .map(|(row, role, verdict)| {
            let (word, reason) = match verdict {
                Verdict::Passed => ("passed", None),
                Verdict::Refused => ("refused", None),
                Verdict::Impossible => ("impossible", None),
                Verdict::Failed(reason) => ("failed", Some(reason)),
            };
            json!({
                "spark": row.mode.version,
                "mode": row.mode.way(),
                "role": role.to_string(),
                "verdict": word,
                "reason": reason,
            })
        })
        .collect()
}

/// The same as JUnit writes it: a suite for each release, a case for each cell. What is impossible is skipped.
pub fn junit(rows: &[Row]) -> String {
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n".to_owned();
    for rows in rows.chunk_by(|one, next| one.mode.version == next.mode.version) {
        let count = |of: fn(&Verdict) -> bool| cells(rows).filter(|(_, _, verdict)| of(verdict)).count();
        let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
        let skipped = count(|verdict| *verdict == Verdict::Impossible);
        let version = rows.first().map_or("", |row| row.mode.version);
        writeln!(
            text,
            "  <testsuite name=\"Spark {}\" tests=\"{}\" failures=\"{failed}\" skipped=\"{skipped}\">",
            Escaped(version),
            cells(rows).count(),
        )
        .expect("text grows");
        for (row, role, verdict) in cells(rows) {
            let way = row.mode.way();
            write!(
                text,
                "    <testcase classname=\"{}\" name=\"{}\"",
                Escaped(&way),
                Escaped(&role.to_string())
            )
            .expect("text grows");
            match verdict {
                Verdict::Failed(reason) => {
                    writeln!(text, "><failure>{}</failure></testcase>", Escaped(reason)).expect("text grows");
                }
                Verdict::Impossible => text.push_str("><skipped/></testcase>\n"),
                Verdict::Passed | Verdict::Refused => text.push_str("/>\n"),
            }
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

fn cells(rows: &[Row]) -> impl Iterator<Item = (&Row, Role, &Verdict)> {
    rows.iter().flat_map(|row| row.verdicts.iter().map(move |(role, verdict)| (row, *role, verdict)))
}

/// Text within XML. What XML 1.0 cannot hold at all is left out.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.chars().try_for_each(|character| match character {
            '&' => f.write_str("&amp;"),
            '<' => f.write_str("&lt;"),
            '>' => f.write_str("&gt;"),
            '"' => f.write_str("&quot;"),
            '\n' | '\t' => f.write_char(character),
            character if character.is_control() => Ok(()),
            character => f.write_char(character),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modes::{Auth, Mode};

    fn row(version: &'static str, client: Verdict) -> Row {
        let verdicts =
            [(Role::Spark, Verdict::Impossible), (Role::Server, Verdict::Refused), (Role::Client, client)];
        Row { mode: Mode::new(version, Auth::Sasl), verdicts }
    }

    #[test]
    fn each_cell_is_a_case_and_a_failure_says_why() {
        let rows =
            [row("3.5.9", Verdict::Passed), row("4.3.0", Verdict::Failed("a < b\u{1b} & c".to_owned()))];
        let xml = junit(&rows);
        assert_eq!(xml.matches("<testsuite ").count(), 2, "{xml}");
        assert_eq!(xml.matches("<testcase ").count(), 6, "{xml}");
        assert!(
            xml.contains("<testsuite name=\"Spark 4.3.0\" tests=\"3\" failures=\"1\" skipped=\"1\">"),
            "{xml}"
        );
        assert!(xml.contains("<failure>a &lt; b &amp; c</failure>"), "{xml}");
        let json = json(&rows);
        let verdicts: Vec<_> = json.as_array().unwrap().iter().map(|cell| cell["verdict"].clone()).collect();
        assert_eq!(verdicts, ["impossible", "refused", "passed", "impossible", "refused", "failed"]);
        assert_eq!(json[5]["reason"], "a < b\u{1b} & c");
    }
}
