//! A pod of Spark's, as far as anything follows from it.

use std::sync::Arc;

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;

use super::super::message::is_plain;

/// A pod of a driver or of an executor.
#[derive(Clone, Debug)]
pub struct Pod {
    /// `metadata.uid`.
    pub uid: String,
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// The label `spark-app-selector`.
    pub app: AppId,
    /// `metadata.creationTimestamp` in seconds. The API server sets it.
    pub created: i64,
    /// Whether `status.phase` is `Succeeded` or `Failed`.
    pub has_ended: bool,
    /// What it is to its application.
    pub role: Role,
}

/// What a pod is to its application: the label `spark-role`.
#[derive(Clone, Debug)]
pub enum Role {
    /// `driver`
    Driver,
    /// `executor`
    Executor {
        /// The label `spark-exec-id`.
        executor: Option<ExecutorId>,
        /// Where the application's secret is.
        secret: SecretPlace,
        /// The pod that it belongs to: the driver's, which need not have Spark's labels.
        owner: Option<OwnerPod>,
    },
}

/// A pod that another one belongs to (`metadata.ownerReferences`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwnerPod {
    /// Its name.
    pub name: String,
    /// Its uid: another pod of the same name is another pod.
    pub uid: String,
}

/// Where an executor's pod has the secret of its application: the variable `_SPARK_AUTH_SECRET`.
#[derive(Clone, Debug)]
pub enum SecretPlace {
    /// Not in its environment: the application has none, or reads it from a file.
    Nowhere,
    /// In the pod itself.
    Here(Arc<AppSecret>),
    /// In a Secret of the pod's namespace.
    Named {
        /// The Secret.
        name: String,
        /// The key within it.
        key: String,
        /// Whether the pod does without where it is missing.
        optional: bool,
    },
    /// Somewhere that is not understood; the words say where.
    Odd(&'static str),
}

/// An application's id that can stand in a line to the server.
pub(super) fn is_sayable(id: &str) -> bool {
    is_plain(id)
}
