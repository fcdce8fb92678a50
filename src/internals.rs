//! Rooms as they stand, for the tests and benches of this project. They change without notice.

/// The operator's port.
pub mod admin {
    pub use crate::admin::*;
}

/// Bytes at rest.
pub mod disk {
    pub use crate::disk::*;
}

/// The streams of `spark.io.encryption`.
pub mod io_encryption {
    pub use crate::io_encryption::*;
}

/// Envelope keys and their services.
pub mod keys {
    pub use crate::keys::envelope;
}

/// Sockets whose peers the kernel names.
pub mod local_socket {
    pub use crate::local_socket::*;
}

/// The rules of push-based merging, and files of merged partitions in memory.
pub mod merge {
    pub use crate::merge::*;
}

/// The files of merged partitions, sealed.
pub mod sealed_files {
    pub use crate::sealed_files::*;
}
