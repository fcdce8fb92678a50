//! Whose application it is, guessed from the directories that its executors register.

use std::path::{Component, Path};

use sealed_shuffle_transport::lane::OnLane;

use crate::disk::{Registration, Roots};

/// The owner of the first directory that tells one: under YARN the name in its path, which stands after `usercache`
/// (ContainerLocalizer, Hadoop 3), elsewhere the owner of the directory.
pub(in crate::applications) fn owner(
    on: &OnLane,
    registration: &Registration,
    roots: &Roots,
) -> Option<String> {
    let dirs = registration.dirs();
    let in_path = || dirs.iter().find_map(|dir| in_path(Path::new(dir.text())));
    in_path().or_else(|| dirs.iter().find_map(|dir| roots.owner(on, dir)).map(name))
}

fn in_path(dir: &Path) -> Option<String> {
    let mut components = dir.components();
    components.find(|component| component.as_os_str() == "usercache")?;
    match components.next()? {
        Component::Normal(user) => Some(user.to_string_lossy().into_owned()),
        _ => None,
    }
}

fn name(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_of(uid, &users).map_or_else(|| format!("uid {uid}"), str::to_owned)
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

    fn owner_of(root: &Path, dir: &str) -> Option<String> {
        let (roots, on) = (Roots::open([root]).unwrap(), OnLane::here());
        let dir = roots.accept(&on, root.join(dir).to_str().unwrap()).unwrap();
        owner(&on, &Registration::new(vec![dir], 64, "sort"), &roots)
    }

    #[test]
    fn yarn_names_the_user_in_the_path() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        let dir = "usercache/alice/appcache/application_1_1/blockmgr-1";
        assert_eq!(owner_of(&root, dir), Some("alice".to_owned()));
        assert_eq!(owner_of(&root, "usercache"), None);
    }

    #[test]
    fn elsewhere_the_directory_has_an_owner() {
        let users = "root:x:0:0:root:/root:/bin/sh\nspark:x:185:0::/home:/bin/sh\nbroken\n";
        assert_eq!(name_of(185, users), Some("spark"));
        assert_eq!(name_of(7, users), None);
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().canonicalize().unwrap();
        assert!(owner_of(&root, "").is_some());
        assert_eq!(owner_of(&root, "nowhere/at/all"), None);
    }
}
