//! The hand-over beside the server: applications with secrets that Spark makes and nothing of ours in them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::{Duration, Instant},
};

use sealed_shuffle_interop_tests::{
    kubernetes::{Application, Cluster, SparkPod, Submission, reports},
    machine::files,
};

use crate::shared::{MODE, NEWEST, cluster, hand_over};

/// The namespace that `deploy/kubernetes/hand-over/application.conf` names, and another one.
const NAMESPACE: &str = "spark";
const OTHER_NAMESPACE: &str = "spark-b";
/// Applications, unless `SEALED_SHUFFLE_KUBERNETES_APPLICATIONS` says how many, and how many run at once.
const APPLICATIONS: usize = 50;
const BESIDE: usize = 6;
const ROWS: u64 = 2_000;
/// Nothing of an application is left so long after its end.
const MINUTE: Duration = Duration::from_secs(60);
/// For the next end of one, on a machine that has other work.
const LIMIT: Duration = Duration::from_secs(420);

/// As operators make them where nobody says otherwise (`spark.authenticate`, `spark.io.encryption.enabled`), with the keys of Spark's
/// that the page names.
fn application() -> Application {
    Application::new(NEWEST, "deploy/kubernetes/hand-over/application.conf")
        .in_cluster_mode()
        .with("spark.io.encryption.enabled", "true")
        .with("spark.executor.instances", "1")
}

/// What applications have of the node and of its server.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Traces {
    /// In the local directory.
    entries: BTreeSet<String>,
    applications: u64,
    executors: u64,
    secrets: u64,
}

impl Traces {
    fn of(cluster: &Cluster) -> Self {
        let metrics = cluster.metrics_at("127.0.0.1:7338");
        let gauge = |name: &str| {
            let name = format!("sealed_shuffle_{name}");
            *metrics.get(&name).unwrap_or_else(|| panic!("no {name} in {metrics:?}")) as u64
        };
        let disk = cluster.directory().join("disk");
        let entries = fs::read_dir(&disk).unwrap_or_else(|e| panic!("cannot read {}: {e}", disk.display()));
        Self {
            entries: entries
                .flatten()
                .map(|entry| entry.file_name().to_string_lossy().into_owned())
                .collect(),
            applications: gauge("applications"),
            executors: gauge("executors"),
            secrets: gauge("secrets_handed_over"),
        }
    }

    /// How many directories, registered applications, their executors and secrets there are more than `before`.
    fn beyond(&self, before: &Self) -> [usize; 4] {
        let more =
            |now: u64, before: u64| usize::try_from(now.saturating_sub(before)).expect("counts are small");
        [
            self.entries.difference(&before.entries).count(),
            more(self.applications, before.applications),
            more(self.executors, before.executors),
            more(self.secrets, before.secrets),
        ]
    }
}

/// Waits until nothing more is left than before; at most a minute. Returns how long it took.
#[track_caller]
fn nothing_is_left(cluster: &Cluster, before: &Traces) -> Duration {
    let since = Instant::now();
    loop {
        let now = Traces::of(cluster);
        if now.beyond(before) == [0; 4] {
            return since.elapsed();
        }
        assert!(since.elapsed() < MINUTE, "left after {MINUTE:?}: {now:?}, where there was {before:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

/// No secret is in what the two containers log, or lies beside the server's state as it is.
#[track_caller]
fn assert_hidden(cluster: &Cluster, secrets: &BTreeMap<String, String>) {
    let log = cluster.shell("kubectl -n spark logs daemonset/sealed-shuffle --all-containers");
    let files = files(&cluster.directory().join("state"));
    for (app, secret) in secrets {
        assert!(log.contains(app.as_str()), "the control: the log tells of {app}\n{log}");
        assert!(!log.contains(secret.as_str()), "the secret of {app} is in a log");
        let holds = |text: Vec<u8>| text.windows(secret.len()).any(|part| part == secret.as_bytes());
        for file in &files {
            assert!(!fs::read(file).is_ok_and(holds), "the secret of {app} is in {}", file.display());
        }
    }
    assert!(!files.is_empty(), "the control: the server keeps its state");
}

/// The messages that the server took.
fn handed_over(cluster: &Cluster, message: &str) -> u64 {
    let metrics = cluster.metrics_at("127.0.0.1:7338");
    let of = |name: &str| {
        name.starts_with("sealed_shuffle_handover_total") && name.contains(&format!("message=\"{message}\""))
    };
    metrics.iter().filter(|(name, _)| of(name)).map(|(_, value)| *value as u64).sum()
}

#[test]
#[ignore = "make interop-kubernetes"]
fn short_applications_with_secrets_of_their_own_leave_nothing() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    hand_over(cluster);
    let count = std::env::var("SEALED_SHUFFLE_KUBERNETES_APPLICATIONS")
        .map_or(APPLICATIONS, |text| text.parse().expect("it is a number"));
    let (before, begun) = (Traces::of(cluster), Instant::now());
    let messages = [handed_over(cluster, "started"), handed_over(cluster, "ended")];
    let application = application()
        .rows(ROWS)
        .with("spark.sql.shuffle.partitions", "4")
        .with("spark.kubernetes.submission.waitAppCompletion", "false");
    let mut submissions: Vec<Submission> = Vec::new();
    let (mut names, mut secrets, mut most) = (BTreeSet::new(), BTreeMap::new(), [0; 4]);
    // When each was seen to have ended.
    let mut ends: BTreeMap<String, Instant> = BTreeMap::new();
    while ends.len() < count {
        let progress = ends.values().max().unwrap_or(&begun).elapsed();
        assert!(progress < LIMIT, "{} of {count} have ended, and none in {LIMIT:?}", ends.len());
        let pods = cluster.spark_pods();
        let ours = |pod: &&SparkPod| names.contains(&pod.name.replace("-exec-1", "-driver"));
        secrets
            .extend(pods.iter().filter(ours).filter_map(|pod| Some((pod.app.clone(), pod.secret.clone()?))));
        let over =
            |pod: &&SparkPod| names.contains(&pod.name) && !["Pending", "Running"].contains(&&*pod.phase);
        for pod in pods.iter().filter(over) {
            ends.entry(pod.name.clone()).or_insert_with(Instant::now);
        }
        let running = names.len() - ends.len();
        let late = ends.values().filter(|end| end.elapsed() < MINUTE).count();
        let now = Traces::of(cluster);
        let more = now.beyond(&before);
        // Each has one executor with a directory, unless one is lost on a busy machine and another takes its place.
        let may = [usize::MAX, running + late, usize::MAX, running + late];
        let within = more.iter().zip(may).all(|(more, may)| *more <= may);
        assert!(within, "left of those that ended a minute ago: {more:?}, and {may:?} may be: {now:?}");
        for (most, more) in most.iter_mut().zip(more) {
            *most = more.max(*most);
        }
        if names.len() < count && running < BESIDE {
            let submission = application.submit(cluster);
            names.insert(format!("{}-driver", submission.name()));
            submissions.push(submission);
        } else {
            thread::sleep(Duration::from_secs(4));
        }
    }
    let all = begun.elapsed();
    let left = nothing_is_left(cluster, &before);
    println!(
        "{count} applications took {all:?}; at most {most:?} were there, and nothing {left:?} after the last"
    );
    assert!(most.iter().all(|most| *most > 0), "the control: something of them can be seen: {most:?}");
    let mut reports = reports(cluster, NAMESPACE);
    reports.retain(|report| secrets.contains_key(&report.app));
    assert_eq!(reports.len(), count, "{reports:?}");
    for report in &reports {
        assert_eq!((&report.results, report.canary_rows), (&reports[0].results, ROWS), "{report:?}");
        report.assert_unharmed();
    }
    let counted =
        [handed_over(cluster, "started") - messages[0], handed_over(cluster, "ended") - messages[1]];
    assert_eq!(counted, [count as u64; 2]);
    assert_eq!(secrets.len(), count, "the control: each executor's pod shows its secret");
    assert_eq!(secrets.values().collect::<BTreeSet<_>>().len(), count, "two have one secret");
    assert_hidden(cluster, &secrets);
    cluster.shell("kubectl -n spark delete pod -l spark-role=driver --wait");
}

/// Whether a client gets a block of an application that it says it is, with a secret.
fn gets(cluster: &Cluster, app: &str, secret: &str) -> bool {
    // Map outputs are numbered by tasks.
    let blocks = ["shuffle_0_0_0", "shuffle_0_1_0", "shuffle_0_2_0", "shuffle_0_3_0"];
    blocks.iter().any(|block| {
        let (good, said) = cluster.client(
            secret,
            &[
                "fetch",
                "--server",
                "127.0.0.1:7337",
                "--conf",
                "spark.network.crypto.cipher=AES/GCM/NoPadding",
                "--app-id",
                app,
                "--executor-id",
                "1",
                block,
            ],
        );
        assert!(!said.contains("panicked"), "{said}");
        good
    })
}

#[test]
#[ignore = "make interop-kubernetes"]
fn tenants_with_secrets_of_their_own_do_not_reach_each_others_blocks() {
    let Some(held) = cluster() else { return };
    let cluster = &*held.cluster;
    hand_over(cluster);
    cluster.shell(&format!(
        "kubectl create namespace {OTHER_NAMESPACE}
         kubectl label namespace {OTHER_NAMESPACE} pod-security.kubernetes.io/enforce=privileged
         kubectl -n {OTHER_NAMESPACE} apply -f deploy/kubernetes/daemonset/service-account.yaml"
    ));
    let before = Traces::of(cluster);
    let mut both: Vec<Submission> = [NAMESPACE, OTHER_NAMESPACE]
        .map(|namespace| application().held().with("spark.kubernetes.namespace", namespace).submit(cluster))
        .into();
    both.iter_mut().for_each(|submission| submission.round(cluster, 1));
    let pods = cluster.spark_pods();
    let tenants: Vec<(String, String)> = both
        .iter()
        .map(|submission| {
            let name = format!("{}-exec-1", submission.name());
            let pod =
                pods.iter().find(|pod| pod.name == name).unwrap_or_else(|| panic!("no {name} in {pods:?}"));
            (pod.app.clone(), pod.secret.clone().expect("Spark makes one"))
        })
        .collect();
    for (own, other) in [(0, 1), (1, 0)] {
        let ((app, secret), (_, foreign)) = (&tenants[own], &tenants[other]);
        assert!(gets(cluster, app, secret), "the control: {app} gets a block of its own");
        assert!(!gets(cluster, app, foreign), "{app} with another tenant's secret");
    }
    both.iter().for_each(|submission| submission.release(cluster));
    for submission in both {
        let report = submission.finish(cluster);
        report.assert_right(&MODE);
        report.assert_unharmed();
    }
    println!("nothing is left after {:?}", nothing_is_left(cluster, &before));
    assert_hidden(cluster, &tenants.into_iter().collect());
    cluster.shell(&format!(
        "kubectl delete namespace {OTHER_NAMESPACE} --wait --timeout=120s
         kubectl -n spark delete pod -l spark-role=driver --wait"
    ));
}
