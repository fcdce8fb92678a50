//! JSON that a command prints for programs.

use serde_json::Value;

/// The version of all shapes. A field may be added without another one; a field that goes or means something else takes it.
const VERSION: u64 = 1;

/// The object with the version of its shape, as the field `version`.
pub(super) fn versioned(mut object: Value) -> Value {
    if let Value::Object(fields) = &mut object {
        fields.insert("version".to_owned(), VERSION.into());
    }
    object
}
