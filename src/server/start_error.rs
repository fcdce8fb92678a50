//! Why a server cannot be set up.

use sealed_shuffle_config::{AnyKey as _, keys};
use sealed_shuffle_protocol::crypto::random::RandomError;
use sealed_shuffle_transport::lane::LaneError;
use sealed_shuffle_transport::tls::MaterialError;
use thiserror::Error;

use crate::disk::RootError;
use crate::keys::DirectoryError;
use crate::keys::envelope::KeyError;
use crate::state::StateError;
use crate::view::MountError;

/// Why a server cannot be set up. The text names the file or the root, and says what to do.
#[derive(Debug, Error)]
#[error(transparent)]
pub struct StartError(#[from] Cause);

impl StartError {
    /// Whether the next start fails, too, unless somebody changes something.
    pub fn is_configuration(&self) -> bool {
        match &self.0 {
            Cause::State(error) => error.is_configuration(),
            Cause::Keys(error) => !error.kind().may_pass(),
            Cause::Random(_) | Cause::Recovery(_) => false,
            // A program that gives the key and certificates may give them later.
            Cause::Tls(error) => error.issue().subject != keys::TLS_COMMAND.name(),
            Cause::Root(error) => error.is_lasting(),
            Cause::Secrets(_) | Cause::View(_) => true,
        }
    }
}

impl StartError {
    /// Whether the next start may do without anybody changing something: no root can be used yet.
    pub fn is_too_early(&self) -> bool {
        matches!(&self.0, Cause::Root(error) if !error.is_lasting())
    }
}

/// What failed.
#[derive(Debug, Error)]
pub(super) enum Cause {
    /// A root cannot be used.
    #[error(transparent)]
    Root(#[from] RootError),
    /// Key or certificates of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] MaterialError),
    /// The directory of secrets cannot be used.
    #[error(transparent)]
    Secrets(#[from] DirectoryError),
    /// The keys that seal what is merged cannot be had.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The recovery store does not open.
    #[error(transparent)]
    State(#[from] StateError),
    /// What was recovered could not be taken up.
    #[error("what was known before the restart could not be taken up: {0}")]
    Recovery(LaneError),
    /// The view of merged data is not mounted.
    #[error(transparent)]
    View(#[from] MountError),
    /// The system gives no randomness.
    #[error("no randomness for stream ids: {0}")]
    Random(#[from] RandomError),
}
