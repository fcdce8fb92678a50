//! Which directories are served.

use std::path::PathBuf;

use super::*;
use crate::{Origin, RootSource};

const SECRET: (&str, &str) = ("_SPARK_AUTH_SECRET", "hunter2");

fn environment() -> FakeEnvironment {
    FakeEnvironment::default()
        .with_var(SECRET.0, SECRET.1)
        .with_dir("/a")
        .with_dir("/b")
        .with_file("/file", "")
}

fn roots(settings: &[&str], environment: &FakeEnvironment) -> (RootSource, Vec<PathBuf>) {
    let roots = serve(settings, environment).unwrap().roots;
    (roots.source, roots.paths)
}

#[test]
fn the_first_source_that_is_set_decides() {
    let key = ["spark.local.dir=/a, /b,"];
    let both = || vec![PathBuf::from("/a"), PathBuf::from("/b")];
    let environment = environment();
    assert_eq!(roots(&key, &environment), (RootSource::Key(Origin::Conf), both()));
    let environment = environment.with_var("LOCAL_DIRS", "/b");
    assert_eq!(roots(&key, &environment), (RootSource::Key(Origin::Conf), both()));
    let environment = environment.with_var("CONTAINER_ID", "c");
    assert_eq!(roots(&key, &environment), (RootSource::Environment("LOCAL_DIRS"), vec!["/b".into()]));
    let environment = environment.with_var("SPARK_LOCAL_DIRS", " /a , /b ");
    assert_eq!(roots(&key, &environment), (RootSource::Environment("SPARK_LOCAL_DIRS"), both()));
    let environment = environment.with_var("SPARK_EXECUTOR_DIRS", "/b::/a");
    let executor = (RootSource::Environment("SPARK_EXECUTOR_DIRS"), vec!["/b".into(), "/a".into()]);
    assert_eq!(roots(&key, &environment), executor);
    let config = serve(&key, &environment).unwrap();
    assert!(
        warnings(&config.report.notices)[0].contains("spark.local.dir has no effect: SPARK_EXECUTOR_DIRS")
    );
}

/// Spark's service accepts every directory then.
#[test]
fn no_root_refuses_the_start() {
    assert_refused(
        serve(&[], &environment()),
        "spark.local.dir",
        &["no directory is named", "SPARK_LOCAL_DIRS"],
    );
    assert_refused(
        serve(&["spark.local.dir= ,"], &environment()),
        "spark.local.dir",
        &["names no directory"],
    );
    let empty = environment().with_var("SPARK_LOCAL_DIRS", "");
    assert_refused(serve(&["spark.local.dir=/a"], &empty), "SPARK_LOCAL_DIRS", &["names no directory"]);
}

/// Disks may come later, and a dead one does not answer: the server looks, with a deadline.
#[test]
fn no_root_is_looked_at() {
    let all = ["/none", "/a", "/file"];
    let (_, paths) = roots(&[&format!("spark.local.dir={}", all.join(","))], &environment());
    assert_eq!(paths, all.map(PathBuf::from));
}

/// Spark takes the text of this key as it stands.
#[test]
fn roots_are_not_substituted() {
    let home = environment().with_var("HOME", "/a");
    let (_, paths) = roots(&["spark.local.dir=${env:HOME}"], &home);
    assert_eq!(paths, [PathBuf::from("${env:HOME}")]);
}
