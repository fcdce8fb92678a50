//! Whose application it is, guessed from the directories that its executors register.

use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path};

use sealed_shuffle_transport::lane::OnLane;

/// The owner of the first directory that tells one: under YARN the name in its path, which stands after `usercache`
/// (ContainerLocalizer, Hadoop 3), elsewhere the owner of the directory.
pub(in crate::applications) fn owner<'a>(
    on: &OnLane,
    dirs: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    dirs.into_iter().find_map(|dir| in_path(Path::new(dir)).or_else(|| on_disk(on, Path::new(dir))))
}

fn in_path(dir: &Path) -> Option<String> {
    let mut components = dir.components();
    components.find(|component| component.as_os_str() == "usercache")?;
    match components.next()? {
        Component::Normal(user) => Some(user.to_string_lossy().into_owned()),
        _ => None,
    }
}

fn on_disk(_: &OnLane, dir: &Path) -> Option<String> {
    let uid = std::fs::symlink_metadata(dir).ok()?.uid();
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    Some(name_of(uid, &users).map_or_else(|| format!("uid {uid}"), str::to_owned))
}

/// The name of a user in the format of passwd(5).
fn name_of(uid: u32, users: &str) -> Option<&str> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn yarn_names_the_user_in_the_path() {
        let dirs = ["/data/usercache/alice/appcache/application_1_1/blockmgr-1"];
        assert_eq!(owner(&OnLane::here(), dirs), Some("alice".to_owned()));
        assert_eq!(owner(&OnLane::here(), ["/none/usercache/.."]), None);
    }

    #[test]
    fn elsewhere_the_directory_has_an_owner() {
        let users = "root:x:0:0:root:/root:/bin/sh\nspark:x:185:0::/home:/bin/sh\nbroken\n";
        assert_eq!(name_of(185, users), Some("spark"));
        assert_eq!(name_of(7, users), None);
        let temp = tempfile::tempdir().unwrap();
        assert!(owner(&OnLane::here(), [temp.path().to_str().unwrap()]).is_some());
        assert_eq!(owner(&OnLane::here(), ["/nowhere/at/all"]), None);
    }
}
