//! The owner of a file, as far as its path tells.
//!
//! | where | path | owner |
//! |---|---|---|
//! | YARN | `…/usercache/USER/appcache/APP/blockmgr-…/` | the application |
//! | fallback storage | `…/APP/SHUFFLE/HASH/` | the application |
//! | merged files | `shuffleMerged_APP_…` | the application |
//! | standalone | `…/spark-UUID/executor-UUID/blockmgr-…/` | the executor's directory: the path names no application |
//! | anything else | `…/blockmgr-UUID/` | that directory |

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::name::{SparkName, is_uuid};

/// The owner whose files are counted together.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Owner {
    /// An application, by its id.
    Application(String),
    /// A directory of an executor or block manager whose path names no application.
    Directory(PathBuf),
}

impl Owner {
    /// The owner of the file `path`, found beneath `root`.
    pub fn of(path: &Path, name: Option<&SparkName>, root: &Path) -> Self {
        if let Some(app) = name.and_then(SparkName::app) {
            return Self::Application(app.to_string());
        }
        let dir = path.parent().unwrap_or(root);
        let text = |component: Component<'_>| component.as_os_str().to_str().map(str::to_owned);
        if let Some(app) = dir.components().filter_map(text).find(|name| is_app_id(name)) {
            return Self::Application(app);
        }
        let mut executor = None;
        let mut so_far = PathBuf::new();
        for component in dir.components() {
            so_far.push(component);
            let is = |prefix| is_with_uuid(component.as_os_str(), prefix);
            if is("executor-") || (executor.is_none() && (is("blockmgr-") || is("spark-"))) {
                executor = Some(so_far.clone());
            }
        }
        Self::Directory(executor.unwrap_or_else(|| root.to_owned()))
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Application(id) => f.write_str(id),
            Self::Directory(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Whether `name` is an application id as YARN, standalone, Kubernetes and local masters make them.
fn is_app_id(name: &str) -> bool {
    let digits =
        |text: &str, len: usize| text.len() >= len && text.bytes().all(|digit| digit.is_ascii_digit());
    if let Some(rest) = name.strip_prefix("application_") {
        return rest.split_once('_').is_some_and(|(time, number)| digits(time, 1) && digits(number, 1));
    }
    if let Some(rest) = name.strip_prefix("app-") {
        return rest.split_once('-').is_some_and(|(time, number)| digits(time, 14) && digits(number, 4));
    }
    if let Some(rest) = name.strip_prefix("spark-") {
        return rest.len() == 32 && rest.bytes().all(|digit| digit.is_ascii_hexdigit());
    }
    name.strip_prefix("local-").is_some_and(|rest| digits(rest, 13))
}

fn is_with_uuid(name: &OsStr, prefix: &str) -> bool {
    name.to_str().and_then(|name| name.strip_prefix(prefix)).is_some_and(is_uuid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "7b3a0c56-3f1c-4a42-9d6e-0123456789ab";

    #[track_caller]
    fn owner(path: &str, expected: &str) {
        let path = path.replace("UUID", UUID);
        let path = Path::new(&path);
        let name = SparkName::parse(path.file_name().unwrap().to_str().unwrap());
        let owner = Owner::of(path, name.as_ref(), Path::new("/data"));
        assert_eq!(owner.to_string(), expected.replace("UUID", UUID));
    }

    #[test]
    fn finds_the_application_where_the_path_names_one() {
        owner(
            "/data/usercache/u/appcache/application_17_0001/blockmgr-UUID/0c/rdd_1_2",
            "application_17_0001",
        );
        owner("/data/merge_manager/3f/shuffleMerged_application_17_0001_0_1_2.data", "application_17_0001");
        owner("/data/app-20261122052236-0000/2/169/shuffle_2_12_0.data", "app-20261122052236-0000");
        owner(
            "/data/spark-0123456789abcdef0123456789abcdef/x/rdd_1_2",
            "spark-0123456789abcdef0123456789abcdef",
        );
    }

    #[test]
    fn else_finds_the_directory_of_the_executor() {
        let executor = "/data/spark-UUID/executor-UUID";
        owner(&format!("{executor}/blockmgr-UUID/0c/rdd_1_2"), executor);
        owner("/data/blockmgr-UUID/0c/rdd_1_2", "/data/blockmgr-UUID");
        owner("/data/elsewhere/rdd_1_2", "/data");
    }
}
