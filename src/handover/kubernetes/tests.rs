use std::sync::Arc;
use std::time::{Duration, Instant};

use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use sealed_shuffle_protocol::secret::AppSecret;

use super::watch::PATIENCE;
use super::*;

const EXECUTORS: usize = 0;
const DRIVERS: usize = 1;
const DAY: Duration = Duration::from_secs(86_400);

fn secret(text: &str) -> AppSecret {
    AppSecret::new(text.to_owned())
}

fn here(text: &str) -> SecretPlace {
    SecretPlace::Here(Arc::new(secret(text)))
}

fn named() -> SecretPlace {
    SecretPlace::Named { name: "spark-secret".to_owned(), key: "base64".to_owned(), optional: false }
}

fn pod(namespace: &str, uid: &str, app: &str, created: i64, role: Role) -> Pod {
    Pod {
        uid: uid.to_owned(),
        namespace: namespace.to_owned(),
        name: uid.to_owned(),
        app: AppId::new(app),
        created,
        has_ended: false,
        role,
    }
}

fn driver(app: &str) -> Pod {
    pod("ns", &format!("{app}-driver"), app, 100, Role::Driver)
}

fn executor(app: &str, number: u32, secret: SecretPlace) -> Pod {
    let owner = OwnerPod { name: format!("{app}-driver"), uid: format!("{app}-driver") };
    let role =
        Role::Executor { executor: Some(ExecutorId::new(number.to_string())), secret, owner: Some(owner) };
    pod("ns", &format!("{app}-exec-{number}"), app, 200, role)
}

/// Of an application whose driver is no pod.
fn lonely(app: &str, number: u32, secret: SecretPlace) -> Pod {
    let mut pod = executor(app, number, secret);
    let Role::Executor { owner, .. } = &mut pod.role else { panic!() };
    *owner = None;
    pod
}

fn ended(mut pod: Pod) -> Pod {
    pod.has_ended = true;
    pod
}

fn in_namespace(namespace: &str, created: i64, mut pod: Pod) -> Pod {
    pod.uid = format!("{namespace}-{}", pod.uid);
    pod.namespace = namespace.to_owned();
    pod.created = created;
    pod
}

struct Node {
    watch: PodWatch,
    now: Instant,
}

impl Node {
    /// Both listings were complete, and empty.
    fn quiet() -> Self {
        let mut node = Self { watch: PodWatch::new(2, Some(DAY)), now: Instant::now() };
        node.lists(EXECUTORS, []);
        node.lists(DRIVERS, []);
        node
    }

    fn new() -> Self {
        Self { watch: PodWatch::new(2, Some(DAY)), now: Instant::now() }
    }

    fn lists<const N: usize>(&mut self, listing: usize, pods: [Pod; N]) {
        self.watch.begins(listing);
        pods.into_iter().for_each(|pod| self.watch.sees(listing, pod));
        self.watch.is_complete(listing);
    }

    fn sees(&mut self, pod: Pod) {
        let listing = if matches!(pod.role, Role::Driver) { DRIVERS } else { EXECUTORS };
        self.watch.sees(listing, pod);
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// The orders, which are carried out.
    fn told(&mut self) -> Vec<String> {
        let orders = self.watch.orders(self.now);
        orders.iter().for_each(|order| self.watch.done(order));
        orders.iter().map(words).collect()
    }
}

fn words(order: &Order) -> String {
    match order {
        Order::Begin(app, secret) => format!("+{app} {}", String::from_utf8_lossy(secret.as_bytes())),
        Order::EndExecutor(app, executor) => format!("{app}/{executor} over"),
        Order::End(app) => format!("-{app}"),
    }
}

const NOTHING: [String; 0] = [];

#[test]
fn an_application_begins_with_its_first_executor_and_ends_with_its_driver() {
    let mut node = Node::quiet();
    node.sees(driver("a"));
    assert_eq!(node.told(), NOTHING, "a driver alone concerns other nodes");
    node.sees(executor("a", 1, here("s")));
    assert_eq!(node.told(), ["+a s"]);
    node.sees(executor("a", 2, here("s")));
    assert_eq!(node.told(), NOTHING, "once");
    node.watch.loses("a-exec-1");
    assert_eq!(node.told(), ["a/1 over"]);
    node.sees(ended(executor("a", 2, here("s"))));
    node.sees(ended(executor("a", 2, here("s"))));
    assert_eq!(node.told(), ["a/2 over"]);
    node.watch.loses("a-exec-2");
    assert_eq!(node.after(10 * DAY).told(), NOTHING, "its shuffle is why we are here");
    node.sees(ended(driver("a")));
    assert_eq!(node.told(), ["-a"]);
    assert_eq!(node.watch.known(), 0, "nothing of it is kept");
    node.watch.loses("a-driver");
    assert_eq!(node.told(), NOTHING);
}

#[test]
fn a_driver_that_is_gone_ends_its_application_whether_it_was_deleted_or_no_longer_listed() {
    let mut node = Node::quiet();
    for app in ["a", "b"] {
        node.sees(driver(app));
        node.sees(executor(app, 1, here("s")));
        node.watch.loses(&format!("{app}-exec-1"));
    }
    assert_eq!(node.told(), ["+a s", "a/1 over", "+b s", "b/1 over"]);
    node.watch.loses("a-driver");
    assert_eq!(node.told(), ["-a"]);
    // A watch that was lost lists again.
    node.watch.begins(DRIVERS);
    assert_eq!(node.told(), NOTHING, "a listing that is not complete ends nothing");
    node.watch.is_complete(DRIVERS);
    assert_eq!(node.told(), ["-b"]);
}

#[test]
fn an_end_waits_for_the_executors_of_this_node_but_not_for_ever() {
    let mut node = Node::quiet();
    for app in ["a", "b"] {
        node.sees(driver(app));
        node.sees(executor(app, 1, here("s")));
        node.sees(ended(driver(app)));
    }
    assert_eq!(node.told(), NOTHING);
    node.sees(ended(executor("a", 1, here("s"))));
    assert_eq!(node.told(), ["-a"]);
    assert_eq!(node.after(PATIENCE).told(), ["-b"]);
    // Its executor is still there, and begins nothing.
    node.sees(executor("b", 1, here("s")));
    assert_eq!(node.told(), NOTHING);
    assert_eq!(node.watch.known(), 2);
    node.watch.loses("a-exec-1");
    node.watch.loses("b-exec-1");
    assert_eq!(node.watch.known(), 0);
}

#[test]
fn nothing_is_ordered_before_every_listing_was_complete() {
    let mut node = Node::new();
    node.lists(EXECUTORS, [executor("a", 1, here("s"))]);
    assert_eq!(node.told(), NOTHING);
    assert!(node.watch.questions().is_empty());
    node.lists(DRIVERS, [driver("a")]);
    assert_eq!(node.told(), ["+a s"]);
}

#[test]
fn what_a_server_holds_is_not_handed_over_again_and_ends_where_its_driver_has() {
    let mut node = Node::new();
    node.lists(EXECUTORS, [executor("lives", 1, here("s")), executor("new", 1, here("n"))]);
    node.lists(DRIVERS, [driver("lives"), driver("new"), ended(driver("over"))]);
    node.watch.meets(["lives", "over", "unknown", "with space"].map(AppId::new));
    assert_eq!(node.told(), ["+new n", "-over"]);
    let unknown = Question::Executors { app: AppId::new("unknown"), namespace: None };
    assert_eq!(node.watch.questions(), [unknown]);
    // Another server, which holds nothing: it is told all again.
    node.watch.meets([]);
    assert_eq!(node.told(), ["+lives s", "+new n"]);
}

#[test]
fn an_order_stays_until_it_is_done() {
    let mut node = Node::quiet();
    node.sees(driver("a"));
    node.sees(executor("a", 1, here("s")));
    for _ in 0..2 {
        assert_eq!(node.watch.orders(node.now).iter().map(words).collect::<Vec<_>>(), ["+a s"]);
    }
    node.told();
    node.sees(ended(executor("a", 1, here("s"))));
    node.sees(ended(driver("a")));
    for _ in 0..2 {
        assert_eq!(node.watch.orders(node.now).iter().map(words).collect::<Vec<_>>(), ["-a"]);
    }
}

#[test]
fn a_secret_is_asked_for_until_it_is_known() {
    let mut node = Node::quiet();
    node.sees(driver("a"));
    node.sees(executor("a", 1, named()));
    assert_eq!(node.told(), NOTHING);
    let asked = node.watch.urgent_questions();
    let [Question::Secret { app, namespace, name, key, optional: false }] = &asked[..] else {
        panic!("{asked:?}")
    };
    let asked_for = (app.as_str(), namespace.as_str(), name.as_str(), key.as_str());
    assert_eq!(asked_for, ("a", "ns", "spark-secret", "base64"));
    assert_eq!(node.watch.urgent_questions().len(), 1, "nobody has answered");
    node.watch.answers_secret(&AppId::new("a"), Some(secret("read")));
    assert!(node.watch.urgent_questions().is_empty());
    assert_eq!(node.told(), ["+a read"]);
    node.sees(executor("a", 2, named()));
    assert!(node.watch.urgent_questions().is_empty(), "one reading does for all its executors");
}

#[test]
fn what_a_server_holds_is_not_read() {
    let mut node = Node::new();
    node.lists(EXECUTORS, [executor("a", 1, named())]);
    node.lists(DRIVERS, [driver("a")]);
    node.watch.meets([AppId::new("a")]);
    assert!(node.watch.urgent_questions().is_empty());
}

#[test]
fn an_application_without_a_secret_is_told_of_by_its_end_alone() {
    let mut node = Node::quiet();
    node.sees(driver("a"));
    node.sees(executor("a", 1, SecretPlace::Nowhere));
    assert_eq!(node.told(), NOTHING);
    node.watch.loses("a-exec-1");
    node.watch.loses("a-driver");
    assert_eq!(node.told(), ["-a"]);
}

#[test]
fn another_secret_and_one_that_is_not_understood_are_remarked_on_once_and_not_handed_over() {
    let mut node = Node::quiet();
    node.sees(driver("a"));
    node.sees(executor("a", 1, here("s")));
    assert_eq!(node.told(), ["+a s"]);
    for _ in 0..2 {
        node.sees(executor("a", 2, here("t")));
        node.sees(executor("a", 3, SecretPlace::Odd("comes from a ConfigMap")));
    }
    assert_eq!(node.told(), NOTHING);
    let remarks = node.watch.remarks();
    assert_eq!(remarks.len(), 2, "{remarks:?}");
    assert!(remarks[0].contains("pod ns/a-exec-2: it has another secret"), "{remarks:?}");
    assert!(remarks[1].contains("comes from a ConfigMap"), "{remarks:?}");
}

#[test]
fn pods_of_another_namespace_say_nothing_about_an_application() {
    let mut node = Node::quiet();
    node.sees(driver("a"));
    node.sees(executor("a", 1, here("s")));
    assert_eq!(node.told(), ["+a s"]);
    // An older pod that was given the labels, too: age decides only among what was there before.
    for created in [50, 300] {
        node.sees(in_namespace("evil", created, executor("a", 2, here("known"))));
        node.sees(in_namespace("evil", created, ended(driver("a"))));
        node.watch.loses("evil-a-exec-2");
        assert_eq!(node.told(), NOTHING);
    }
    let remarks = node.watch.remarks();
    assert!(remarks[0].contains("pod evil/a-exec-2: its labels name an application of another namespace"));
    node.watch.loses("a-exec-1");
    node.watch.loses("a-driver");
    assert_eq!(node.told(), ["-a"], "their driver that is there does not keep it");
}

#[test]
fn of_pods_that_were_there_before_the_oldest_says_whose_an_application_is() {
    let mut node = Node::new();
    node.lists(
        EXECUTORS,
        [in_namespace("evil", 150, executor("a", 9, here("known"))), executor("a", 1, here("s"))],
    );
    node.lists(DRIVERS, [driver("a")]);
    // The driver is older than both. Nothing was said before it was known.
    assert_eq!(node.told(), ["+a s"]);
}

#[test]
fn the_end_of_the_pod_that_executors_belong_to_is_the_end() {
    let mut node = Node::quiet();
    // A notebook's pod has none of Spark's labels.
    node.sees(executor("a", 1, here("s")));
    assert_eq!(node.told(), ["+a s"]);
    let owner = Question::owner(
        &AppId::new("a"),
        "ns",
        &OwnerPod { name: "a-driver".to_owned(), uid: "a-driver".to_owned() },
    );
    assert_eq!(node.watch.questions(), std::slice::from_ref(&owner));
    node.watch.answers_owner(&AppId::new("a"), OwnerState::Lives, node.now);
    node.watch.loses("a-exec-1");
    assert_eq!(node.told(), ["a/1 over"]);
    let executors = Question::Executors { app: AppId::new("a"), namespace: Some("ns".to_owned()) };
    assert_eq!(node.watch.questions(), [owner, executors]);
    node.watch.answers_owner(&AppId::new("a"), OwnerState::Over, node.now);
    assert_eq!(node.told(), ["-a"]);
}

#[test]
fn an_application_without_a_drivers_pod_ends_after_a_long_time_without_executors() {
    let mut node = Node::quiet();
    let a = AppId::new("a");
    node.sees(lonely("a", 1, here("s")));
    assert_eq!(node.told(), ["+a s"]);
    assert!(node.watch.questions().is_empty(), "it has one here");
    node.watch.loses("a-exec-1");
    node.told();
    assert_eq!(node.watch.questions().len(), 1);
    node.watch.answers_executors(&a, false, node.now);
    assert_eq!(node.after(DAY / 2).told(), NOTHING);
    node.watch.answers_executors(&a, true, node.now);
    assert_eq!(node.after(DAY).told(), NOTHING, "it has one elsewhere");
    node.watch.answers_executors(&a, false, node.now);
    assert_eq!(node.after(DAY - Duration::from_secs(1)).told(), NOTHING);
    node.watch.answers_executors(&a, false, node.now);
    assert_eq!(node.after(Duration::from_secs(1)).told(), ["-a"]);
}

#[test]
fn nothing_is_asked_where_such_an_application_is_never_over() {
    let mut node = Node { watch: PodWatch::new(0, None), now: Instant::now() };
    node.watch.meets([AppId::new("a")]);
    assert!(node.watch.questions().is_empty());
    node.watch.answers_executors(&AppId::new("a"), false, node.now);
    assert_eq!(node.after(365 * DAY).told(), NOTHING);
}

#[test]
fn an_id_that_comes_again_begins_again() {
    let mut node = Node::quiet();
    node.sees(driver("a"));
    node.sees(executor("a", 1, here("s")));
    node.sees(ended(driver("a")));
    node.told();
    assert_eq!(node.after(PATIENCE).told(), ["-a"]);
    // The next run has another driver's pod, and another secret.
    let mut second = driver("a");
    second.uid = "second".to_owned();
    node.sees(second);
    let mut first = executor("a", 1, here("t"));
    first.uid = "second-exec-1".to_owned();
    node.sees(first);
    assert_eq!(node.told(), ["+a t"]);
}

#[test]
fn ids_that_no_line_can_hold_are_left_out() {
    let mut node = Node::quiet();
    node.sees(executor("a\nended b", 1, here("s")));
    node.sees(ended(driver("a\nended b")));
    assert_eq!(node.told(), NOTHING);
    assert_eq!(node.watch.known(), 0);
    assert_eq!(node.watch.remarks().len(), 2);
}
