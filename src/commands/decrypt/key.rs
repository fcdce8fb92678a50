//! The key of `spark.io.encryption`: from a file or from the environment, never from the command line.

use std::path::Path;

use sealed_shuffle_config::Environment;
use sealed_shuffle_protocol::stored::io_encryption::{IoEncryptionError, IoKey};
use zeroize::Zeroizing;

use super::super::{Exit, Failure, complain};

/// The variable with the key in hexadecimal.
pub(crate) const VARIABLE: &str = "SPARK_IO_ENCRYPTION_KEY";

/// The key from `file` if one is named, else from the environment.
pub(crate) fn resolve(file: Option<&str>, environment: &dyn Environment) -> Result<IoKey, Failure> {
    match (file, environment.var(VARIABLE)) {
        (Some(file), other) => {
            if other.is_some() {
                complain(format_args!("{VARIABLE} has no effect: --key-file comes before it"));
            }
            from_file(file, environment)
        }
        (None, Some(value)) => {
            let bytes = Zeroizing::new(std::os::unix::ffi::OsStringExt::into_vec(value));
            IoKey::from_hex(bytes.trim_ascii()).map_err(|error| refused(VARIABLE, error))
        }
        (None, None) => Err(refused(
            "no key",
            format!("name a file with --key-file, or put the key in hexadecimal into {VARIABLE}"),
        )),
    }
}

fn from_file(path: &str, environment: &dyn Environment) -> Result<IoKey, Failure> {
    let name = format!("--key-file {path}");
    let read = if path == "-" { environment.read_stdin() } else { environment.read(Path::new(path)) };
    let bytes = read.map_err(|error| {
        refused(&name, format!("the key cannot be read by user {}: {error}", environment.user_id()))
    })?;
    let key = parse(&bytes).map_err(|error| refused(&name, error))?;
    if path != "-"
        && let Ok(stat) = environment.stat(Path::new(path))
        && stat.mode & 0o077 != 0
    {
        if stat.mode & 0o004 != 0 {
            let mode = stat.mode;
            return Err(refused(
                &name,
                format!(
                    "every user of the machine can read the key (mode {mode:04o}): chmod 600, and think of it as known"
                ),
            ));
        }
        complain(format_args!(
            "{path} with the key is open to other users (mode {:04o}): chmod 600",
            stat.mode
        ));
    }
    Ok(key)
}

/// Parses hexadecimal digits (white space around them does not matter), or else takes the bytes themselves. A random
/// key of 16 bytes or more does not consist of digits alone.
fn parse(bytes: &[u8]) -> Result<IoKey, IoEncryptionError> {
    let text = bytes.trim_ascii();
    let is_hex = !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    if is_hex && matches!(text.len(), 32 | 48 | 64) {
        return IoKey::from_hex(text);
    }
    match IoKey::from_bytes(bytes) {
        Err(_) if is_hex => IoKey::from_hex(text),
        result => result,
    }
}

fn refused(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Exit::Config, format_args!("{what}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_digits_or_bytes_of_every_size() {
        for len in [16, 24, 32] {
            let raw = vec![0xab; len];
            let hex = "aB".repeat(len);
            let key = IoKey::from_bytes(&raw).unwrap();
            assert!(parse(&raw).unwrap() == key);
            assert!(parse(hex.as_bytes()).unwrap() == key);
            assert!(parse(format!(" {hex}\r\n").as_bytes()).unwrap() == key);
        }
    }

    #[test]
    fn says_how_long_a_wrong_key_is() {
        assert_eq!(parse(b"abcd").unwrap_err(), IoEncryptionError::KeyLength(2));
        assert_eq!(parse(&[0xff; 17]).unwrap_err(), IoEncryptionError::KeyLength(17));
        assert_eq!(parse(b"").unwrap_err(), IoEncryptionError::KeyLength(0));
        assert_eq!(parse(b"abc").unwrap_err(), IoEncryptionError::KeyText);
    }
}
