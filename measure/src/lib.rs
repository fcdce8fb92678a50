//! What all measurements share, whatever they measure.
//!
//! ```text
//! sample.rs     values of one quantity: percentiles, spread, ratios within pairs
//! process.rs    CPU time and memory of a process or a thread (proc(5))
//! meter.rs      the same between a start and a stop
//! machine.rs    the processor and kernel, and what other programs did meanwhile
//! table.rs      Markdown
//! bars.rs       a picture (SVG)
//! noise.rs      bytes that no layer can squeeze, the same in every run
//! ```
//!
//! `sealed-shuffle bench`, the benches `floor` and `guard`, and `serve_cost` of the interop tests are its users. Nothing
//! here knows Spark, the server or the client. Units are seconds and bytes.

mod bars;
mod machine;
mod meter;
mod noise;
pub mod process;
mod sample;
mod table;

pub use bars::Bars;
pub use machine::{Neighbours, machine};
pub use meter::{Meter, Usage};
pub use noise::Noise;
pub use sample::{Sample, Spread};
pub use table::Table;
