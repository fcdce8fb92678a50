//! Sockets, their deadlines and the threads that serve them.

use crate::key::DefaultValue::{Same, Text as Is};
use crate::key::Reader::{Both, Serve};
use crate::key::{AnyKey, Key};
use crate::value::{Bool, Int, Time, TimeUnit};

keys! {
    SOCKETS:

    /// The parent of the network timeouts.
    pub static NETWORK_TIMEOUT: Key<Time> = Key::new(
        "spark.network.timeout",
        Time::spark(TimeUnit::Seconds).negative_is_zero(),
        Is("120s"),
        Both,
        "Default of `spark.shuffle.io.connectionTimeout`.",
    )
    .literal();

    /// Idle close.
    pub static CONNECTION_TIMEOUT: Key<Time> = Key::new(
        "spark.shuffle.io.connectionTimeout",
        Time::spark(TimeUnit::Seconds).negative_is_zero(),
        Same(&NETWORK_TIMEOUT),
        Both,
        "A connection on which no byte moves for so long is closed; 0 never closes one. A client gives up an \
         unanswered request after it. An idle connection costs a descriptor and a few KiB.",
    )
    .literal();

    /// Listen backlog.
    pub static BACK_LOG: Key<Int<i32>> = Key::new(
        "spark.shuffle.io.backLog",
        Int::ANY,
        Is("-1"),
        Serve,
        "Connections that the kernel queues before they are accepted; below 1 the system's maximum.",
    )
    .literal();

    /// Worker threads.
    pub static SERVER_THREADS: Key<Int<u32>> = Key::new(
        "spark.shuffle.io.serverThreads",
        Int::transport(0, 1024),
        Is("0"),
        Serve,
        "Threads that seal and move bytes; 0 is one per processor, at most 8. Costs about 2 MiB of address space each.",
    )
    .literal();

    /// SO_RCVBUF.
    pub static RECEIVE_BUFFER: Key<Int<i32>> = Key::new(
        "spark.shuffle.io.receiveBuffer",
        Int::ANY,
        Is("-1"),
        Both,
        "Receive buffer of a socket in bytes, without a unit; below 1 the system decides. Kernel memory per connection.",
    )
    .literal();

    /// SO_SNDBUF.
    pub static SEND_BUFFER: Key<Int<i32>> = Key::new(
        "spark.shuffle.io.sendBuffer",
        Int::ANY,
        Is("-1"),
        Both,
        "Send buffer of a socket in bytes, without a unit; below 1 the system decides. Kernel memory per connection.",
    )
    .literal();

    /// SO_KEEPALIVE.
    pub static TCP_KEEP_ALIVE: Key<Bool> = Key::new(
        "spark.shuffle.io.enableTcpKeepAlive",
        Bool::TRANSPORT,
        Is("false"),
        Serve,
        "Whether the kernel probes accepted connections that are silent.",
    )
    .literal();
}
