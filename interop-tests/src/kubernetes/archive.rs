//! Image archives made from files of this machine, as `ctr images import` takes them: an OCI layout of one layer in a tar.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use serde_json::{Value, json};

/// What is said of an image beside its files.
#[derive(Clone, Debug)]
pub(super) struct Image<'a> {
    /// Its full name, registry and tag included.
    pub(super) name: &'a str,
    /// Program and first arguments.
    pub(super) entrypoint: &'a [&'a str],
    /// Further arguments, which a pod may replace.
    pub(super) arguments: &'a [&'a str],
    /// `NAME=VALUE`.
    pub(super) environment: &'a [&'a str],
    /// Where it starts.
    pub(super) directory: &'a str,
    /// `USER:GROUP`.
    pub(super) user: &'a str,
}

impl Image<'_> {
    /// Writes the archive of the files beneath `root` to `target`, with `work` as a place for the parts.
    pub(super) fn write(&self, root: &Path, work: &Path, target: &Path) {
        let blobs = work.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap_or_else(|e| panic!("cannot create {}: {e}", blobs.display()));
        let layer = blobs.join("layer");
        tar(&layer, root, &["--sort=name", "--owner=0", "--group=0", "--numeric-owner", "--mtime=@0"]);
        let layer = Blob::named_by_its_digest(&layer);
        let environment: Vec<&str> =
            ["PATH=/usr/local/bin:/usr/bin:/bin"].iter().chain(self.environment).copied().collect();
        let config = Blob::of(
            &blobs,
            &json!({
                "architecture": architecture(),
                "os": "linux",
                "config": {
                    "Entrypoint": self.entrypoint,
                    "Cmd": self.arguments,
                    "Env": environment,
                    "User": self.user,
                    "WorkingDir": self.directory,
                },
                "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
            }),
        );
        let manifest = Blob::of(
            &blobs,
            &json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": config.described("application/vnd.oci.image.config.v1+json"),
                "layers": [layer.described("application/vnd.oci.image.layer.v1.tar")],
            }),
        );
        let mut described = manifest.described("application/vnd.oci.image.manifest.v1+json");
        described["annotations"] = json!({ "io.containerd.image.name": self.name });
        let index = json!({ "schemaVersion": 2, "manifests": [described] });
        let version = json!({ "imageLayoutVersion": "1.0.0" });
        for (name, value) in [("index.json", index), ("oci-layout", version)] {
            fs::write(work.join(name), value.to_string())
                .unwrap_or_else(|e| panic!("cannot write {name}: {e}"));
        }
        tar(target, work, &[]);
    }
}

/// A part of an image, which its digest names.
struct Blob {
    digest: String,
    size: u64,
}

impl Blob {
    fn of(blobs: &Path, value: &Value) -> Self {
        let path = blobs.join("new");
        fs::write(&path, value.to_string())
            .unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
        Self::named_by_its_digest(&path)
    }

    /// Renames the file to its digest. The program of the system reads hundreds of megabytes faster than an unoptimized build of
    /// ours.
    fn named_by_its_digest(path: &Path) -> Self {
        let told = output(Command::new("sha256sum").arg(path));
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        let digest = text.split_whitespace().next().expect("sha256sum prints a digest").to_owned();
        let size = fs::metadata(path).expect("it was just written").len();
        fs::rename(path, path.with_file_name(&digest)).expect("the directory is writable");
        Self { digest: format!("sha256:{digest}"), size }
    }

    fn described(&self, kind: &str) -> Value {
        json!({ "mediaType": kind, "digest": self.digest, "size": self.size })
    }
}

fn tar(target: &Path, root: &Path, options: &[&str]) {
    let mut tar = Command::new("tar");
    tar.args(options).arg("-cf").arg(target).arg("-C").arg(root).arg(".");
    output(&mut tar);
}

fn output(command: &mut Command) -> Output {
    let told = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(told.status.success(), "{command:?}: {}", String::from_utf8_lossy(&told.stderr));
    told
}

/// As Go and registries call it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
