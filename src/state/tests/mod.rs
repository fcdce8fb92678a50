//! The rules that the store holds.

mod damage;
pub(crate) mod fixture;
mod killing;
mod model;
mod places;
mod rewrap;
mod round_trip;
mod secrecy;
mod speed;
