//! Spark's own published suites, run against a service in a process of its own.
//!
//! ```text
//! release.rs        gets a release's test jars and their dependencies by Maven, and compiles spark-suites/ against them
//! group.rs          which suites stand before which class of ours
//! run.rs            one JVM that runs a group, and the result of every test
//! expectations.rs   what is expected of each test, with its reason, and what came otherwise
//! ```

mod expectations;
mod group;
mod release;
mod run;

pub use expectations::{Expectations, Verdict};
pub use group::{Group, no_service};
pub use release::{NotHad, Release};
pub use run::{Outcome, Result, run, target};
