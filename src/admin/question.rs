//! What a request asks for.

use std::fmt;
use std::time::Duration;

use hyper::{Method, StatusCode, Uri};
use percent_encoding::percent_decode_str;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::AppId;

use super::deed::Deed;
use super::gate::Refusal;

/// What is asked.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Question {
    /// The page for a person.
    Page,
    /// Its script.
    Script,
    /// Its style sheet.
    Style,
    Metrics,
    /// Whether the process answers at all.
    Liveness,
    Health,
    Readiness,
    /// All that an operator wants to see at once.
    Status,
    /// The table; without a target, that of the policy; without a time, who runs counts and who is remembered is listed.
    Applications {
        target: Option<SecurityLevel>,
        since: Option<Duration>,
    },
    Policy,
    /// The directories that belong to applications.
    Directories,
    /// What keys of the key service are needed for.
    Keys,
    /// What an auditor asks for.
    Evidence,
    /// The filter of the log.
    LogFilter,
    /// The application is over.
    End(AppId),
    /// Open transfers end, and then the process.
    Drain,
    /// The configuration is read again.
    Reload,
    /// Another filter of the log.
    SetLogFilter(String),
    /// An operator did something beside the server, of which the audit trail is to tell.
    Deed(Deed),
}

impl Question {
    /// What a request asks; the refusal says what could be asked instead.
    pub(super) fn of(method: &Method, uri: &Uri) -> Result<Self, Refusal> {
        let path = uri.path();
        let app = path.strip_prefix("/applications/").filter(|app| !app.is_empty());
        match (path, app, method) {
            ("/", _, &Method::GET) => Ok(Self::Page),
            ("/page.js", _, &Method::GET) => Ok(Self::Script),
            ("/page.css", _, &Method::GET) => Ok(Self::Style),
            ("/metrics", _, &Method::GET) => Ok(Self::Metrics),
            ("/livez", _, &Method::GET) => Ok(Self::Liveness),
            ("/healthz", _, &Method::GET) => Ok(Self::Health),
            ("/status", _, &Method::GET) => Ok(Self::Status),
            ("/log-level", _, &Method::GET) => Ok(Self::LogFilter),
            ("/log-level", _, &Method::PUT) => log_filter(uri.query()).map(Self::SetLogFilter),
            ("/drain", _, &Method::POST) => Ok(Self::Drain),
            ("/reload", _, &Method::POST) => Ok(Self::Reload),
            ("/deeds", _, &Method::POST) => deed(uri.query()),
            ("/readyz", _, &Method::GET) => Ok(Self::Readiness),
            ("/applications", _, &Method::GET) => applications(uri.query()),
            ("/policy", _, &Method::GET) => Ok(Self::Policy),
            ("/directories", _, &Method::GET) => Ok(Self::Directories),
            ("/keys", _, &Method::GET) => Ok(Self::Keys),
            ("/evidence", _, &Method::GET) => Ok(Self::Evidence),
            (_, Some(app), &Method::DELETE) => Ok(Self::End(app_id(app))),
            (path, ..) if READ.contains(&path) => Err(Refusal::not_allowed("GET")),
            ("/log-level", ..) => Err(Refusal::not_allowed("GET, PUT")),
            ("/drain" | "/reload" | "/deeds", ..) => Err(Refusal::not_allowed("POST")),
            (_, Some(_), _) => Err(Refusal::not_allowed("DELETE")),
            _ => {
                let read: Vec<_> = READ.iter().map(|path| format!("GET {path}")).collect();
                let text = format!(
                    "there are: {}, GET and PUT /log-level, POST /drain, POST /reload, POST /deeds, DELETE /applications/ID",
                    read.join(", ")
                );
                Err(Refusal::new(StatusCode::NOT_FOUND, text))
            }
        }
    }

    /// Whether the answer changes anything.
    pub(super) fn is_change(&self) -> bool {
        match self {
            Self::Page
            | Self::Script
            | Self::Style
            | Self::Metrics
            | Self::Liveness
            | Self::Health
            | Self::Readiness
            | Self::Status
            | Self::LogFilter
            | Self::Applications { .. }
            | Self::Policy
            | Self::Directories
            | Self::Keys
            | Self::Evidence => false,
            Self::End(_) | Self::Drain | Self::Reload | Self::SetLogFilter(_) | Self::Deed(_) => true,
        }
    }

    /// The change that is asked for, or that was made, for the audit trail.
    pub(super) fn change(&self) -> Option<Change> {
        let change = |action, about| Some(Change { action, about, ..Change::default() });
        match self {
            Self::End(app) => change("forget", Some(app.as_str().to_owned())),
            Self::Drain => change("drain", None),
            Self::Reload => change("reload", None),
            Self::SetLogFilter(filter) => change("log_level", Some(filter.clone())),
            Self::Deed(deed) => Some(Change {
                action: deed.action(),
                about: deed.subject().map(str::to_owned),
                outcome: Some(deed.outcome()),
                numbers: deed.numbers().to_vec(),
            }),
            _ => None,
        }
    }

    /// Whether it is for those who may change something, and for no one else.
    pub(super) fn is_for_operators(&self) -> bool {
        self.is_change() || matches!(self, Self::Directories | Self::Evidence)
    }
}

/// A change as the audit trail tells of it.
#[derive(Debug, Default)]
pub(super) struct Change {
    pub(super) action: &'static str,
    pub(super) about: Option<String>,
    /// What came of it, where that was told; else the answer says it.
    pub(super) outcome: Option<&'static str>,
    pub(super) numbers: Vec<(&'static str, u64)>,
}

/// As what somebody asks the server to do.
impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page | Self::Script | Self::Style => f.write_str("show its page"),
            Self::Metrics => f.write_str("show metrics"),
            Self::Liveness => f.write_str("show that it lives"),
            Self::Health => f.write_str("show health"),
            Self::Status => f.write_str("show its status"),
            Self::LogFilter => f.write_str("show the filter of the log"),
            Self::Drain => f.write_str("drain and end"),
            Self::Reload => f.write_str("read the configuration again"),
            Self::SetLogFilter(filter) => write!(f, "log {filter:?}"),
            Self::Readiness => f.write_str("show readiness"),
            Self::Applications { .. } => f.write_str("show applications"),
            Self::Policy => f.write_str("show the policy"),
            Self::Directories => f.write_str("show the directories of applications"),
            Self::Keys => f.write_str("show which keys are needed"),
            Self::Evidence => f.write_str("show what an auditor asks for"),
            Self::Deed(deed) => {
                write!(f, "note that an operator {}: {}", deed.words(), deed.outcome())?;
                deed.subject().map_or(Ok(()), |about| write!(f, " {about:?}"))
            }
            // Whoever sent it chose the characters.
            Self::End(app) => write!(f, "end application {:?}", app.as_str()),
        }
    }
}

/// What is only read.
const READ: [&str; 13] = [
    "/",
    "/page.js",
    "/page.css",
    "/metrics",
    "/livez",
    "/healthz",
    "/readyz",
    "/status",
    "/applications",
    "/policy",
    "/directories",
    "/keys",
    "/evidence",
];

/// The filter that a question brings.
fn log_filter(query: Option<&str>) -> Result<String, Refusal> {
    let filter = query.and_then(|query| query.strip_prefix("filter=")).filter(|filter| !filter.is_empty());
    let filter = filter.map(|filter| percent_decode_str(filter).decode_utf8_lossy().into_owned());
    filter.ok_or_else(|| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "use ?filter= with a filter such as info or sealed_shuffle=debug",
        )
    })
}

/// The deed that a question tells of.
fn deed(query: Option<&str>) -> Result<Question, Refusal> {
    let text =
        "this is told by commands of this release: orphans --delete, keys rotate, keys rewrap, keys drop";
    Deed::of(query).map(Question::Deed).ok_or_else(|| Refusal::new(StatusCode::BAD_REQUEST, text))
}

/// The application that a path names, percent-decoded (RFC 3986, section 2.1).
fn app_id(encoded: &str) -> AppId {
    AppId::new(percent_decode_str(encoded).decode_utf8_lossy())
}

/// The question for the table, with what its query says.
fn applications(query: Option<&str>) -> Result<Question, Refusal> {
    let (mut target, mut since) = (None, None);
    for part in query.unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        match part.split_once('=') {
            Some(("target", level)) if SecurityLevel::named(level).is_some() => {
                target = SecurityLevel::named(level);
            }
            Some(("since", seconds)) if seconds.parse::<u32>().is_ok() => {
                since = seconds.parse::<u32>().ok().map(|seconds| Duration::from_secs(seconds.into()));
            }
            _ => {
                let names: Vec<_> = SecurityLevel::ALL.iter().map(|level| level.name()).collect();
                let text = format!(
                    "use ?target= with one of {}, and since= with a number of seconds",
                    names.join(", ")
                );
                return Err(Refusal::new(StatusCode::BAD_REQUEST, text));
            }
        }
    }
    Ok(Question::Applications { target, since })
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
            "/applications?target=tls&since=3600",
            "/policy",
            "/keys",
            "/livez",
            "/status",
            "/log-level",
        ] {
            assert!(!asked(Method::GET, path).is_change(), "{path}");
        }
        assert!(asked(Method::DELETE, "/applications/x").is_change());
        assert!(asked(Method::POST, "/drain").is_change());
        assert!(asked(Method::POST, "/reload").is_change());
        let level = asked(Method::PUT, "/log-level?filter=sealed_shuffle%3Ddebug");
        assert!(level.is_change() && level == Question::SetLogFilter("sealed_shuffle=debug".to_owned()));
        assert!(asked(Method::POST, "/deeds?action=keys_drop&outcome=done").is_change());
        for (method, path) in [
            (Method::GET, "/drain"),
            (Method::POST, "/status"),
            (Method::PUT, "/log-level"),
            (Method::POST, "/deeds"),
            (Method::GET, "/deeds?action=keys_drop&outcome=done"),
        ] {
            assert!(Question::of(&method, &Uri::from_static(path)).is_err(), "{method} {path}");
        }
        let directories = asked(Method::GET, "/directories");
        assert!(!directories.is_change() && directories.is_for_operators());
        let evidence = asked(Method::GET, "/evidence");
        assert!(!evidence.is_change() && evidence.is_for_operators());
        assert!(!asked(Method::GET, "/applications").is_for_operators());
    }
}
