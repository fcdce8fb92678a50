//! The two services that the same tests run against: ours, and Spark's own as the oracle of what is right.

/// Whose service answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    /// Our binary.
    Ours,
    /// `org.apache.spark.deploy.ExternalShuffleService` of the same release as the client.
    Spark,
}
