//! How the descriptors that the process may have are divided.

use crate::key::AnyKey as _;
use crate::keys;
use crate::values::Values;

/// Descriptors for listeners, logs, the runtime, files that are opened for one request, and the operator; where there are so
/// many.
const OWN: u64 = 128;

/// Files that are kept open at least, where there are descriptors for that.
const LEAST_FILES: u64 = 64;

/// Most open files that are chosen by default. A larger cache brings no gain.
const MOST_FILES: u64 = 65_536;

/// The descriptors of a server.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Descriptors {
    /// So many may be open; `None` is no limit.
    pub(crate) limit: Option<u64>,
    /// So many of them are not for peers.
    pub(crate) kept: u64,
    /// Connections at the same time.
    pub(crate) connections: usize,
    /// Files that are kept open between requests.
    pub(crate) files: usize,
}

impl Descriptors {
    pub(crate) fn read(v: &mut Values<'_>) -> Self {
        let limit = v.environment().descriptor_limit();
        let (connections, asked) =
            (v.count(&keys::CONNECTIONS_MAX), u64::from(v.value(&keys::FILES_MAX_OPEN)));
        let wanted = if asked == 0 { LEAST_FILES } else { asked };
        let divided = Self::divide(limit, connections as u64, asked);
        if let Some(limit) = limit.filter(|limit| connections as u64 + wanted + OWN > *limit) {
            v.warn(format!(
                "the limit of {limit} open descriptors is not enough for {connections} connections and {wanted} files: at \
                 most {} connections are accepted, and {} files stay open; raise it to {} (LimitNOFILE= of the unit, \
                 ulimit -n), or lower {}{}",
                divided.connections,
                divided.files,
                connections as u64 + wanted + OWN,
                keys::CONNECTIONS_MAX.name(),
                if asked == 0 { String::new() } else { format!(" or {}", keys::FILES_MAX_OPEN.name()) },
            ));
        }
        divided
    }

    /// What is left beside the server's own goes to connections first, but for some files. 0 files asked for are as many as
    /// there may be.
    fn divide(limit: Option<u64>, connections: u64, files: u64) -> Self {
        let all = limit.unwrap_or(u64::MAX);
        let own = OWN.min(all - all / 8 * 3);
        let rest = all - own;
        let spare = rest.saturating_sub(connections).max(LEAST_FILES.min(rest / 4));
        let files = if files == 0 { spare.min(MOST_FILES) } else { spare.min(files) };
        let connections = connections.min(rest - files).max(1);
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        Self { limit, kept: own / 2, connections: number(connections), files: number(files) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn divided(limit: u64, connections: u64, files: u64) -> (u64, usize, usize) {
        let Descriptors { kept, connections, files, .. } =
            Descriptors::divide(Some(limit), connections, files);
        (kept, connections, files)
    }

    #[test]
    fn connections_come_before_files_and_neither_takes_what_is_kept() {
        assert_eq!(divided(1 << 20, 4096, 0), (64, 4096, 65_536));
        assert_eq!(divided(1 << 20, 4096, 10), (64, 4096, 10));
        assert_eq!(divided(10_000, 4096, 0), (64, 4096, 10_000 - 4096 - 128));
        assert_eq!(
            divided(10_000, 4096, 9000),
            (64, 4096, 10_000 - 4096 - 128),
            "asked for more than there are"
        );
        assert_eq!(divided(1024, 4096, 0), (64, 832, 64));
        assert_eq!(divided(1024, 4096, 5000), (64, 832, 64));
        assert_eq!(divided(64, 4096, 0), (20, 18, 6));
        assert_eq!(divided(0, 4096, 0), (0, 1, 0));
        let without = Descriptors::divide(None, 4096, 0);
        assert_eq!((without.connections, without.files), (4096, 65_536));
    }

    #[test]
    fn all_parts_together_are_within_the_limit() {
        for limit in 16..2000 {
            let (kept, connections, files) = divided(limit, 4096, 0);
            assert!(
                kept + connections as u64 + files as u64 <= limit,
                "{limit}: {kept} {connections} {files}"
            );
        }
    }
}
