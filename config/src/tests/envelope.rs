//! Envelope keys as configuration: which provider, and what is refused before anything is opened.

use std::path::Path;

use super::*;
use crate::{KeySource, OutagePolicy};

fn source(settings: &[&str]) -> KeySource {
    serve(settings, &surroundings("")).unwrap().envelope.source
}

fn refused(settings: &[&str], subject: &str, words: &[&str]) {
    assert_refused(serve(settings, &surroundings("")), subject, words);
}

#[test]
fn volume_that_every_user_may_change_holds_a_directory_of_ours() {
    let state_dir = |environment: FakeEnvironment| serve(&[], &environment).unwrap().envelope.state_dir;
    let within =
        |mode| state_dir(surroundings("").with_var("STATE_DIRECTORY", "/state").with_mount("/state", mode));
    for open in [0o777, 0o2777] {
        assert_eq!(within(open), Path::new("/state/sealed-shuffle"), "{open:o}");
    }
    for closed in [0o700, 0o770, 0o2770, 0o755, 0o1777] {
        assert_eq!(within(closed), Path::new("/state"), "{closed:o}");
    }
    let no_volume = surroundings("").with_var("STATE_DIRECTORY", "/state").with_dir("/state");
    assert_eq!(state_dir(no_volume), Path::new("/state"));
}

#[test]
fn a_key_file_in_the_state_directory_is_the_default() {
    let state_dir = |environment: FakeEnvironment| serve(&[], &environment).unwrap().envelope.state_dir;
    assert_eq!(state_dir(surroundings("")), Path::new("/var/lib/sealed-shuffle"));
    assert_eq!(
        state_dir(surroundings("").with_var("HOME", "/home/s")),
        Path::new("/home/s/.local/state/sealed-shuffle")
    );
    assert_eq!(
        state_dir(surroundings("").with_var("HOME", "/home/s").with_var("XDG_STATE_HOME", "/x")),
        Path::new("/x/sealed-shuffle")
    );
    assert_eq!(state_dir(surroundings("").with_var("STATE_DIRECTORY", "/s/a:/s/b")), Path::new("/s/a"));
    let set = serve(&["spark.sealed.state.dir=/st"], &surroundings("")).unwrap();
    assert_eq!(set.envelope.source, KeySource::LocalFile { path: "/st/keys".into() });
    assert_eq!(set.envelope.outage, OutagePolicy::Refuse);
    assert!(set.describe().iter().any(|line| line.starts_with("envelope keys: local file /st/keys")));
    assert_eq!(source(&["spark.sealed.keys.file=/k"]), KeySource::LocalFile { path: "/k".into() });
}

#[cfg(feature = "aws-kms")]
#[test]
fn kms_takes_its_region_from_the_arn_unless_it_is_set() {
    let provider = "spark.sealed.keys.provider=aws-kms";
    let arn = "spark.sealed.keys.kms.key-id=arn:aws:kms:eu-west-3:111122223333:key/1";
    let region = |settings: &[&str]| match source(settings) {
        KeySource::AwsKms { region, .. } => region,
        other => panic!("{other:?}"),
    };
    assert_eq!(region(&[provider, arn]).as_deref(), Some("eu-west-3"));
    assert_eq!(region(&[provider, arn, "spark.sealed.keys.kms.region=x"]).as_deref(), Some("x"));
    assert_eq!(region(&[provider, "spark.sealed.keys.kms.key-id=alias/a"]), None);
    let clear =
        serve(&[provider, arn, "spark.sealed.keys.kms.endpoint=http://kms"], &surroundings("")).unwrap();
    assert!(warnings(&clear.report.notices).iter().any(|text| text.contains("learns every data key")));
}

#[test]
fn a_program_is_shown_without_its_arguments() {
    let settings =
        ["spark.sealed.keys.provider=command", "spark.sealed.keys.command=/bin/wrapper --vault v1"];
    let config = serve(&settings, &surroundings("")).unwrap();
    let KeySource::Command { argv } = &config.envelope.source else { panic!("{:?}", config.envelope) };
    assert_eq!(argv, &["/bin/wrapper", "--vault", "v1"]);
    assert!(config.summary().iter().any(|line| line.starts_with("envelope keys: program /bin/wrapper;")));
}

#[test]
fn a_provider_without_its_key_and_a_key_of_another_provider_are_refused() {
    refused(&["spark.sealed.keys.provider=command"], "spark.sealed.keys.command", &["not set"]);
    let id = "spark.sealed.keys.kms.key-id=alias/a";
    refused(&[id], "spark.sealed.keys.kms.key-id", &["provider = local-file", "provider = aws-kms"]);
    refused(&["spark.sealed.keys.provider=vault"], "spark.sealed.keys.provider", &["local-file"]);
    let long = format!("spark.sealed.node.id={}", "n".repeat(257));
    refused(&[&long], "spark.sealed.node.id", &["256"]);
}

#[cfg(feature = "aws-kms")]
#[test]
fn kms_needs_a_key_and_an_endpoint_of_https_and_takes_no_file() {
    let kms = "spark.sealed.keys.provider=aws-kms";
    refused(&[kms], "spark.sealed.keys.kms.key-id", &["not set", "alias"]);
    let id = "spark.sealed.keys.kms.key-id=alias/a";
    refused(&[kms, id, "spark.sealed.keys.file=/k"], "spark.sealed.keys.file", &["no effect"]);
    let url = "spark.sealed.keys.kms.endpoint=kms.example";
    refused(&[kms, id, url], "spark.sealed.keys.kms.endpoint", &["https://"]);
}

#[cfg(feature = "hadoop-kms")]
#[test]
fn hadoop_kms_needs_an_address_and_a_key_and_is_warned_about_without_tls() {
    let provider = "spark.sealed.keys.provider=hadoop-kms";
    let key = "spark.sealed.keys.hadoop-kms.key-name=shuffle";
    let uri = "spark.sealed.keys.hadoop-kms.uri=kms://http@a;b:9600/kms";
    refused(&[provider, key], "spark.sealed.keys.hadoop-kms.uri", &["not set", "kms://https@"]);
    refused(&[provider, uri], "spark.sealed.keys.hadoop-kms.key-name", &["not set"]);
    let wrong = "spark.sealed.keys.hadoop-kms.uri=https://a:9600/kms";
    refused(&[provider, key, wrong], "spark.sealed.keys.hadoop-kms.uri", &["kms://"]);
    refused(&[uri], "spark.sealed.keys.hadoop-kms.uri", &["provider = hadoop-kms"]);
    let clear = serve(&[provider, key, uri], &surroundings("")).unwrap();
    assert!(warnings(&clear.report.notices).iter().any(|text| text.contains("learns every data key")));
    let KeySource::HadoopKms { uri, user, ca_file: None, .. } = &clear.envelope.source else {
        panic!("{:?}", clear.envelope)
    };
    assert_eq!(
        (uri.hosts.as_slice(), user.as_str()),
        (&["a".to_owned(), "b".to_owned()][..], "sealed-shuffle")
    );
}

#[cfg(not(feature = "aws-kms"))]
#[test]
fn a_build_without_kms_refuses_it_and_names_the_feature() {
    let settings = ["spark.sealed.keys.provider=aws-kms", "spark.sealed.keys.kms.key-id=alias/a"];
    refused(&settings, "spark.sealed.keys.provider", &["without AWS KMS", "--features aws-kms"]);
}

#[test]
fn a_loan_ends_after_its_time_and_is_asked_about_at_half() {
    let settings = ["spark.sealed.keys.on-unavailable=use-cached", "spark.sealed.keys.cache-ttl=10m"];
    let outage = serve(&settings, &surroundings("")).unwrap().envelope.outage;
    let minutes = |count: u64| std::time::Duration::from_secs(60 * count);
    let table = [(4, false, false), (5, true, false), (9, true, false), (10, true, true)];
    for (age, asks, over) in table {
        let age = minutes(age);
        assert_eq!((outage.wants_confirmation(age), outage.is_over(age)), (asks, over), "{age:?}");
        assert!(!OutagePolicy::Refuse.wants_confirmation(age) && !OutagePolicy::Refuse.is_over(age));
    }
}
