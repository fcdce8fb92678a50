//! The images that a node has: ours as `deploy/image` makes it, Spark's, and two small ones.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::archive::Image;
use crate::{
    machine::{cache, java_home, made_once, run},
    ours::binary,
    spark::Spark,
    yarn::{DRIVER, PROGRAM},
};

/// Infrastructure containers of pods.
pub(super) const PAUSE: &str = "docker.io/library/pause:test";
/// As our manifests name them, with the registry that an unqualified name means.
const OURS: &str = concat!("docker.io/library/sealed-shuffle:", env!("CARGO_PKG_VERSION"));
const BUSYBOX: &str = "docker.io/library/busybox:1.37";

const SPARK_IMAGE: &str = include_str!("../../kubernetes/spark-image.sh");
const ENTRYPOINT: &str = include_str!("../../kubernetes/entrypoint.sh");
/// The programs that drivers run in pods.
const APPLICATIONS: [(&str, &str); 2] = [DRIVER, PROGRAM];

/// What applications of a release are told as their image.
pub(super) fn spark_name(version: &str) -> String {
    format!("docker.io/library/spark:{version}")
}

/// The image of drivers and executors, made once for a release.
pub(super) fn spark(release: &Spark, packages: &Path) -> PathBuf {
    let mut hash = Sha256::new();
    [SPARK_IMAGE, ENTRYPOINT].iter().for_each(|text| hash.update(text));
    APPLICATIONS.iter().for_each(|(_, text)| hash.update(text));
    hash.update(java_home().to_string_lossy().as_bytes());
    let key: String = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let target = cache().join(format!("kubernetes-spark-{}-{key}", release.version()));
    made_once(target, |into| {
        let work = TempDir::with_prefix_in("image-", cache()).expect("the cache is writable");
        let (script, root, applications) =
            (work.path().join("spark-image.sh"), work.path().join("root"), work.path().join("applications"));
        let write = |path: PathBuf, text: &str| {
            fs::write(&path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        };
        fs::create_dir(&applications).expect("the directory is fresh");
        write(script.clone(), SPARK_IMAGE);
        write(work.path().join("entrypoint.sh"), ENTRYPOINT);
        APPLICATIONS.iter().for_each(|(name, text)| write(applications.join(name), text));
        let mut made = Command::new("bash");
        made.arg(&script).arg(&root).arg(release.home()).arg(release.root()).arg(java_home());
        made.arg(packages.join("bin/busybox")).arg(&applications);
        run(&mut made, || format!("the image of Spark {} cannot be made", release.version()));
        let image = Image {
            name: &spark_name(release.version()),
            entrypoint: &["/opt/entrypoint.sh"],
            arguments: &[],
            environment: &[
                "JAVA_HOME=/opt/java",
                "SPARK_HOME=/opt/spark",
                "PYTHONHOME=/opt/python",
                "PYTHONPATH=/opt/spark/python:/opt/spark/python/lib/py4j.zip",
                "PYSPARK_PYTHON=/opt/python/bin/python3",
            ],
            // Executors put files of applications there.
            directory: "/opt/spark/work-dir",
            user: "185:0",
        };
        image.write(&root, &work.path().join("layout"), &into.join("image.tar"));
    })
    .join("image.tar")
}

/// Ours, and the small ones, in `dir`.
pub(super) fn others(packages: &Path, dir: &Path) -> Vec<PathBuf> {
    let root = |name: &str| dir.join(format!("{name}-root"));
    let program = dir.join("sealed-shuffle");
    // What debuggers need is most of a program that tests are run with.
    let mut stripped = Command::new("strip");
    stripped.arg("-o").arg(&program).arg(binary());
    run(&mut stripped, || "the program cannot be stripped".to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/image/rootfs");
    let mut made = Command::new(script);
    made.arg(&program).arg(root("ours"));
    run(&mut made, || "the root of our image cannot be made".to_owned());
    let bin = root("busybox").join("bin");
    fs::create_dir_all(&bin)
        .and_then(|()| fs::copy(packages.join("bin/busybox"), bin.join("busybox")).map(drop))
        .and_then(|()| {
            ["sh", "mkdir", "chown", "chmod", "sleep"]
                .iter()
                .try_for_each(|name| symlink("busybox", bin.join(name)))
        })
        .unwrap_or_else(|e| panic!("cannot make {}: {e}", bin.display()));
    let written = |of: &str, from: &str, image: Image<'_>| {
        let target = dir.join(format!("{of}.tar"));
        image.write(&root(from), &dir.join(format!("{of}-layout")), &target);
        target
    };
    let ours = Image {
        name: OURS,
        entrypoint: &["/usr/local/bin/sealed-shuffle"],
        arguments: &["serve"],
        environment: &[],
        directory: "/",
        user: "65532:65532",
    };
    let busybox = Image {
        name: BUSYBOX,
        entrypoint: &[],
        arguments: &["sh"],
        environment: &[],
        directory: "/",
        user: "0:0",
    };
    let pause = Image {
        name: PAUSE,
        entrypoint: &["/bin/sleep", "infinity"],
        arguments: &[],
        environment: &[],
        directory: "/",
        user: "0:0",
    };
    vec![
        written("ours", "ours", ours),
        written("busybox", "busybox", busybox),
        written("pause", "busybox", pause),
    ]
}
