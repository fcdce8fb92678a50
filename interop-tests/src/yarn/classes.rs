//! The classes of a cluster: Hadoop's from Maven, Spark's from its release, ours as `yarn/Makefile` makes them.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    machine::{Jars, MissingJars, java_home, run},
    spark::Spark,
};

/// The Hadoop that the newest Spark is made for.
const HADOOP: &str = "3.5.0";

/// Of JVMs that live for minutes on few cores.
pub(super) const JAVA_OPTIONS: [&str; 2] = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"];

/// Everything that is run.
#[derive(Clone, Debug)]
pub(super) struct Classes {
    /// Spark, whose own handler is run, too.
    pub(super) spark: Spark,
    /// The jar of our auxiliary service.
    pub(super) ours: PathBuf,
    hadoop: PathBuf,
}

impl Classes {
    /// Fetches what is not there yet, and makes our jar in `dir`.
    pub(super) fn get(version: &str, dir: &Path) -> Result<Self, MissingJars> {
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("yarn/pom.xml");
        let name = format!("hadoop-{HADOOP}");
        let hadoop = Jars { name: &name, project: &project, properties: &[("hadoop", HADOOP)] }.fetched()?;
        let ours = our_jar(dir, &hadoop);
        Ok(Self { spark: Spark::release(version), ours, hadoop })
    }

    /// A daemon of Hadoop with its configuration and the names of hosts; its class comes last.
    pub(super) fn daemon(&self, class: &str, conf: &Path, hosts: &Path) -> Command {
        let mut command = Command::new(java_home().join("bin/java"));
        command
            .args(JAVA_OPTIONS)
            .args(["-Xmx256m", "--add-opens=java.base/java.lang=ALL-UNNAMED"])
            .arg(format!("-Djdk.net.hosts.file={}", hosts.display()))
            .arg("-cp")
            .arg(format!("{}:{}/*", conf.display(), self.hadoop.display()))
            .arg(class)
            .env("JAVA_HOME", java_home())
            .env("HADOOP_CONF_DIR", conf);
        command
    }

    /// The class path of Spark's own handler as an auxiliary service.
    pub(super) fn own_class_path(&self) -> String {
        // A directory ends with a slash: Hadoop takes it for a jar otherwise.
        format!("{}/:{}/*", self.spark.classes().display(), self.spark.home().join("jars").display())
    }
}

/// The jar of `yarn/`, made of a copy of the sources.
fn our_jar(dir: &Path, hadoop: &Path) -> PathBuf {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../yarn");
    let copy = dir.join("hand-over");
    let mut copied = Command::new("cp");
    copied.arg("-r").arg(&sources).arg(&copy);
    run(&mut copied, || format!("cannot copy {}", sources.display()));
    let name = "sealed-shuffle-yarn.jar";
    let mut make = Command::new("make");
    make.args(["-s", "-B", "-C"]).arg(&copy).arg(name).arg(format!("JARS={}/*", hadoop.display()));
    let path = std::env::join_paths(
        std::iter::once(java_home().join("bin"))
            .chain(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())),
    );
    // A make that runs the tests has its own ideas of flags and jobs.
    make.env("PATH", path.expect("paths hold no colon")).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    run(&mut make, || "the auxiliary service cannot be built".to_owned());
    copy.join(name)
}
