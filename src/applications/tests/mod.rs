//! The life of applications from their beginning to their end, with every table that knows them.

mod ending;
mod fixture;
mod restoring;
