//! The two ends of a connection.

/// Which end of the connection a layer works for: the two directions have different counters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Opened the connection and sent the challenge.
    Client,
    /// Accepted it.
    Server,
}
