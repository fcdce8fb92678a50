//! The archive that `deploy/image/archive` makes, read as the image specification of OCI 1.0 says.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::outcome::{code, stderr, stdout};
use super::{text, tree};

/// Any program that links libraries; ours takes long to compress.
const PROGRAM: &str = "/bin/sh";

fn done(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert_eq!(code(&output), 0, "{program} {arguments:?}: {}", stderr(&output));
    stdout(&output)
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The part of the image that is described so, which has the digest and the size.
fn part(layout: &Path, described: &Value, kind: &str) -> std::path::PathBuf {
    assert_eq!(described["mediaType"], format!("application/vnd.oci.image.{kind}"));
    let digest = described["digest"].as_str().unwrap().strip_prefix("sha256:").unwrap();
    let path = layout.join("blobs/sha256").join(digest);
    assert_eq!(fs::metadata(&path).unwrap().len(), described["size"].as_u64().unwrap());
    assert_eq!(done("sha256sum", &[path.to_str().unwrap()]).split(' ').next(), Some(digest));
    path
}

#[test]
fn each_part_of_the_image_is_found_by_its_digest_and_the_program_has_its_libraries() {
    let dir = tempfile::tempdir().unwrap();
    let script = tree().join("deploy/image/archive");
    let made = ["one", "two"].map(|name| {
        let file = dir.path().join(name);
        done(script.to_str().unwrap(), &[PROGRAM, "1.2.3", file.to_str().unwrap()]);
        file
    });
    assert!(fs::read(&made[0]).unwrap() == fs::read(&made[1]).unwrap(), "the same files give other bytes");

    let layout = dir.path().join("layout");
    fs::create_dir(&layout).unwrap();
    done("tar", &["-xf", made[0].to_str().unwrap(), "-C", layout.to_str().unwrap()]);
    assert_eq!(json(&layout.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let index = json(&layout.join("index.json"));
    assert_eq!(index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "1.2.3");
    let manifest = json(&part(&layout, &index["manifests"][0], "manifest.v1+json"));
    let config = json(&part(&layout, &manifest["config"], "config.v1+json"));
    let layer = part(&layout, &manifest["layers"][0], "layer.v1.tar+gzip");
    let digest = done("sh", &["-c", &format!("gzip -dc {} | sha256sum", layer.display())]);
    let (digest, _) = digest.split_once(' ').unwrap();
    assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{digest}"));
    assert_eq!(fs::read_dir(layout.join("blobs/sha256")).unwrap().count(), 3);

    let held = done("tar", &["-tzf", layer.to_str().unwrap()]);
    let holds = |path: &str| held.lines().any(|line| line == format!(".{path}"));
    assert!(holds(config["config"]["Entrypoint"][0].as_str().unwrap()), "{held}");
    let linked = done("ldd", &[PROGRAM]);
    let libraries: Vec<_> = linked.split_whitespace().filter(|word| word.starts_with('/')).collect();
    assert!(!libraries.is_empty() && libraries.iter().all(|library| holds(library)), "{libraries:?}: {held}");
}

/// Both ways to make an image make the same one.
#[test]
fn the_image_starts_as_that_of_the_dockerfile() {
    let (archive, dockerfile) = (text("deploy/image/archive"), text("deploy/image/Dockerfile"));
    let of = |word: &str| dockerfile.lines().find_map(|line| line.strip_prefix(word)).unwrap().trim();
    for (key, value) in [
        ("User", format!("\"{}\"", of("USER"))),
        ("Entrypoint", of("ENTRYPOINT").to_owned()),
        ("Cmd", of("CMD").to_owned()),
    ] {
        assert!(archive.contains(&format!("\"{key}\":{value}")), "{key}: {value}");
    }
    for label in ["title", "description", "licenses"] {
        let name = format!("org.opencontainers.image.{label}");
        let (_, rest) = dockerfile.split_once(&format!("{name}=\"")).unwrap();
        let (value, _) = rest.split_once('"').unwrap();
        let written = [format!("\"{name}\":\"{value}\""), format!("\\\"{name}\\\":\\\"{value}\\\"")];
        assert!(written.iter().any(|line| archive.contains(line)), "{name}: {value}");
    }
}
