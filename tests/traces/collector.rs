//! A collector of OpenTelemetry on a free port. It reads OTLP with the types that OpenTelemetry's authors generate.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sealed_shuffle::HttpEndpoint;

/// What it says to messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Mood {
    Takes,
    /// All but so many spans.
    TakesAllBut(i64),
    /// With this status.
    Refuses(u16),
    /// It reads, and never answers.
    Hangs,
}

#[derive(Debug)]
struct Inner {
    mood: Mutex<Mood>,
    requests: Mutex<Vec<ExportTraceServiceRequest>>,
    bytes: Mutex<Vec<u8>>,
    heads: Mutex<Vec<String>>,
    connections: AtomicUsize,
    held: Mutex<Vec<TcpStream>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    inner: Arc<Inner>,
}

impl Collector {
    pub(crate) fn start(mood: Mood) -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").unwrap(), mood)
    }

    pub(crate) fn on(listener: TcpListener, mood: Mood) -> Self {
        let inner = Arc::new(Inner {
            mood: Mutex::new(mood),
            requests: Mutex::default(),
            bytes: Mutex::default(),
            heads: Mutex::default(),
            connections: AtomicUsize::new(0),
            held: Mutex::default(),
        });
        let (address, of_thread) = (listener.local_addr().unwrap(), Arc::clone(&inner));
        // It ends with the process.
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                of_thread.connections.fetch_add(1, Ordering::SeqCst);
                of_thread.serve(socket.unwrap());
            }
        });
        Self { address, inner }
    }

    pub(crate) fn endpoint(&self) -> HttpEndpoint {
        let (host, port) = (self.address.ip().to_string(), self.address.port());
        HttpEndpoint { host, port, path: "/v1/traces".to_owned() }
    }

    pub(crate) fn becomes(&self, mood: Mood) {
        *self.inner.mood.lock().unwrap() = mood;
    }

    pub(crate) fn connections(&self) -> usize {
        self.inner.connections.load(Ordering::SeqCst)
    }

    /// The heads of its requests.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.inner.heads.lock().unwrap().clone()
    }

    /// All bytes of messages.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.inner.bytes.lock().unwrap().clone()
    }

    pub(crate) fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.inner.requests.lock().unwrap().clone()
    }

    /// All spans that it took.
    pub(crate) fn spans(&self) -> Vec<Span> {
        let requests = self.requests();
        let resources = requests.into_iter().flat_map(|request| request.resource_spans);
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// Those of requests, by their name.
    pub(crate) fn named(&self, name: &str) -> Vec<Span> {
        self.spans().into_iter().filter(|span| span.name == name && span.parent_span_id.is_empty()).collect()
    }

    /// Those within another one.
    pub(crate) fn within(&self, parent: &Span) -> Vec<Span> {
        let spans = self.spans().into_iter();
        spans.filter(|span| span.parent_span_id == parent.span_id).collect()
    }
}

impl Inner {
    fn serve(&self, socket: TcpStream) {
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let mut head = String::new();
        // One who looks whether anybody is there says nothing.
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        self.heads.lock().unwrap().push(head);
        let mood = *self.mood.lock().unwrap();
        let (status, answer) = match mood {
            Mood::Hangs => {
                self.held.lock().unwrap().push(socket);
                return;
            }
            Mood::Refuses(status) => (status, Vec::new()),
            Mood::Takes => (200, ExportTraceServiceResponse::default().encode_to_vec()),
            Mood::TakesAllBut(rejected_spans) => {
                let error_message = "not these".to_owned();
                let partial = ExportTracePartialSuccess { rejected_spans, error_message };
                (200, ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec())
            }
        };
        if status == 200 {
            let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
            self.requests.lock().unwrap().push(request);
            self.bytes.lock().unwrap().extend_from_slice(&body);
        }
        let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", answer.len());
        let mut socket = socket;
        socket.write_all(&[head.as_bytes(), &answer].concat()).unwrap();
    }
}

/// The attribute of a span, as text.
pub(crate) fn text(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        Value::DoubleValue(number) => Some(number.to_string()),
        other => panic!("{key}: {other:?}"),
    }
}
