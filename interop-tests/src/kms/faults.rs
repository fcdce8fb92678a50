//! Stands before an emulator of KMS, writes down what is asked, and fails as KMS fails.
//!
//! HTTP/1.1 as the AWS SDK and moto speak it: a request with its length in the head, one a connection, the answer
//! until the connection ends. A call is named by its operation (`Decrypt`), other services by what they are asked
//! (`Action=…`).

use std::{
    collections::{HashMap, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// Longest body that is taken.
const LONGEST: usize = 1 << 20;

/// No connection hangs longer, whatever happens to the proxy.
const LONGEST_HANG: Duration = Duration::from_secs(60);

/// What is done to a call instead of passing it on.
#[derive(Clone, Debug)]
pub enum Fault {
    /// An error of KMS's: the status, its name, its text.
    Answer(u16, &'static str, &'static str),
    /// An answer that is no JSON.
    Garbage,
    /// The connection ends without an answer.
    Cut,
    /// No answer while the proxy stands.
    Hang,
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GenerateDataKey`, `Decrypt`, …
    pub operation: String,
    /// What was asked; null where it was no JSON.
    pub body: Value,
}

/// The proxy; it ends when dropped.
#[derive(Debug)]
pub struct KmsProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    service: SocketAddr,
    state: Mutex<State>,
    stopped: Condvar,
}

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    next: HashMap<&'static str, VecDeque<Fault>>,
    always: Option<Fault>,
    stopped: bool,
}

impl KmsProxy {
    /// Listens on a free port of loopback before `service`.
    pub fn before(service: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared { service, state: Mutex::default(), stopped: Condvar::new() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                if serving.state().stopped {
                    return;
                }
                let shared = Arc::clone(&serving);
                thread::spawn(move || shared.serve(client));
            }
        });
        Self { address, shared }
    }

    /// The endpoint to configure.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What the next calls of that operation meet, in this order; then they pass again.
    pub fn fail_next(&self, operation: &'static str, faults: &[Fault]) {
        self.shared.state().next.entry(operation).or_default().extend(faults.iter().cloned());
    }

    /// What every call meets from now on; `None` lets them pass again.
    pub fn fail_always(&self, fault: Option<Fault>) {
        self.shared.state().always = fault;
    }

    /// The calls of that operation so far.
    pub fn calls(&self, operation: &str) -> Vec<Call> {
        self.shared.state().calls.iter().filter(|call| call.operation == operation).cloned().collect()
    }
}

impl Drop for KmsProxy {
    fn drop(&mut self) {
        self.shared.state().stopped = true;
        self.shared.stopped.notify_all();
        // Wakes the listener, so that it sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

impl Shared {
    fn serve(&self, mut client: TcpStream) {
        let Some(request) = Request::read(&client) else { return };
        let fault = {
            let mut state = self.state();
            let body = serde_json::from_slice(&request.body).unwrap_or(Value::Null);
            state.calls.push(Call { operation: request.operation.clone(), body });
            let next = state.next.get_mut(&*request.operation).and_then(VecDeque::pop_front);
            next.or_else(|| state.always.clone())
        };
        // The client may have gone: it was told that an attempt takes only so long.
        match fault {
            None => self.pass_on(&request, &mut client).unwrap_or_default(),
            Some(Fault::Answer(status, name, text)) => {
                let body = json!({"__type": name, "message": text}).to_string();
                answer(&mut client, status, &body);
            }
            Some(Fault::Garbage) => answer(&mut client, 200, "<html>not KMS</html>"),
            Some(Fault::Cut) => {}
            Some(Fault::Hang) => {
                let state = self.state();
                drop(self.stopped.wait_timeout_while(state, LONGEST_HANG, |state| !state.stopped));
            }
        }
    }

    fn pass_on(&self, request: &Request, client: &mut TcpStream) -> std::io::Result<()> {
        let mut service = TcpStream::connect(self.service)?;
        service.write_all(request.head.as_bytes())?;
        service.write_all(b"Connection: close\r\n\r\n")?;
        service.write_all(&request.body)?;
        let mut reply = Vec::new();
        service.read_to_end(&mut reply)?;
        client.write_all(&reply)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(client: &mut TcpStream, status: u16, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} Told\r\nContent-Type: application/x-amz-json-1.1\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    client.write_all((head + body).as_bytes()).ok();
}

/// A request, without the line that ends its head.
struct Request {
    head: String,
    operation: String,
    body: Vec<u8>,
}

impl Request {
    /// `None` where none comes.
    fn read(client: &TcpStream) -> Option<Self> {
        client.set_read_timeout(Some(LONGEST_HANG)).ok()?;
        let mut reader = BufReader::new(client);
        let (mut head, mut operation, mut length) = (String::new(), String::new(), 0);
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            match name.to_ascii_lowercase().as_str() {
                "\r\n" => break,
                "connection" => continue,
                "content-length" => length = value.trim().parse().ok()?,
                "x-amz-target" => operation = value.trim().rsplit('.').next()?.to_owned(),
                _ => {}
            }
            head.push_str(&line);
        }
        assert!(length <= LONGEST, "nobody asks KMS {length} bytes");
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if operation.is_empty() {
            let form = String::from_utf8_lossy(&body);
            operation = form.split('&').find_map(|pair| pair.strip_prefix("Action="))?.to_owned();
        }
        Some(Self { head, operation, body })
    }
}
