//! Which shuffle managers Spark takes. Remote shuffle services bring one of their own; a shuffle service brings none.

use std::process::Output;

use sealed_shuffle_interop_tests::spark::Spark;

/// A shuffle of four maps with a manager in the form of all that were written before Spark 4.3.
fn with_a_manager_of_the_old_form(version: &str) -> Output {
    Spark::release(version).java().arg("OldShuffleManager").output().expect("Java runs")
}

#[test]
fn the_newest_spark_refuses_a_shuffle_manager_of_the_old_form_which_an_older_one_takes() {
    let refused = with_a_manager_of_the_old_form("4.3.0");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "it is taken: README says otherwise");
    let text = "spark.shuffle.manager must be a BlockingShuffleManager, but OldShuffleManager is not.";
    assert!(said.contains(text), "{said}");
    // The control: it is a manager that works.
    let taken = with_a_manager_of_the_old_form("3.5.9");
    let printed = String::from_utf8_lossy(&taken.stdout);
    assert_eq!(printed.trim(), "10 keys, 4 writers", "{taken:?}");
}
