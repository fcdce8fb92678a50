//! The rules of merging, over files in memory.

mod examples;
mod fixture;
mod limits;
mod registering;
