//! What the configuration files of Hadoop say.

use std::{
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// Where the ResourceManager runs.
pub(super) const EDGE: &str = "edge";

/// A machine that does much else must not look dead.
const EXPIRY: &str = "180000";

/// One log line for each event, on standard error.
const LOGGING: &str = "log4j.rootLogger=INFO,err
log4j.appender.err=org.apache.log4j.ConsoleAppender
log4j.appender.err.target=System.err
log4j.appender.err.layout=org.apache.log4j.PatternLayout
log4j.appender.err.layout.ConversionPattern=%d{HH:mm:ss} %p %c{1}: %m%n
";

/// Keys and values of a `-site.xml`.
pub(super) type Site = Vec<(&'static str, String)>;

/// Names and addresses, for `jdk.net.hosts.file`.
pub(super) fn hosts<'a>(all: impl IntoIterator<Item = (&'a str, Ipv4Addr)>) -> String {
    let lines = all.into_iter().map(|(name, address)| format!("{address} {name}\n"));
    "127.0.0.1 localhost\n".to_owned() + &lines.collect::<String>()
}

/// The keys that the ResourceManager, NodeManagers and applications share.
pub(super) fn shared() -> Site {
    vec![
        ("yarn.resourcemanager.hostname", EDGE.to_owned()),
        ("yarn.resourcemanager.nodemanagers.heartbeat-interval-ms", "200".to_owned()),
        ("yarn.nm.liveness-monitor.expiry-interval-ms", EXPIRY.to_owned()),
        ("yarn.am.liveness-monitor.expiry-interval-ms", EXPIRY.to_owned()),
        ("yarn.scheduler.minimum-allocation-mb", "64".to_owned()),
    ]
}

/// The keys of a ResourceManager that goes on after a restart with what it has stored.
pub(super) fn recovery_of_the_resource_manager(dir: &Path) -> Site {
    const STORE: &str = "org.apache.hadoop.yarn.server.resourcemanager.recovery.FileSystemRMStateStore";
    vec![
        ("yarn.resourcemanager.recovery.enabled", "true".to_owned()),
        ("yarn.resourcemanager.store.class", STORE.to_owned()),
        ("yarn.resourcemanager.fs.state-store.uri", format!("file://{}", dir.display())),
    ]
}

/// Makes a configuration directory with `yarn-site.xml` and what belongs to it.
pub(super) fn write(dir: &Path, site: &Site) -> io::Result<PathBuf> {
    let conf = dir.join("conf");
    fs::create_dir_all(&conf)?;
    let core: Site = vec![
        ("fs.defaultFS", "file:///".to_owned()),
        ("hadoop.tmp.dir", dir.join("tmp").display().to_string()),
    ];
    let scheduler: Site = vec![
        ("yarn.scheduler.capacity.root.queues", "default".to_owned()),
        ("yarn.scheduler.capacity.root.default.capacity", "100".to_owned()),
        ("yarn.scheduler.capacity.maximum-am-resource-percent", "0.6".to_owned()),
        ("yarn.scheduler.capacity.per-node-heartbeat.multiple-assignments-enabled", "false".to_owned()),
    ];
    for (name, keys) in [("core-site", &core), ("capacity-scheduler", &scheduler), ("yarn-site", site)] {
        fs::write(conf.join(name).with_extension("xml"), xml(keys))?;
    }
    fs::write(conf.join("log4j.properties"), LOGGING)?;
    Ok(conf)
}

/// Makes a directory with the keys of one auxiliary service among several.
pub(super) fn write_overlay(dir: &Path, site: &Site) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::write(dir.join("spark-shuffle-site.xml"), xml(site))
}

fn xml(site: &Site) -> String {
    let property = |(key, value): &(&str, String)| {
        format!("<property><name>{key}</name><value>{value}</value></property>\n")
    };
    format!("<configuration>\n{}</configuration>\n", site.iter().map(property).collect::<String>())
}
