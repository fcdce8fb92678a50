//! Who serves the blocks of a job.

/// Who serves shuffle blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Variant {
    /// Executors each other.
    None,
    /// Spark's own service.
    Spark,
    /// Ours.
    Ours,
}

impl Variant {
    pub(crate) const ALL: [Self; 3] = [Self::None, Self::Spark, Self::Ours];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "no service",
            Self::Spark => "Spark's service",
            Self::Ours => "our server",
        }
    }

    /// On the command line of its place.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Spark => "spark",
            Self::Ours => "ours",
        }
    }
}
