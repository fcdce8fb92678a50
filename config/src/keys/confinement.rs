//! What the process gives up.

use crate::key::DefaultValue::Text as Is;
use crate::key::Reader::Serve;
use crate::key::{AnyKey, Key};
use crate::value::{Bool, Choice, Extent};

keys! {
    CONFINEMENT:

    /// Files and TCP.
    pub static CONFINEMENT_LANDLOCK: Key<Choice<Extent>> = Key::new(
        "spark.sealed.confinement.landlock",
        Choice::EXTENT,
        Is("auto"),
        Serve,
        "Whether the kernel keeps the process from writing outside roots, state directory, audit trail, key file and sockets, from TCP \
         connections of its own, and from further TCP ports. `auto`: as far as the kernel can, and not where the server may \
         start programs, which would be confined as well; `on`: also there (TCP stays free), and a kernel that cannot \
         refuses the start.",
    );

    /// System calls.
    pub static CONFINEMENT_SECCOMP: Key<Choice<Extent>> = Key::new(
        "spark.sealed.confinement.seccomp",
        Choice::EXTENT,
        Is("auto"),
        Serve,
        "Whether the kernel refuses the process system calls that a block server never makes, such as `ptrace`, `mount` and \
         `bpf`. `auto` and `on` as for `spark.sealed.confinement.landlock`.",
    );

    /// Memory.
    pub static CONFINEMENT_MEMORY: Key<Bool> = Key::new(
        "spark.sealed.confinement.memory",
        Bool::TRANSPORT,
        Is("true"),
        Serve,
        "Whether no core dump is written, and no process of the server's own user may read its memory or attach a debugger. \
         `false` for looking into a server that misbehaves.",
    );
}
