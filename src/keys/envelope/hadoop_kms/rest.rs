//! The two calls.
//!
//! ```text
//! GET  PATH/v1/key/NAME/_eek?eek_op=generate&num_keys=1&user.name=USER
//!      [{"versionName":"NAME@N","iv":BASE64,"encryptedKeyVersion":{"versionName":"EEK","material":BASE64}}]
//! POST PATH/v1/keyversion/NAME@N/_eek?eek_op=decrypt&user.name=USER     {"name":NAME,"iv":BASE64,"material":BASE64}
//!      {"versionName":"EK","material":BASE64}
//! else {"RemoteException":{"exception":NAME,"message":TEXT}}
//! ```
//!
//! Base64 is that of URLs (RFC 4648, section 5), without padding, as the service writes it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::ClientConfig;
use sealed_shuffle_config::HadoopKmsUri;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};
use zeroize::Zeroizing;

use super::form::EncryptedKey;
use super::host::{self, Reply};
use crate::keys::envelope::error::{KeyError, KeyErrorKind};

/// Rounds through all hosts.
const ROUNDS: u32 = 3;

/// The pause after the first round; it doubles.
const PAUSE: Duration = Duration::from_millis(100);

/// The longest time of an attempt; it is also at most a third of the call's time.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(3);

/// Most characters of a text of the service that are passed on.
const LONGEST_COMPLAINT: usize = 300;

/// Releases of the service differ in the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The service.
#[derive(Debug)]
pub(super) struct Rest {
    uri: HadoopKmsUri,
    user: String,
    /// Whom we take for it, over HTTPS.
    trust: Option<Arc<ClientConfig>>,
    timeout: Duration,
}

impl Rest {
    pub(super) fn new(
        uri: HadoopKmsUri,
        user: &str,
        trust: Option<Arc<ClientConfig>>,
        timeout: Duration,
    ) -> Self {
        Self { uri, user: user.to_owned(), trust, timeout }
    }

    pub(super) fn uri(&self) -> &HadoopKmsUri {
        &self.uri
    }

    /// A new encrypted key, under the newest version of the key of this name.
    pub(super) async fn generate(&self, name: &str) -> Result<EncryptedKey, KeyError> {
        let path = format!("/v1/key/{}/_eek?eek_op=generate&num_keys=1", escaped(name));
        let answer = self.call("GENERATE_EEK", name, Method::GET, &path, Bytes::new()).await?;
        let first = answer.get(0);
        let text = |member: &str| first.and_then(|key| key.get(member)).and_then(Value::as_str);
        let material = first.and_then(|key| key.pointer("/encryptedKeyVersion/material"));
        let bytes = |text: Option<&str>| BASE64.decode(text?).ok();
        let key = (|| {
            let (iv, material) = (bytes(text("iv"))?, bytes(material.and_then(Value::as_str))?);
            EncryptedKey::new(text("versionName")?.to_owned(), &iv, material)
        })();
        key.filter(|key| key.name() == name).ok_or_else(|| self.nonsense(name, "an encrypted key"))
    }

    /// The bytes of an encrypted key: 16, 24 or 32, as many as it has.
    pub(super) async fn decrypt(&self, key: &EncryptedKey) -> Result<Zeroizing<Vec<u8>>, KeyError> {
        let path = format!("/v1/keyversion/{}/_eek?eek_op=decrypt", escaped(&key.version));
        let (iv, material) = (BASE64.encode(key.iv), BASE64.encode(&key.material));
        let body = json!({ "name": key.name(), "iv": iv, "material": material }).to_string();
        let mut answer = self.call("DECRYPT_EEK", &key.version, Method::POST, &path, body.into()).await?;
        let clear = match answer.get_mut("material").map(Value::take) {
            Some(Value::String(text)) => BASE64.decode(Zeroizing::new(text).as_bytes()).ok(),
            _ => None,
        };
        clear
            .map(Zeroizing::new)
            .filter(|clear| clear.len() == key.material.len())
            .ok_or_else(|| self.nonsense(&key.version, "the bytes of a key"))
    }

    /// Asks one host after the other until one answers, and makes of it what it means.
    async fn call(
        &self,
        what: &str,
        key: &str,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Value, KeyError> {
        let until = Instant::now() + self.timeout;
        let attempt = LONGEST_ATTEMPT.min(self.timeout / 3);
        let mut last = None;
        for round in 0..ROUNDS {
            for host in &self.uri.hosts {
                let request = self.request(host, &method, path, &body).map_err(|error| {
                    let reason = format!("{what} cannot be asked of Hadoop KMS: {error}");
                    let remedy = "look at spark.sealed.keys.hadoop-kms.*";
                    KeyError::new(KeyErrorKind::Misconfigured, key, reason, remedy)
                })?;
                let patience = attempt.min(until.saturating_duration_since(Instant::now()));
                let asked = host::ask(host, self.uri.port, self.trust.as_ref(), request);
                let error = match timeout(patience, asked).await {
                    Ok(Ok(reply)) => match self.meaning(what, key, host, &reply) {
                        Err(error) if error.kind() == KeyErrorKind::Unavailable => error,
                        meant => return meant,
                    },
                    Ok(Err(error)) => self.silent(what, key, host, &error),
                    Err(_) => self.silent(what, key, host, &format!("no answer within {patience:?}")),
                };
                last = Some(error);
                if Instant::now() >= until {
                    break;
                }
            }
            let pause = PAUSE * 2_u32.pow(round);
            if round + 1 == ROUNDS || Instant::now() + pause >= until {
                break;
            }
            sleep(pause).await;
        }
        Err(last.unwrap_or_else(|| self.silent(what, key, "no host", "none is configured")))
    }

    fn request(
        &self,
        host: &str,
        method: &Method,
        path: &str,
        body: &Bytes,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
        Request::builder()
            .method(method)
            .uri(format!("{}{path}&user.name={}", self.uri.path, escaped(&self.user)))
            .header(HOST, format!("{host}:{}", self.uri.port))
            .header(ACCEPT, "application/json")
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(body.clone()))
    }

    /// What an answer means.
    fn meaning(&self, what: &str, key: &str, host: &str, reply: &Reply) -> Result<Value, KeyError> {
        let answer: Option<Value> = serde_json::from_slice(&reply.body).ok();
        if reply.status == StatusCode::OK {
            return answer.ok_or_else(|| self.nonsense(key, "JSON"));
        }
        let said = |member: &str| {
            let text = answer.as_ref()?.pointer("/RemoteException")?.get(member)?.as_str()?;
            Some(text.chars().filter(|c| !c.is_control()).take(LONGEST_COMPLAINT).collect::<String>())
        };
        let (exception, message) = (said("exception"), said("message").unwrap_or_default());
        let (kind, remedy) = kind_of(reply, exception.as_deref(), &message, &self.user);
        let exception = exception.unwrap_or_else(|| "no exception of its own".to_owned());
        let status = reply.status.as_u16();
        let reason = format!("Hadoop KMS at {host} answers {what} with {status}, {exception}: {message}");
        Err(KeyError::new(kind, key, reason, remedy))
    }

    fn silent(&self, what: &str, key: &str, host: &str, why: &str) -> KeyError {
        let port = self.uri.port;
        KeyError::new(
            KeyErrorKind::Unavailable,
            key,
            format!("{what} of Hadoop KMS at {host}:{port} brought no answer: {why}"),
            "it is asked again later; look whether it can be reached from here",
        )
    }

    fn nonsense(&self, key: &str, what: &str) -> KeyError {
        KeyError::new(
            KeyErrorKind::Unavailable,
            key,
            format!("Hadoop KMS at {} answered without {what}", self.uri),
            "look at what answers there",
        )
    }
}

/// The kind of a refusal, and its remedy.
fn kind_of(reply: &Reply, exception: Option<&str>, message: &str, user: &str) -> (KeyErrorKind, String) {
    // A key that is not there: the first for its name, the second for its version (Hadoop 3.4.3).
    let is_absent = message.contains("No KeyVersion exists for key") || message.ends_with("not found");
    // The access list of a key refuses with 500 and the exception in the text, that of the service with 403.
    let is_denied = reply.status == StatusCode::FORBIDDEN || message.contains("AuthorizationException");
    match reply.status {
        StatusCode::UNAUTHORIZED if reply.wants_kerberos => (
            KeyErrorKind::Misconfigured,
            "the service wants Kerberos, which this provider does not speak: use the provider `command`, with a program that \
             does"
                .to_owned(),
        ),
        StatusCode::UNAUTHORIZED => {
            (KeyErrorKind::Unauthenticated, "look at spark.sealed.keys.hadoop-kms.user".to_owned())
        }
        _ if is_denied => (
            KeyErrorKind::Denied,
            format!("allow the user {user} GENERATE_EEK and DECRYPT_EEK on the key, in kms-acls.xml"),
        ),
        _ if is_absent => (
            KeyErrorKind::NotFound,
            "look at spark.sealed.keys.hadoop-kms.key-name and .uri: the key is not there".to_owned(),
        ),
        StatusCode::NOT_FOUND if exception.is_none() => (
            KeyErrorKind::Misconfigured,
            "look at the path of spark.sealed.keys.hadoop-kms.uri: mostly it is /kms".to_owned(),
        ),
        _ => (KeyErrorKind::Unavailable, "it is asked again later".to_owned()),
    }
}

fn escaped(text: &str) -> impl std::fmt::Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}
