//! The API server: what it is asked, and what it tells.

use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_core::Stream as _;
use kube::api::{Api, ListParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Client, Error};
use sealed_shuffle_protocol::secret::AppSecret;
use tokio::sync::mpsc;
use tokio::time::timeout;
use zeroize::Zeroizing;

use super::objects::{APP, PodObject, ROLE, SecretObject};
use crate::handover::kubernetes::{OwnerState, Question};

/// Time for the answer to a question.
const PATIENCE: Duration = Duration::from_secs(20);

/// Events that wait to be taken. Behind them the watches wait.
const WAITING: usize = 256;

/// Longest value of a label.
const LONGEST_LABEL: usize = 63;

/// Where the rules that this needs are written down.
const RULES: &str = "the rules are in deploy/kubernetes/hand-over of the sources";

/// The cluster, as far as this process looks at it.
pub(super) struct Cluster {
    client: Client,
    /// `None` is all of them.
    scopes: Vec<Option<String>>,
    /// Executors of other nodes are not looked at.
    node: Option<String>,
}

/// What a watch tells.
pub(super) struct WatchNews {
    /// The number of the watch.
    pub(super) listing: usize,
    pub(super) what: Result<Event<PodObject>, String>,
}

/// The answer to a question.
pub(super) enum Answer {
    Secret(Option<AppSecret>),
    Owner(OwnerState),
    AreLeft(bool),
}

/// Why there is no answer.
pub(super) struct NoAnswer {
    pub(super) why: String,
    /// Whether nobody answers: further questions would wait, too.
    pub(super) is_silent: bool,
}

impl Cluster {
    /// Of `namespaces`, or of all where there are none.
    pub(super) fn new(client: Client, namespaces: Vec<String>, node: Option<String>) -> Self {
        let scopes = match namespaces.is_empty() {
            true => vec![None],
            false => namespaces.into_iter().map(Some).collect(),
        };
        Self { client, scopes, node }
    }

    /// The number of watches: of each scope one for its executors, and one for its drivers.
    pub(super) fn listings(&self) -> usize {
        2 * self.scopes.len()
    }

    /// What a watch looks at, in words.
    pub(super) fn listing_name(&self, listing: usize) -> String {
        let what = if listing.is_multiple_of(2) { "executors" } else { "drivers" };
        match self.scopes.get(listing / 2) {
            Some(Some(namespace)) => format!("watching the {what} in namespace {namespace}"),
            _ => format!("watching the {what} in all namespaces"),
        }
    }

    /// Begins all watches, in the order of their numbers.
    pub(super) fn watch(&self) -> mpsc::Receiver<WatchNews> {
        let (sender, receiver) = mpsc::channel(WAITING);
        for (at, scope) in self.scopes.iter().enumerate() {
            let mut executors = watcher::Config::default().labels(&format!("{ROLE}=executor,{APP}"));
            if let Some(node) = &self.node {
                executors = executors.fields(&format!("spec.nodeName={node}"));
            }
            let drivers = watcher::Config::default().labels(&format!("{ROLE}=driver,{APP}"));
            for (kind, config) in [executors, drivers].into_iter().enumerate() {
                let pods = self.pods(scope.as_deref());
                tokio::spawn(pass_on(2 * at + kind, pods, config, sender.clone()));
            }
        }
        receiver
    }

    pub(super) async fn ask(&self, question: &Question) -> Result<Answer, NoAnswer> {
        let asked = async {
            match question {
                Question::Secret { namespace, name, key, optional, .. } => {
                    self.secret(namespace, name, key, *optional).await.map(Answer::Secret)
                }
                Question::Owner { namespace, name, uid, .. } => {
                    self.owner(namespace, name, uid).await.map(Answer::Owner)
                }
                Question::Executors { app, namespace } => {
                    let left = self.executors_are_left(app.as_str(), namespace.as_deref());
                    left.await.map(Answer::AreLeft)
                }
            }
        };
        timeout(PATIENCE, asked).await.unwrap_or_else(|_| {
            Err(NoAnswer { why: format!("no answer within {PATIENCE:?}"), is_silent: true })
        })
    }

    async fn secret(
        &self,
        namespace: &str,
        name: &str,
        key: &str,
        optional: bool,
    ) -> Result<Option<AppSecret>, NoAnswer> {
        let secrets: Api<SecretObject> = Api::namespaced(self.client.clone(), namespace);
        let lacks = |what: &str| {
            let why = format!("{what}, and the executors of the application want it");
            NoAnswer { why, is_silent: false }
        };
        let found = match secrets.get_opt(name).await {
            Ok(found) => found,
            Err(Error::Api(status)) if status.code == 403 => {
                let why = format!(
                    "this service account may not read Secret {namespace}/{name}, which has the application's secret: \
                     give it a Role in that namespace with `apiGroups: [\"\"]`, `resources: [\"secrets\"]`, \
                     `resourceNames: [\"{name}\"]` and `verbs: [\"get\"]`; {RULES}"
                );
                return Err(NoAnswer { why, is_silent: false });
            }
            Err(error) => return Err(unanswered(&error)),
        };
        let Some(secret) = found else {
            return match optional {
                true => Ok(None),
                false => Err(lacks(&format!("there is no Secret {namespace}/{name}"))),
            };
        };
        let Some(text) = secret.data.get(key) else {
            return match optional {
                true => Ok(None),
                false => Err(lacks(&format!("Secret {namespace}/{name} has no key {key}"))),
            };
        };
        let odd = |what: &str| lacks(&format!("key {key} of Secret {namespace}/{name} {what}"));
        let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.0.len())]);
        let length = STANDARD.decode_slice(&*text.0, &mut bytes).map_err(|_| odd("is no Base64"))?;
        let text = std::str::from_utf8(&bytes[..length]).map_err(|_| {
            odd("is not UTF-8, so no variable can hold it: put the Base64 text of the bytes into another key")
        })?;
        match text.is_empty() {
            true => Err(odd("is empty")),
            false => Ok(Some(AppSecret::new(text.to_owned()))),
        }
    }

    async fn owner(&self, namespace: &str, name: &str, uid: &str) -> Result<OwnerState, NoAnswer> {
        let found = self.pods(Some(namespace)).get_opt(name).await.map_err(|error| unanswered(&error))?;
        Ok(match found {
            Some(pod) if pod.uid() == uid && !pod.has_ended() => OwnerState::Lives,
            _ => OwnerState::Over,
        })
    }

    async fn executors_are_left(&self, app: &str, namespace: Option<&str>) -> Result<bool, NoAnswer> {
        if !can_be_a_label(app) {
            return Ok(false);
        }
        let params = ListParams::default()
            .labels(&format!("{ROLE}=executor,{APP}={app}"))
            .fields("status.phase!=Succeeded,status.phase!=Failed")
            .limit(1);
        let scopes = match namespace {
            Some(namespace) => vec![Some(namespace)],
            None => self.scopes.iter().map(Option::as_deref).collect(),
        };
        for scope in scopes {
            let found = self.pods(scope).list_metadata(&params).await.map_err(|error| unanswered(&error))?;
            if !found.items.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn pods(&self, namespace: Option<&str>) -> Api<PodObject> {
        match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}

/// Passes on what a watch tells, until nobody listens. It comes back by itself after an error.
async fn pass_on(
    listing: usize,
    pods: Api<PodObject>,
    config: watcher::Config,
    sender: mpsc::Sender<WatchNews>,
) {
    let mut events = pin!(watcher(pods, config).default_backoff());
    while let Some(event) = std::future::poll_fn(|cx| events.as_mut().poll_next(cx)).await {
        let what = match event {
            // The version from which to go on is too old for the API server: it lists again, which is no trouble.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => continue,
            event => event.map_err(|error| trouble_of(&error)),
        };
        if sender.send(WatchNews { listing, what }).await.is_err() {
            return;
        }
    }
}

fn trouble_of(error: &watcher::Error) -> String {
    match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => words(error),
        watcher::Error::WatchError(status) => {
            format!("the API server says {}: {}", status.code, status.message)
        }
        watcher::Error::NoResourceVersion => "the API server names no resourceVersion".to_owned(),
    }
}

fn unanswered(error: &Error) -> NoAnswer {
    let is_silent = !matches!(error, Error::Api(_) | Error::SerdeError(_));
    NoAnswer { why: words(error), is_silent }
}

/// Words of our own where those of the library could quote an answer, which may hold secrets.
fn words(error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 403 => format!(
            "the API server refuses it: {}; the service account needs `get`, `list` and `watch` of pods; {RULES}",
            status.message
        ),
        Error::Api(status) => format!("the API server says {}: {}", status.code, status.message),
        Error::SerdeError(error) => {
            format!("the API server's answer cannot be read (at column {})", error.column())
        }
        Error::Service(error) => {
            let mut text = format!("the API server cannot be reached: {error}");
            let mut source = error.source();
            while let Some(error) = source {
                text.push_str(&format!(": {error}"));
                source = error.source();
            }
            text
        }
        other => format!("the API server cannot be asked: {other}"),
    }
}

/// Whether a pod can have it as the value of a label.
fn can_be_a_label(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=LONGEST_LABEL).contains(&text.len()) && text.bytes().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_label_is_asked_for() {
        for app in ["spark-0af", "app-2026.1_x"] {
            assert!(can_be_a_label(app), "{app}");
        }
        for app in ["", "a,spark-role=driver", "a b", "a=b", &"a".repeat(64)] {
            assert!(!can_be_a_label(app), "{app}");
        }
    }
}
