//! What breaks the plan: uses that lead upwards, and circles.

use std::collections::{BTreeMap, BTreeSet};

use crate::sources::Use;

/// Uses of a room that stands above the user's, one line each.
pub(crate) fn upward(uses: &[Use], order: &[&str]) -> Vec<String> {
    let floor = |module: &[String]| order.iter().position(|room| *room == module[0]);
    let mut broken = BTreeSet::new();
    for used in uses {
        let (from, to) = (&used.from[0], &used.to[0]);
        if from != to && floor(&used.to) > floor(&used.from) {
            broken.insert(format!("{}:{} uses {to}, which stands above {from}", used.from_file, used.line));
        }
    }
    broken.into_iter().collect()
}

/// Circles of files, each as its uses. A file and the `mod.rs` above it may name each other.
pub(crate) fn circles(uses: &[Use]) -> Vec<String> {
    let mut next: BTreeMap<&[String], BTreeMap<&[String], &Use>> = BTreeMap::new();
    for used in uses {
        let family = used.from.starts_with(&used.to) || used.to.starts_with(&used.from);
        if !family {
            next.entry(&used.from).or_default().entry(&used.to).or_insert(used);
        }
    }
    let mut circles = BTreeSet::new();
    for start in next.keys() {
        if let Some(mut circle) = way_back(&next, start) {
            circle.sort();
            circles.insert(circle.join("\n"));
        }
    }
    circles.into_iter().collect()
}

/// The shortest way from a file to itself.
fn way_back(next: &BTreeMap<&[String], BTreeMap<&[String], &Use>>, start: &[String]) -> Option<Vec<String>> {
    let mut came: BTreeMap<&[String], &Use> = BTreeMap::new();
    let mut waiting = std::collections::VecDeque::from([start]);
    while let Some(here) = waiting.pop_front() {
        for (to, used) in next.get(here).into_iter().flatten() {
            if !came.contains_key(to) {
                came.insert(to, used);
                waiting.push_back(to);
            }
        }
    }
    let mut way = Vec::new();
    let mut at: &[String] = start;
    loop {
        let used = came.get(at)?;
        way.push(format!("{}:{} -> {}", used.from_file, used.line, used.to_file));
        at = &used.from;
        if at == start {
            return Some(way);
        }
    }
}
