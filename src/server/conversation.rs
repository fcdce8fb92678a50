//! What a connection keeps of a SASL exchange between its two messages.

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::sasl;

/// A SASL exchange between its two messages.
pub(super) struct Conversation {
    /// The application of the first message; the second one's is ignored, as Spark does.
    pub(super) app: AppId,
    pub(super) server: sasl::Server,
}
