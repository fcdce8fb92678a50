//! The text of a local key file.
//!
//! ```text
//! sealed-shuffle-keys 1
//! # anything
//! key 2026-11-22T22:10:00Z local:0123456789abcdef0123456789abcdef BASE64-OF-32-BYTES
//! ```
//!
//! One line for each key, oldest first. The last key wraps, all keys unwrap. The name is derived from the key, so a
//! damaged line is found when it is read, and not only when data does not open.

use sealed_shuffle_protocol::secret::Secret;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::super::key_text;
use super::wrap::name_of;

/// The first line, before the number of the version.
const MAGIC: &str = "sealed-shuffle-keys";
const VERSION: &str = "1";

/// The comment above the keys.
const HEAD: &str = "sealed-shuffle-keys 1\n\
    # Wraps the data keys of sealed shuffle files. The last key wraps, all unwrap: what was sealed under a key that is\n\
    # taken out cannot be read again. Keep a copy elsewhere; `sealed-shuffle keys rotate` adds a key.\n";

/// Most keys of one file.
pub(super) const MOST_KEYS: usize = 256;

/// One key of the file.
#[derive(Debug)]
pub(super) struct Generation {
    /// The name, as wrapped keys carry it.
    pub(super) name: String,
    /// The time when it was made, as the file tells it.
    pub(super) made: OffsetDateTime,
    pub(super) key: Secret<32>,
}

impl Generation {
    pub(super) fn new(key: Secret<32>, made: OffsetDateTime) -> Self {
        Self { name: name_of(&key), made, key }
    }

    /// The line, with its end.
    pub(super) fn line(&self) -> Zeroizing<String> {
        let made = self.made.format(&Rfc3339).expect("the year has four digits");
        // The line is allocated once, so that growing leaves no copy behind.
        let mut line = Zeroizing::new(String::with_capacity(256));
        line.push_str("key ");
        line.push_str(&made);
        line.push(' ');
        line.push_str(&self.name);
        line.push(' ');
        key_text::push(&mut line, &self.key);
        line.push('\n');
        line
    }
}

/// A file with one key.
pub(super) fn first(generation: &Generation) -> Zeroizing<String> {
    let line = generation.line();
    let mut text = Zeroizing::new(String::with_capacity(HEAD.len() + line.len()));
    text.push_str(HEAD);
    text.push_str(&line);
    text
}

/// Parses the text of a file. The error names the line and its fault, and quotes nothing of it.
pub(super) fn parse(text: &str) -> Result<Vec<Generation>, String> {
    let mut lines = text.lines().enumerate();
    let head = lines.next().map_or("", |(_, line)| line);
    match head.split_once(' ') {
        Some((MAGIC, VERSION)) => {}
        Some((MAGIC, version)) => {
            return Err(format!(
                "it is of version {version:?}, and this release reads version {VERSION} alone"
            ));
        }
        _ => return Err(format!("its first line is not \"{MAGIC} {VERSION}\"")),
    }
    let mut generations: Vec<Generation> = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        let generation = parse_line(line).map_err(|reason| format!("line {}: {reason}", number + 1))?;
        if generations.iter().any(|known| known.name == generation.name) {
            return Err(format!("line {}: the key {} is there twice", number + 1, generation.name));
        }
        if generations.len() == MOST_KEYS {
            return Err(format!("it holds more than {MOST_KEYS} keys"));
        }
        generations.push(generation);
    }
    if generations.is_empty() {
        return Err("it holds no key".to_owned());
    }
    Ok(generations)
}

/// The name in the line of a key.
pub(super) fn name_in(line: &str) -> Option<&str> {
    let mut words = line.split_ascii_whitespace();
    words.next().filter(|word| *word == "key").and_then(|_| words.nth(1))
}

fn parse_line(line: &str) -> Result<Generation, &'static str> {
    let words: Vec<&str> = line.split_ascii_whitespace().collect();
    let ["key", made, name, key] = words[..] else { return Err("not \"key TIME NAME BASE64\"") };
    let made = OffsetDateTime::parse(made, &Rfc3339).map_err(|_| "the time is not as RFC 3339 has it")?;
    let key = key_text::parse(key).ok_or("the key is not 32 bytes in Base64")?;
    let generation = Generation::new(key, made);
    if generation.name != name {
        return Err("the key is not the one that its name says: the line was changed");
    }
    Ok(generation)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(byte: u8) -> Generation {
        Generation::new(Secret::new([byte; 32]), OffsetDateTime::UNIX_EPOCH)
    }

    #[test]
    fn what_is_written_is_read() {
        let text = format!("{}{}\n# the end\n", *first(&generation(1)), *generation(2).line());
        let read = parse(&text).unwrap();
        assert_eq!(read.len(), 2);
        for (byte, generation) in [1, 2].into_iter().zip(&read) {
            assert_eq!(generation.key, Secret::new([byte; 32]));
            assert_eq!(generation.made, OffsetDateTime::UNIX_EPOCH);
        }
    }

    #[test]
    fn damage_is_named_and_keys_are_not_shown() {
        let good = first(&generation(1));
        let line = generation(1).line();
        let key = line.split_whitespace().last().unwrap().to_owned();
        let changed = good.replace(&key, &key.replacen('A', "B", 1));
        for (text, words) in [
            (String::new(), "first line"),
            (good.replace("keys 1", "keys 2"), "version \"2\""),
            (HEAD.to_owned(), "no key"),
            (format!("{}{}", *good, *line), "twice"),
            (format!("{}key now x {key}\n", *good), "RFC 3339"),
            (format!("{}key {key}\n", *good), "key TIME NAME BASE64"),
            (good.replace(&key, &key[4..]), "32 bytes"),
            (changed, "was changed"),
        ] {
            let reason = parse(&text).unwrap_err();
            assert!(reason.contains(words), "{words:?} is not in {reason:?}");
            assert!(!reason.contains(&key[..16]), "{reason}");
        }
    }
}
