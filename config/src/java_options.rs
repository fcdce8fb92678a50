//! `-Dspark.*=` words in a variable of JVM options.
//!
//! Spark's launcher splits such a variable like a shell does (CommandBuilderUtils.parseOptionString, Spark 4.3.0):
//! blanks separate words, both quotes group, a backslash outside single quotes takes the next character as it stands.
//! Other options are for a JVM and mean nothing here.

use zeroize::Zeroizing;

/// The system properties that a variable sets, in order. A quote that is not closed is an error.
pub(crate) fn system_properties(text: &str) -> Result<Vec<(String, Zeroizing<String>)>, &'static str> {
    let properties = words(text)?.into_iter().filter_map(|word| {
        let definition = word.strip_prefix("-D")?;
        let (name, value) = definition.split_once('=').unwrap_or((definition, ""));
        Some((name.to_owned(), Zeroizing::new(value.to_owned())))
    });
    Ok(properties.collect())
}

fn words(text: &str) -> Result<Vec<Zeroizing<String>>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<Zeroizing<String>> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let started = || Zeroizing::new(String::with_capacity(text.len()));
        match (c, quote) {
            ('\\', None | Some('"')) => {
                let next = chars.next().ok_or("it ends with a backslash")?;
                word.get_or_insert_with(started).push(next);
            }
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_with(started);
            }
            (_, Some(open)) if c == open => quote = None,
            (_, None) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_with(started).push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote is not closed");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text).unwrap().iter().map(|word| word.as_str().to_owned()).collect()
    }

    #[test]
    fn splits_like_a_shell() {
        assert_eq!(split("  -Da=1 \t-Db=2\n"), ["-Da=1", "-Db=2"]);
        assert_eq!(split(r#"-Da="x y" '-Db=p q'"#), ["-Da=x y", "-Db=p q"]);
        assert_eq!(split(r#"a\ b "c\"d" 'e\f' g"h"i"#), ["a b", "c\"d", "e\\f", "ghi"]);
        assert_eq!(split(r#""it's" '"'"#), ["it's", "\""]);
        assert_eq!(split("''"), [""]);
    }

    #[test]
    fn rejects_what_is_not_closed() {
        for text in ["'a", "\"a", "a\\"] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn takes_definitions_alone() {
        let properties = system_properties("-Xmx1g -Dspark.a=1=2 -Dspark.b -verbose").unwrap();
        let seen: Vec<_> = properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(seen, [("spark.a", "1=2"), ("spark.b", "")]);
    }
}
