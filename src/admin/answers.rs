//! The answers.

use std::time::SystemTime;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderValue, REFERRER_POLICY,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{HeaderMap, Response, StatusCode};
use sealed_shuffle_protocol::ids::AppId;

use super::gate::Refusal;
use super::page;
use super::question::Question;
use crate::server::{ControlError, Server};

/// What of it a request names in `Accept` that wants it.
const OPEN_METRICS_TYPE: &str = "application/openmetrics-text";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PLAIN_METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";
const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Whether who asks for metrics reads OpenMetrics. Prometheus says so; curl and `promtool` do not.
pub(super) fn accepts_open_metrics(headers: &HeaderMap) -> bool {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut kinds = texts.flat_map(|text| text.split(',')).filter_map(|entry| entry.split(';').next());
    kinds.any(|kind| kind.trim().eq_ignore_ascii_case(OPEN_METRICS_TYPE))
}

/// Answers a question that was admitted.
pub(super) async fn answer(server: &Server, question: Question, open_metrics: bool) -> Response<Full<Bytes>> {
    match question {
        Question::Page => {
            let page = page::page(&server.status(), &server.applications(None, None));
            let mut page = response(StatusCode::OK, HTML, page);
            let headers = page.headers_mut();
            headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::CONTENT_SECURITY_POLICY));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            page
        }
        Question::Script => response(StatusCode::OK, "text/javascript; charset=utf-8", page::SCRIPT),
        Question::Style => response(StatusCode::OK, "text/css; charset=utf-8", page::STYLE),
        Question::Metrics => {
            let (kind, page) = match open_metrics {
                true => (OPEN_METRICS, server.metrics_page()),
                false => (PLAIN_METRICS, server.plain_metrics_page()),
            };
            let unwritten =
                |_| response(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "the metrics cannot be written\n");
            page.map_or_else(unwritten, |page| response(StatusCode::OK, kind, page))
        }
        Question::Liveness => response(StatusCode::OK, TEXT, "alive\n"),
        Question::Status => response(StatusCode::OK, JSON, server.status().to_string()),
        Question::LogFilter => match server.log() {
            Ok(log) => response(StatusCode::OK, TEXT, format!("{}\n", log.filter())),
            Err(failure) => not_done(failure),
        },
        Question::SetLogFilter(filter) => {
            let done = server.log().and_then(|log| log.replace(&filter).map_err(ControlError::Refused));
            done.map_or_else(not_done, |()| response(StatusCode::OK, TEXT, format!("logs {filter}\n")))
        }
        Question::Drain => server
            .stop()
            .map_or_else(not_done, |()| response(StatusCode::OK, TEXT, "drains, and ends then\n")),
        Question::Reload => server
            .read_again()
            .await
            .map_or_else(not_done, |()| response(StatusCode::OK, TEXT, "the configuration was read again\n")),
        Question::Health if server.is_draining() => {
            response(StatusCode::SERVICE_UNAVAILABLE, TEXT, "draining\n")
        }
        Question::Health => response(StatusCode::OK, TEXT, "ok\n"),
        Question::Readiness => {
            let (is_ready, text) = server.readiness();
            let status = if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            response(status, TEXT, text)
        }
        Question::Applications { target, since } => {
            let since = since.and_then(|ago| SystemTime::now().checked_sub(ago));
            response(StatusCode::OK, JSON, server.applications(target, since).to_string())
        }
        Question::Policy => response(StatusCode::OK, JSON, server.policy().to_string()),
        Question::Directories => response(StatusCode::OK, JSON, server.directories().to_string()),
        Question::Keys => response(StatusCode::OK, JSON, server.keys_needed().to_string()),
        Question::Evidence => response(StatusCode::OK, JSON, server.evidence().to_string()),
        Question::Deed(_) => response(StatusCode::OK, TEXT, "noted\n"),
        Question::End(app) => end(server.clone(), app).await,
    }
}

/// What came of an operator's wish, for the audit trail.
pub(super) fn outcome(status: StatusCode) -> &'static str {
    match status {
        StatusCode::OK => "done",
        StatusCode::NOT_FOUND => "not_there",
        StatusCode::UNPROCESSABLE_ENTITY => "refused",
        _ => "failed",
    }
}

/// Says why an operator's wish was not done.
fn not_done(failure: ControlError) -> Response<Full<Bytes>> {
    match failure {
        ControlError::NoControls => {
            let text = "this server is part of another program, which does this by itself\n";
            response(StatusCode::NOT_IMPLEMENTED, TEXT, text)
        }
        ControlError::Refused(why) => response(StatusCode::UNPROCESSABLE_ENTITY, TEXT, format!("{why}\n")),
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
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}
