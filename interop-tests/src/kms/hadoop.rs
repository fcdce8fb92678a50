//! Hadoop's key management server, as it is, and what its administrator does there.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    machine::{Jars, Process, java_home},
    modes::{Material, PASSWORD},
};

/// The newest that Maven Central has whole.
const HADOOP: &str = "3.4.3";

const START_LIMIT: Duration = Duration::from_secs(120);

/// The administrator, who alone makes keys and rolls them over.
const ADMINISTRATOR: &str = "keeper";

/// A running server on loopback; it ends when dropped.
#[derive(Debug)]
pub struct HadoopKms {
    process: Option<Process>,
    address: SocketAddr,
    jars: PathBuf,
    dir: TempDir,
    is_secure: bool,
    said: Vec<String>,
}

impl HadoopKms {
    /// On a free port, in clear. `None` where its classes cannot be had, which is said.
    pub fn start() -> Option<Self> {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("kms/pom.xml");
        let name = format!("hadoop-kms-{HADOOP}");
        let fetched = Jars { name: &name, project: &project, properties: &[("hadoop", HADOOP)] }.fetched();
        let jars = match fetched {
            Ok(jars) => jars,
            Err(missing) => {
                eprintln!("SKIPPED: no Hadoop KMS: {missing}");
                return None;
            }
        };
        let dir = TempDir::with_prefix("interop-hadoop-kms-").expect("the temporary directory is writable");
        let address = ([127, 0, 0, 1], 0).into();
        let mut kms = Self { process: None, address, jars, dir, is_secure: false, said: Vec::new() };
        kms.run();
        Some(kms)
    }

    /// Its address, as Hadoop's clients are told.
    pub fn uri(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("kms://{scheme}@{}/kms", self.address)
    }

    /// Makes a key of so many bits. One called `guarded` is nobody's to use.
    pub fn create_key(&self, name: &str, bits: u32) {
        let key = json!({ "name": name, "cipher": "AES/CTR/NoPadding", "length": bits });
        self.call("keys", &key);
    }

    /// Makes a new version of a key; answers its name.
    pub fn roll(&self, name: &str) -> String {
        let rolled = self.call(&format!("key/{name}"), &json!({}));
        rolled["versionName"].as_str().expect("a version has a name").to_owned()
    }

    /// Ends it, and starts it again at the same place with the same keys.
    pub fn restart(&mut self) {
        self.stop();
        self.run();
    }

    /// The same, and over TLS alone, with the certificate that all tests use. Its administrator does not speak TLS.
    pub fn restart_over_tls(&mut self) {
        self.is_secure = true;
        self.restart();
    }

    /// Ends it.
    pub fn stop(&mut self) {
        let mut process = self.process.take().expect("it runs");
        process.terminate(START_LIMIT);
        self.said.extend([process.out().all(), process.err().all()].concat());
    }

    /// The lines of its audit log about an operation.
    pub fn audit(&self, operation: &str) -> Vec<String> {
        let now = self.process.iter().flat_map(|process| [process.out().all(), process.err().all()].concat());
        let about = |line: &String| line.contains(&format!("op={operation}"));
        self.said.iter().cloned().chain(now).filter(about).collect()
    }

    fn run(&mut self) {
        self.configure();
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let mut command = Command::new(java_home().join("bin/java"));
        command
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"])
            .arg("--add-opens=java.base/java.lang=ALL-UNNAMED")
            .arg(format!("-Dkms.config.dir={}", path("")))
            .arg(format!("-Dkms.log.dir={}", path("")))
            .arg(format!("-Dlog4j.configuration=file:{}", path("kms-log4j.properties")))
            .arg("-cp")
            .arg(format!("{}:{}/*", path(""), self.jars.display()))
            .arg("org.apache.hadoop.crypto.key.kms.server.KMSWebServer")
            .current_dir(self.dir.path());
        let mut process = Process::start("hadoop-kms", &mut command);
        self.address = process.wait_for(START_LIMIT, |line| {
            let (_, address) = line.split_once("Started ServerConnector@")?.1.split_once("}{")?;
            address.trim_end_matches('}').parse().ok()
        });
        self.process = Some(process);
    }

    fn configure(&self) {
        let keys = self.dir.path().join("keys.jceks").display().to_string();
        let site = [
            ("hadoop.kms.key.provider.uri", format!("jceks://file@{keys}")),
            ("hadoop.security.keystore.java-keystore-provider.password-file", "password".to_owned()),
            ("hadoop.kms.authentication.type", "simple".to_owned()),
            ("hadoop.kms.http.host", "127.0.0.1".to_owned()),
            ("hadoop.kms.http.port", self.address.port().to_string()),
            ("hadoop.kms.ssl.enabled", self.is_secure.to_string()),
        ];
        let owner = ADMINISTRATOR.to_owned();
        let acls = [
            ("hadoop.kms.acl.CREATE", owner.clone()),
            ("hadoop.kms.acl.ROLLOVER", owner.clone()),
            ("default.key.acl.MANAGEMENT", owner.clone()),
            ("default.key.acl.GENERATE_EEK", "*".to_owned()),
            ("default.key.acl.DECRYPT_EEK", "*".to_owned()),
            ("key.acl.guarded.MANAGEMENT", owner.clone()),
            ("key.acl.guarded.GENERATE_EEK", owner.clone()),
            ("key.acl.guarded.DECRYPT_EEK", owner),
        ];
        let stores = [
            ("ssl.server.keystore.location", Material::shared().file("keyStore.jks")),
            ("ssl.server.keystore.type", "jks".to_owned()),
            ("ssl.server.keystore.password", PASSWORD.to_owned()),
            ("ssl.server.keystore.keypassword", PASSWORD.to_owned()),
        ];
        for (name, text) in [
            ("kms-site.xml", xml(&site)),
            ("core-site.xml", xml(&site)),
            ("kms-acls.xml", xml(&acls)),
            ("ssl-server.xml", xml(&stores)),
            ("password", "of the key store".to_owned()),
            ("kms-log4j.properties", LOG.to_owned()),
        ] {
            fs::write(self.dir.path().join(name), text).expect("the temporary directory is writable");
        }
    }

    /// A call as the administrator.
    fn call(&self, path: &str, body: &Value) -> Value {
        let body = body.to_string();
        let request = format!(
            "POST /kms/v1/{path}?user.name={ADMINISTRATOR} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert!(answer.starts_with("HTTP/1.1 20"), "{path}: {answer}");
        let from = answer.find('{').expect("an object comes back");
        let to = answer.rfind('}').expect("an object ends");
        serde_json::from_str(&answer[from..=to]).unwrap_or_else(|e| panic!("{e}: {answer}"))
    }
}

const LOG: &str = "log4j.rootLogger=INFO,c
log4j.appender.c=org.apache.log4j.ConsoleAppender
log4j.appender.c.layout=org.apache.log4j.PatternLayout
log4j.appender.c.layout.ConversionPattern=%p %c %m%n
";

fn xml(properties: &[(&str, String)]) -> String {
    let property = |(key, value): &(&str, String)| {
        format!("<property><name>{key}</name><value>{value}</value></property>\n")
    };
    format!("<configuration>\n{}</configuration>\n", properties.iter().map(property).collect::<String>())
}
