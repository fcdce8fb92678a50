//! A look at TLS: which versions are spoken, with which suite, and whose certificate is shown.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use sealed_shuffle_protocol::cipher::{CipherError, Layer};
use sealed_shuffle_transport::tls::{TlsError, TlsFacts, TlsLayer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::report::Verdict;
use super::words::clean;
use crate::Address;

/// Goes as far as a finished handshake and says nothing after it. The caller bounds the time.
pub(super) async fn handshake(server: &Address, config: Arc<ClientConfig>) -> Result<TlsFacts, Verdict> {
    let name = ServerName::try_from(server.host().to_owned())
        .map_err(|_| Verdict::Unclear("no host name or address that a certificate could be for".into()))?;
    let mut socket = TcpStream::connect((server.host(), server.port())).await.map_err(|e| ended(&e))?;
    let facts = Arc::new(OnceLock::new());
    let mut layer = TlsLayer::client(config, name, Arc::clone(&facts)).map_err(failed)?;
    let mut input = BytesMut::new();
    loop {
        let opened = layer.open(&mut input);
        let mut said = false;
        while let Some(out) = layer.pending_output() {
            said = true;
            socket.write_all(&out).await.map_err(|e| ended(&e))?;
        }
        opened.map_err(failed)?;
        if let Some(facts) = facts.get() {
            // Close in order: a server need not log an error for a look.
            layer.close();
            let goodbye = layer.pending_output().unwrap_or_else(Bytes::new);
            socket.write_all(&goodbye).await.ok();
            return Ok(facts.clone());
        }
        // A failure is told to the peer first and to us at the next call.
        if said {
            continue;
        }
        if socket.read_buf(&mut input).await.map_err(|e| ended(&e))? == 0 {
            return Err(Verdict::NotSpoken("it closed the connection without an answer".into()));
        }
    }
}

fn ended(error: &std::io::Error) -> Verdict {
    Verdict::NotSpoken(format!("the connection ended: {error}"))
}

fn failed(error: CipherError) -> Verdict {
    let CipherError::Tls(source) = &error else { return Verdict::NotSpoken(clean(&error.to_string())) };
    let text = clean(&source.to_string());
    match source.downcast_ref::<TlsError>() {
        Some(TlsError::Refused { source: rustls::Error::InvalidCertificate(_), .. }) => {
            Verdict::Unclear(text)
        }
        _ => Verdict::NotSpoken(text),
    }
}
