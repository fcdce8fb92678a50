//! One request over HTTP, and its answer.

use std::fmt;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Sends a request whose `Host` is there, over a connection of its own, and takes an answer of at most `longest` bytes.
pub(super) async fn exchange(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
    longest: usize,
) -> Result<(StatusCode, Bytes), String> {
    let broken = |error: &dyn fmt::Display| error.to_string();
    let (mut sender, driving) =
        http1::handshake(TokioIo::new(connection)).await.map_err(|error| broken(&error))?;
    tokio::spawn(driving);
    let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), longest).collect().await;
    Ok((status, body.map_err(|error| broken(&error))?.to_bytes()))
}

/// What is at `path` of the server at `address` (`HOST:PORT`), within `patience`.
pub(super) fn get(
    address: &str,
    path: &str,
    longest: usize,
    patience: Duration,
) -> Result<(StatusCode, Bytes), String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let asked = async {
        let connection = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let request = Request::get(path).header(HOST, address).body(Empty::new());
        exchange(connection, request.map_err(|error| error.to_string())?, longest).await
    };
    let answered = runtime.block_on(async { tokio::time::timeout(patience, asked).await });
    // A resolver that does not answer must not hold up the caller.
    runtime.shutdown_background();
    answered.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")))
}
