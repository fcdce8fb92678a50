//! `${…}` in values: `${env:X}`, `${system:p}`, `${spark.k}` (ConfigReader, Spark 4.3.0).
//!
//! References are replaced in the text that they lead to, too. A reference that cannot be resolved stays as text. A
//! key that leads back to itself is an error. Only keys of Spark's typed registry and of this project are
//! substituted; the transport and `spark.local.dir` take their text as it stands.

use zeroize::Zeroizing;

/// The target of a reference.
pub(crate) trait References {
    /// An environment variable.
    fn env(&self, name: &str) -> Option<Zeroizing<String>>;
    /// A system property of the JVM in which Spark would run.
    fn system(&self, name: &str) -> Option<Zeroizing<String>>;
    /// A key; its default where it is not set.
    fn spark(&self, name: &str) -> Option<Zeroizing<String>>;
}

/// The text with its references replaced. An error names the reference that leads back to itself.
pub(crate) fn substitute(text: &str, references: &dyn References) -> Result<Zeroizing<String>, String> {
    expand(text, references, &mut Vec::new())
}

fn expand(
    text: &str,
    references: &dyn References,
    path: &mut Vec<String>,
) -> Result<Zeroizing<String>, String> {
    let mut plain = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let Some(inner) = reference(&rest[start + 2..]) else {
            plain.push_str(&rest[..start + 2]);
            rest = &rest[start + 2..];
            continue;
        };
        plain.push_str(&rest[..start]);
        let end = start + 2 + inner.len() + 1;
        match resolve(inner, references) {
            None => plain.push_str(&rest[start..end]),
            Some(value) => {
                if path.iter().any(|seen| seen == inner) {
                    return Err(inner.to_owned());
                }
                path.push(inner.to_owned());
                plain.push_str(&expand(&value, references, path)?);
                path.pop();
            }
        }
        rest = &rest[end..];
    }
    plain.push_str(rest);
    Ok(plain)
}

/// The text before the closing brace, if it is not empty and has no white space.
fn reference(text: &str) -> Option<&str> {
    // The pattern wants at least one character, so a brace directly after the opening one belongs to the name.
    let (skip, _) = text.char_indices().nth(1)?;
    let end = skip + text[skip..].find('}')?;
    let inner = &text[..end];
    (!inner.contains(char::is_whitespace)).then_some(inner)
}

fn resolve(inner: &str, references: &dyn References) -> Option<Zeroizing<String>> {
    match inner.split_once(':') {
        Some(("env", name)) => references.env(name),
        Some(("system", name)) => references.system(name),
        Some(_) => None,
        None if inner.starts_with("spark.") => references.spark(inner),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed;

    impl References for Fixed {
        fn env(&self, name: &str) -> Option<Zeroizing<String>> {
            (name == "HOME").then(|| Zeroizing::new("/home/spark".into()))
        }

        fn system(&self, name: &str) -> Option<Zeroizing<String>> {
            (name == "p").then(|| Zeroizing::new("property".into()))
        }

        fn spark(&self, name: &str) -> Option<Zeroizing<String>> {
            let value = match name {
                "spark.a" => "<${env:HOME}>",
                "spark.loop" => "${spark.pool}",
                "spark.pool" => "${spark.loop}",
                _ => return None,
            };
            Some(Zeroizing::new(value.into()))
        }
    }

    fn check(text: &str, expected: &str) {
        assert_eq!(substitute(text, &Fixed).unwrap().as_str(), expected, "{text}");
    }

    #[test]
    fn replaces_the_three_kinds_also_nested() {
        check("${env:HOME}/x", "/home/spark/x");
        check("${system:p}", "property");
        check("a${spark.a}b${spark.a}", "a</home/spark>b</home/spark>");
    }

    #[test]
    fn leaves_what_cannot_be_resolved() {
        for text in [
            "$X",
            "${x}",
            "${env:NONE}",
            "${spark.none}",
            "${other:p}",
            "${}",
            "${",
            "a ${env: HOME} b",
            "${a b}",
        ] {
            check(text, text);
        }
        check("${x${env:HOME}", "${x${env:HOME}");
    }

    #[test]
    fn rejects_a_cycle() {
        assert_eq!(substitute("${spark.loop}", &Fixed).unwrap_err(), "spark.loop");
    }
}
