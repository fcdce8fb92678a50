//! Jars that Maven fetches, by a project file of this package.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use super::{
    cache::{cache, made_once},
    files::files,
    java::java_home,
};

/// The plugin that copies jars, by its full name so that no other version is taken.
const COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies";

/// The jars that a project file names.
#[derive(Clone, Debug)]
pub struct Jars<'a> {
    /// What they are called in the cache.
    pub name: &'a str,
    /// The project file.
    pub project: &'a Path,
    /// Properties that it leaves open.
    pub properties: &'a [(&'a str, &'a str)],
}

/// The reason for which jars cannot be had here.
#[derive(Debug)]
pub struct MissingJars(String);

impl fmt::Display for MissingJars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Jars<'_> {
    /// The directory with all of them in the cache; fetched once for each text of the project file.
    pub fn fetched(&self) -> Result<PathBuf, MissingJars> {
        /// One Maven at a time: tests run side by side, and want the same jars.
        static TURN: Mutex<()> = Mutex::new(());
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let (name, project) = (self.name, self.project);
        let text = fs::read(project).unwrap_or_else(|e| panic!("cannot read {}: {e}", project.display()));
        let digest = Sha256::digest(text);
        let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let target = cache().join(format!("{name}-{digest}"));
        if target.exists() {
            return Ok(target);
        }
        let partial = tempfile::TempDir::with_prefix_in("jars-", cache()).expect("the cache is writable");
        let mut maven = Command::new("mvn");
        maven.args(["--batch-mode", "--quiet", "--file"]).arg(project).arg(COPY);
        maven.args(self.properties.iter().map(|(key, value)| format!("-D{key}={value}")));
        maven.arg(format!("-DoutputDirectory={}", partial.path().display())).env("JAVA_HOME", java_home());
        let output = maven.output().map_err(|e| MissingJars(format!("mvn cannot be run: {e}")))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            return Err(MissingJars(format!("mvn cannot fetch {name}: {said}")));
        }
        Ok(made_once(target, |into| {
            for jar in files(partial.path()) {
                let name = jar.file_name().expect("files have names");
                fs::copy(&jar, into.join(name))
                    .unwrap_or_else(|e| panic!("cannot copy {}: {e}", jar.display()));
            }
        }))
    }
}
