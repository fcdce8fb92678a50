//! The rules that the store holds.

mod fixture;
mod round_trip;
