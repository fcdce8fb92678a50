//! Spark's own published suites against our server, and against Spark's own service as the control
//! (docs/develop/spark-suites.md). Tests that take minutes are ignored here, and run by `make spark-suites`.

use std::{collections::BTreeSet, fs};

use sealed_shuffle_interop_tests::{
    machine::MissingJars,
    modes::Service,
    suites::{Expectations, Group, Release, no_service, run, target},
};

/// Runs a group, unless the release cannot be had: then the reason stands in `target/spark-suites/`, and
/// `make spark-suites` fails for it.
fn holds(version: &'static str, group: Group, service: Service) {
    let name = format!("{version} {} {service:?}", group.name());
    let Some(release) = release(version, &name) else { return };
    let expected = Expectations::read(&release, group, service);
    let Some(results) = had(run(&release, group, service, &expected), &name) else { return };
    let verdict = expected.judge(&results);
    told(&name, &verdict.to_string());
    assert!(
        verdict.surprises.is_empty(),
        "Spark's suites, {name}: {verdict} (logs: {})\n{}",
        target().display(),
        verdict.surprises.join("\n")
    );
}

fn release(version: &'static str, name: &str) -> Option<Release> {
    had(Release::get(version), name)
}

fn had<T>(result: Result<T, MissingJars>, name: &str) -> Option<T> {
    match result {
        Ok(there) => Some(there),
        Err(reason) => {
            let must = std::env::var_os("SEALED_SHUFFLE_SUITES").is_some_and(|value| value == "required");
            assert!(!must, "{reason}");
            told(name, &format!("skipped: {reason}"));
            None
        }
    }
}

/// One line in a file of its own, for `make spark-suites` to show.
fn told(name: &str, line: &str) {
    eprintln!("Spark's suites, {name}: {line}");
    let dir = target().join("summary");
    let file = dir.join(name.replace(' ', "-").to_lowercase());
    fs::create_dir_all(&dir)
        .and_then(|()| fs::write(file, format!("{name}: {line}\n")))
        .expect("target is writable");
}

macro_rules! suites {
    ($($(#[$of_an_older_line:meta])* $module:ident = $version:literal),*) => {$(
        mod $module {
            use super::*;

            const VERSION: &str = $version;

            #[test]
            fn ours_passes_the_wire_suites() {
                holds(VERSION, Group::Wire, Service::Ours);
            }

            #[test]
            fn ours_passes_the_handler_suite() {
                holds(VERSION, Group::Handler, Service::Ours);
            }

            #[test]
            $(#[$of_an_older_line])*
            fn ours_passes_the_resolver_suite() {
                holds(VERSION, Group::Resolver, Service::Ours);
            }

            #[test]
            fn ours_passes_the_directory_suite() {
                holds(VERSION, Group::Directories, Service::Ours);
            }

            #[test]
            $(#[$of_an_older_line])*
            fn ours_passes_the_push_suite() {
                holds(VERSION, Group::Push, Service::Ours);
            }

            #[test]
            $(#[$of_an_older_line])*
            fn spark_passes_the_resolver_suite() {
                holds(VERSION, Group::Resolver, Service::Spark);
            }

            #[test]
            #[ignore = "a JVM for each test: make spark-suites"]
            fn spark_passes_the_wire_suites() {
                holds(VERSION, Group::Wire, Service::Spark);
            }

            #[test]
            #[ignore = "a JVM for each test: make spark-suites"]
            fn spark_passes_the_handler_suite() {
                holds(VERSION, Group::Handler, Service::Spark);
            }

            #[test]
            #[ignore = "a JVM for each test: make spark-suites"]
            fn spark_passes_the_directory_suite() {
                holds(VERSION, Group::Directories, Service::Spark);
            }

            #[test]
            #[ignore = "a JVM for each test: make spark-suites"]
            fn spark_passes_the_push_suite() {
                holds(VERSION, Group::Push, Service::Spark);
            }

            #[test]
            fn every_suite_is_in_a_group_or_has_a_reason_not_to_be() {
                let Some(release) = release(VERSION, &format!("{VERSION} list")) else { return };
                let in_groups = Group::NETWORK.iter().flat_map(|group| group.suites());
                let in_groups = in_groups.filter_map(|suite| suite.rsplit('.').next()).map(str::to_owned);
                let listed: BTreeSet<String> = in_groups.chain(no_service().into_keys()).collect();
                let unknown: Vec<String> =
                    release.suites().into_iter().filter(|suite| !listed.contains(suite)).collect();
                assert!(unknown.is_empty(), "neither in a group nor in no-service.md: {unknown:?}");
            }
        }
    )*};
}

suites!(
    #[ignore = "of an older line, rarely red: make spark-suites"]
    spark_3_5_9 = "3.5.9",
    spark_4_2_0 = "4.2.0"
);

/// Spark's core has a suite of whole applications with the service; its jars of this release are PySpark's.
mod applications {
    use super::*;

    const VERSION: &str = "3.5.9";

    #[test]
    #[ignore = "twenty-three applications: make spark-suites"]
    fn ours_passes_the_application_suite() {
        holds(VERSION, Group::Applications, Service::Ours);
    }

    #[test]
    #[ignore = "twenty-three applications: make spark-suites"]
    fn spark_passes_the_application_suite() {
        holds(VERSION, Group::Applications, Service::Spark);
    }
}
