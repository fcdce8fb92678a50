//! What is known of one application.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;

use super::order::Question;
use super::pod::{OwnerPod, SecretPlace};

/// An application that has, or had, an executor on this node, or whose secret the server holds.
#[derive(Debug, Default)]
pub(super) struct Application {
    /// The namespace of the first pod that was seen of it.
    pub(super) home: Option<String>,
    pub(super) secret: KnownSecret,
    /// Whether the server holds its secret.
    pub(super) is_begun: bool,
    /// Whether a driver's pod of it was seen that had not ended.
    pub(super) had_driver: bool,
    pub(super) owner: Option<OwnerPod>,
    /// Executors that are over, and that the server was not told of.
    pub(super) ended_executors: BTreeSet<ExecutorId>,
    /// Since when no executor of it is left anywhere.
    pub(super) alone_since: Option<Instant>,
    pub(super) stage: Stage,
}

/// How far an application is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Stage {
    /// It runs, as far as anybody knows.
    #[default]
    Runs,
    /// It was found to be over then, and the server was not told.
    Over(Instant),
    /// The server knows that it is over. It stays here as long as pods of its executors do.
    Told,
}

/// The secret of an application, or where it is.
#[derive(Debug, Default)]
pub(super) enum KnownSecret {
    /// No pod has said.
    #[default]
    Unknown,
    /// In a Secret that was not read yet.
    Named {
        name: String,
        key: String,
        optional: bool,
    },
    Known(Arc<AppSecret>),
}

impl Application {
    /// Takes the secret of one of its pods. What is wrong with it comes back in words.
    pub(super) fn learn(&mut self, place: &SecretPlace) -> Result<(), String> {
        match (&self.secret, place) {
            (_, SecretPlace::Nowhere) => Ok(()),
            (_, SecretPlace::Odd(why)) => {
                Err(format!("its secret is not understood: _SPARK_AUTH_SECRET {why}"))
            }
            (KnownSecret::Unknown, SecretPlace::Here(secret)) => {
                self.secret = KnownSecret::Known(Arc::clone(secret));
                Ok(())
            }
            (KnownSecret::Unknown, SecretPlace::Named { name, key, optional }) => {
                let (name, key) = (name.clone(), key.clone());
                self.secret = KnownSecret::Named { name, key, optional: *optional };
                Ok(())
            }
            (KnownSecret::Known(known), SecretPlace::Here(secret)) if **known != **secret => {
                Err("it has another secret than the pods before it: that is not handed over".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// The Secret that has to be read.
    pub(super) fn secret_question(&self, app: &AppId) -> Option<Question> {
        match (&self.secret, &self.home) {
            (KnownSecret::Named { name, key, optional }, Some(home)) if !self.is_begun => {
                Some(Question::Secret {
                    app: app.clone(),
                    namespace: home.clone(),
                    name: name.clone(),
                    key: key.clone(),
                    optional: *optional,
                })
            }
            _ => None,
        }
    }

    /// It begins anew, under the same id.
    pub(super) fn begin_anew(&mut self) {
        *self = Self { home: self.home.take(), ..Self::default() };
    }
}
