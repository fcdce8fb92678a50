//! `spark.sealed.handover.*`.

use super::*;
use crate::Authentication;

const SOCKET: &str = "spark.sealed.handover.socket=/run/s/handover";
const USERS: &str = "spark.sealed.handover.users=yarn, 4711";

#[test]
fn a_socket_stands_in_the_place_of_a_secret() {
    let config = serve(&[SOCKET], &bare().with_dir("/run/s")).unwrap();
    let handover = config.handover.as_ref().unwrap();
    assert_eq!(handover.socket, std::path::Path::new("/run/s/handover"));
    assert!(handover.users.is_empty());
    assert_eq!(handover.wait, std::time::Duration::from_secs(10));
    assert_eq!(config.authentication, Authentication::Required);
    assert!(config.describe().iter().any(|line| line.contains("at /run/s/handover")));
    let beside = bare().with_dir("/run/s").with_var("_SPARK_AUTH_SECRET", "s");
    let config = serve(&[SOCKET], &beside).unwrap();
    assert!(config.handover.is_some() && config.secret.is_some());
}

#[test]
fn users_are_names_of_this_machine_or_numbers() {
    let passwd = "root:x:0:0::/:/bin/sh\nyarn2:x:5:5::/:\nyarn:x:986:980:YARN:/:/bin/false\n";
    let environment = bare().with_dir("/run/s").with_file("/etc/passwd", passwd);
    assert_eq!(serve(&[SOCKET, USERS], &environment).unwrap().handover.unwrap().users, [986, 4711]);
    assert_refused(
        serve(&[SOCKET, USERS], &bare().with_dir("/run/s")),
        "spark.sealed.handover.users",
        &["no user yarn", "id -u"],
    );
    let config = serve(&[USERS], &environment.with_var("_SPARK_AUTH_SECRET", "s")).unwrap();
    assert!(warnings(&config.report.notices).iter().any(|text| text.contains("no effect")));
}

#[test]
fn the_socket_lies_where_nobody_can_replace_it() {
    for (path, reason) in [
        ("run/s/handover", "no absolute path"),
        ("/run/s/", "no absolute path"),
        ("/nowhere/s", "cannot look at"),
        (&format!("/run/s/{}", "a".repeat(110)), "longer than"),
    ] {
        let key = format!("spark.sealed.handover.socket={path}");
        let refused = serve(&[&key], &bare().with_dir("/run/s"));
        assert_refused(refused, "spark.sealed.handover.socket", &[reason]);
    }
}

/// As an `emptyDir` with `fsGroup` is.
#[test]
fn in_a_volume_that_all_may_write_to_the_socket_has_a_directory_of_its_own() {
    let pod = bare().with_mount("/run/v", 0o2777).with_dir("/run/s");
    let key = |path: &str| format!("spark.sealed.handover.socket={path}");
    let config = serve(&[&key("/run/v/server/handover")], &pod).unwrap();
    assert_eq!(config.handover.unwrap().socket, std::path::Path::new("/run/v/server/handover"));
    let in_it = serve(&[&key("/run/v/handover")], &pod);
    let words = ["everybody may replace it in /run/v (mode 2777)", "not there yet", "makes it"];
    assert_refused(in_it, "spark.sealed.handover.socket", &words);
    // A typing error is found as before, and others would not get through.
    for settings in [&[&*key("/run/s/server/handover")][..], &[&key("/run/v/server/handover"), USERS]] {
        let pod = pod.clone().with_file("/etc/passwd", "yarn:x:986:980::/:\n");
        assert_refused(serve(settings, &pod), "spark.sealed.handover.socket", &["cannot look at"]);
    }
}

#[test]
fn a_secret_that_comes_late_is_not_waited_for_longer_than_a_handshake_may_last() {
    assert_refused(
        serve(&[SOCKET, "spark.sealed.auth.secret-wait=30s"], &bare().with_dir("/run/s")),
        "spark.sealed.auth.secret-wait",
        &["spark.sealed.handshake.timeout"],
    );
}

#[test]
fn paths_name_their_application_where_applications_are_handed_over() {
    const SCOPED: &str = "spark.shuffle.service.requireAppScopedLocalDirs";
    let environment = bare().with_dir("/run/s").with_var("_SPARK_AUTH_SECRET", "s");
    let scoped = |settings: &[&str]| serve(settings, &environment).unwrap().app_scoped_dirs;
    assert!(scoped(&[SOCKET]));
    assert!(!scoped(&[]));
    for (value, expected) in [("true", true), ("false", false)] {
        let setting = format!("{SCOPED}={value}");
        assert_eq!(scoped(&[SOCKET, &setting]), expected);
        assert_eq!(scoped(&[&setting]), expected);
    }
}
