//! Reads the policy from its keys, and refuses keys that contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use sealed_shuffle_protocol::channel::SecurityLevel;
use sealed_shuffle_protocol::ids::AppId;

use super::{AppPolicy, Policy, names};
use crate::error::Issue;
use crate::key::AnyKey;
use crate::keys;
use crate::values::Values;

/// Reads the policy. It serves no peer without proof; `authentication` decides that later.
pub(crate) fn read(v: &mut Values<'_>) -> Policy {
    let minimum_set = v.optional(&keys::SECURITY_MINIMUM);
    let minimum = match &minimum_set {
        Some((level, _)) => *level,
        None => v.value(&keys::SECURITY_MINIMUM),
    };
    let allow = v.optional(&keys::SECURITY_ALLOW).map(|(levels, _)| BTreeSet::from_iter(levels));
    let target_set = v.optional(&keys::SECURITY_TARGET).map(|(level, _)| level);
    // A minimum above the default target raises the target to itself.
    let target = target_set.unwrap_or_else(|| v.value(&keys::SECURITY_TARGET).max(minimum));

    let general = AppPolicy { minimum: minimum_set.map(|(level, _)| level), target: target_set, allow };
    check(
        v,
        &general,
        [keys::SECURITY_MINIMUM.name(), keys::SECURITY_TARGET.name(), keys::SECURITY_ALLOW.name()],
    );
    // The weakest member of a set is its minimum.
    let minimum = general.allow.as_ref().and_then(BTreeSet::first).copied().unwrap_or(minimum);
    Policy { minimum, target, allow: general.allow, anonymous: false, per_app: per_app(v) }
}

fn per_app(v: &mut Values<'_>) -> BTreeMap<AppId, AppPolicy> {
    let mut apps: BTreeMap<AppId, AppPolicy> = BTreeMap::new();
    for (app, level) in v.family(&keys::SECURITY_APP_MINIMUM) {
        apps.entry(AppId::new(app)).or_default().minimum = Some(level);
    }
    for (app, level) in v.family(&keys::SECURITY_APP_TARGET) {
        apps.entry(AppId::new(app)).or_default().target = Some(level);
    }
    for (app, levels) in v.family(&keys::SECURITY_APP_ALLOW) {
        apps.entry(AppId::new(app)).or_default().allow = Some(levels.into_iter().collect());
    }
    for (app, own) in &apps {
        let name = |what: &dyn AnyKey| what.name().replace('*', app.as_str());
        let named = [
            name(&keys::SECURITY_APP_MINIMUM),
            name(&keys::SECURITY_APP_TARGET),
            name(&keys::SECURITY_APP_ALLOW),
        ];
        check(v, own, [&named[0], &named[1], &named[2]]);
    }
    apps
}

/// Refuses a target below the minimum, and a set that contradicts the minimum or the target. Defaults contradict
/// nothing.
fn check(v: &mut Values<'_>, set: &AppPolicy, [minimum_key, target_key, allow_key]: [&str; 3]) {
    if let (Some(minimum), Some(target)) = (set.minimum, set.target)
        && target < minimum
    {
        let reason = format!("it is below {minimum_key} = {minimum}, which refuses such connections already");
        v.refuse(
            Issue::new(target_key, reason, "raise the target, or lower the minimum")
                .with_value(target.name()),
        );
    }
    let Some(allow) = &set.allow else { return };
    let below: Vec<SecurityLevel> =
        set.minimum.map(|minimum| allow.range(..minimum).copied().collect()).unwrap_or_default();
    if let (Some(minimum), false) = (set.minimum, below.is_empty()) {
        let reason = format!("{} lies below {minimum_key} = {minimum}", names(&below));
        let remedy = format!(
            "remove {minimum_key}, since the set alone decides what is served, or take that level out of the set"
        );
        v.refuse(Issue::new(allow_key, reason, remedy).with_value(names(allow)));
    }
    let strongest = allow.last();
    if let (Some(target), Some(strongest)) = (set.target, strongest)
        && target > *strongest
    {
        let reason =
            format!("{target_key} = {target} is above every level in the set, so nobody could reach it");
        v.refuse(
            Issue::new(allow_key, reason, format!("add {target}, or lower the target"))
                .with_value(names(allow)),
        );
    }
}
