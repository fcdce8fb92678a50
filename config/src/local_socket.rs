//! Where a Unix socket may lie, and the users that may use it beside our own and root.

use std::io;
use std::path::{Path, PathBuf};

use super::error::Issue;
use super::key::{AnyKey, Key};
use super::value::{List, Text};
use super::values::Values;

/// Longest path of a socket that Linux takes (unix(7), `sun_path` with its final NUL).
const LONGEST_PATH: usize = 107;

/// Where a name stands for a number. Names that a directory service alone knows are refused, with the way out.
const USERS: &str = "/etc/passwd";

/// The path that switches a socket off.
pub(crate) const OFF: &str = "off";

/// A socket that lies in the state directory unless a key names another place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketPlace {
    /// Its path.
    pub path: PathBuf,
    /// Whether nobody named the path. A server starts without a socket that cannot be made there.
    pub by_default: bool,
}

/// The place that `key` names, or `default`; `None` where the socket is off, or cannot lie there.
pub(crate) fn place(v: &mut Values<'_>, key: &'static Key<Text>, default: PathBuf) -> Option<SocketPlace> {
    let name = key.name();
    let Some((path, origin)) = v.optional(key).filter(|(path, _)| !path.is_empty()) else {
        return match check_place_to_be(v, &default.to_string_lossy()) {
            Ok(_) => Some(SocketPlace { path: default, by_default: true }),
            Err(reason) => {
                v.warn(format!(
                    "no socket at {}: {reason}: name another place with {name}",
                    default.display()
                ));
                None
            }
        };
    };
    if path == OFF {
        return None;
    }
    if let Err(reason) = check_place(v, &path) {
        let remedy =
            "name a path in a directory of this user, such as one below /run/sealed-shuffle, or `off`";
        v.refuse(Issue::new(name, reason, remedy).with_value(path).with_origin(origin));
        return None;
    }
    Some(SocketPlace { path: path.into(), by_default: false })
}

/// Whether a socket may lie at `path`: the directory decides who can put another socket there, which would get what is
/// meant for ours. The error says why not.
pub(crate) fn check_place(v: &Values<'_>, path: &str) -> Result<(), String> {
    match check_place_to_be(v, path)? {
        Ok(()) => Ok(()),
        Err(error) => {
            let (user, directory) = (v.environment().user_id(), directory(path).display());
            Err(format!("user {user} cannot look at {directory}: {error}"))
        }
    }
}

/// The same, and the directory may be missing within one that everybody may write to: the server makes it for its user alone. A
/// volume that the containers of a pod share (`emptyDir`) is such a one, with mode 0777 and no sticky bit.
pub(crate) fn check_place_in_volume(v: &Values<'_>, path: &str) -> Result<(), String> {
    let is_volume =
        |above: &Path| v.environment().stat(above).is_ok_and(|stat| stat.is_dir && stat.mode & 0o002 != 0);
    match check_place_to_be(v, path)? {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && directory(path).parent().is_some_and(is_volume) =>
        {
            Ok(())
        }
        _ => check_place(v, path),
    }
}

/// The same where the directory may still have to be made. The inner error is that of looking at the directory.
pub(crate) fn check_place_to_be(v: &Values<'_>, path: &str) -> Result<io::Result<()>, String> {
    if !path.starts_with('/') || path.ends_with('/') {
        return Err("it is no absolute path of a file".to_owned());
    }
    if path.len() > LONGEST_PATH {
        return Err(format!("longer than the {LONGEST_PATH} bytes of a socket's path"));
    }
    let directory = directory(path);
    match v.environment().stat(directory) {
        Ok(stat) if !stat.is_dir => Err(format!("{} is no directory", directory.display())),
        Ok(stat) if stat.mode & 0o002 != 0 && stat.mode & 0o1000 == 0 => {
            Err(format!("everybody may replace it in {} (mode {:04o})", directory.display(), stat.mode))
        }
        other => Ok(other.map(|_| ())),
    }
}

fn directory(path: &str) -> &Path {
    Path::new(path).parent().unwrap_or_else(|| Path::new("/"))
}

/// The numbers of the users that `key` names. A name that stands for no number is refused.
pub(crate) fn users(v: &mut Values<'_>, key: &'static Key<List>) -> Vec<u32> {
    let Some((names, origin)) = v.optional(key) else { return Vec::new() };
    let known = match names.iter().all(|name| name.parse::<u32>().is_ok()) {
        true => None,
        false => v.environment().read(Path::new(USERS)).ok(),
    };
    let known = known.as_deref().map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let mut users = Vec::new();
    for name in names {
        match name.parse().ok().or_else(|| user_id(&known, &name)) {
            Some(id) => users.push(id),
            None => {
                let reason = format!("{USERS} has no user {name}");
                let remedy = "name users of this machine, or give the number that `id -u` prints";
                let issue = Issue::new(key.name(), reason, remedy);
                v.refuse(issue.with_value(name).with_origin(origin.clone()));
            }
        }
    }
    users
}

/// The number of a user, by passwd(5): name, password, number, and more, between colons.
fn user_id(known: &str, name: &str) -> Option<u32> {
    known.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}
