//! Our service on a Kubernetes cluster as it really is: what `deploy/kubernetes` holds, applied as `docs/kubernetes.md` says, and
//! `spark-submit --master k8s://`.
//!
//! All tests but those of `golden` share one cluster, and take turns. One is in the gate, where the cluster's program is in the
//! cache; the rest is ignored there, and run by `make interop-kubernetes`.

mod daemon_set;
mod golden;
mod hand_over;
mod nothing_left;
mod shared;
mod side_car;
mod traps;
