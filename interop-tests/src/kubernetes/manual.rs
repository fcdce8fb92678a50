//! The commands of the page about Kubernetes, as tests follow it.

use std::{fs, path::Path};

/// The page, beneath the top of the tree.
const PAGE: &str = "docs/kubernetes.md";

/// The lines that begin with `$ ` in blocks `console` beneath a heading, up to the next one; with the lines that continue them.
#[track_caller]
pub fn commands(heading: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("cannot read {PAGE}: {e}"));
    let (mut inside, mut block, mut continued) = (false, false, false);
    let mut found = Vec::new();
    for line in text.lines() {
        match line {
            _ if !block && line.starts_with('#') => inside = line.trim_start_matches('#').trim() == heading,
            "```console" => block = true,
            "```" => block = false,
            _ if inside && block => {
                let command = if continued { Some(line) } else { line.strip_prefix("$ ") };
                found.extend(command);
                continued = command.is_some_and(|command| command.ends_with('\\'));
            }
            _ => (),
        }
    }
    assert!(!found.is_empty(), "{PAGE} has no commands beneath {heading:?}");
    found.join("\n")
}
