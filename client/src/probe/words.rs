//! What a peer's words say about it.
//!
//! Texts of Spark carry a Java stack trace whose classes tell its services apart (TransportRequestHandler, Spark 2.4.8
//! to 4.3.0, sends the whole trace); ours are one line. Everything that is kept of them is made harmless first.

use std::fmt::Write;

use super::report::Peer;

/// Most characters that are kept of what a peer says.
const LONGEST: usize = 300;

/// The first line, cut, with everything escaped that could move a cursor, hide or turn a line around.
pub(super) fn clean(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let mut clean = String::new();
    for (at, c) in line.chars().enumerate() {
        if at == LONGEST {
            clean.push('…');
            break;
        }
        // Alphanumeric characters neither control nor format; of the rest only what Spark and we write.
        if c == ' ' || c.is_ascii_graphic() || c.is_alphanumeric() || c == '…' {
            clean.push(c);
        } else {
            // Writing to a string does not fail.
            write!(clean, "{}", c.escape_default()).ok();
        }
    }
    clean
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_says_cannot_steer_a_terminal() {
        let hostile = "a\u{1b}[2J\u{9b}b\u{202e}c\u{200b}\td\nsecond line";
        assert_eq!(clean(hostile), "a\\u{1b}[2J\\u{9b}b\\u{202e}c\\u{200b}\\td");
        let long = clean(&"x".repeat(10_000));
        assert_eq!(long.chars().count(), LONGEST + 1);
    }

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
