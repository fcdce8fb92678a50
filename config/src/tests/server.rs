//! The typed configuration of a server.

use std::time::Duration;

use super::*;
use crate::{Authentication, ByteCount, DefaultValue, KeySource, Reader, keys};

#[test]
fn defaults_are_sparks() {
    let config = serve(&[], &surroundings("")).unwrap();
    assert_eq!(config.listen, "[::]:7337".parse().unwrap());
    assert_eq!(config.timeouts.idle, Some(Duration::from_secs(120)));
    assert_eq!(config.timeouts.stalled, Some(Duration::from_secs(120)));
    assert_eq!(config.worker_threads, 4);
    assert_eq!(config.max_chunks_being_transferred, i64::MAX as u64);
    assert_eq!(config.index_cache_size, ByteCount::mib(100));
    assert_eq!((config.sockets.backlog, config.sockets.keep_alive), (None, false));
    assert_eq!(config.limits.chunks, 4_194_304);
    assert_eq!(config.app_idle_ttl, Some(Duration::from_secs(604_800)));
    assert_eq!(config.admin.address, None);
    assert_eq!(warnings(&config.report.notices), Vec::<&str>::new());
    assert!(config.recovery);
}

/// The bounds have a default in the protocol crate, for those who embed it, and one in the table.
#[test]
fn default_limits_are_those_of_the_protocol() {
    let limits = sealed_shuffle_protocol::limits::Limits::default();
    assert_eq!(format!("{:?}", serve(&[], &surroundings("")).unwrap().limits), format!("{limits:?}"));
}

/// Whoever embeds a server has the defaults of the keys, and lets in nobody who proves nothing.
#[test]
fn a_server_without_a_file_has_the_defaults_and_wants_proof() {
    let own = ServerConfig::new(["/data".into()], "/state");
    let read = serve(&[], &surroundings("")).unwrap();
    assert_eq!((own.authentication, own.policy.anonymous), (Authentication::Required, false));
    assert!(own.secret.is_none() && own.recovery);
    assert_eq!(own.envelope.source, KeySource::LocalFile { path: "/state/keys".into() });
    assert_eq!((own.roots.paths, own.timeouts), (read.roots.paths, read.timeouts));
    assert_eq!(own.policy.to_string(), read.policy.to_string());
    assert_eq!(own.memory_budget, read.memory_budget);
}

#[test]
fn timeouts_fall_back_to_the_network_timeout() {
    let environment = surroundings("");
    let config = serve(&["spark.network.timeout=5m"], &environment).unwrap();
    assert_eq!(config.timeouts.stalled, Some(Duration::from_secs(300)));
    let stalled = config.report.effective.iter().find(|e| e.key == "spark.sealed.stalled.timeout").unwrap();
    assert_eq!(stalled.to_string(), "spark.sealed.stalled.timeout = 5m  (--conf of spark.network.timeout)");
    let config =
        serve(&["spark.network.timeout=5m", "spark.shuffle.io.connectionTimeout=7"], &environment).unwrap();
    assert_eq!(config.timeouts.idle, Some(Duration::from_secs(7)));
}

/// TransportConf.connectionTimeoutMs takes negative values as zero since Spark 3.3, which switches the timer off.
#[test]
fn a_connection_timeout_of_zero_or_less_never_closes() {
    for text in ["0", "-5s", "0ms"] {
        let setting = format!("spark.shuffle.io.connectionTimeout={text}");
        let timeouts = serve(&[&setting], &surroundings("")).unwrap().timeouts;
        assert_eq!((timeouts.idle, timeouts.stalled), (None, None), "{text}");
    }
}

#[test]
fn everything_that_is_wrong_is_reported_at_once() {
    let environment = bare().with_var("SPARK_HOME", "/spark").with_file(
        DEFAULTS_FILE,
        "spark.shuffle.service.port 70000\nspark.shuffle.io.connectionTimeout 5x\nspark.sealed.nonsense 1\n",
    );
    let error = serve(&["spark.shuffle.service.index.cache.size=1.5m"], &environment).unwrap_err();
    let text = error.to_string();
    for line in [
        "spark.shuffle.service.port = \"70000\" (/spark/conf/spark-defaults.conf:1): out of range 0 to 65535",
        "spark.shuffle.io.connectionTimeout = \"5x\" (/spark/conf/spark-defaults.conf:2): unknown unit",
        "spark.sealed.nonsense (/spark/conf/spark-defaults.conf:3): unknown key",
        "spark.shuffle.service.index.cache.size = \"1.5m\" (--conf): fractions",
        "spark.authenticate.secret: there is no secret",
    ] {
        assert_eq!(text.matches(line).count(), 1, "{line} in {text}");
    }
    assert!(text.starts_with("wrong configuration, 5 issues:"), "{text}");
}

/// With these Spark's service starts and then closes every connection, or takes false for an answer.
#[test]
fn refuses_what_spark_would_notice_too_late() {
    for (setting, key) in [
        ("spark.shuffle.io.connectionTimeout=5x", "spark.shuffle.io.connectionTimeout"),
        ("spark.shuffle.io.connectionTimeout=500ms", "spark.shuffle.io.connectionTimeout"),
        ("spark.network.timeout=abc", "spark.network.timeout"),
        ("spark.shuffle.maxChunksBeingTransferred=5k", "spark.shuffle.maxChunksBeingTransferred"),
        ("spark.shuffle.service.fetch.rdd.enabled=yes", "spark.shuffle.service.fetch.rdd.enabled"),
        ("spark.shuffle.io.receiveBuffer=1m", "spark.shuffle.io.receiveBuffer"),
        ("spark.shuffle.io.serverThreads=-4", "spark.shuffle.io.serverThreads"),
        ("spark.shuffle.io.enableTcpKeepAlive= true", "spark.shuffle.io.enableTcpKeepAlive"),
    ] {
        assert_refused(serve(&[setting], &surroundings("")), key, &["accepted:"]);
    }
}

#[test]
fn confinement_cannot_be_switched_off() {
    let setting = "spark.shuffle.service.verifyBlockPathsAtRead=false";
    assert_refused(
        serve(&[setting], &surroundings("")),
        "spark.shuffle.service.verifyBlockPathsAtRead",
        &["cannot be switched off"],
    );
}

#[test]
fn merging_is_switched_on_by_the_name_of_sparks_class() {
    let manager = |name: &str| format!("spark.shuffle.push.server.mergedShuffleFileManagerImpl={name}");
    let off = serve(&[], &surroundings("")).unwrap();
    assert_eq!(off.merging, None);
    let other = manager("org.apache.spark.network.shuffle.NoOpMergedShuffleFileManager");
    assert_eq!(serve(&[&other], &surroundings("")).unwrap().merging, None);

    let on = manager("org.apache.spark.network.shuffle.RemoteBlockPushResolver");
    let defaults = serve(&[&on], &surroundings("")).unwrap().merging.unwrap();
    assert_eq!((defaults.min_chunk, defaults.index_cache_size), (ByteCount::mib(2), ByteCount::mib(100)));
    assert_eq!((defaults.io_errors, defaults.cleaner_timeout), (4, Duration::from_secs(60)));
    let chunk = "spark.shuffle.push.server.minChunkSizeInMergedShuffleFile=2k";
    let config = serve(&[&on, chunk], &surroundings("")).unwrap();
    assert_eq!(config.merging.unwrap().min_chunk, ByteCount::kib(2));
    for setting in [
        "spark.shuffle.push.server.minChunkSizeInMergedShuffleFile=2g",
        "spark.shuffle.push.server.ioExceptionsThresholdDuringMerge=-1",
        "spark.shuffle.push.server.mergedIndexCacheSize=x",
    ] {
        let (key, _) = setting.split_once('=').unwrap();
        assert_refused(serve(&[setting], &surroundings("")), key, &["accepted:"]);
    }
}

#[test]
fn recovery_off_is_said() {
    let config = serve(&["spark.shuffle.service.db.enabled=false"], &surroundings("")).unwrap();
    assert!(!config.recovery);
    assert!(&config.report.notices[0].text().contains("a restart forgets registrations"));
}

#[test]
fn open_files_are_what_the_descriptor_limit_leaves() {
    let mut environment = surroundings("");
    environment.descriptor_limit = Some(10_000);
    let config = serve(&[], &environment).unwrap();
    assert_eq!((config.max_open_files, config.max_connections), (10_000 - 8192 - 128, 8192));
    environment.descriptor_limit = None;
    assert_eq!(serve(&[], &environment).unwrap().max_open_files, 65_536);
    environment.descriptor_limit = Some(1024);
    let config = serve(&[], &environment).unwrap();
    assert_eq!(config.max_open_files, 64);
    assert_eq!((config.max_connections, config.kept_descriptors), (832, 64));
    let warned = warnings(&config.report.notices)[0].to_owned();
    assert!(warned.contains("at most 832 connections") && warned.contains("raise it to 8384"), "{warned}");
    let config = serve(&["spark.sealed.connections.max=100"], &environment).unwrap();
    assert!(warnings(&config.report.notices).is_empty());
}

#[test]
fn the_budget_holds_at_least_two_segments() {
    let settings = ["spark.sealed.memory.budget=4m", "spark.sealed.io.segment.size=4m"];
    assert_refused(
        serve(&settings, &surroundings("")),
        "spark.sealed.memory.budget",
        &["two segments of 4m"],
    );
}

#[test]
fn an_admin_address_beyond_loopback_is_warned_about() {
    let environment = surroundings("");
    let config = serve(&["spark.sealed.admin.address=9091"], &environment).unwrap();
    assert_eq!(config.admin.address, Some("127.0.0.1:9091".parse().unwrap()));
    assert!(warnings(&config.report.notices).is_empty());
    let config = serve(&["spark.sealed.admin.address=0.0.0.0:9091"], &environment).unwrap();
    assert!(warnings(&config.report.notices)[0].contains("not on loopback"));
}

#[test]
fn description_begins_with_file_roots_secret_and_policy() {
    let config = serve(&[], &surroundings("spark.shuffle.service.port 1")).unwrap();
    let lines = config.describe();
    assert_eq!(
        lines[..4],
        [
            "properties file: /spark/conf/spark-defaults.conf",
            "roots: /data  (environment SPARK_LOCAL_DIRS)",
            "secret: from environment _SPARK_AUTH_SECRET",
            "policy: aes-ctr or better, target aes-gcm, every peer proves the secret",
        ]
    );
    let port = "spark.shuffle.service.port = 1  (/spark/conf/spark-defaults.conf:1)";
    assert!(lines.iter().any(|line| line == port));
}

/// A key of the table that no configuration reads would be documented and without effect.
#[test]
fn every_key_with_a_default_is_read() {
    let effective = serve(&[], &surroundings("")).unwrap().report.effective;
    for key in keys::all().filter(|key| key.reader().includes(Reader::Serve)) {
        let is_read = effective.iter().any(|one| one.key == key.name());
        let needs_no_reading =
            matches!(key.default(), DefaultValue::Unset(_)) || key.name() == "spark.network.timeout";
        assert!(is_read || needs_no_reading, "{} is not read by serve", key.name());
    }
}

#[test]
fn all_addresses_are_listened_on_unless_one_is_named() {
    let with = bare().with_var("_SPARK_AUTH_SECRET", "s");
    let mut without = with.clone();
    without.ipv6 = false;
    assert_eq!(serve(&[], &without).unwrap().listen, "0.0.0.0:7337".parse().unwrap());
    for (named, listen) in [("0.0.0.0", "0.0.0.0:7337"), ("::", "[::]:7337"), ("::1", "[::1]:7337")] {
        let named = format!("spark.sealed.bind={named}");
        for environment in [&with, &without] {
            assert_eq!(serve(&[&named], environment).unwrap().listen, listen.parse().unwrap());
        }
    }
}
