//! The words that label counters, as far as they are known before anything is counted.

use sealed_shuffle_protocol::connection::CloseReason;

use super::{ending, refusals};
use crate::applications::EndReason;
use crate::disk::LookupError;
use crate::merge::MergeError;
use crate::telemetry::KnownLabels;

/// Those of a server.
pub(super) fn labels() -> KnownLabels {
    KnownLabels {
        closes: CloseReason::LABELS.to_vec(),
        block_failures: [LookupError::LABELS, MergeError::LABELS, refusals::BLOCK_FAILURES].concat(),
        forgotten: EndReason::LABELS.to_vec(),
        handover: ending::MESSAGES.to_vec(),
    }
}
