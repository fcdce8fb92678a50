//! Traces of requests.

use std::time::Duration;

use crate::key::DefaultValue::{Text as Is, Unset};
use crate::key::Reader::Serve;
use crate::key::{AnyKey, Key};
use crate::value::{Endpoint, Fraction, Time};

const SECOND: Duration = Duration::from_secs(1);

const MINUTE: Duration = Duration::from_secs(60);

keys! {
    TRACES:

    /// Who takes them.
    pub static TRACES_ENDPOINT: Key<Endpoint> = Key::new(
        "spark.sealed.traces.endpoint",
        Endpoint { port: 4318, path: "/v1/traces" },
        Unset("no traces"),
        Serve,
        "A collector of OpenTelemetry (OTLP over HTTP, protobuf), which is sent a part of all requests with the times of their \
         phases. Without a port it is 4318, without a path `/v1/traces`.",
    );

    /// How many.
    pub static TRACES_SAMPLE_RATE: Key<Fraction> = Key::new(
        "spark.sealed.traces.sample-rate",
        Fraction,
        Is("0.01"),
        Serve,
        "The part of requests that are traced, chosen by chance where each begins: 0 traces none, 1 all of them. A traced \
         request costs some microseconds and a KiB or two.",
    );

    /// How often.
    pub static TRACES_INTERVAL: Key<Time> = Key::new(
        "spark.sealed.traces.interval",
        Time::ours(SECOND, MINUTE),
        Is("5s"),
        Serve,
        "Between two messages to the collector; many requests that wait are sent sooner.",
    );

    /// How long.
    pub static TRACES_TIMEOUT: Key<Time> = Key::new(
        "spark.sealed.traces.timeout",
        Time::ours(SECOND, MINUTE),
        Is("10s"),
        Serve,
        "How long the collector may take for one message, from resolving its name to its answer. Requests that wait meanwhile are \
         lost when they are more than 2,048, and counted; nobody else waits.",
    );
}
