//! The rules of merging, over files in memory.

mod cleaning;
mod crashing;
mod diagnosing;
mod examples;
mod fixture;
mod limits;
mod model;
mod plain;
mod registering;
mod restarting;
mod together;
