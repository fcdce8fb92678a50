//! The operator's HTTP port: metrics, health, and telling the server that an application is over.
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | counters in the text format that Prometheus reads |
//! | `GET /healthz` | `200 ok`, or `503 draining` while the server stops |
//! | `GET /applications` | the table of applications as JSON; `?target=LEVEL` marks those that LEVEL would refuse |
//! | `GET /policy` | the policy as JSON: the levels that are served and targeted |
//! | `DELETE /applications/ID` | forgets the application, and its secret if that was handed over; `404` for an unknown one |
//!
//! `ID` may be percent-encoded. There is no authentication: bind it to loopback, as the default does. Answers hold no secret.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use percent_encoding::percent_decode_str;
use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::wire::accept_loop;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::debug;

use crate::server::Server;

/// Most connections at once.
const PLACES: usize = 64;

/// Time from the first byte of a request to the end of its head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from accepting a connection to its end.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);

const PROMETHEUS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Serves the admin port until `stop` resolves.
pub async fn run(listener: TcpListener, server: Server, stop: impl Future<Output = ()>) {
    accept_loop(&listener, &Arc::new(Semaphore::new(PLACES)), stop, |socket, _, place| {
        drop(tokio::spawn(connection(socket, server.clone(), place)));
    })
    .await;
}

async fn connection(socket: TcpStream, server: Server, _place: Option<OwnedSemaphorePermit>) {
    let service = service_fn(move |request| {
        let server = server.clone();
        async move { Ok::<_, Infallible>(answer(&server, &request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        // A client that sends its request and then closes its writing side still gets the answer.
        .half_close(true)
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(16 << 10)
        .serve_connection(TokioIo::new(socket), service);
    match tokio::time::timeout(CONNECTION_TIMEOUT, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%error, "an admin connection failed"),
        Err(_) => debug!("closed an admin connection that stayed too long"),
    }
}

async fn answer(server: &Server, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let app = path.strip_prefix("/applications/").filter(|app| !app.is_empty());
    match (path, app, request.method()) {
        ("/metrics", _, &Method::GET) => match server.metrics_page() {
            Ok(page) => response(StatusCode::OK, PROMETHEUS, page),
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the metrics cannot be written\n"),
        },
        ("/healthz", _, &Method::GET) if server.is_draining() => {
            response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n")
        }
        ("/healthz", _, &Method::GET) => response(StatusCode::OK, TEXT, "ok\n"),
        (_, Some(app), &Method::DELETE) => forget(server.clone(), app_id(app)).await,
        ("/applications", _, &Method::GET) => match target(request.uri().query()) {
            Ok(target) => response(StatusCode::OK, JSON, server.applications(target).to_string()),
            Err(text) => response(StatusCode::BAD_REQUEST, TEXT, text),
        },
        ("/policy", _, &Method::GET) => response(StatusCode::OK, JSON, server.policy().to_string()),
        ("/metrics" | "/healthz" | "/applications" | "/policy", ..) => not_allowed("GET"),
        (_, Some(_), _) => not_allowed("DELETE"),
        _ => response(
            StatusCode::NOT_FOUND,
            TEXT,
            "there are: GET /metrics, GET /healthz, GET /applications, GET /policy, DELETE /applications/ID\n",
        ),
    }
}

/// The application that a path names, percent-decoded (RFC 3986, section 2.1).
fn app_id(encoded: &str) -> AppId {
    AppId::new(percent_decode_str(encoded).decode_utf8_lossy())
}

/// Forgets the application on a thread that may wait for a disk.
async fn forget(server: Server, app: AppId) -> Response<Full<Bytes>> {
    match server.told().clone().run(move |_| server.forget(&app)).await {
        Ok(Some(executors)) => response(StatusCode::OK, TEXT, format!("forgot {executors} executors\n")),
        Ok(None) => response(StatusCode::NOT_FOUND, TEXT, "no such application\n"),
        Err(_) => {
            response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the application was not all forgotten\n")
        }
    }
}

/// The target that a question names; `None` for the target of the policy.
fn target(query: Option<&str>) -> Result<Option<SecurityLevel>, String> {
    let Some(query) = query.filter(|query| !query.is_empty()) else { return Ok(None) };
    let level = query.strip_prefix("target=").and_then(SecurityLevel::named);
    level.map(Some).ok_or_else(|| {
        let names: Vec<_> = SecurityLevel::ALL.iter().map(|level| level.name()).collect();
        format!("use ?target= with one of {}\n", names.join(", "))
    })
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut refused = response(StatusCode::METHOD_NOT_ALLOWED, TEXT, format!("use {allowed}\n"));
    refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    refused
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
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
}
