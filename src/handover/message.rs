//! Parses a line, and the payload of an application.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{EventError, HandOverPayload};

/// Longest application id.
const LONGEST_ID: usize = 255;

/// Stands for a payload without bytes.
const NOTHING: &str = "-";

/// The flag of an application of which nothing may be stored (YarnShuffleService, Spark 4.3.0).
const RECOVERY_DISABLED: &str = "spark.yarn.shuffle.server.recovery.disabled";

/// The secret beside that flag.
const SECRET: &str = "secret";

/// The beginning or the end of an application, the end of one of its executors, or a question.
#[derive(Debug)]
pub(super) enum Message {
    Started(AppId, HandOverPayload),
    Ended(AppId),
    ExecutorEnded(AppId, ExecutorId),
    Held,
}

impl Message {
    /// Parses a line without its end.
    pub(super) fn parse(line: &[u8]) -> Result<Self, EventError> {
        let line = std::str::from_utf8(line).map_err(|_| refused("the line is not UTF-8"))?;
        let mut words = line.split(' ');
        let message = match (words.next(), words.next(), words.next()) {
            (Some("started"), Some(app), Some(payload)) => Self::Started(application(app)?, given(payload)?),
            (Some("ended"), Some(app), None) => Self::Ended(application(app)?),
            (Some("executor-ended"), Some(app), Some(executor)) => {
                Self::ExecutorEnded(application(app)?, ExecutorId::new(plain(executor, "executor")?))
            }
            (Some("held"), None, None) => Self::Held,
            _ => {
                return Err(refused(
                    "the line is none of `started ID PAYLOAD`, `ended ID`, `executor-ended ID EXECUTOR` and `held`",
                ));
            }
        };
        match words.next() {
            None => Ok(message),
            Some(_) => Err(refused("the line has a word too many")),
        }
    }
}

fn application(id: &str) -> Result<AppId, EventError> {
    plain(id, "application").map(AppId::new)
}

fn plain<'a>(id: &'a str, whose: &str) -> Result<&'a str, EventError> {
    match is_plain(id) {
        true => Ok(id),
        false => Err(EventError::Refused(format!("the {whose}'s id is empty, too long, or not plain"))),
    }
}

/// Whether an id can stand in a line.
pub(super) fn is_plain(id: &str) -> bool {
    (1..=LONGEST_ID).contains(&id.len()) && !id.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn given(payload: &str) -> Result<HandOverPayload, EventError> {
    if payload == NOTHING {
        return Ok(HandOverPayload { secret: None, remember: true });
    }
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(payload.len())]);
    let length =
        STANDARD.decode_slice(payload, &mut bytes).map_err(|_| refused("the payload is not base64"))?;
    let text = std::str::from_utf8(&bytes[..length]).map_err(|_| refused("the payload is not UTF-8"))?;
    read(text)
}

/// Parses either form of the payload: a JSON object, or the secret itself (YarnShuffleService.initializeApplication,
/// Spark 4.3.0; the JSON form since 3.5).
fn read(payload: &str) -> Result<HandOverPayload, EventError> {
    let Ok(mut object) = serde_json::from_str::<Map<String, Value>>(payload) else {
        return Ok(HandOverPayload { secret: secret(payload.to_owned()), remember: true });
    };
    let remember = match object.get(RECOVERY_DISABLED) {
        None | Some(Value::Null) => true,
        Some(Value::Bool(disabled)) => !disabled,
        Some(_) => return Err(refused("the payload's flag is neither true nor false")),
    };
    match object.remove(SECRET) {
        None | Some(Value::Null) => Ok(HandOverPayload { secret: None, remember }),
        // The secret is moved, not copied.
        Some(Value::String(text)) => Ok(HandOverPayload { secret: secret(text), remember }),
        Some(_) => Err(refused("the payload's secret is no text")),
    }
}

fn secret(text: String) -> Option<AppSecret> {
    (!text.is_empty()).then(|| AppSecret::new(text))
}

fn refused(text: &str) -> EventError {
    EventError::Refused(text.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn payload(text: &str) -> (Option<String>, bool) {
        let line = format!("started application_1_0001 {}", STANDARD.encode(text));
        let Message::Started(app, given) = Message::parse(line.as_bytes()).unwrap() else { panic!("{line}") };
        assert_eq!(app.as_str(), "application_1_0001");
        (given.secret.map(|secret| String::from_utf8(secret.as_bytes().to_vec()).unwrap()), given.remember)
    }

    #[test]
    fn both_forms_of_the_payload_are_read() {
        let flag = "spark.yarn.shuffle.server.recovery.disabled";
        for (text, secret, remember) in [
            ("0123abcd", Some("0123abcd"), true),
            ("", None, true),
            ("12345", Some("12345"), true),
            ("\"quoted\"", Some("\"quoted\""), true),
            ("{not json", Some("{not json"), true),
            (&format!(r#"{{"{flag}":true,"secret":"s"}}"#), Some("s"), false),
            (&format!(r#"{{"{flag}":false,"secret":"s"}}"#), Some("s"), true),
            (&format!(r#"{{"{flag}":true}}"#), None, false),
            (r#"{"secret":"s","more":[1]}"#, Some("s"), true),
        ] {
            assert_eq!(payload(text), (secret.map(str::to_owned), remember), "{text}");
        }
        let Message::Started(_, given) = Message::parse(b"started a -").unwrap() else { panic!() };
        assert!(given.secret.is_none() && given.remember);
    }

    #[test]
    fn what_is_no_message_is_refused_in_words_that_hold_nothing_of_it() {
        let long = format!("ended {}", "a".repeat(LONGEST_ID + 1));
        for line in [
            "",
            "started",
            "started a",
            "started a hunter2!",
            "started  c2VjcmV0",
            "started a c2VjcmV0 more",
            "started a /w==",
            "started a eyJzZWNyZXQiOjF9",
            "ended",
            "ended ",
            "ended a b",
            "executor-ended a",
            "executor-ended a ",
            "executor-ended a 1 2",
            "held ",
            "held a",
            "Ended a",
            "ended a\tb",
            "remove a",
            &long,
        ] {
            let Err(EventError::Refused(text)) = Message::parse(line.as_bytes()) else { panic!("{line}") };
            assert!(!text.contains("hunter2") && !text.contains("c2VjcmV0"), "{text}");
        }
        assert!(Message::parse(b"ended \xff").is_err());
    }

    #[test]
    fn the_end_of_an_executor_names_its_application_first() {
        let Message::ExecutorEnded(app, executor) = Message::parse(b"executor-ended app-1 12").unwrap()
        else {
            panic!()
        };
        assert_eq!((app.as_str(), executor.as_str()), ("app-1", "12"));
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_refused(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(Message::parse(&line));
        }

        #[test]
        fn any_secret_that_is_no_json_object_is_taken_as_it_stands(text in "[^{\\s]\\PC{0,80}") {
            prop_assert_eq!(payload(&text), (Some(text.clone()), true));
        }
    }
}
