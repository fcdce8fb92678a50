//! A small API server: it lists and watches pods by labels and fields, and reads pods and Secrets by name.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

/// The API server. It is gone when this is dropped.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
    _runtime: Runtime,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By namespace and name.
    pods: BTreeMap<(String, String), Value>,
    secrets: BTreeMap<(String, String), Value>,
    events: Vec<(u64, &'static str, Value)>,
    /// Watches cannot go on from versions below this.
    oldest: u64,
    /// Counts how often all watches were cut.
    cuts: u64,
    forbids: BTreeSet<&'static str>,
    /// What was asked, without its host.
    asked: Vec<String>,
}

impl Api {
    pub(crate) fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { version: 1, ..State::default() }));
        let changed = watch::Sender::new(0);
        let (shared, changes) = (Arc::clone(&state), changed.clone());
        runtime.spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (shared, changes) = (Arc::clone(&shared), changes.clone());
                let answer = service_fn(move |request: Request<Incoming>| {
                    let answer = respond(&shared, &changes, &request);
                    async move { Ok::<_, Infallible>(answer) }
                });
                tokio::spawn(async move {
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), answer)
                        .await
                        .ok();
                });
            }
        });
        Self { address, state, changed, _runtime: runtime }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// A file that leads here, as KUBECONFIG names it.
    pub(crate) fn kubeconfig(&self, dir: &Path) -> PathBuf {
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": format!("http://{}", self.address)}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        });
        let path = dir.join("kubeconfig");
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Makes a pod, or changes it.
    pub(crate) fn put(&self, mut pod: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        let kind = match state.pods.insert(key(&pod), pod.clone()) {
            None => "ADDED",
            Some(_) => "MODIFIED",
        };
        state.events.push((version, kind, pod));
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Sets the phase of a pod.
    pub(crate) fn phase(&self, name: &str, phase: &str) {
        let found = self.state().pods.get(&("ns".to_owned(), name.to_owned())).cloned();
        let mut pod = found.expect("the test made it");
        pod["status"]["phase"] = json!(phase);
        self.put(pod);
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let mut pod = state.pods.remove(&("ns".to_owned(), name.to_owned())).expect("the test made it");
        pod["metadata"]["resourceVersion"] = json!(version.to_string());
        state.events.push((version, "DELETED", pod));
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    /// Makes a Secret of namespace `ns`; the value is Base64.
    pub(crate) fn secret(&self, name: &str, key: &str, base64: &str) {
        let secret = json!({"metadata": {"name": name, "namespace": "ns"}, "data": {key: base64}});
        self.state().secrets.insert(("ns".to_owned(), name.to_owned()), secret);
    }

    /// `pods` or `secrets` may not be read from now on, or may be again.
    pub(crate) fn forbid(&self, what: &'static str, forbids: bool) {
        let mut state = self.state();
        _ = if forbids { state.forbids.insert(what) } else { state.forbids.remove(what) };
    }

    /// Cuts all watches. Where `forgets`, none can go on from where it was.
    pub(crate) fn cut(&self, forgets: bool) {
        let mut state = self.state();
        state.cuts += 1;
        if forgets {
            state.version += 10;
            state.oldest = state.version;
        }
        drop(state);
        self.changed.send_modify(|count| *count += 1);
    }

    /// All that was asked, in its order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }
}

fn key(pod: &Value) -> (String, String) {
    let text = |name: &str| pod["metadata"][name].as_str().unwrap().to_owned();
    (text("namespace"), text("name"))
}

type Answer = Response<BoxBody<Bytes, Infallible>>;

fn plain(status: StatusCode, body: &Value) -> Answer {
    let body = Full::new(Bytes::from(body.to_string())).boxed();
    Response::builder().status(status).header("content-type", "application/json").body(body).unwrap()
}

fn failure(code: u16, reason: &str, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason, "message": message})
}

fn refuse(code: u16, reason: &str, message: &str) -> Answer {
    plain(StatusCode::from_u16(code).unwrap(), &failure(code, reason, message))
}

fn respond(state: &Arc<Mutex<State>>, changed: &watch::Sender<u64>, request: &Request<Incoming>) -> Answer {
    let (uri, mut held) = (request.uri().clone(), state.lock().unwrap());
    held.asked.push(uri.to_string());
    let parameter = |name: &str| {
        let pairs = uri.query().unwrap_or_default().split('&');
        let value = pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
        let value = value.replace('+', " ");
        Some(percent_encoding::percent_decode_str(&value).decode_utf8().unwrap().into_owned())
    };
    let words: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    let (namespace, kind, name) = match words[..] {
        ["api", "v1", kind] => (None, kind, None),
        ["api", "v1", "namespaces", namespace, kind] => (Some(namespace), kind, None),
        ["api", "v1", "namespaces", namespace, kind, name] => (Some(namespace), kind, Some(name)),
        _ => return refuse(404, "NotFound", "no such path"),
    };
    if held.forbids.contains(kind) {
        return refuse(403, "Forbidden", &format!("{kind} is forbidden"));
    }
    if let Some(name) = name {
        let objects = if kind == "pods" { &held.pods } else { &held.secrets };
        return match objects.get(&(namespace.unwrap().to_owned(), name.to_owned())) {
            Some(object) => plain(StatusCode::OK, object),
            None => refuse(404, "NotFound", &format!("{kind} {name} not found")),
        };
    }
    let selector = Selector {
        namespace: namespace.map(str::to_owned),
        labels: parameter("labelSelector").unwrap_or_default(),
        fields: parameter("fieldSelector").unwrap_or_default(),
    };
    if parameter("watch").is_some_and(|watch| watch == "true") {
        let from = parameter("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
        let (sender, body) = mpsc::channel(64);
        let (state, changes, cuts) = (Arc::clone(state), changed.subscribe(), held.cuts);
        tokio::spawn(feed(state, changes, selector, from, cuts, sender));
        return Response::new(Fed(body).boxed());
    }
    let accept = request.headers().get("accept").and_then(|accept| accept.to_str().ok());
    let only_metadata = accept.is_some_and(|accept| accept.contains("PartialObjectMetadata"));
    let mut items: Vec<Value> = held.pods.values().filter(|pod| selector.takes(pod)).cloned().collect();
    if only_metadata {
        for item in &mut items {
            *item = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]});
        }
    }
    let version = held.version.to_string();
    plain(
        StatusCode::OK,
        &json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items}),
    )
}

/// Sends the events after `from` until the watch is cut.
async fn feed(
    state: Arc<Mutex<State>>,
    mut changes: watch::Receiver<u64>,
    selector: Selector,
    mut from: u64,
    cuts: u64,
    sender: mpsc::Sender<Bytes>,
) {
    loop {
        changes.mark_unchanged();
        let mut lines = Vec::new();
        {
            let state = state.lock().unwrap();
            if state.cuts != cuts {
                return;
            }
            if from < state.oldest {
                lines.push(
                    json!({"type": "ERROR", "object": failure(410, "Expired", "too old resource version")}),
                );
            }
            let newer = state.events.iter().skip_while(|(version, ..)| *version <= from);
            let newer: Vec<_> = newer.collect();
            for (version, kind, pod) in newer {
                from = *version;
                if selector.takes(pod) {
                    lines.push(json!({"type": kind, "object": pod}));
                }
            }
        }
        for line in lines {
            let is_last = line["type"] == "ERROR";
            if sender.send(Bytes::from(format!("{line}\n"))).await.is_err() || is_last {
                return;
            }
        }
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = sender.closed() => return,
        }
    }
}

struct Selector {
    namespace: Option<String>,
    labels: String,
    fields: String,
}

impl Selector {
    fn takes(&self, pod: &Value) -> bool {
        let is_there = self.namespace.as_deref().is_none_or(|ns| pod["metadata"]["namespace"] == ns);
        let label = |name: &str| pod["metadata"]["labels"][name].as_str();
        let field =
            |path: &str| path.split('.').fold(pod, |value, name| &value[name]).as_str().unwrap_or_default();
        let mut labels = self.labels.split(',').filter(|part| !part.is_empty());
        let mut fields = self.fields.split(',').filter(|part| !part.is_empty());
        is_there
            && labels.all(|part| match part.split_once('=') {
                Some((name, value)) => label(name) == Some(value),
                None => label(part).is_some(),
            })
            && fields.all(|part| match part.split_once("!=") {
                Some((path, value)) => field(path) != value,
                None => part.split_once('=').is_some_and(|(path, value)| field(path) == value),
            })
    }
}

/// A body that is fed line by line.
struct Fed(mpsc::Receiver<Bytes>);

impl Body for Fed {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
