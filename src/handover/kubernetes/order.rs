//! What follows from pods: what a server is told, and what has to be asked.

use std::sync::Arc;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;

use super::pod::OwnerPod;

/// Something to tell a server.
#[derive(Clone, Debug)]
pub enum Order {
    /// An application runs, with this secret.
    Begin(AppId, Arc<AppSecret>),
    /// An executor of it is over.
    EndExecutor(AppId, ExecutorId),
    /// It is over.
    End(AppId),
}

/// Something that no watch tells.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Question {
    /// What is in this key of this Secret?
    Secret {
        /// Whose secret it is.
        app: AppId,
        /// The namespace of the Secret.
        namespace: String,
        /// The Secret.
        name: String,
        /// The key within it.
        key: String,
        /// Whether the application does without where it is missing.
        optional: bool,
    },
    /// Does the pod live that the executors of an application belong to?
    Owner {
        /// The application.
        app: AppId,
        /// The namespace of the pod.
        namespace: String,
        /// The pod's name.
        name: String,
        /// Its uid.
        uid: String,
    },
    /// Is any executor of an application left, on whatever node?
    Executors {
        /// The application.
        app: AppId,
        /// Its namespace; `None` where nobody knows it.
        namespace: Option<String>,
    },
}

/// What became of the pod that executors belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OwnerState {
    /// It runs, or will.
    Lives,
    /// It has ended, is gone, or another one has its name.
    Over,
}

impl Question {
    pub(super) fn owner(app: &AppId, namespace: &str, owner: &OwnerPod) -> Self {
        let OwnerPod { name, uid } = owner.clone();
        Self::Owner { app: app.clone(), namespace: namespace.to_owned(), name, uid }
    }
}
