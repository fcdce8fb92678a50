//! Takes pods and answers in, and says what follows.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;

use super::application::{Application, KnownSecret, Stage};
use super::order::{Order, OwnerState, Question};
use super::pod::{Pod, Role, is_sayable};

/// How long the end of an application waits for its executors on this node.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// All pods that are seen, and what follows from them.
#[derive(Debug)]
pub struct PodWatch {
    /// After this time without an executor an application is over of which no driver is known; `None` never.
    gone_after: Option<Duration>,
    listings: Vec<Listing>,
    /// Pods that were there before, until every watch was complete once. Then they are taken in by their age.
    early: Vec<(usize, Pod)>,
    /// By uid.
    pods: HashMap<String, SeenPod>,
    /// Uids by application, in the order in which the pods were seen.
    uids: HashMap<AppId, Vec<String>>,
    apps: BTreeMap<AppId, Application>,
    remarks: Vec<String>,
    /// Uids of pods that were remarked on.
    remarked: HashSet<String>,
}

/// One watch: a listing, and changes after it.
#[derive(Clone, Copy, Debug, Default)]
struct Listing {
    /// Grows with each new listing.
    generation: u64,
    was_complete: bool,
}

/// A pod that is there.
#[derive(Debug)]
struct SeenPod {
    listing: usize,
    generation: u64,
    namespace: String,
    app: AppId,
    has_ended: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Driver,
    Executor(Option<ExecutorId>),
}

impl PodWatch {
    /// Sees nothing yet. Of `listings` watches each has to be complete once before anything is ordered.
    pub fn new(listings: usize, gone_after: Option<Duration>) -> Self {
        Self {
            gone_after,
            listings: vec![Listing::default(); listings],
            early: Vec::new(),
            pods: HashMap::new(),
            uids: HashMap::new(),
            apps: BTreeMap::new(),
            remarks: Vec::new(),
            remarked: HashSet::new(),
        }
    }

    /// A watch begins to list again.
    pub fn begins(&mut self, listing: usize) {
        self.listings[listing].generation += 1;
        self.early.retain(|(of, _)| *of != listing);
    }

    /// A watch has listed all that there is: what it did not list is gone.
    pub fn is_complete(&mut self, listing: usize) {
        self.listings[listing].was_complete = true;
        if self.is_settled() {
            let mut early = std::mem::take(&mut self.early);
            early.sort_by_key(|(_, pod)| pod.created);
            early.into_iter().for_each(|(listing, pod)| self.sees(listing, pod));
        }
        let generation = self.listings[listing].generation;
        let old = |(_, pod): &(&String, &SeenPod)| pod.listing == listing && pod.generation != generation;
        let gone: Vec<String> = self.pods.iter().filter(old).map(|(uid, _)| uid.clone()).collect();
        gone.iter().for_each(|uid| self.loses(uid));
    }

    /// A pod is there, or has changed.
    pub fn sees(&mut self, listing: usize, pod: Pod) {
        if !self.is_settled() {
            self.early.retain(|(_, early)| early.uid != pod.uid);
            return self.early.push((listing, pod));
        }
        let Pod { uid, namespace, name, app, created: _, has_ended, role } = pod;
        if !is_sayable(app.as_str()) {
            let odd = "its label spark-app-selector is no application's id: it is left out";
            return self.remark(&uid, &namespace, &name, odd);
        }
        let generation = self.listings[listing].generation;
        self.loses_labels(&uid, &app);
        let had_ended = self.pods.get(&uid).map(|seen| seen.has_ended);
        let is_executor = matches!(role, Role::Executor { .. });
        let kind = match &role {
            Role::Driver => Kind::Driver,
            Role::Executor { executor, .. } => Kind::Executor(executor.clone()),
        };
        let seen =
            SeenPod { listing, generation, namespace: namespace.clone(), app: app.clone(), has_ended, kind };
        self.pods.insert(uid.clone(), seen);
        if had_ended.is_none() {
            self.uids.entry(app.clone()).or_default().push(uid.clone());
        }
        match self.apps.contains_key(&app) {
            // A driver alone concerns other nodes.
            false if !is_executor => return,
            false => self.adopt(&app),
            true => {}
        }
        if !self.is_at_home(&app, &namespace) {
            let foreign = "its labels name an application of another namespace: it is left out";
            return self.remark(&uid, &namespace, &name, foreign);
        }
        let Some(known) = self.apps.get_mut(&app) else { return };
        let is_new = had_ended.is_none() && !has_ended;
        match role {
            Role::Driver if !has_ended => {
                if known.stage != Stage::Runs && is_new {
                    known.begin_anew();
                }
                known.had_driver = true;
            }
            Role::Driver => {}
            Role::Executor { executor, secret, owner } => {
                match known.stage {
                    Stage::Told if is_new => known.begin_anew(),
                    // It is judged again: whoever makes executors may live.
                    Stage::Over(_) if is_new => known.stage = Stage::Runs,
                    _ => {}
                }
                known.owner = known.owner.take().or(owner);
                known.alone_since = None;
                if known.stage == Stage::Runs
                    && let Err(odd) = known.learn(&secret)
                {
                    self.remark(&uid, &namespace, &name, &odd);
                }
                if has_ended && had_ended != Some(true) {
                    self.executor_is_over(&app, executor);
                }
            }
        }
    }

    /// A pod is gone.
    pub fn loses(&mut self, uid: &str) {
        self.remarked.remove(uid);
        self.early.retain(|(_, early)| early.uid != uid);
        let Some(pod) = self.remove(uid) else { return };
        let is_at_home = self.is_of_home(&pod);
        if let Kind::Executor(executor) = pod.kind
            && !pod.has_ended
            && is_at_home
        {
            self.executor_is_over(&pod.app, executor);
        }
        self.drop_if_done(&pod.app);
    }

    /// A server is there, which holds the secrets of these applications. It has to be told all else.
    pub fn meets(&mut self, held: impl IntoIterator<Item = AppId>) {
        self.apps.values_mut().for_each(|known| known.is_begun = false);
        for app in held {
            if !is_sayable(app.as_str()) {
                continue;
            }
            if !self.apps.contains_key(&app) {
                self.adopt(&app);
            }
            if let Some(known) = self.apps.get_mut(&app) {
                known.is_begun = true;
                // The server missed its end: it was told to another one.
                if known.stage == Stage::Told {
                    known.stage = Stage::Runs;
                }
            }
        }
    }

    /// What is to be asked at once.
    pub fn urgent_questions(&self) -> Vec<Question> {
        let running = self.apps.iter().filter(|(_, known)| known.stage == Stage::Runs);
        running.filter_map(|(app, known)| known.secret_question(app)).collect()
    }

    /// What is to be asked now and then.
    pub fn questions(&self) -> Vec<Question> {
        if !self.is_settled() {
            return Vec::new();
        }
        let mut questions = Vec::new();
        for (app, known) in &self.apps {
            let pods = self.pods_of(app, known);
            if known.stage != Stage::Runs || known.had_driver || pods.drivers > 0 {
                continue;
            }
            let namespace = known.home.as_deref();
            if let (Some(owner), Some(namespace)) = (&known.owner, namespace) {
                questions.push(Question::owner(app, namespace, owner));
            }
            if pods.live_executors == 0 && self.gone_after.is_some() {
                let namespace = namespace.map(str::to_owned);
                questions.push(Question::Executors { app: app.clone(), namespace });
            }
        }
        questions
    }

    /// The secret that was asked for; `None` where the application does without.
    pub fn answers_secret(&mut self, app: &AppId, secret: Option<AppSecret>) {
        let Some(known) = self.apps.get_mut(app) else { return };
        if let KnownSecret::Named { .. } = known.secret {
            known.secret = match secret {
                Some(secret) => KnownSecret::Known(Arc::new(secret)),
                None => KnownSecret::Unknown,
            };
        }
    }

    /// What became of the pod that was asked for.
    pub fn answers_owner(&mut self, app: &AppId, state: OwnerState, now: Instant) {
        let Some(known) = self.apps.get_mut(app) else { return };
        if state == OwnerState::Over && known.stage == Stage::Runs {
            known.stage = Stage::Over(now);
        }
    }

    /// Whether any executor is left of an application.
    pub fn answers_executors(&mut self, app: &AppId, are_left: bool, now: Instant) {
        let Some(known) = self.apps.get_mut(app) else { return };
        match are_left {
            true => known.alone_since = None,
            false => _ = known.alone_since.get_or_insert(now),
        }
    }

    /// What a server has to be told now. It stays an order until it is [`done`](Self::done).
    pub fn orders(&mut self, now: Instant) -> Vec<Order> {
        if !self.is_settled() {
            return Vec::new();
        }
        let mut orders = Vec::new();
        let apps: Vec<AppId> = self.apps.keys().cloned().collect();
        for app in apps {
            let Some(known) = self.apps.get(&app) else { continue };
            let pods = self.pods_of(&app, known);
            let is_over = known.stage == Stage::Runs && self.is_over(known, &pods, now);
            let Some(known) = self.apps.get_mut(&app) else { continue };
            if is_over {
                known.stage = Stage::Over(now);
            }
            match known.stage {
                Stage::Runs => {
                    if let (KnownSecret::Known(secret), false) = (&known.secret, known.is_begun) {
                        orders.push(Order::Begin(app.clone(), Arc::clone(secret)));
                    }
                    let ended = known.ended_executors.iter().cloned();
                    orders.extend(ended.map(|executor| Order::EndExecutor(app.clone(), executor)));
                }
                Stage::Over(since) => {
                    if pods.live_executors == 0 || now.saturating_duration_since(since) >= PATIENCE {
                        orders.push(Order::End(app));
                    }
                }
                Stage::Told => {}
            }
        }
        orders
    }

    /// The server has done it, or refused it for good.
    pub fn done(&mut self, order: &Order) {
        match order {
            Order::Begin(app, _) => {
                if let Some(known) = self.apps.get_mut(app) {
                    known.is_begun = true;
                }
            }
            Order::EndExecutor(app, executor) => {
                if let Some(known) = self.apps.get_mut(app) {
                    known.ended_executors.remove(executor);
                }
            }
            Order::End(app) => {
                if let Some(known) = self.apps.get_mut(app) {
                    // Its secret goes here, too.
                    *known =
                        Application { home: known.home.take(), stage: Stage::Told, ..Application::default() };
                }
                self.drop_if_done(app);
            }
        }
    }

    /// What an operator should know, each once.
    pub fn remarks(&mut self) -> Vec<String> {
        std::mem::take(&mut self.remarks)
    }

    /// Whether every watch was complete once.
    pub fn is_settled(&self) -> bool {
        self.listings.iter().all(|listing| listing.was_complete)
    }

    /// Applications that are known.
    #[cfg(test)]
    pub(super) fn known(&self) -> usize {
        self.apps.len()
    }

    /// Begins to know an application, in the namespace of the first pod that was seen of it.
    fn adopt(&mut self, app: &AppId) {
        let mut known = Application::default();
        known.home = self.pods_named(app).next().map(|first| first.namespace.clone());
        known.had_driver = self.pods_of(app, &known).drivers > 0;
        self.apps.insert(app.clone(), known);
    }

    /// Whether a pod of this namespace may speak for an application.
    fn is_at_home(&mut self, app: &AppId, namespace: &str) -> bool {
        let Some(known) = self.apps.get_mut(app) else { return false };
        known.home.get_or_insert_with(|| namespace.to_owned()) == namespace
    }

    fn is_of_home(&self, pod: &SeenPod) -> bool {
        let home = self.apps.get(&pod.app).and_then(|known| known.home.as_ref());
        home.is_some_and(|home| *home == pod.namespace)
    }

    fn executor_is_over(&mut self, app: &AppId, executor: Option<ExecutorId>) {
        if let (Some(known), Some(executor)) = (self.apps.get_mut(app), executor)
            && known.stage == Stage::Runs
        {
            known.ended_executors.insert(executor);
        }
    }

    /// Counts the pods of an application, those of its home alone.
    fn pods_of(&self, app: &AppId, known: &Application) -> PodCount {
        let mut count = PodCount::default();
        let Some(home) = &known.home else { return count };
        for pod in self.pods_named(app).filter(|pod| pod.namespace == *home) {
            match pod.kind {
                Kind::Driver if pod.has_ended => count.ended_drivers += 1,
                Kind::Driver => count.drivers += 1,
                Kind::Executor(_) if pod.has_ended => {}
                Kind::Executor(_) => count.live_executors += 1,
            }
        }
        count
    }

    fn is_over(&self, known: &Application, pods: &PodCount, now: Instant) -> bool {
        let is_alone = |since: Instant, after: Duration| now.saturating_duration_since(since) >= after;
        match pods {
            PodCount { drivers: 1.., .. } => false,
            PodCount { ended_drivers: 1.., .. } => true,
            _ if known.had_driver => true,
            PodCount { live_executors: 1.., .. } => false,
            _ => known.alone_since.zip(self.gone_after).is_some_and(|(since, after)| is_alone(since, after)),
        }
    }

    /// Forgets an application that is over and has no pods of executors here any more.
    fn drop_if_done(&mut self, app: &AppId) {
        let is_told = self.apps.get(app).is_some_and(|known| known.stage == Stage::Told);
        let is_executor = |pod: &SeenPod| matches!(pod.kind, Kind::Executor(_));
        if is_told && !self.pods_named(app).any(is_executor) {
            self.apps.remove(app);
        }
    }

    /// All pods with the label of an application, whosever they are.
    fn pods_named(&self, app: &AppId) -> impl Iterator<Item = &SeenPod> {
        self.uids.get(app).into_iter().flatten().filter_map(|uid| self.pods.get(uid))
    }

    fn remove(&mut self, uid: &str) -> Option<SeenPod> {
        let pod = self.pods.remove(uid)?;
        if let Some(uids) = self.uids.get_mut(&pod.app) {
            uids.retain(|other| other != uid);
            if uids.is_empty() {
                self.uids.remove(&pod.app);
            }
        }
        Some(pod)
    }

    /// A pod that was given the label of another application is no longer one of the first.
    fn loses_labels(&mut self, uid: &str, app: &AppId) {
        if self.pods.get(uid).is_some_and(|pod| pod.app != *app) {
            self.loses(uid);
        }
    }

    fn remark(&mut self, uid: &str, namespace: &str, name: &str, what: &str) {
        if self.remarked.insert(uid.to_owned()) {
            self.remarks.push(format!("pod {namespace}/{name}: {what}"));
        }
    }
}

/// The pods of an application.
#[derive(Clone, Copy, Debug, Default)]
struct PodCount {
    drivers: usize,
    ended_drivers: usize,
    live_executors: usize,
}
