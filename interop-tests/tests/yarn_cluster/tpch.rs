//! Queries of TPC-H, with and without push-based shuffle, through Spark's own handler and through our servers in each form in
//! which they merge: the same answers, and what each took (`SEALED_SHUFFLE_TPCH=SCALE`).

use std::time::Instant;

use sealed_shuffle_interop_tests::{
    applications::tables,
    modes::Service,
    yarn::{Application, Cluster, Report, VIEWED},
};
use sealed_shuffle_measure::Table;

use crate::shared::{MODE, cluster};

/// Those that shuffle most.
const QUERIES: [u32; 5] = [3, 5, 9, 18, 21];

/// One way to run them.
struct Variant {
    name: &'static str,
    service: Service,
    pushes: bool,
    at_rest: &'static str,
}

const VARIANTS: [Variant; 6] = [
    Variant { name: "Spark's own", service: Service::Spark, pushes: false, at_rest: "plain" },
    Variant { name: "ours", service: Service::Ours, pushes: false, at_rest: "plain" },
    Variant { name: "Spark's own, push", service: Service::Spark, pushes: true, at_rest: "plain" },
    Variant { name: "ours, push, plain", service: Service::Ours, pushes: true, at_rest: "plain" },
    Variant { name: "ours, push, sealed with a view", service: Service::Ours, pushes: true, at_rest: VIEWED },
    Variant { name: "ours, push, sealed", service: Service::Ours, pushes: true, at_rest: "sealed" },
];

/// What one of them took, in the round that counts.
struct Took {
    report: Report,
    seconds: f64,
    /// Of our servers, and of the NodeManagers.
    service: [f64; 2],
    pushed: f64,
}

fn run(cluster: &mut Cluster, variant: &Variant, scale: f64) -> Took {
    cluster.serve_all(variant.at_rest);
    let mut application =
        Application::new(MODE, variant.service).answering(tables(scale), &QUERIES).rounds(2);
    application = application.with("spark.sql.autoBroadcastJoinThreshold", "-1");
    if variant.pushes {
        application = application.pushing();
    }
    let cpu = |cluster: &Cluster| {
        let each = cluster.nodes.iter().map(|node| node.cpu_seconds());
        each.fold([0.0; 2], |sum, node| [sum[0] + node[0], sum[1] + node[1]])
    };
    let mut submission = application.submit(cluster);
    // The first one warms up.
    let [(began, before), (ended, after)] = [1, 2].map(|round| {
        submission.round(round);
        (Instant::now(), cpu(cluster))
    });
    let report = submission.finish(cluster);
    let pushed = cluster.metric("sealed_shuffle_merge_written_bytes_total").iter().sum();
    cluster.assert_quiet(&[]);
    Took {
        report,
        seconds: (ended - began).as_secs_f64(),
        service: [after[0] - before[0], after[1] - before[1]],
        pushed,
    }
}

#[test]
#[ignore = "make interop-yarn"]
fn queries_of_tpch_are_answered_alike_with_and_without_push() {
    let Some(mut held) = cluster() else { return };
    let scale = std::env::var("SEALED_SHUFFLE_TPCH").map_or(0.1, |scale| scale.parse().expect("a number"));
    let mut table = Table::new(&[
        "",
        "wall, s",
        "our servers, CPU-s",
        "NodeManagers, CPU-s",
        "read merged on the spot, MB",
        "read merged from elsewhere, MB",
        "read unmerged, MB",
        "from other hosts, MB",
        "pushed to us, MB",
    ]);
    let mut first: Option<Vec<String>> = None;
    for variant in &VARIANTS {
        let took = run(&mut held.cluster, variant, scale);
        let (report, read) = (&took.report, &took.report.read);
        let [local, remote, unmerged] =
            [read.merged_local, read.merged_remote, read.unmerged].map(|n| n as f64 / 1e6);
        let from_others = report.remote as f64 / 1e6;
        table.row(&[
            &variant.name,
            &format!("{:.1}", took.seconds),
            &format!("{:.2}", took.service[0]),
            &format!("{:.2}", took.service[1]),
            &format!("{local:.1}"),
            &format!("{remote:.1}"),
            &format!("{unmerged:.1}"),
            &format!("{from_others:.1}"),
            &format!("{:.1}", took.pushed / 1e6),
        ]);
        println!("{table}");
        report.assert_unharmed();
        assert_eq!(report.results.len(), 1, "its two rounds answer differently: {report:?}");
        let first = first.get_or_insert_with(|| report.results.clone());
        assert_eq!(*first, report.results, "{} answers something else", variant.name);
        // Each went the way that it is named for.
        let is_ours = variant.service == Service::Ours;
        assert_eq!(took.pushed > 0.0, is_ours && variant.pushes, "{}: {} bytes", variant.name, took.pushed);
        assert_eq!(
            read.merged_local > 0,
            variant.pushes && (variant.at_rest != "sealed" || !is_ours),
            "{}: {read:?}",
            variant.name
        );
    }
    held.cluster.serve_all("plain");
    println!(
        "TPC-H of scale {scale}, queries {QUERIES:?}, the second of two rounds; bytes are of both\n{table}"
    );
}
