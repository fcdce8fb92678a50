//! The Java that everything of Spark's runs on.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// A Java 17 to 21 with a compiler; what runs on newer ones is not what Spark 3 supports.
pub fn java_home() -> &'static Path {
    static HOME: OnceLock<PathBuf> = OnceLock::new();
    HOME.get_or_init(|| {
        let candidates = java_candidates();
        candidates.iter().find(|home| is_fit(home)).cloned().unwrap_or_else(|| {
            panic!(
                "no JDK 17 to 21, with bin/javac, in {candidates:?}: set JAVA_HOME, or install one, on Debian and Ubuntu \
                 with `apt-get install openjdk-17-jdk-headless`"
            )
        })
    })
}

fn java_candidates() -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = std::env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().collect();
    let mut installed: Vec<PathBuf> =
        fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    installed.sort_by_key(|path| (!path.to_string_lossy().contains("17"), path.clone()));
    homes.extend(installed);
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    homes.extend(
        std::env::split_paths(&on_path)
            .filter_map(|dir| fs::canonicalize(dir.join("javac")).ok())
            .filter_map(|javac| Some(javac.parent()?.parent()?.to_owned())),
    );
    homes
}

fn is_fit(home: &Path) -> bool {
    if !home.join("bin/javac").exists() {
        return false;
    }
    let Ok(output) = Command::new(home.join("bin/java")).arg("-version").output() else {
        return false;
    };
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let major =
        text.split('"').nth(1).and_then(|version| version.split(['.', '-', '+']).next()?.parse::<u32>().ok());
    major.is_some_and(|major| (17..22).contains(&major))
}
