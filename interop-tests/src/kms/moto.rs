//! AWS KMS as moto emulates it, over real HTTP, and what an administrator does there.
//!
//! moto comes from PyPI with the HTTP server that it needs, once, into the cache. It authenticates encryption contexts
//! as KMS does; that a disabled key is not used, it does not see to: [`KmsProxy`](super::KmsProxy) does.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};

use crate::machine::{Process, cache, made_once, run};

const VERSION: &str = "5.2.5";

/// Python starts slowly on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// The region that everything is in.
pub const REGION: &str = "eu-west-3";

/// A running emulator; it ends when dropped.
#[derive(Debug)]
pub struct Moto {
    #[expect(dead_code, reason = "dropping it ends it")]
    process: Process,
    address: SocketAddr,
}

impl Moto {
    /// On a free port of loopback.
    pub fn start() -> Self {
        let mut command = Command::new("python3");
        command.args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]).env("PYTHONPATH", installed());
        let mut process = Process::start("moto", &mut command);
        let address = process.wait_for(START_LIMIT, |line| {
            line.split_once("Running on http://")?.1.split_whitespace().next()?.parse().ok()
        });
        Self { process, address }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A new key; answers its ARN. `spec` is `SYMMETRIC_DEFAULT`, `RSA_2048`, …
    pub fn create_key(&self, spec: &str, usage: &str) -> String {
        let answer = self.call("CreateKey", &json!({"KeySpec": spec, "KeyUsage": usage}));
        answer["KeyMetadata"]["Arn"].as_str().expect("a new key has an ARN").to_owned()
    }

    /// A new symmetric key; answers its ARN.
    pub fn symmetric_key(&self) -> String {
        self.create_key("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT")
    }

    /// Does what is named to the key with that ARN.
    pub fn administer(&self, operation: &str, key: &str) {
        // Not every operation of moto's takes an ARN.
        let id = key.rsplit('/').next();
        self.call(operation, &json!({"KeyId": id}));
    }

    /// Points an alias (`alias/…`) at a key: `CreateAlias` or `UpdateAlias`.
    pub fn point_alias(&self, operation: &str, alias: &str, key: &str) {
        self.call(operation, &json!({"AliasName": alias, "TargetKeyId": key}));
    }

    fn call(&self, operation: &str, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!(
            "POST / HTTP/1.1\r\nHost: kms.{REGION}.amazonaws.com\r\nConnection: close\r\n\
             Content-Type: application/x-amz-json-1.1\r\nX-Amz-Target: TrentService.{operation}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=admin/20260101/{REGION}/kms/aws4_request, \
             SignedHeaders=host, Signature=0\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).expect("moto listens");
        stream.write_all(request.as_bytes()).expect("moto reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("moto answers");
        assert!(answer.starts_with("HTTP/1.1 200"), "{operation}: {answer}");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer has an end of its head");
        // Some operations answer nothing.
        serde_json::from_str(body).unwrap_or(Value::Null)
    }
}

/// moto and its HTTP server, for `PYTHONPATH`.
fn installed() -> PathBuf {
    made_once(cache().join(format!("moto-{VERSION}")), |into| {
        run(
            Command::new("python3")
                .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
                .arg(into)
                .args([&format!("moto=={VERSION}"), "flask", "flask-cors"]),
            || {
                "cannot install moto with pip: it needs a network and `python3 -m pip` (Debian and Ubuntu: apt-get \
                 install python3-pip)"
                    .to_owned()
            },
        );
    })
}
