//! Spark's own published suites, run against a service in a process of its own.
//!
//! ```text
//! run.rs            one JVM that runs a group, and the result of every test
//! release.rs        gets a release's test jars and their dependencies by Maven, and compiles spark-suites/ against them
//! expectations.rs   the expectation of each test, with its reason, and every surprise
//! group.rs          the suites that run behind each class of ours
//! outcome.rs        the end of one test
//! sources.rs        where the Java sources and the lists lie
//! ```

mod expectations;
mod group;
mod outcome;
mod release;
mod run;
mod sources;

pub use expectations::{Expectations, Verdict, no_service};
pub use group::Group;
pub use outcome::{Outcome, TestResult};
pub use release::Release;
pub use run::{run, target};
