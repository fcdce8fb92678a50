//! What a request asks for.

use std::fmt;

use hyper::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::AppId;

use super::gate::Refusal;

/// What is asked.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Question {
    Metrics,
    Health,
    Readiness,
    /// The table; `None` marks what the target of the policy would refuse.
    Applications(Option<SecurityLevel>),
    Policy,
    /// The directories that belong to applications.
    Directories,
    /// What keys of the key service are needed for.
    Keys,
    /// The application is over.
    End(AppId),
}

impl Question {
    /// What a request asks; the refusal says what could be asked instead.
    pub(super) fn of(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        let path = uri.path();
        let app = path.strip_prefix("/applications/").filter(|app| !app.is_empty());
        match (path, app, method) {
            ("/metrics", _, &Method::GET) => Ok(Self::Metrics),
            ("/healthz", _, &Method::GET) => Ok(Self::Health),
            ("/readyz", _, &Method::GET) => Ok(Self::Readiness),
            ("/applications", _, &Method::GET) => target(uri.query()).map(Self::Applications),
            ("/policy", _, &Method::GET) => Ok(Self::Policy),
            ("/directories", _, &Method::GET) => Ok(Self::Directories),
            ("/keys", _, &Method::GET) => Ok(Self::Keys),
            (_, Some(app), &Method::DELETE) => Ok(Self::End(app_id(app))),
            (
                "/metrics" | "/healthz" | "/readyz" | "/applications" | "/policy" | "/directories" | "/keys",
                ..,
            ) => Err(Refusal::not_allowed("GET")),
            (_, Some(_), _) => Err(Refusal::not_allowed("DELETE")),
            _ => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "there are: GET /metrics, GET /healthz, GET /readyz, GET /applications, GET /policy, GET /directories, \
                 GET /keys, \
                 DELETE /applications/ID",
            )),
        }
    }

    /// Whether the answer changes anything.
    pub(super) fn is_change(&self) -> bool {
        match self {
            Self::Metrics
            | Self::Health
            | Self::Readiness
            | Self::Applications(_)
            | Self::Policy
            | Self::Directories
            | Self::Keys => false,
            Self::End(_) => true,
        }
    }

    /// Whether it is for those who may change something, and for no one else.
    pub(super) fn is_for_operators(&self) -> bool {
        self.is_change() || *self == Self::Directories
    }
}

/// As what somebody asks the server to do.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metrics => f.write_str("show metrics"),
            Self::Health => f.write_str("show health"),
            Self::Readiness => f.write_str("show readiness"),
            Self::Applications(_) => f.write_str("show applications"),
            Self::Policy => f.write_str("show the policy"),
            Self::Directories => f.write_str("show the directories of applications"),
            Self::Keys => f.write_str("show which keys are needed"),
            // Whoever sent it chose the characters.
            Self::End(app) => write!(f, "end application {:?}", app.as_str()),
        }
    }
}

/// The application that a path names, percent-decoded (RFC 3986, section 2.1).
fn app_id(encoded: &str) -> AppId {
    AppId::new(percent_decode_str(encoded).decode_utf8_lossy())
}

/// The target that a question names; `None` for the target of the policy.
fn target(query: Option<&str>) -> Result<Option<SecurityLevel>, Refusal> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let level = query.strip_prefix("target=").and_then(SecurityLevel::named);
    level.map(Some).ok_or_else(|| {
        let names: Vec<_> = SecurityLevel::ALL.iter().map(|level| level.name()).collect();
        Refusal::new(StatusCode::BAD_REQUEST, format!("use ?target= with one of {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_application_is_named_percent_encoded_or_plain() {
        for (text, decoded) in [
            ("app-1", "app-1"),
            ("a%2Fb%20c", "a/b c"),
            ("%C3%a9", "é"),
            ("100%", "100%"),
            ("%zz%4", "%zz%4"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(app_id(text).as_str(), decoded, "{text}");
        }
    }

    #[test]
    fn only_what_is_no_read_changes_something() {
        let asked = |method, path| Question::of(&method, &Uri::from_static(path)).unwrap();
        for path in [
            "/metrics",
            "/healthz",
            "/readyz",
            "/applications",
            "/applications?target=tls",
            "/policy",
            "/keys",
        ] {
            assert!(!asked(Method::GET, path).is_change(), "{path}");
        }
        assert!(asked(Method::DELETE, "/applications/x").is_change());
        let directories = asked(Method::GET, "/directories");
        assert!(!directories.is_change() && directories.is_for_operators());
        assert!(!asked(Method::GET, "/applications").is_for_operators());
    }
}
