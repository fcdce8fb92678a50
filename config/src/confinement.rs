//! How far the process of a server confines itself.

use super::keys;
use super::value::Extent;
use super::values::Values;

/// What the process gives up. The default gives up all that it can.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConfinementConfig {
    /// Writing elsewhere, and TCP (`spark.sealed.confinement.landlock`). Auto.
    pub landlock: Extent,
    /// System calls (`spark.sealed.confinement.seccomp`). Auto.
    pub seccomp: Extent,
    /// Core dumps, and others that look into its memory (`spark.sealed.confinement.memory`). True.
    pub memory: bool,
}

impl ConfinementConfig {
    /// Reads it.
    pub(crate) fn read(v: &mut Values<'_>) -> Self {
        Self {
            landlock: v.value(&keys::CONFINEMENT_LANDLOCK),
            seccomp: v.value(&keys::CONFINEMENT_SECCOMP),
            memory: v.value(&keys::CONFINEMENT_MEMORY),
        }
    }
}
