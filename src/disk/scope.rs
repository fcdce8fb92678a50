//! Which directories an application may name by the application ids that stand in their paths.
//!
//! A NodeManager gives each application a directory whose path names it:
//! `…/usercache/USER/appcache/APPLICATION/blockmgr-UUID`. Whoever names such a path must be that application, wherever
//! this service runs: nothing else is laid out like that. Where a service stands for YARN's, every directory must name
//! its application ([`Roots::with_app_scope`](super::root::Roots::with_app_scope)).
//!
//! Origin: `LocalDirValidator.validateContained` and `pathContainsSegment`, Spark 3.5.9 and 4.2.0. There the second rule
//! alone is known. `ExternalBlockHandler` is told by its owner whether it holds: `ExternalShuffleService` (standalone)
//! says no.

use sealed_shuffle_protocol::ids::AppId;

/// Whether `app` may name the canonical `path`, of which what begins at `below` lies beneath a root.
pub(super) fn allows(app: &AppId, path: &str, below: usize, must_name_its_application: bool) -> bool {
    let names_it = || components(path).any(|(_, name)| name == app.as_str());
    if must_name_its_application && !names_it() {
        return false;
    }
    // Ids above the root are no peer's choice: this service may itself run in the directory of an application.
    let chosen = || components(path).filter(|(at, _)| *at >= below);
    let mut before = components(path).zip(components(path).skip(1)).filter(|(_, (at, _))| *at >= below);
    let is_cache = |(_, name): &(usize, &str)| *name == "appcache";
    if before.any(|(parent, (_, name))| is_cache(&parent) && is_application_id(name) && name != app.as_str())
    {
        return false;
    }
    let Some((cache, _)) = chosen().find(|(_, name)| *name == "usercache") else { return true };
    let mut behind = chosen().skip_while(|(at, _)| *at <= cache).skip(1);
    behind.next().is_some_and(|(_, name)| name == "appcache")
        && behind.next().is_some_and(|(_, name)| name == app.as_str())
}

/// The names in a canonical path, with the place where each begins.
fn components(path: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    path.split('/').filter_map(move |name| {
        let begin = at;
        at += name.len() + 1;
        (!name.is_empty()).then_some((begin, name))
    })
}

/// `application_CLUSTER_NUMBER`, as YARN makes them (`ApplicationId.toString`, Hadoop 3).
fn is_application_id(name: &str) -> bool {
    let numbers = name.strip_prefix("application_").and_then(|rest| rest.split_once('_'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    numbers.is_some_and(|(cluster, number)| is_number(cluster) && is_number(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = "application_17_0001";
    const ROOT: &str = "/yarn/nm";

    fn is_allowed(below: &str, must_name: bool) -> bool {
        allows(&AppId::new(APP), &format!("{ROOT}/{below}"), ROOT.len() + 1, must_name)
    }

    #[test]
    fn paths_of_yarn_are_those_of_their_application() {
        for (below, expected) in [
            ("usercache/u/appcache/application_17_0001/blockmgr-4f", true),
            ("usercache/u/appcache/application_17_0001/merge_manager_1", true),
            ("usercache/u/appcache/application_17_0001", true),
            ("appcache/application_17_0001/x", true),
            ("usercache/u/appcache/application_17_0002/blockmgr-4f", false),
            ("usercache/u/appcache/application_17_00010/blockmgr-4f", false),
            ("appcache/application_17_0002/application_17_0001/x", false),
            ("usercache/u/appcache", false),
            ("usercache/u", false),
            ("usercache", false),
            ("usercache/u/filecache/application_17_0001", false),
            ("usercache/appcache/application_17_0001/x", false),
            ("usercache/u/appcache/other/x", false),
        ] {
            assert_eq!(is_allowed(below, false), expected, "{below}");
            assert_eq!(is_allowed(below, true), expected, "{below}");
        }
    }

    #[test]
    fn other_paths_name_their_application_where_they_must() {
        for (below, names_it) in [
            ("spark-c5/executor-1d/blockmgr-97", false),
            ("spark-7a/blockmgr-1", false),
            ("filecache/10", false),
            ("nmPrivate", false),
            ("appcache/other/x", false),
            ("application_17_0001/blockmgr-1", true),
            ("application_17_00010/blockmgr-1", false),
            ("x-application_17_0001/blockmgr-1", false),
        ] {
            assert_eq!(is_allowed(below, true), names_it, "{below}");
            assert!(is_allowed(below, false), "{below}");
        }
        assert!(!allows(&AppId::new(""), "/a/b", 1, true));
    }

    #[test]
    fn ids_above_the_root_are_nobody_s_choice() {
        let root = "/yarn/usercache/u/appcache/application_99_0001";
        assert!(allows(&AppId::new(APP), &format!("{root}/blockmgr-1"), root.len() + 1, false));
        assert!(!allows(&AppId::new(APP), &format!("{root}/blockmgr-1"), root.len() + 1, true));
        // The root is the cache itself.
        let root = "/yarn/usercache/u/appcache";
        assert!(allows(&AppId::new(APP), &format!("{root}/{APP}/blockmgr-1"), root.len() + 1, false));
        assert!(!allows(&AppId::new(APP), &format!("{root}/application_17_0002/x"), root.len() + 1, false));
    }
}
