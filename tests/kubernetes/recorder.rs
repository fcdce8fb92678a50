//! The server's end of the hand-over socket: it does nothing, and writes down what it is told.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// It listens until it is dropped; then its connections are gone.
pub(crate) struct Recorder {
    told: Arc<Mutex<Vec<String>>>,
    connections: Arc<Mutex<Vec<UnixStream>>>,
    path: std::path::PathBuf,
}

impl Recorder {
    /// It says that it holds the secrets of `held`.
    pub(crate) fn start(path: &Path, held: &[&str]) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let held = held.iter().map(|app| format!(" {app}")).collect::<String>();
        let (told, connections) = (Arc::<Mutex<Vec<String>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let (record, streams) = (Arc::clone(&told), Arc::clone(&connections));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                streams.lock().unwrap().push(stream.try_clone().unwrap());
                let (record, held) = (Arc::clone(&record), held.clone());
                thread::spawn(move || serve(stream, &record, &held));
            }
        });
        Self { told, connections, path: path.to_owned() }
    }

    /// What it was told, apart from what opens a connection.
    pub(crate) fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        std::fs::remove_file(&self.path).ok();
        for stream in self.connections.lock().unwrap().iter() {
            stream.shutdown(std::net::Shutdown::Both).ok();
        }
    }
}

fn serve(mut stream: UnixStream, record: &Mutex<Vec<String>>, held: &str) {
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["sealed-shuffle-handover", "1"] => "ok\n".to_owned(),
            ["held"] => format!("held{held}\n"),
            ["started", app, payload] => {
                let secret = String::from_utf8(STANDARD.decode(payload).unwrap()).unwrap();
                record.lock().unwrap().push(format!("started {app} {secret}"));
                "ok\n".to_owned()
            }
            _ => {
                record.lock().unwrap().push(line);
                "ok\n".to_owned()
            }
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}
