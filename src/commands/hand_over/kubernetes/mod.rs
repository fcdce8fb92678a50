//! `hand-over kubernetes`: tells a server the secrets of the applications that run on its node, and their ends.
//!
//! ```text
//! cluster: watches, questions ──► PodWatch (pure) ──► teller ──► the server's socket
//! ```

mod cluster;
mod objects;
mod teller;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use kube::runtime::watcher::Event;
use kube::{Client, Config};
use sealed_shuffle_protocol::ids::AppId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use self::cluster::{Answer, Cluster, WatchNews};
use self::teller::Teller;
use super::super::{ConfigArgs, Exit, Failure, start_logging};
use super::troubles::Troubles;
use super::{not_connected, socket_of};
use crate::handover::RelayError;
use crate::handover::kubernetes::{PodWatch, Question};

/// The filter of the log. The libraries would quote answers of the API server that they cannot read, with the secrets in
/// them.
const LOG: &str = "info,kube_client=off,kube_runtime=off,tower=off,hyper=off,hyper_util=off,rustls=off";

/// Between two looks at whether the server is there. A new one may have forgotten what it was told, and executors wait for
/// their secrets.
const LOOK: Duration = Duration::from_secs(1);

/// Begins the name of each trouble with a question.
const ASKING: &str = "asking ";

const HELP: &str = "The service account needs get, list and watch of pods, in all namespaces or in those of
--namespace, and get of those Secrets in which executors' pods name their secret, if any do.
deploy/kubernetes/hand-over in the sources has the rules. Who may read pods reads their
applications' secrets: docs/security.md says what that means.

Exit codes:
  0 stopped by a signal, or with --once all was told, 1 it cannot start, 2 wrong usage,
  69 with --once the API server or the server did not answer, 77 a stranger listens at the socket,
  78 wrong configuration, or no way to the API server is known";

/// Tell a server the secrets and the ends of applications on Kubernetes
///
/// Watches the pods of Spark's executors on this node, and of its drivers, through the API server. Hands over the secret
/// of an application as soon as a pod of it is bound to the node, before the executor runs. Of an executor that is over
/// the server removes the files that it serves nobody with; of an application that is over it forgets all. Whatever does
/// not answer ends nothing. Finds the API server as kubectl does: in KUBECONFIG, in ~/.kube/config, or in the pod that
/// it runs in. Runs until it is stopped.
#[derive(Args, Debug)]
#[command(after_help = HELP)]
pub(super) struct Kubernetes {
    /// A namespace whose pods are watched; may be given many times; without it, all
    #[arg(long, value_name = "NAME")]
    namespace: Vec<String>,

    /// Hand over only applications that have an executor on this node, which is where the server runs; without it, all
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// The server's socket; without it, spark.sealed.handover.socket
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,

    /// Number of a further user as whom the server may run; may be given many times
    #[arg(long, value_name = "UID")]
    server_user: Vec<u32>,

    /// Seconds between two rounds of questions that no watch answers, and between two tries at what failed
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,

    /// Seconds without an executor anywhere after which an application is over that has no driver's pod (client mode
    /// outside of the cluster); 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    gone_after: u64,

    /// Tell once what follows from the pods that are there, and fail with 69 if somebody does not answer
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    config: ConfigArgs,
}

/// The loop, and what it knows.
struct HandOverLoop {
    cluster: Cluster,
    watch: PodWatch,
    teller: Teller,
    /// Questions that were asked since the last round.
    asked: HashSet<Question>,
    /// Whether the server wants to be told later: at the next round.
    is_put_off: bool,
    troubles: Troubles,
}

impl Kubernetes {
    pub(super) fn run(mut self) -> Result<(), Failure> {
        let socket = socket_of(self.socket.take(), std::mem::take(&mut self.config))?;
        if self.node.as_ref().is_some_and(String::is_empty) {
            return Err(Failure::new(Exit::Usage, "--node is empty: give it spec.nodeName of this pod"));
        }
        start_logging(LOG)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        let done = runtime.block_on(self.hand_over(socket));
        // The server may still be told something by a thread that waits for it.
        runtime.shutdown_background();
        done
    }

    async fn hand_over(self, socket: PathBuf) -> Result<(), Failure> {
        let unknown = |error: &dyn std::fmt::Display| {
            let text = format!(
                "no way to the API server is known: {error}; set KUBECONFIG, or run in a pod with a service account"
            );
            Failure::new(Exit::Config, text)
        };
        let config = Config::infer().await.map_err(|error| unknown(&error))?;
        info!(server = %config.cluster_url, node = self.node, namespaces = ?self.namespace, "watching pods");
        let client = Client::try_from(config).map_err(|error| unknown(&error))?;
        let cluster = Cluster::new(client, self.namespace, self.node);
        let gone_after = (self.gone_after > 0).then(|| Duration::from_secs(self.gone_after));
        let watch = PodWatch::new(cluster.listings(), gone_after);
        let teller = Teller::new(socket, self.server_user);
        let (asked, troubles) = (HashSet::new(), Troubles::default());
        let handing_over = HandOverLoop { cluster, watch, teller, asked, is_put_off: false, troubles };
        handing_over.run(Duration::from_secs(self.interval), self.once).await
    }
}

impl HandOverLoop {
    async fn run(mut self, every: Duration, once: bool) -> Result<(), Failure> {
        let signals = |kind| signal(kind).map_err(|error| Failure::new(Exit::Failed, error));
        let (mut terminated, mut interrupted) =
            (signals(SignalKind::terminate())?, signals(SignalKind::interrupt())?);
        let mut events = self.cluster.watch();
        let mut rounds = interval(every);
        let mut looks = interval(LOOK);
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_round = tokio::select! {
                told = events.recv() => {
                    let Some(told) = told else {
                        return Err(Failure::new(Exit::Failed, "all watches have ended"));
                    };
                    self.take(told);
                    while let Ok(told) = events.try_recv() {
                        self.take(told);
                    }
                    false
                }
                _ = rounds.tick() => true,
                _ = looks.tick() => false,
                _ = terminated.recv() => return Ok(()),
                _ = interrupted.recv() => return Ok(()),
            };
            let is_last = once && self.watch.is_settled();
            self = self.round(is_round || is_last).await?;
            if once && let Some(trouble) = self.troubles.first() {
                return Err(Failure::new(Exit::Unreachable, trouble));
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// Takes in what a watch tells.
    fn take(&mut self, WatchNews { listing, what }: WatchNews) {
        let name = self.cluster.listing_name(listing);
        let event = match what {
            Ok(event) => event,
            Err(trouble) => return self.troubles.is(&name, trouble),
        };
        // A listing begins before anybody has answered.
        if !matches!(event, Event::Init) {
            self.troubles.is_well(&name);
        }
        match event {
            Event::Init => self.watch.begins(listing),
            Event::InitApply(pod) | Event::Apply(pod) => {
                if let Some(pod) = pod.of_spark() {
                    self.watch.sees(listing, pod);
                }
            }
            Event::InitDone => self.watch.is_complete(listing),
            Event::Delete(pod) => self.watch.loses(pod.uid()),
        }
    }

    /// Asks what has to be asked, and tells what follows. `with_all`: also what was asked before.
    async fn round(mut self, with_all: bool) -> Result<Self, Failure> {
        // First: what a server holds is not asked for.
        self = self.connect().await?;
        self.ask(with_all).await;
        for remark in self.watch.remarks() {
            warn!("{remark}");
        }
        match self.is_put_off && !with_all {
            true => Ok(self),
            false => self.tell().await,
        }
    }

    async fn connect(mut self) -> Result<Self, Failure> {
        let mut teller = self.teller;
        let (teller, met) = waiting(move || {
            let met = teller.connect();
            (teller, met)
        })
        .await?;
        self.teller = teller;
        match met {
            Ok(None) => {}
            Ok(Some(held)) => {
                self.troubles.is_well(SERVER);
                self.watch.meets(held);
            }
            Err(error) => self.no_server(error)?,
        }
        Ok(self)
    }

    async fn tell(mut self) -> Result<Self, Failure> {
        if !self.teller.is_connected() {
            return Ok(self);
        }
        let orders = self.watch.orders(Instant::now());
        if orders.is_empty() {
            return Ok(self);
        }
        let mut teller = self.teller;
        let (teller, (outcome, told)) = waiting(move || {
            let told = teller.tell(orders);
            (teller, told)
        })
        .await?;
        self.teller = teller;
        outcome.done.iter().for_each(|order| self.watch.done(order));
        self.is_put_off = outcome.later.is_some();
        match (told, outcome.later) {
            (Ok(()), None) => self.troubles.is_well(SERVER),
            (Ok(()), Some(later)) => self.troubles.is(SERVER, format!("it takes it later: {later}")),
            (Err(error), _) => self.no_server(error)?,
        }
        Ok(self)
    }

    /// Fails only where a stranger listens.
    fn no_server(&mut self, error: RelayError) -> Result<(), Failure> {
        match error {
            RelayError::Foreign { .. } => Err(not_connected(&error)),
            error => {
                self.troubles.is(SERVER, error.to_string());
                Ok(())
            }
        }
    }

    async fn ask(&mut self, with_all: bool) {
        let mut questions = self.watch.urgent_questions();
        if with_all {
            self.asked.clear();
            questions.extend(self.watch.questions());
            let abouts: Vec<String> = questions.iter().map(about).collect();
            self.troubles.keep(ASKING, &abouts);
        }
        for question in questions {
            if !self.asked.insert(question.clone()) {
                continue;
            }
            let about = about(&question);
            match self.cluster.ask(&question).await {
                Ok(answer) => {
                    self.troubles.is_well(&about);
                    self.answer(app_of(&question), answer);
                }
                Err(unanswered) => {
                    self.troubles.is(&about, unanswered.why);
                    if unanswered.is_silent {
                        return;
                    }
                }
            }
        }
    }

    fn answer(&mut self, app: &AppId, answer: Answer) {
        match answer {
            Answer::Secret(secret) => self.watch.answers_secret(app, secret),
            Answer::Owner(state) => self.watch.answers_owner(app, state, Instant::now()),
            Answer::AreLeft(are_left) => self.watch.answers_executors(app, are_left, Instant::now()),
        }
    }
}

/// The name of troubles with the server.
const SERVER: &str = "the server";

/// What a question is about, for the log.
fn about(question: &Question) -> String {
    match question {
        Question::Secret { app, .. } => format!("{ASKING}for the secret of application {app}"),
        Question::Owner { app, .. } => {
            format!("{ASKING}for the pod that has the driver of application {app}")
        }
        Question::Executors { app, .. } => format!("{ASKING}for executors of application {app}"),
    }
}

fn app_of(question: &Question) -> &AppId {
    match question {
        Question::Secret { app, .. } | Question::Owner { app, .. } | Question::Executors { app, .. } => app,
    }
}

/// Runs what waits for the server beside the watches.
async fn waiting<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work).await.map_err(|error| Failure::new(Exit::Failed, error))
}
