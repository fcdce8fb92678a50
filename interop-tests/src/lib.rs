//! Real Spark on the other end of the wire.
