//! The bytes of OTLP 1.x, as far as traces need them: the messages of `opentelemetry.proto.trace.v1` and
//! `opentelemetry.proto.collector.trace.v1`, with those fields that we fill or read.
//!
//! ```text
//! message ─► resource (this server) ─► scope (this program) ─► span of a request
//!                                                              ├─ span of a stretch: queue, disk, cipher or socket
//!                                                              └─ …, all with the trace id of the request
//! ```

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prost::Message;
use sealed_shuffle_transport::random::random_bytes;
use sealed_shuffle_transport::seal::Phase;

use super::notes::{Notes, Outcome};

/// Of the resource and the scope.
const NAME: &str = "sealed-shuffle";

#[derive(Clone, PartialEq, Message)]
struct ExportRequest {
    #[prost(message, repeated, tag = "1")]
    resource_spans: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_spans: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
}

#[derive(Clone, PartialEq, Message)]
struct Span {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    span_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    parent_span_id: Vec<u8>,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(enumeration = "Kind", tag = "6")]
    kind: i32,
    /// Nanoseconds since 1970, as is the end.
    #[prost(fixed64, tag = "7")]
    start: u64,
    #[prost(fixed64, tag = "8")]
    end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<Attribute>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, prost::Enumeration)]
#[repr(i32)]
enum Kind {
    Unspecified = 0,
    Internal = 1,
    Server = 2,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(enumeration = "Code", tag = "3")]
    code: i32,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, prost::Enumeration)]
#[repr(i32)]
enum Code {
    Unset = 0,
    Ok = 1,
    Error = 2,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 2, 3, 4")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Number(i64),
    #[prost(double, tag = "4")]
    Real(f64),
}

#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    message: String,
}

/// A message with all of `batch`, of a server on the machine `host` that has the id `node`.
pub(super) fn message(batch: &[Notes], host: Option<&str>, node: Option<&str>) -> Vec<u8> {
    let mut attributes = vec![text("service.name", NAME), text("service.version", env!("CARGO_PKG_VERSION"))];
    attributes.extend(host.map(|host| text("host.name", host)));
    attributes.extend(node.or(host).map(|instance| text("service.instance.id", instance)));
    let resource = Resource { attributes };
    let scope = Scope { name: NAME.to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() };
    let spans = batch.iter().flat_map(spans).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans }];
    let of_server = ResourceSpans { resource: Some(resource), scope_spans };
    ExportRequest { resource_spans: vec![of_server] }.encode_to_vec()
}

/// The number of spans of a message that the collector did not take, and why, from its answer. An answer that is none took all.
pub(super) fn rejected(answer: &[u8]) -> (u64, String) {
    let partial = ExportResponse::decode(answer).ok().and_then(|answer| answer.partial).unwrap_or_default();
    (u64::try_from(partial.rejected_spans).unwrap_or(0), partial.message)
}

fn spans(notes: &Notes) -> Vec<Span> {
    let (trace, root) = (id::<16>(), id::<8>());
    let at = nanos(notes.at);
    let mut spans = vec![Span {
        trace_id: trace.clone(),
        span_id: root.clone(),
        parent_span_id: Vec::new(),
        name: notes.kind.to_owned(),
        kind: Kind::Server.into(),
        start: at,
        end: later(at, notes.took),
        attributes: attributes(notes),
        status: Some(status(notes)),
    }];
    spans.extend(notes.stretches.iter().map(|stretch| Span {
        trace_id: trace.clone(),
        span_id: id::<8>(),
        parent_span_id: root.clone(),
        name: stretch.phase.name().to_owned(),
        kind: Kind::Internal.into(),
        start: later(at, stretch.after),
        end: later(at, stretch.after + stretch.time),
        attributes: Vec::new(),
        status: None,
    }));
    spans
}

fn attributes(notes: &Notes) -> Vec<Attribute> {
    let channel = notes.channel;
    let mut all = vec![
        text("client.address", &notes.peer.ip().to_canonical().to_string()),
        number("client.port", notes.peer.port().into()),
        text("sealed_shuffle.channel", channel.level.name()),
        text("sealed_shuffle.handshake", channel.handshake.name()),
        text("sealed_shuffle.cipher", channel.cipher),
        text("sealed_shuffle.outcome", notes.outcome().name()),
    ];
    all.extend(notes.app.as_deref().map(|app| text("spark.app.id", app)));
    all.extend(notes.executor.as_deref().map(|executor| text("spark.executor.id", executor)));
    if let Some(chunks) = notes.chunks {
        all.push(number("sealed_shuffle.chunks", chunks));
        all.push(number("sealed_shuffle.chunks_asked", notes.chunks_asked));
    }
    if notes.blocks > 0 || notes.bytes > 0 {
        all.push(number("sealed_shuffle.blocks", notes.blocks));
        all.push(number("sealed_shuffle.bytes", notes.bytes));
    }
    if notes.goes_out {
        all.push(number("sealed_shuffle.bytes_sent", notes.sent));
    }
    for phase in Phase::ALL {
        let time = notes.times[phase as usize];
        if !time.is_zero() {
            all.push(real(&format!("sealed_shuffle.{}_seconds", phase.name()), time.as_secs_f64()));
        }
    }
    if notes.left_out > 0 {
        all.push(number("sealed_shuffle.stretches_left_out", notes.left_out));
    }
    all
}

fn status(notes: &Notes) -> Status {
    let (code, message) = match notes.outcome() {
        Outcome::Done => (Code::Ok, ""),
        Outcome::Failed => (Code::Error, notes.failure.as_deref().unwrap_or_default()),
        Outcome::Cut => (Code::Error, "the connection ended before the peer had all of it"),
        // Nobody knows whether its peer wanted more.
        Outcome::Left => (Code::Unset, ""),
    };
    Status { message: message.to_owned(), code: code.into() }
}

/// A random id, which is never all zeros. Without randomness a span is sent all the same, with an id that others may have.
fn id<const N: usize>() -> Vec<u8> {
    let mut id = random_bytes::<N>().unwrap_or([0; N]);
    id[0] |= u8::from(id.iter().all(|byte| *byte == 0));
    id.to_vec()
}

fn nanos(time: SystemTime) -> u64 {
    later(0, time.duration_since(UNIX_EPOCH).unwrap_or_default())
}

fn later(at: u64, time: Duration) -> u64 {
    at.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

fn attribute(key: &str, value: Value) -> Attribute {
    Attribute { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
}

fn text(key: &str, value: &str) -> Attribute {
    attribute(key, Value::Text(value.to_owned()))
}

fn number(key: &str, value: u64) -> Attribute {
    attribute(key, Value::Number(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn real(key: &str, value: f64) -> Attribute {
    attribute(key, Value::Real(value))
}
