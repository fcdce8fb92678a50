//! Traces of requests: what reaches a collector, and what a collector that takes nothing costs.

#![allow(clippy::unwrap_used)] // in helpers too a failure is a failed test

mod collector;
#[path = "../running/mod.rs"]
mod running;
#[path = "../serving/mod.rs"]
mod serving;
#[path = "../merging/support.rs"]
#[allow(dead_code)] // it is that of another test crate
mod support;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use rustix::process::Signal;
use sealed_shuffle::{ServerConfig, TracesConfig};
use sealed_shuffle_protocol::ids::StreamId;

use self::collector::{Collector, Mood, text};
use self::running::{APP, CTR, EXECUTOR, GCM, Peer, Running, content, eventually};
use self::serving::{Serving, serve};
use self::support::{Merging, block, finalize, merging, push};

/// The shortest interval of the configuration is longer than a test should wait.
const SOON: Duration = Duration::from_millis(20);

fn traced(collector: &Collector) -> impl Fn(&mut ServerConfig) + use<> {
    let endpoint = collector.endpoint();
    move |config| {
        let traces = TracesConfig::to(endpoint.clone());
        let timeout = Duration::from_secs(1);
        config.traces = Some(TracesConfig { sample_rate: 1.0, interval: SOON, timeout, ..traces });
    }
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    text(&span.attributes, key)
}

fn number(span: &Span, key: &str) -> u64 {
    attribute(span, key).map_or(0, |text| text.parse().unwrap())
}

fn outcome(span: &Span) -> (String, StatusCode) {
    let status = span.status.as_ref().unwrap();
    (attribute(span, "sealed_shuffle.outcome").unwrap(), StatusCode::try_from(status.code).unwrap())
}

/// The only span of a request of this name.
fn only(collector: &Collector, name: &str) -> Span {
    eventually(name, || !collector.named(name).is_empty());
    let mut named = collector.named(name);
    assert_eq!(named.len(), 1, "{named:#?}");
    named.remove(0)
}

#[test]
fn stream_reaches_the_collector_as_one_trace_with_its_phases() {
    let collector = Collector::start(Mood::Takes);
    let running = Running::start_with(traced(&collector));
    running.write_map(1, &[300_000, 0, 5]);
    let mut peer = running.registered(GCM);
    let stream = peer.open(1, &[0, 1, 2]).unwrap().stream;
    for (chunk, len) in [300_000, 0, 5].into_iter().enumerate() {
        assert_eq!(peer.chunk(stream, i32::try_from(chunk).unwrap()).unwrap().len(), len);
    }
    let span = only(&collector, "FetchShuffleBlocks");
    for (key, value) in [
        ("spark.app.id", APP),
        ("spark.executor.id", EXECUTOR),
        ("client.address", "127.0.0.1"),
        ("sealed_shuffle.channel", "aes-gcm"),
        ("sealed_shuffle.chunks", "3"),
        ("sealed_shuffle.chunks_asked", "3"),
        ("sealed_shuffle.blocks", "3"),
        ("sealed_shuffle.bytes", "300005"),
        ("sealed_shuffle.bytes_sent", "300005"),
    ] {
        assert_eq!(attribute(&span, key).as_deref(), Some(value), "{key}: {span:#?}");
    }
    assert_eq!(outcome(&span), ("done".to_owned(), StatusCode::Ok));
    assert_eq!(span.kind(), SpanKind::Server);
    assert!(span.trace_id.len() == 16 && span.span_id.len() == 8 && span.parent_span_id.is_empty());
    let stretches = collector.within(&span);
    for phase in ["queue", "disk", "cipher", "socket"] {
        let of_phase: Vec<_> = stretches.iter().filter(|stretch| stretch.name == phase).collect();
        assert!(!of_phase.is_empty(), "{phase}: {stretches:#?}");
        let nanos: u64 = of_phase.iter().map(|one| one.end_time_unix_nano - one.start_time_unix_nano).sum();
        let seconds: f64 =
            attribute(&span, &format!("sealed_shuffle.{phase}_seconds")).unwrap().parse().unwrap();
        assert!(
            (seconds - Duration::from_nanos(nanos).as_secs_f64()).abs() < 1e-6,
            "{phase}: {seconds} {nanos}"
        );
    }
    for stretch in &stretches {
        assert!(stretch.trace_id == span.trace_id && stretch.span_id != span.span_id);
        assert!(stretch.start_time_unix_nano >= span.start_time_unix_nano, "{stretch:#?}");
        assert!(stretch.end_time_unix_nano <= span.end_time_unix_nano, "{stretch:#?} in {span:#?}");
    }
    let registered = only(&collector, "RegisterExecutor");
    assert_eq!(attribute(&registered, "spark.executor.id").as_deref(), Some(EXECUTOR));
    assert!(registered.trace_id != span.trace_id, "each request is a trace of its own");
    assert!(collector.within(&registered).iter().any(|stretch| stretch.name == "disk"));
}

#[test]
fn message_is_otlp_over_http_and_holds_neither_secret_nor_block() {
    let collector = Collector::start(Mood::Takes);
    let running = Running::start_with(traced(&collector));
    running.write_map(1, &[1000]);
    let mut peer = running.registered(CTR);
    let stream = peer.open(1, &[0]).unwrap().stream;
    peer.chunk(stream, 0).unwrap();
    drop(only(&collector, "FetchShuffleBlocks"));
    for head in collector.heads() {
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        assert!(head.contains("content-type: application/x-protobuf\r\n"), "{head}");
        assert!(head.contains(&format!("host: {}\r\n", collector.address)), "{head}");
    }
    let request = collector.requests().remove(0);
    let resource = request.resource_spans[0].resource.clone().unwrap();
    assert_eq!(text(&resource.attributes, "service.name").as_deref(), Some("sealed-shuffle"));
    assert!(text(&resource.attributes, "host.name").is_some_and(|name| !name.is_empty()));
    let has = |what: &[u8]| collector.bytes().windows(what.len()).any(|window| window == what);
    assert!(has(APP.as_bytes()), "the control");
    assert!(!has(running.secret.as_bytes()) && !has(&content(1000)[..16]));
}

#[test]
fn without_a_collector_and_at_a_rate_of_none_nothing_is_sent() {
    for change in [
        |_: &mut TracesConfig| false,
        |traces: &mut TracesConfig| {
            traces.sample_rate = 0.0;
            true
        },
    ] {
        let collector = Collector::start(Mood::Takes);
        let set = traced(&collector);
        let running = Running::start_with(|config| {
            set(config);
            config.traces = config.traces.take().and_then(|mut traces| change(&mut traces).then_some(traces));
        });
        running.write_map(1, &[10]);
        let mut peer = running.registered(GCM);
        let stream = peer.open(1, &[0]).unwrap().stream;
        peer.chunk(stream, 0).unwrap();
        drop(peer);
        // Whatever waits is sent at the end.
        running.drained();
        assert_eq!(collector.connections(), 0);
        assert_eq!(running.metric("sealed_shuffle_trace_spans_total"), 0);
    }
}

#[test]
fn what_waits_is_sent_as_the_server_ends() {
    let collector = Collector::start(Mood::Takes);
    let set = traced(&collector);
    let running = Running::start_with(|config| {
        set(config);
        config.traces.as_mut().unwrap().interval = Duration::from_secs(3600);
    });
    drop(running.registered(GCM));
    assert!(collector.spans().is_empty());
    running.drained();
    assert_eq!(collector.named("RegisterExecutor").len(), 1);
    assert_eq!(running.metric("sealed_shuffle_trace_spans_total"), collector.spans().len() as u64);
}

#[test]
fn request_that_fails_or_is_cut_or_left_says_so() {
    let collector = Collector::start(Mood::Takes);
    let running = Running::start_with(traced(&collector));
    running.write_map(1, &[40 << 20, 7, 8]);
    let mut peer = running.registered(GCM);
    peer.rpc_bytes(&[99, 1, 2]).unwrap_err();
    let failed = only(&collector, "rpc");
    assert_eq!(outcome(&failed), ("failed".to_owned(), StatusCode::Error));
    assert!(!failed.status.unwrap().message.is_empty());

    let absent = peer.open(77, &[0]).unwrap().stream;
    peer.chunk(absent, 0).unwrap_err();
    let failed = only(&collector, "FetchShuffleBlocks");
    assert_eq!(outcome(&failed).0, "failed", "the chunk, and with it the stream");

    let cut = |peer: &mut Peer, stream: StreamId| {
        peer.send(
            &sealed_shuffle_protocol::message::Head::ChunkFetchRequest {
                stream,
                chunk: sealed_shuffle_protocol::ids::ChunkIndex(0),
            },
            &[],
        );
        peer.read_some();
    };
    let stream = peer.open(1, &[0]).unwrap().stream;
    cut(&mut peer, stream);
    drop(peer);
    eventually("the second", || collector.named("FetchShuffleBlocks").len() == 2);
    let cut = collector.named("FetchShuffleBlocks").remove(1);
    assert_eq!(outcome(&cut), ("cut".to_owned(), StatusCode::Error));
    let sent = number(&cut, "sealed_shuffle.bytes_sent");
    assert!(sent < number(&cut, "sealed_shuffle.bytes"), "{cut:#?}");

    let mut peer = running.peer(GCM);
    let stream = peer.open(1, &[1, 2]).unwrap().stream;
    peer.chunk(stream, 0).unwrap();
    drop(peer);
    eventually("the third", || collector.named("FetchShuffleBlocks").len() == 3);
    let left = collector.named("FetchShuffleBlocks").remove(2);
    assert_eq!(outcome(&left), ("left".to_owned(), StatusCode::Unset));
}

#[test]
fn stream_of_very_many_segments_keeps_the_longest_stretches_and_counts_the_rest() {
    let collector = Collector::start(Mood::Takes);
    let running = Running::start_with(traced(&collector));
    running.write_map(1, &[20 << 20]);
    let mut peer = running.registered(GCM);
    let stream = peer.open(1, &[0]).unwrap().stream;
    assert_eq!(peer.chunk(stream, 0).unwrap().len(), 20 << 20);
    let span = only(&collector, "FetchShuffleBlocks");
    let kept = collector.within(&span).len() as u64;
    let left_out = number(&span, "sealed_shuffle.stretches_left_out");
    assert!(kept == 32 && left_out >= 80 * 3, "{kept} {left_out}");
}

#[test]
fn pushed_blocks_are_traced_until_they_are_merged() {
    let collector = Collector::start(Mood::Takes);
    let set = traced(&collector);
    let merging = Merging::unregistered(GCM, |config| {
        merging(config);
        set(config);
    });
    let mut peer = merging.peer();
    peer.rpc(&merging.register(1)).unwrap();
    assert_eq!(push(&mut peer, block(0, 0, 0, 0), &[b'z'; 100_000]), "ok");
    finalize(&mut peer, 0, 0).unwrap();
    let late = push(&mut peer, block(0, 0, 1, 0), b"late");
    assert!(late != "ok" && !late.is_empty(), "{late}");
    drop(only(&collector, "FinalizeShuffleMerge"));
    eventually("both", || collector.named("PushBlockStream").len() == 2);
    let pushes = collector.named("PushBlockStream");
    let done = pushes.iter().find(|push| number(push, "sealed_shuffle.bytes") == 100_000).unwrap();
    assert_eq!(outcome(done), ("done".to_owned(), StatusCode::Ok));
    assert_eq!(attribute(done, "spark.app.id").as_deref(), Some(support::APP));
    assert!(collector.within(done).iter().any(|stretch| stretch.name == "disk"), "{pushes:#?}");
    let late = pushes.iter().find(|push| number(push, "sealed_shuffle.bytes") == 4).unwrap();
    assert_eq!(outcome(late).0, "failed");
}

#[test]
fn collector_that_hangs_costs_no_request_and_what_it_does_not_take_is_counted() {
    let collector = Collector::start(Mood::Hangs);
    let running = Running::start_with(traced(&collector));
    running.write_map(1, &[3]);
    let mut peer = running.registered(GCM);
    for _ in 0..2100 {
        let stream = peer.open(1, &[0]).unwrap().stream;
        assert_eq!(peer.chunk(stream, 0).unwrap().len(), 3);
    }
    let lost = || running.metric("sealed_shuffle_trace_spans_lost_total{reason=\"too_many_wait\"}");
    eventually("some are lost", || lost() > 0);
    eventually("a message failed", || running.metric("sealed_shuffle_trace_failures_total") > 0);
    assert_eq!(running.metric("sealed_shuffle_trace_spans_total"), 0);
    let began = Instant::now();
    running.drained();
    // Two seconds are given to the last ones; this is the time after which it would hang.
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[test]
fn collector_that_has_no_time_is_asked_again_and_one_that_refuses_is_not() {
    let collector = Collector::start(Mood::Refuses(503));
    let running = Running::start_with(traced(&collector));
    drop(running.registered(GCM));
    let failures = || running.metric("sealed_shuffle_trace_failures_total");
    eventually("it was asked", || failures() > 0);
    collector.becomes(Mood::Takes);
    drop(only(&collector, "RegisterExecutor"));
    let refused = || running.metric("sealed_shuffle_trace_spans_lost_total{reason=\"refused\"}");
    assert_eq!(refused(), 0);

    collector.becomes(Mood::Refuses(400));
    drop(running.registered(GCM));
    eventually("it is lost", || refused() > 0);
    collector.becomes(Mood::TakesAllBut(1));
    let before = refused();
    drop(running.registered(GCM));
    eventually("one span is lost", || refused() == before + 1);
    assert_eq!(collector.named("RegisterExecutor").len(), 2, "the one that was refused is not sent again");
}

#[test]
fn collector_that_is_away_is_said_once_and_so_is_its_return() {
    let temp = tempfile::tempdir().unwrap();
    fs::create_dir_all(temp.path().join("root/blockmgr-1")).unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    let mut command = serve(temp.path());
    command
        .env("SPARK_LOCAL_DIRS", temp.path().join("root"))
        .env("_SPARK_AUTH_SECRET", "a secret of this test");
    for conf in
        [&format!("traces.endpoint=http://127.0.0.1:{port}"), "traces.sample-rate=1", "traces.interval=1s"]
    {
        command.args(["--conf", &format!("spark.sealed.{conf}")]);
    }
    let mut serving = Serving::start(command, &temp.path().join("log"));
    // So that a message is tried twice, at least.
    let page = |name: &str| {
        let text = serving.admin_page("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap().parse::<u64>().unwrap()
    };
    let mut peer = Peer::connect(serving.address);
    peer.handshake(APP, "a secret of this test", GCM).unwrap();
    peer.rpc_bytes(&[99]).unwrap_err();
    eventually("it was tried twice", || page("sealed_shuffle_trace_failures_total") >= 2);
    let collector = Collector::on(TcpListener::bind(("127.0.0.1", port)).unwrap(), Mood::Takes);
    drop(only(&collector, "rpc"));
    eventually("its return is said", || serving.log().contains("takes traces again"));
    serving.signal(Signal::TERM);
    serving.wait();
    let log = serving.log();
    assert_eq!(log.matches("does not take traces").count(), 1, "{log}");
    assert_eq!(log.matches("takes traces again").count(), 1, "{log}");
    assert!(log.contains("traces: of 100 % of requests, to http://127.0.0.1:"), "{log}");
}
