//! Releases of Spark: which there are, and what is new in one.

mod facts;
mod known;

pub use facts::{Facts, of_release};
pub use known::{Absent, published, unknown};
