//! Texts name configuration keys that exist.

use std::fs;
use std::path::{Path, PathBuf};

use sealed_shuffle_config::keys;

/// A key that an error names and nobody can set would send an operator on a wrong track.
#[test]
fn every_key_that_the_code_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md"), root.join("CHANGELOG.md")];
    for room in ["src", "client/src", "config/src", "protocol/src", "transport/src", "docs"] {
        sources(&root.join(room), &mut files);
    }
    let mut unknown = Vec::new();
    let mut named = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        for rest in text.split("spark.sealed.").skip(1) {
            let end =
                rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '.' && c != '-').unwrap_or(rest.len());
            let name = rest[..end].trim_end_matches('.');
            let stands_for_many = name.is_empty() || rest[end..].starts_with('*');
            if stands_for_many {
                continue;
            }
            named += 1;
            if keys::find(&format!("spark.sealed.{name}")).is_none() {
                unknown.push(format!("spark.sealed.{name} in {}", file.display()));
            }
        }
    }
    assert!(named > 50, "found {named} keys; does this test still look at the sources?");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

fn sources(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("the sources are readable") {
        let path = entry.expect("the sources are readable").path();
        if path.is_dir() && !path.ends_with("tests") {
            sources(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "md")
            && !path.ends_with("tests.rs")
        {
            files.push(path);
        }
    }
}
