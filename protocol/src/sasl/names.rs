//! The names that Spark fixes: both ends take them for granted.

/// The realm that Spark's server offers.
pub(super) const REALM: &[u8] = b"default";
/// Protocol and server name, which Spark leaves at null and `default`.
pub(super) const DIGEST_URI: &[u8] = b"null/default";
/// The user that Spark's client sends: `sparkSaslUser` in Base64.
pub(super) const USER: &[u8] = b"c3BhcmtTYXNsVXNlcg==";
