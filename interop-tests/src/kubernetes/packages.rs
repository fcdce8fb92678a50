//! Packages of Debian, unpacked into the cache: nothing of them is installed, and no service of theirs is started.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::machine::{Lack, cache, files, made_once, run};

/// The container runtime and its plug-ins, what kube-proxy calls, and the programs of small images; with the libraries that a
/// small machine may lack.
const PACKAGES: [&str; 13] = [
    "busybox-static",
    "containerd",
    "containernetworking-plugins",
    "libbsd0",
    "libedit2",
    "libjansson4",
    "libmd0",
    "libnftables1",
    "libnftnl11",
    "libseccomp2",
    "libxtables12",
    "nftables",
    "runc",
];

/// The root below which they lie unpacked.
pub(super) fn unpacked() -> Result<PathBuf, Lack> {
    let target = cache().join("kubernetes-packages-1");
    if target.exists() {
        return Ok(target);
    }
    let fetched = tempfile::TempDir::with_prefix_in("packages-", cache()).expect("the cache is writable");
    let mut apt = Command::new("apt-get");
    apt.args(["download", "-q"]).args(PACKAGES).current_dir(fetched.path());
    let told = apt.output().map_err(|e| Lack::of(format!("apt-get cannot be run: {e}")))?;
    if !told.status.success() {
        let said = String::from_utf8_lossy(&told.stderr).into_owned();
        return Err(Lack::of(format!("apt-get cannot fetch packages (apt-get update?): {said}")));
    }
    Ok(made_once(target, |into| files(fetched.path()).iter().for_each(|package| unpack(package, into))))
}

fn unpack(package: &Path, into: &Path) {
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.arg("-x").arg(package).arg(into);
    run(&mut dpkg, || format!("cannot unpack {}", package.display()));
}
