//! The program of `kubernetes/cluster`, which is all daemons of a cluster, built once into the cache.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sha2::{Digest, Sha256};

use crate::machine::{Lack, cache, made_once};

/// What it is made of.
const SOURCES: [(&str, &str); 4] = [
    ("dns.go", include_str!("../../kubernetes/cluster/dns.go")),
    ("go.mod", include_str!("../../kubernetes/cluster/go.mod")),
    ("go.sum", include_str!("../../kubernetes/cluster/go.sum")),
    ("main.go", include_str!("../../kubernetes/cluster/main.go")),
];
const NAME: &str = "cluster";

/// Where it lies once it is built: its sources give the name.
fn place() -> PathBuf {
    let mut hash = Sha256::new();
    for (name, text) in SOURCES {
        hash.update(name);
        hash.update(text);
    }
    let key: String = hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    cache().join(format!("kubernetes-{key}"))
}

/// The program, where it is built already.
pub(super) fn built() -> Result<PathBuf, Lack> {
    let program = place().join(NAME);
    let reason = "the program of the cluster is not built yet: `make interop-kubernetes` builds it, once, in ten minutes";
    program.exists().then_some(program).ok_or_else(|| Lack::of(reason))
}

/// The program; builds it where it is not there.
pub(super) fn build() -> Result<PathBuf, Lack> {
    let target = place();
    if !target.exists() {
        let go = Command::new("go").arg("version").output();
        go.map_err(|e| Lack::of(format!("go cannot be run, which builds the cluster: {e}")))?;
    }
    Ok(made_once(target, compile).join(NAME))
}

fn compile(into: &Path) {
    for (name, text) in SOURCES {
        fs::write(into.join(name), text).unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
    }
    let mut go = Command::new("go");
    // Links no library, so that it runs wherever it is copied to; without tables for debuggers it is a third smaller.
    go.args(["build", "-trimpath", "-ldflags", "-s -w", "-o", NAME, "."]);
    go.current_dir(into).env("CGO_ENABLED", "0");
    crate::machine::run(&mut go, || "the program of the cluster cannot be built".to_owned());
}
