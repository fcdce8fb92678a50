//! One request to one host.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::WWW_AUTHENTICATE;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use sealed_shuffle_transport::lane::Lane;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Length of the longest answer.
const LONGEST: usize = 64 << 10;

/// What a host said.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    /// Whether it wants Kerberos.
    pub(super) wants_kerberos: bool,
    pub(super) body: Bytes,
}

/// The authorities in a file, or those of this machine. The error has a reason and a remedy.
pub(super) async fn trust(ca_file: Option<PathBuf>) -> Result<Arc<ClientConfig>, (String, &'static str)> {
    const FILE: &str = "name a file of certificates (PEM) with spark.sealed.keys.hadoop-kms.ca-file";
    let lane = Lane::new(1);
    let read = lane.run(move |_| match ca_file {
        Some(path) => {
            let wrong = |error: &dyn fmt::Display| format!("the authorities of {}: {error}", path.display());
            let found = CertificateDer::pem_file_iter(&path).map_err(|error| wrong(&error))?;
            let found: Result<Vec<_>, _> = found.collect();
            found.map_err(|error| wrong(&error))
        }
        None => Ok(rustls_native_certs::load_native_certs().certs),
    });
    let found = match read.await {
        Ok(found) => found.map_err(|reason| (reason, FILE))?,
        Err(error) => return Err((format!("the authorities were not read: {error}"), "try again")),
    };
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found);
    if added == 0 {
        return Err((
            "there is no certificate of an authority that may vouch for Hadoop KMS".to_owned(),
            FILE,
        ));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = versions.map_err(|error| (format!("TLS cannot be set up: {error}"), FILE))?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

/// Sends a request over a connection of its own.
pub(super) async fn ask(
    host: &str,
    port: u16,
    trust: Option<&Arc<ClientConfig>>,
    request: Request<Full<Bytes>>,
) -> Result<Reply, String> {
    let socket = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let Some(trust) = trust else { return exchange(socket, request).await };
    let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
    let connector = TlsConnector::from(Arc::clone(trust));
    let socket = connector.connect(name, socket).await.map_err(|error| format!("TLS: {error}"))?;
    exchange(socket, request).await
}

async fn exchange(
    connection: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Reply, String> {
    let broken = |error: &dyn fmt::Display| error.to_string();
    let (mut sender, driving) =
        http1::handshake(TokioIo::new(connection)).await.map_err(|error| broken(&error))?;
    let asked = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let status = response.status();
        let wants = response.headers().get_all(WWW_AUTHENTICATE).iter();
        let wants_kerberos = wants.into_iter().any(|way| way.as_bytes().starts_with(b"Negotiate"));
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|error| broken(&error))?.to_bytes();
        Ok(Reply { status, wants_kerberos, body })
    };
    // The connection goes with the call, whoever gives it up.
    tokio::pin!(asked);
    tokio::select! {
        biased;
        answered = &mut asked => answered,
        ended = driving => match ended {
            // All of the answer may be there.
            Ok(()) => asked.await,
            Err(error) => Err(error.to_string()),
        },
    }
}
