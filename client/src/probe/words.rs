//! What a peer's words say about it.
//!
//! Texts of Spark carry a Java stack trace whose classes tell its services apart (TransportRequestHandler, Spark 2.4.8
//! to 4.3.0, sends the whole trace); ours are one line. Everything that is kept of them is made harmless first.

use sealed_shuffle_protocol::shown::Shown;

use super::report::Peer;

/// The first line, harmless and cut.
pub(super) fn clean(text: &str) -> String {
    Shown::first_line(text).to_string()
}

/// Who says such a thing, as far as that shows.
pub(super) fn speaker(text: &str) -> Peer {
    let classes: [(&str, Peer); 7] = [
        ("org.apache.spark.rpc.netty", Peer::Rpc),
        ("NettyBlockRpcServer", Peer::Executor),
        ("network.shuffle.ExternalBlockHandler", Peer::ShuffleService),
        ("network.shuffle.ExternalShuffleBlockHandler", Peer::ShuffleService),
        ("network.shuffle.ExternalShuffleBlockResolver", Peer::ShuffleService),
        ("network.yarn.", Peer::ShuffleService),
        ("org.apache.spark", Peer::Spark),
    ];
    let mut trace = text.lines().skip(1).peekable();
    if trace.peek().is_none() {
        return if text.starts_with("java.") { Peer::Ours } else { Peer::Unknown };
    }
    let trace: String = trace.collect();
    classes.iter().find(|(class, _)| trace.contains(class)).map_or(Peer::Unknown, |(_, peer)| *peer)
}

/// Whether a failed handshake was one that the server speaks.
pub(super) fn refuses_proof(text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    ["Authentication failed", "DIGEST-MD5", "Password cannot be null"]
        .iter()
        .any(|words| first.contains(words))
}

/// Whether our server refuses the channel, and says so within the handshake.
pub(super) fn refuses_channel(text: &str) -> bool {
    text.starts_with("java.lang.SecurityException: ") && text.contains("spark.sealed.security.minimum")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stack_traces_tell_services_apart() {
        let trace =
            |class: &str| format!("java.lang.RuntimeException: x\n\tat {class}.f(F.java:1)\n\tat y.Z");
        for (class, peer) in [
            ("org.apache.spark.network.shuffle.ExternalBlockHandler", Peer::ShuffleService),
            ("org.apache.spark.network.netty.NettyBlockRpcServer", Peer::Executor),
            ("org.apache.spark.rpc.netty.NettyRpcHandler", Peer::Rpc),
            ("org.apache.spark.network.crypto.AuthRpcHandler", Peer::Spark),
            ("com.example.Server", Peer::Unknown),
        ] {
            assert_eq!(speaker(&trace(class)), peer, "{class}");
        }
        assert_eq!(speaker("java.lang.RuntimeException: Executor is not registered (…)"), Peer::Ours);
        assert_eq!(speaker("no"), Peer::Unknown);
    }
}
