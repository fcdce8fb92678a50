//! The answers.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use sealed_shuffle_protocol::ids::AppId;

use super::gate::Refusal;
use super::question::Question;
use crate::server::Server;

const PROMETHEUS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";

/// Answers a question that was admitted.
pub(super) async fn answer(server: &Server, question: Question) -> Response<Full<Bytes>> {
    match question {
        Question::Metrics => match server.metrics_page() {
            Ok(page) => response(StatusCode::OK, PROMETHEUS, page),
            Err(_) => response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the metrics cannot be written\n"),
        },
        Question::Health if server.is_draining() => {
            response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n")
        }
        Question::Health => response(StatusCode::OK, TEXT, "ok\n"),
        Question::Readiness => {
            let (is_ready, text) = server.readiness();
            let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            response(status, TEXT, text)
        }
        Question::Applications(target) => {
            response(StatusCode::OK, JSON, server.applications(target).to_string())
        }
        Question::Policy => response(StatusCode::OK, JSON, server.policy().to_string()),
        Question::Directories => response(StatusCode::OK, JSON, server.directories().to_string()),
        Question::Keys => response(StatusCode::OK, JSON, server.keys_needed().to_string()),
        Question::End(app) => end(server.clone(), app).await,
    }
}

/// Says why there is no answer.
pub(super) fn refusal(refusal: Refusal) -> Response<Full<Bytes>> {
    let Refusal { status, text, allowed } = refusal;
    let mut refused = response(status, TEXT, format!("{text}\n"));
    if let Some(allowed) = allowed {
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    }
    if status == StatusCode::UNAUTHORIZED {
        refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    refused
}

/// Forgets the application on a thread that may wait for a disk.
async fn end(server: Server, app: AppId) -> Response<Full<Bytes>> {
    if !server.takes_changes() {
        return response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "another server is taking over: ask again\n");
    }
    match server.told().clone().run(move |_| server.forget(&app)).await {
        Ok(Some(executors)) => response(StatusCode::OK, TEXT, format!("forgot {executors} executors\n")),
        Ok(None) => response(StatusCode::NOT_FOUND, TEXT, "no such application\n"),
        Err(_) => {
            response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the application was not all forgotten\n")
        }
    }
}

fn response(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
