//! The rules that the store holds.

mod damage;
pub(crate) mod fixture;
mod holding_out;
mod killing;
mod model;
mod places;
mod rewrap;
mod round_trip;
mod secrecy;
mod speed;
