//! A Kubernetes cluster as it really is: one node with its control plane, in name spaces of its own, our manifests applied to it,
//! and applications that `spark-submit` hands in.
//!
//! ```text
//! guard.sh            makes the name spaces, and removes control groups and the directory after them
//!   node.sh           etcd, API server, controllers, scheduler, kubelet, kube-proxy, containerd, a name server
//! this process        kubectl, spark-submit and with it the driver of client mode, in the node's network
//! pods                what is in `deploy/`, executors, drivers of cluster mode
//! ```

mod application;
mod archive;
mod cluster;
mod images;
mod manual;
mod packages;
mod pods;
mod program;
mod site;

pub use application::{Application, Submission, reports};
pub use cluster::Cluster;
pub use manual::commands;
pub use pods::SparkPod;
