//! Where applications are handed over, and by whom.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::error::Issue;
use super::key::AnyKey;
use super::keys;
use super::origin::Origin;
use super::values::Values;

/// A socket at which another program says which applications begin and end, with their secrets.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HandoverConfig {
    /// The socket (`spark.sealed.handover.socket`).
    pub socket: PathBuf,
    /// User ids that may hand over beside our own and root's (`spark.sealed.handover.users`).
    pub users: Vec<u32>,
    /// How long a handshake waits for its secret (`spark.sealed.auth.secret-wait`). 10 s.
    pub wait: Duration,
}

impl HandoverConfig {
    /// `users` may hand over at `socket`, beside our own user and root.
    pub fn new(socket: impl Into<PathBuf>, users: Vec<u32>, wait: Duration) -> Self {
        Self { socket: socket.into(), users, wait }
    }
}

/// Longest path of a socket that Linux takes (unix(7), `sun_path` with its final NUL).
const LONGEST_PATH: usize = 107;

/// Where a name stands for a number. Names that a directory service alone knows are refused, with the way out.
const USERS: &str = "/etc/passwd";

/// None where nothing is handed over.
pub(crate) fn read(v: &mut Values<'_>, wait: Duration) -> Option<HandoverConfig> {
    let users = v.optional(&keys::HANDOVER_USERS);
    let Some((path, origin)) = v.optional(&keys::HANDOVER_SOCKET).filter(|(path, _)| !path.is_empty()) else {
        if users.is_some() {
            let (users, socket) = (keys::HANDOVER_USERS.name(), keys::HANDOVER_SOCKET.name());
            v.warn(format!("{users} has no effect without {socket}"));
        }
        return None;
    };
    let users = users.map(|(names, origin)| resolve(v, &names, &origin)).unwrap_or_default();
    if let Err((reason, remedy)) = check(v, &path) {
        let issue = Issue::new(keys::HANDOVER_SOCKET.name(), reason, remedy);
        v.refuse(issue.with_value(path).with_origin(origin));
        return None;
    }
    Some(HandoverConfig { socket: path.into(), users, wait })
}

/// The directory decides who can put another socket there, which would get the secrets.
fn check(v: &Values<'_>, path: &str) -> Result<(), (String, &'static str)> {
    const OWN: &str = "name a path in a directory of this user, such as /run/sealed-shuffle/handover.sock";
    if !path.starts_with('/') || path.ends_with('/') {
        return Err(("it is no absolute path of a file".to_owned(), OWN));
    }
    if path.len() > LONGEST_PATH {
        return Err((format!("longer than the {LONGEST_PATH} bytes of a socket's path"), OWN));
    }
    let directory = Path::new(path).parent().unwrap_or_else(|| Path::new("/"));
    let environment = v.environment();
    match environment.stat(directory) {
        Ok(stat) if !stat.is_dir => Err((format!("{} is no directory", directory.display()), OWN)),
        Ok(stat) if stat.mode & 0o002 != 0 && stat.mode & 0o1000 == 0 => Err((
            format!("everybody may replace it in {} (mode {:04o})", directory.display(), stat.mode),
            OWN,
        )),
        Ok(_) => Ok(()),
        Err(error) => {
            let user = environment.user_id();
            Err((format!("user {user} cannot look at {}: {error}", directory.display()), OWN))
        }
    }
}

fn resolve(v: &mut Values<'_>, names: &[String], origin: &Origin) -> Vec<u32> {
    let known = match names.iter().all(|name| name.parse::<u32>().is_ok()) {
        true => None,
        false => v.environment().read(Path::new(USERS)).ok(),
    };
    let known = known.as_deref().map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default();
    let mut users = Vec::new();
    for name in names {
        match name.parse().ok().or_else(|| user_id(&known, name)) {
            Some(id) => users.push(id),
            None => {
                let reason = format!("{USERS} has no user {name}");
                let remedy = "name users of this machine, or give the number that `id -u` prints";
                let issue = Issue::new(keys::HANDOVER_USERS.name(), reason, remedy);
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
