//! Which application each directory belongs to.
//!
//! A directory belongs to the application that registered it first, with all that lies beneath it, until that
//! application ends or registers other directories in its place. Nothing at, above or below it is given to another.
//! A root is the exception: what lies beneath it does not go with it. Otherwise one application that registered a root
//! would shut out all others.
//!
//! Places are canonical paths, and paths are compared by whole components. In a sorted map all that lies beneath a path
//! follows each other: it begins with the path and a slash. Neighbours of one application are a run. The heads of runs
//! are kept beside the map, so that a foreign place is found without a walk over one's own. A look-up costs
//! O(depth · log n).
//!
//! A path of which no component is a link cannot come to lead elsewhere: files are opened without following links
//! ([`crate::confined`]). So the places that were compared at registration are the places that are opened.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;

use sealed_shuffle_protocol::ids::AppId;

use super::root::LocalDir;

/// What a place costs beside the text of its path, which it shares with a [`LocalDir`]: an entry of the map and of the
/// heads.
pub(super) const CLAIM_BYTES: usize = 128;

/// The places of all applications.
#[derive(Debug, Default)]
pub(super) struct Claims {
    places: BTreeMap<Arc<str>, Claim>,
    /// The places whose neighbour before them belongs to another application.
    heads: BTreeSet<Arc<str>>,
}

#[derive(Debug)]
struct Claim {
    app: AppId,
    /// How often the application registered it.
    uses: usize,
    is_root: bool,
}

impl Claims {
    /// The other applications that have a place at, above or below `dir`; some more than once.
    pub(super) fn rivals<'a>(
        &'a self,
        app: &'a AppId,
        dir: &'a LocalDir,
    ) -> impl Iterator<Item = &'a AppId> + 'a {
        let path = dir.path();
        let at = self.places.get(path);
        // Nobody else has been given anything near one's own.
        let is_own = at.is_some_and(|claim| claim.app == *app);
        let above = parents(path).filter_map(|path| self.places.get(path)).filter(|claim| !claim.is_root);
        let found = at.into_iter().chain(above).chain(self.runs_below(path));
        found.map(|claim| &claim.app).filter(move |other| !is_own && *other != app)
    }

    /// Whether no application has a place at, above or below `dir`.
    pub(super) fn is_free(&self, dir: &LocalDir) -> bool {
        let path = dir.path();
        let above = parents(path).filter_map(|path| self.places.get(path)).filter(|claim| !claim.is_root);
        let mut found = self.places.get(path).into_iter().chain(above).chain(self.runs_below(path));
        found.next().is_none()
    }

    /// How often an application has registered `dir`.
    pub(super) fn uses(&self, app: &AppId, dir: &LocalDir) -> usize {
        self.places.get(dir.path()).filter(|claim| claim.app == *app).map_or(0, |claim| claim.uses)
    }

    /// All places but roots: what lies beneath one does not go with it.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Arc<str>> {
        self.places.iter().filter(|(_, claim)| !claim.is_root).map(|(path, _)| path)
    }

    /// One place of each run of neighbours below `path`.
    fn runs_below(&self, path: &str) -> impl Iterator<Item = &Claim> {
        let path = if path == "/" { "" } else { path };
        // The character behind the slash ends what begins with the path and a slash.
        let (begin, end) = (format!("{path}/"), format!("{path}0"));
        let range = (Excluded(begin.as_str()), Excluded(end.as_str()));
        let first = self.places.range::<str, _>(range).next().map(|(_, claim)| claim);
        let heads = self.heads.range::<str, _>(range);
        first.into_iter().chain(heads.filter_map(|head| self.places.get(head)))
    }

    /// Gives `dir` to an application that has no rivals there. Give it back as often with [`Claims::release`].
    pub(super) fn take(&mut self, app: &AppId, dir: &LocalDir) {
        let path = dir.path();
        if let Some(claim) = self.places.get_mut(path) {
            claim.uses += 1;
            return;
        }
        let claim = Claim { app: app.clone(), uses: 1, is_root: dir.relative().is_empty() };
        self.places.insert(Arc::clone(path), claim);
        self.mark(path);
        if let Some(next) = self.next(path) {
            self.mark(&next);
        }
    }

    /// Takes it back.
    pub(super) fn release(&mut self, app: &AppId, dir: &LocalDir) {
        let path = dir.path();
        let Some(claim) = self.places.get_mut(path).filter(|claim| claim.app == *app) else { return };
        claim.uses -= 1;
        if claim.uses > 0 {
            return;
        }
        self.places.remove(path);
        self.heads.remove(path);
        if let Some(next) = self.next(path) {
            self.mark(&next);
        }
    }

    /// Notes whether a place is the head of a run.
    fn mark(&mut self, path: &Arc<str>) {
        let before = self.places.range::<str, _>((Unbounded, Excluded(&**path))).next_back();
        let before = before.map(|(_, claim)| &claim.app);
        match before == self.places.get(path).map(|claim| &claim.app) {
            true => self.heads.remove(path),
            false => self.heads.insert(Arc::clone(path)),
        };
    }

    fn next(&self, path: &Arc<str>) -> Option<Arc<str>> {
        let (next, _) = self.places.range::<str, _>((Excluded(&**path), Unbounded)).next()?;
        Some(Arc::clone(next))
    }
}

/// All directories above a canonical path, the nearest first.
pub(super) fn parents(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(parent(path), |path| parent(path))
}

fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use sealed_shuffle_transport::lane::OnLane;

    use super::*;
    use crate::disk::Roots;

    /// `-` and `.` sort before the slash, `0` behind it.
    const NAMES: [&str; 6] = ["a", "a-", "a.b", "a0", "b", "aa"];

    #[derive(Clone, Debug)]
    enum Step {
        Take(usize, Vec<usize>),
        /// The n-th of those that were taken.
        Release(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let path = vec(0..NAMES.len(), 0..4);
        let step = prop_oneof![
            3 => (0..3usize, path).prop_map(|(app, path)| Step::Take(app, path)),
            1 => any::<usize>().prop_map(Step::Release),
        ];
        vec(step, 0..60)
    }

    /// Whether one lies at or below the other, by components.
    fn overlap(one: &str, other: &str) -> bool {
        let (one, other) = (one.split('/'), other.split('/'));
        one.zip(other).all(|(one, other)| one == other)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

        #[test]
        fn rivals_are_those_of_a_plain_list(steps in steps()) {
            let temp = tempfile::tempdir().unwrap();
            let roots = Roots::open([temp.path()]).unwrap();
            let root = temp.path().canonicalize().unwrap().to_str().unwrap().to_owned();
            let apps = ["1", "2", "3"].map(AppId::new);
            let (mut claims, mut list) = (Claims::default(), Vec::<(AppId, LocalDir)>::new());
            for step in steps {
                let (app, path) = match step {
                    Step::Release(n) => {
                        if !list.is_empty() {
                            let (app, dir) = list.swap_remove(n % list.len());
                            claims.release(&app, &dir);
                        }
                        continue;
                    }
                    Step::Take(app, path) => (apps[app].clone(), path),
                };
                let path: String = path.into_iter().map(|name| format!("/{}", NAMES[name])).collect();
                let dir = roots.accept(&OnLane::here(), &format!("{root}{path}")).unwrap();
                let is_own = list.iter().any(|(owner, there)| *owner == app && there.path() == dir.path());
                let mut expected: Vec<&AppId> = list
                    .iter()
                    .filter(|(owner, there)| {
                        let lies_below_a_root = there.relative().is_empty() && there.path() != dir.path();
                        *owner != app && !is_own && !lies_below_a_root && overlap(there.path(), dir.path())
                    })
                    .map(|(owner, _)| owner)
                    .collect();
                let mut found: Vec<&AppId> = claims.rivals(&app, &dir).collect();
                [&mut expected, &mut found].into_iter().for_each(|apps| {
                    apps.sort();
                    apps.dedup();
                });
                prop_assert_eq!(&found, &expected, "{}", path);
                if found.is_empty() {
                    claims.take(&app, &dir);
                    list.push((app, dir));
                }
            }
            for (app, dir) in list {
                claims.release(&app, &dir);
            }
            prop_assert!(claims.places.is_empty() && claims.heads.is_empty());
        }
    }

    #[test]
    fn nobody_walks_over_ones_own_places() {
        let temp = tempfile::tempdir().unwrap();
        let roots = Roots::open([temp.path()]).unwrap();
        let root = temp.path().canonicalize().unwrap().to_str().unwrap().to_owned();
        let dir = |below: &str| roots.accept(&OnLane::here(), &format!("{root}/{below}")).unwrap();
        let (own, other) = (AppId::new("own"), AppId::new("other"));
        let mut claims = Claims::default();
        (0..1000).for_each(|n| claims.take(&own, &dir(&format!("app/blockmgr-{n}"))));
        claims.take(&other, &dir("beside"));
        let above = dir("app");
        assert!(claims.runs_below(above.path()).count() <= 2);
        assert_eq!(claims.rivals(&own, &above).count(), 0);
        claims.take(&other, &dir("app/blockmgr-500x"));
        assert_eq!(claims.rivals(&own, &above).count(), 1);
        assert!(claims.runs_below(above.path()).count() <= 4);
    }

    #[test]
    fn parents_end_at_the_root_of_all() {
        assert_eq!(parents("/a/b/c").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(parents("/").count(), 0);
    }
}
