//! `hand-over standalone`: tells a server which executors and applications of a standalone cluster are over.

use std::collections::HashSet;
use std::hash::Hash;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use hyper::{StatusCode, Uri};
use tracing::{debug, info, warn};

use super::super::{ConfigArgs, Exit, Failure, http, start_logging};
use super::{not_connected, socket_of};
use crate::handover::standalone::{Executor, MasterPage, WorkerPage, WorkerWatch, over};
use crate::handover::{RelayError, Reply, Speaker};

/// Time from connecting to the end of a page.
const PATIENCE: Duration = Duration::from_secs(20);

/// The longest page that is read. A Worker tells of a thousand executors that have finished, some kilobytes each.
const LONGEST: usize = 32 << 20;

/// Where the pages are.
const PATH: &str = "/json/";

/// Tell a server which executors and applications of a standalone cluster are over
///
/// Asks the page of each Worker of this node, and the page of its Master, again and again. Of an executor that is over the
/// server removes the files that it serves nobody with; of an application that is over it forgets all. A page that does
/// not answer ends nothing. Runs until it is stopped; --once asks once.
#[derive(Args, Debug)]
pub(super) struct Standalone {
    /// The page of a Worker of this node, such as http://127.0.0.1:8081; may be given many times
    #[arg(long, value_name = "URL", required = true)]
    worker: Vec<String>,

    /// The page of the Master; without it, the one that the first Worker names
    #[arg(long, value_name = "URL")]
    master: Option<String>,

    /// The server's socket; without it, spark.sealed.handover.socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Number of a further user as whom the server may run; may be given many times
    #[arg(long, value_name = "UID")]
    server_user: Vec<u32>,

    /// Seconds between two rounds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,

    /// Ask once, and fail with 69 if somebody does not answer
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// What is told, and to whom.
struct Rounds {
    workers: Vec<(Page, WorkerWatch)>,
    master: Option<Page>,
    socket: PathBuf,
    server_user: Vec<u32>,
    speaker: Option<Speaker>,
    /// Over this connection.
    executors: HashSet<Executor>,
    apps: HashSet<sealed_shuffle_protocol::ids::AppId>,
    troubles: Troubles,
}

/// A page on the web.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Page {
    address: String,
}

/// What goes wrong now; each trouble is said when it comes and when it goes.
#[derive(Default)]
struct Troubles(HashSet<String>);

impl Standalone {
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let socket = socket_of(self.socket.take(), std::mem::take(&mut self.config))?;
        let page = |flag: &str, url: &String| {
            let odd = |why: String| Failure::new(Exit::Usage, format!("{flag} {url:?}: {why}"));
            Page::parse(url).map_err(odd)
        };
        let workers = self.worker.iter().map(|url| Ok((page("--worker", url)?, WorkerWatch::default())));
        let mut telling = Rounds {
            workers: workers.collect::<Result<_, Failure>>()?,
            master: self.master.as_ref().map(|url| page("--master", url)).transpose()?,
            socket,
            server_user: self.server_user,
            speaker: None,
            executors: HashSet::new(),
            apps: HashSet::new(),
            troubles: Troubles::default(),
        };
        start_logging("info")?;
        loop {
            telling.round()?;
            if self.once {
                return match telling.troubles.0.into_iter().next() {
                    None => Ok(()),
                    Some(trouble) => Err(Failure::new(Exit::Unreachable, trouble)),
                };
            }
            std::thread::sleep(Duration::from_secs(self.interval));
        }
    }
}

impl Rounds {
    /// Asks everybody, and tells what is over. Fails only where a stranger listens at the socket.
    fn round(&mut self) -> Result<(), Failure> {
        let mut troubles = HashSet::new();
        let mut pages = Vec::new();
        let mut finished: HashSet<Executor> = HashSet::new();
        for (page, watch) in &mut self.workers {
            match page.get().and_then(|bytes| WorkerPage::parse(&bytes).map_err(|error| error.to_string())) {
                Ok(worker) => {
                    finished.extend(watch.see(&worker).iter().cloned());
                    pages.push(worker);
                }
                Err(error) => _ = troubles.insert(format!("the Worker at {}: {error}", page.address)),
            }
        }
        // An application that runs on a Worker that does not answer is not over.
        let mut completed = None;
        if troubles.is_empty() {
            match self.master_page(&pages) {
                Ok(master) => completed = Some(over(&master, &pages).cloned().collect::<HashSet<_>>()),
                Err(error) => _ = troubles.insert(error),
            }
        }
        match self.tell(&finished, completed.as_ref()) {
            Ok(()) => {}
            Err(error @ RelayError::Foreign { .. }) => return Err(not_connected(&error)),
            Err(error) => {
                // The next connection is told everything again: it may be another server's.
                self.speaker = None;
                troubles.insert(format!("the server: {error}"));
            }
        }
        self.troubles.are(troubles);
        Ok(())
    }

    fn master_page(&self, workers: &[WorkerPage]) -> Result<MasterPage, String> {
        let page = match (&self.master, workers.first()) {
            (Some(page), _) => page.clone(),
            (None, Some(worker)) => Page::parse(&worker.master).map_err(|why| {
                format!(
                    "the Worker names its Master's page {:?}: {why}; name it with --master URL",
                    worker.master
                )
            })?,
            (None, None) => return Err("no Worker answers".to_owned()),
        };
        let trouble = |error: String| format!("the Master at {}: {error}", page.address);
        let bytes = page.get().map_err(trouble)?;
        MasterPage::parse(&bytes).map_err(|error| trouble(error.to_string()))
    }

    /// Tells what was not told over this connection.
    fn tell(
        &mut self,
        executors: &HashSet<Executor>,
        apps: Option<&HashSet<sealed_shuffle_protocol::ids::AppId>>,
    ) -> Result<(), RelayError> {
        let speaker = match &mut self.speaker {
            Some(speaker) => speaker,
            None => {
                let speaker = Speaker::connect(&self.socket, &self.server_user)?;
                info!(socket = %self.socket.display(), "connected to the server");
                self.executors.clear();
                self.apps.clear();
                self.speaker.insert(speaker)
            }
        };
        for (app, executor) in executors.difference(&self.executors.clone()) {
            match speaker.executor_ended(app, executor)? {
                Reply::NotNow(text) => {
                    warn!(%app, %executor, text, "the server takes the end of an executor later")
                }
                said => {
                    debug!(%app, %executor, ?said, "an executor is over");
                    self.executors.insert((app.clone(), executor.clone()));
                    if let Reply::Refused(text) = said {
                        warn!(%app, %executor, text, "the server refuses the end of an executor");
                    }
                }
            }
        }
        for app in apps.into_iter().flat_map(|apps| apps.difference(&self.apps)).cloned().collect::<Vec<_>>()
        {
            match speaker.ended(&app)? {
                Reply::NotNow(text) => warn!(%app, text, "the server takes the end of an application later"),
                Reply::Refused(text) => {
                    warn!(%app, text, "the server refuses the end of an application");
                    self.apps.insert(app);
                }
                Reply::Done => {
                    info!(%app, "an application is over");
                    self.apps.insert(app);
                }
            }
        }
        // What is no longer listed does not come back.
        keep_listed(&mut self.executors, executors);
        apps.into_iter().for_each(|apps| keep_listed(&mut self.apps, apps));
        Ok(())
    }
}

fn keep_listed<T: Eq + Hash>(told: &mut HashSet<T>, listed: &HashSet<T>) {
    told.retain(|one| listed.contains(one));
}

impl Page {
    /// `http://HOST[:PORT][/…]`; the path is Spark's.
    fn parse(url: &str) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|error| format!("it is no URL: {error}"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err("pages are read over http alone".to_owned()),
            _ => return Err("it does not begin with http://".to_owned()),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or("it names no host")?;
        Ok(Self { address: format!("{host}:{}", uri.port_u16().unwrap_or(80)) })
    }

    fn get(&self) -> Result<Vec<u8>, String> {
        let (status, body) = http::get(&self.address, PATH, LONGEST, PATIENCE)?;
        match status {
            StatusCode::OK => Ok(body.to_vec()),
            status => Err(format!("{PATH} answers {status}")),
        }
    }
}

impl Troubles {
    fn are(&mut self, now: HashSet<String>) {
        for new in now.difference(&self.0) {
            warn!("{new}: nothing is told of its part until it answers");
        }
        for gone in self.0.difference(&now) {
            info!("no longer: {gone}");
        }
        self.0 = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_a_host_and_is_read_over_http() {
        for (url, address) in [
            ("http://127.0.0.1:8081", "127.0.0.1:8081"),
            ("http://node-1:8081/json", "node-1:8081"),
            ("http://[::1]:8081/", "[::1]:8081"),
            ("http://node-1", "node-1:80"),
        ] {
            assert_eq!(Page::parse(url), Ok(Page { address: address.to_owned() }), "{url}");
        }
        for url in ["https://node-1:8081", "node-1:8081", "http://", "", "spark://node-1:7077", "/json"] {
            assert!(Page::parse(url).is_err(), "{url}");
        }
    }
}
