//! Calls to a key service are in the trail with the service's own name for each, as its audit log has it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::Node;
use super::serving::{Serving, serve};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1";

/// Stands for AWS KMS: wraps by turning a key around.
fn answer(stream: &TcpStream, calls: &AtomicU64) -> Option<()> {
    let mut from = BufReader::new(stream);
    let (mut length, mut called) = (0, String::new());
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap(),
            Some(("x-amz-target", value)) => value.rsplit('.').next().unwrap().clone_into(&mut called),
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let asked: Value = serde_json::from_slice(&body).unwrap();
    let number = calls.fetch_add(1, Ordering::Relaxed) + 1;
    let said = match &*called {
        "generatedatakey" => {
            let key = [u8::try_from(number).unwrap(); 32];
            json!({"KeyId": KEY, "Plaintext": STANDARD.encode(key), "CiphertextBlob": STANDARD.encode(key)})
        }
        "decrypt" => json!({"KeyId": KEY, "Plaintext": asked["CiphertextBlob"]}),
        _ => json!({"KeyMetadata": {"KeyId": "1", "Enabled": true, "KeyState": "Enabled",
                                    "KeyUsage": "ENCRYPT_DECRYPT", "KeySpec": "SYMMETRIC_DEFAULT"}}),
    };
    let said = said.to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\nx-amzn-RequestId: {called}-{number}\r\nContent-Type: application/x-amz-json-1.1\r\n\
         Content-Length: {}\r\n\r\n",
        said.len()
    );
    let mut to = stream;
    to.write_all((head + &said).as_bytes()).ok()
}

#[test]
fn key_calls_have_the_request_id_of_the_key_service() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let calls = Arc::new(AtomicU64::new(0));
    let serving = Arc::clone(&calls);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let calls = Arc::clone(&serving);
            std::thread::spawn(move || while answer(&stream, &calls).is_some() {});
        }
    });
    let node = Node::new();
    let properties = node.properties(&format!(
        "spark.sealed.keys.provider aws-kms\nspark.sealed.keys.kms.key-id {KEY}\nspark.sealed.keys.kms.endpoint {endpoint}"
    ));
    let start = |log: &str| {
        let mut command = serve(node.dir.path());
        command.arg("--properties-file").arg(&properties);
        command.env("AWS_ACCESS_KEY_ID", "a").env("AWS_SECRET_ACCESS_KEY", "b");
        Serving::start(command, &node.at(log))
    };
    let mut first = start("log-1");
    let created = node.record("its key", |one| one["done"] == "created" && one["app"] == "node/audit-trail");
    assert_eq!((&created["provider"], &created["key_id"]), (&"aws-kms".into(), &KEY.into()), "{created:#}");
    assert!(created["request_id"].as_str().unwrap().starts_with("generatedatakey-"), "{created:#}");
    first.signal(Signal::TERM);
    assert!(first.wait().success());
    let _second = start("log-2");
    let unwrapped =
        node.record("again", |one| one["done"] == "unwrapped" && one["app"] == "node/audit-trail");
    assert!(unwrapped["request_id"].as_str().unwrap().starts_with("decrypt-"), "{unwrapped:#}");
    let ids: Vec<_> = node.records(&[]).into_iter().filter(|one| one["what"] == "key").collect();
    let mut names: Vec<_> = ids.iter().map(|one| one["request_id"].as_str().unwrap()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), ids.len(), "each call has its own: {ids:#?}");
}
