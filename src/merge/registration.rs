//! The merge information in an executor's registration.
//!
//! ```text
//! org.apache.spark.shuffle.sort.SortShuffleManager:{"mergeDir":"merge_manager_1","attemptId":"1"}}}
//! └ class                                          └ one JSON object; text after it is ignored
//! ```
//!
//! Origin: `RemoteBlockPushResolver.registerExecutor`, Spark 4.3.0; names of directories are checked since 4.0.

use serde_json::{Deserializer, Map, Value};
use tracing::warn;

use super::error::MergeError;

/// The merge information of an application with push-based shuffle.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MergeInfo {
    /// Name of the merge directory.
    pub dir: String,
    /// The attempt of the application; [`NO_ATTEMPT`] if it has no number.
    pub attempt: i32,
}

/// The attempt of an application that has no number.
pub const NO_ATTEMPT: i32 = -1;

impl MergeInfo {
    /// Parses the shuffle manager of a registration; `None` if the application does not push.
    pub fn parse(shuffle_manager: &str) -> Result<Option<Self>, MergeError> {
        let Some((_, json)) = shuffle_manager.split_once(':') else { return Ok(None) };
        let object = Deserializer::from_str(json).into_iter::<Map<String, Value>>().next();
        let fields = match object {
            Some(Ok(object)) if !object.values().any(is_nested) => object,
            _ => {
                warn!(
                    "an executor's shuffle manager has no readable JSON behind its colon: it takes no part in merging"
                );
                return Ok(None);
            }
        };
        let dir = text(&fields, "mergeDir")
            .ok_or_else(|| MergeError::NoMergeDir { meta: shuffle_manager.to_owned() })?;
        if matches!(dir.as_str(), "" | "." | "..") || dir.contains(['/', '\\']) {
            return Err(MergeError::InvalidMergeDir { dir, meta: shuffle_manager.to_owned() });
        }
        let attempt = match text(&fields, "attemptId") {
            Some(text) => text.parse().map_err(|_| MergeError::NotANumber { text })?,
            None => NO_ATTEMPT,
        };
        Ok(Some(Self { dir, attempt }))
    }
}

fn text(fields: &Map<String, Value>, key: &str) -> Option<String> {
    match fields.get(key)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn is_nested(value: &Value) -> bool {
    value.is_array() || value.is_object()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: &str = "org.apache.spark.shuffle.sort.SortShuffleManager";

    fn parse(json: &str) -> Result<Option<MergeInfo>, String> {
        MergeInfo::parse(&format!("{CLASS}:{json}")).map_err(|error| error.spark_text())
    }

    fn info(dir: &str, attempt: i32) -> Result<Option<MergeInfo>, String> {
        Ok(Some(MergeInfo { dir: dir.to_owned(), attempt }))
    }

    #[test]
    fn reads_what_real_executors_send() {
        assert_eq!(parse(r#"{"mergeDir":"merge_manager"}}}"#), info("merge_manager", NO_ATTEMPT));
        let with_attempt = r#"{"mergeDir":"merge_manager_1","attemptId":"1"}}}"#;
        assert_eq!(parse(with_attempt), info("merge_manager_1", 1));
        assert_eq!(parse(r#"{"attemptId":2,"other":"x","mergeDir":"m"}"#), info("m", 2));
        assert_eq!(parse(r#"{"mergeDir":"m:n"}"#), info("m:n", NO_ATTEMPT));
    }

    #[test]
    fn an_executor_without_json_takes_no_part() {
        assert_eq!(MergeInfo::parse(CLASS).unwrap(), None);
        for json in ["", "x", "{", "[1]", r#"{"mergeDir":["a"]}"#] {
            assert_eq!(parse(json), Ok(None), "{json}");
        }
    }

    #[test]
    fn refuses_with_the_words_of_spark() {
        assert_eq!(
            parse(r#"{"attemptId":"1"}"#).unwrap_err(),
            format!(
                "java.lang.IllegalArgumentException: Failed to get the merge directory information from the \
                 shuffleManagerMeta {CLASS}:{{\"attemptId\":\"1\"}} in executor registration message"
            )
        );
        for name in ["", ".", "..", "a/b", "/", "a\\b"] {
            let json = serde_json::json!({ "mergeDir": name }).to_string();
            assert_eq!(
                parse(&json).unwrap_err(),
                format!(
                    "java.lang.IllegalArgumentException: Invalid merge directory name {name} from the \
                     shuffleManagerMeta {CLASS}:{json} in executor registration message"
                )
            );
        }
        assert_eq!(
            parse(r#"{"mergeDir":"m","attemptId":"x"}"#).unwrap_err(),
            "java.lang.NumberFormatException: For input string: \"x\""
        );
    }
}
