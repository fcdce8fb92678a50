//! What the pods of a Kubernetes cluster tell of applications: their secrets when they begin, and their end.
//!
//! ```text
//! executors of this node ─┐
//! drivers anywhere        ├─► PodWatch ─► orders: begin with this secret · an executor is over · end
//! answers to questions    ┘       └─────► questions: this Secret? · does this owner live? · is any executor left?
//! ```
//!
//! | over | when |
//! |---|---|
//! | an executor | its pod has ended (`Succeeded`, `Failed`) or is gone |
//! | an application with a driver's pod | every driver's pod of it has ended or is gone |
//! | one whose executors belong to another pod (client mode in a pod) | that pod has ended or is gone |
//! | one without either (client mode elsewhere) | it has no executor anywhere for a time that the operator sets |
//!
//! An end waits until the executors that this node runs of the application are over, for [`watch::PATIENCE`] at most: what they
//! would write after it nobody would remove.
//!
//! Invariants: no IO and no clock; nothing is ordered before every listing was complete once; what a lost watch or a
//! failed question does not tell ends nothing. **A name proves nothing**: whoever may make pods can give them the labels
//! of another application. So an application belongs to the namespace in which its first pod was seen, of pods that were
//! there before us the oldest, and pods of other namespaces say nothing about it. A secret that the server holds is never
//! replaced by another one.
//!
//! Origin: `BasicExecutorFeatureStep`, `KubernetesConf` and `Constants` of `spark-kubernetes`, and
//! `SecurityManager.ENV_AUTH_SECRET`, Spark 4.3.0. The oldest release that was looked at is 3.5.9.

mod application;
mod order;
mod pod;
#[cfg(test)]
mod tests;
mod watch;

pub use self::order::{Order, OwnerState, Question};
pub use self::pod::{OwnerPod, Pod, Role, SecretPlace};
pub use self::watch::PodWatch;
