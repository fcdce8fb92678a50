//! What the packages hold. `deploy/packages/check` looks at packages that were made.

use std::collections::BTreeSet;
use std::process::Command;

use super::text;

/// The sources of a list of assets in Cargo.toml, each once.
fn sources(table: &str) -> BTreeSet<String> {
    let manifest = text("Cargo.toml");
    let (_, section) = manifest.split_once(&format!("[package.metadata.{table}]\n")).unwrap();
    let (_, list) = section.split_once("assets = [\n").unwrap();
    let (list, _) = list.split_once("\n]\n").unwrap();
    list.lines().map(|line| line.split('"').nth(1).unwrap().to_owned()).collect()
}

/// A file that only one of the packages has was forgotten in the other. The licence has a line of its own in the .deb.
#[test]
fn both_packages_hold_the_whole_tree_that_is_laid_out() {
    let dist = text("deploy/packages/dist");
    let (_, tree) = dist.split_once("\nlay_out() {\n").unwrap();
    let (tree, _) = tree.split_once("\n}\n").unwrap();
    let laid_out: BTreeSet<_> = tree
        .lines()
        .filter_map(|line| line.trim().strip_prefix("install -D -m "))
        .map(|line| {
            let directory = line.split(' ').find_map(|word| word.strip_prefix("$stage/"));
            let directory = directory.unwrap().replace("$name", "sealed-shuffle");
            match line.contains(" -t ") {
                true => directory,
                false => directory.rsplit_once('/').unwrap().0.to_owned(),
            }
        })
        .collect();
    assert!(laid_out.len() > 8, "{laid_out:?}");
    let staged = |table: &str| -> BTreeSet<_> {
        let beneath = |source: &str| {
            source.strip_prefix("target/packages/stage/")?.strip_suffix("/*").map(str::to_owned)
        };
        sources(table).iter().filter_map(|source| beneath(source)).collect()
    };
    assert_eq!(staged("generate-rpm"), laid_out);
    let mut deb = staged("deb");
    deb.insert("usr/share/doc/sealed-shuffle".to_owned());
    assert_eq!(deb, laid_out);
}

#[test]
fn every_script_is_understood_by_its_shell() {
    for (shell, scripts) in [
        ("bash", &["packages/dist", "packages/check", "image/archive"][..]),
        (
            "sh",
            &["image/rootfs", "packages/debian/postinst", "packages/debian/prerm", "packages/debian/postrm"],
        ),
        ("sh", &["packages/rpm/post", "packages/rpm/preun", "packages/rpm/postun"]),
    ] {
        for script in scripts {
            let path = super::tree().join("deploy").join(script);
            let output = Command::new(shell).arg("-n").arg(&path).output().unwrap();
            assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

/// All of them name the same oldest C library.
#[test]
fn the_oldest_c_library_is_the_same_everywhere() {
    let (manifest, dist) = (text("Cargo.toml"), text("deploy/packages/dist"));
    let oldest = dist.lines().find_map(|line| line.strip_prefix("glibc=")).unwrap();
    assert!(manifest.contains(&format!("libc6 (>= {oldest})")));
    assert!(manifest.contains(&format!("\"glibc\" = \">= {oldest}\"")));
    assert!(text("docs/install.md").contains(&format!("a C library of {oldest} or later")));
}
