//! Our service on a YARN cluster as it really is: ResourceManager, three NodeManagers, our server and our auxiliary service
//! on each node, `spark-submit --master yarn`.
//!
//! All tests share one cluster, and take turns. A part of them is in the gate; the rest is ignored there, and run by
//! `make interop-yarn`.

mod apart;
mod dynamic;
mod health;
mod merged;
mod restarts;
mod shared;
mod shuffles;
mod tpch;
