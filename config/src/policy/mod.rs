//! The policy: which channels are served, and which are too weak in the long run. It judges every connection once.
//!
//! ```text
//! channel ──► general rules, or those of the application ──► Verdict { served, below_target }
//! ```
//!
//! `spark.sealed.security.minimum` is the weakest rung that is served; `spark.sealed.security.allow` names the served
//! rungs one by one instead. `spark.sealed.security.target` is the rung that every application should reach: a served
//! connection below it is reported. Each of the three may be set for one application.
//!
//! Invariants: a target is never below its minimum. The rules of an application bind a peer that has proven to be it. A
//! peer that has proven nothing is judged before it names an application, so those rules can only be stricter for it
//! than the general ones. The server asks when a connection's channel is known. `advice` makes the texts for peers and
//! operators.

mod advice;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use sealed_shuffle_protocol::ids::AppId;
use serde_json::{Value, json};

use sealed_shuffle_protocol::channel::{Channel, SecurityLevel};

pub(crate) use self::read::read;

/// The channels that are served, and the channel that applications should reach.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// The weakest channel that is served (`spark.sealed.security.minimum`), unless `allow` is set.
    pub minimum: SecurityLevel,
    /// The channel that every application should reach (`spark.sealed.security.target`).
    pub target: SecurityLevel,
    /// The channels that are served, one by one (`spark.sealed.security.allow`); `None` is everything from the minimum
    /// up.
    pub allow: Option<BTreeSet<SecurityLevel>>,
    /// Whether peers that prove no identity are served (`spark.authenticate=false`).
    pub anonymous: bool,
    /// The rules of single applications (`spark.sealed.security.app.*`).
    pub per_app: BTreeMap<AppId, AppPolicy>,
}

/// The rules of one application. Its minimum replaces the general minimum and set; its set replaces all of them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AppPolicy {
    /// The weakest channel that is served (`spark.sealed.security.app.*.minimum`).
    pub minimum: Option<SecurityLevel>,
    /// The channel that it should reach (`spark.sealed.security.app.*.target`).
    pub target: Option<SecurityLevel>,
    /// The channels that are served, one by one (`spark.sealed.security.app.*.allow`).
    pub allow: Option<BTreeSet<SecurityLevel>>,
}

/// The judgement of a policy on a channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Verdict {
    /// Whether requests are answered.
    pub served: bool,
    /// Whether a policy with the target as its minimum would refuse it.
    pub below_target: bool,
}

/// The rules that hold for one application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Rules<'a> {
    served: ServedLevels<'a>,
    target: SecurityLevel,
}

/// Which rungs are served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum ServedLevels<'a> {
    AtLeast(SecurityLevel),
    Only(&'a BTreeSet<SecurityLevel>),
}

impl Policy {
    /// Everything from `minimum` up is served, to peers that prove an application; the target is AES-GCM, or the
    /// minimum where that is higher.
    pub fn at_least(minimum: SecurityLevel) -> Self {
        let target = minimum.max(SecurityLevel::AesGcm);
        Self { minimum, target, allow: None, anonymous: false, per_app: BTreeMap::new() }
    }

    /// Judges a channel: `app` is the application that the peer has proven, `None` where it has proven none.
    pub fn verdict(&self, app: Option<&AppId>, channel: &Channel) -> Verdict {
        let rules = self.rules(app);
        Verdict { served: rules.serve(channel.level), below_target: channel.level < rules.target }
    }

    /// Whether a peer without proof may speak for `app` over `channel`: the general rules have let it in already.
    pub fn admits_unproven(&self, app: &AppId, channel: &Channel) -> bool {
        self.rules(Some(app)).serve(channel.level)
    }

    /// The text for a peer that is refused: its mode, the channels that are served, and the key to change.
    pub fn refusal(&self, app: Option<&AppId>, channel: &Channel) -> String {
        advice::refusal(self.rules(app), app, channel)
    }

    /// The change that lifts `channel` to what is served, or to `target` where it is served already.
    pub fn cure(&self, app: Option<&AppId>, channel: &Channel) -> String {
        let rules = self.rules(app);
        let wanted =
            if rules.serve(channel.level) { rules.target } else { rules.lowest_above(channel.level) };
        advice::cure(channel, wanted)
    }

    /// For the table of applications, where `channel` is not served any more, or is below the target: what happens or
    /// would happen, and what to set.
    pub fn advice(&self, app: Option<&AppId>, channel: &Channel) -> Option<String> {
        let rules = self.rules(app);
        match rules.serve(channel.level) {
            false => Some(advice::is_refused(rules, channel)),
            true if channel.level < rules.target => Some(advice::would_be_refused(channel, rules.target)),
            true => None,
        }
    }

    /// The same policy with another target for everybody, for questions of the kind "who would be refused if".
    pub fn aiming_at(&self, target: SecurityLevel) -> Self {
        let per_app =
            self.per_app.iter().map(|(app, own)| (app.clone(), AppPolicy { target: None, ..own.clone() }));
        Self { target, per_app: per_app.collect(), ..self.clone() }
    }

    /// As the admin port shows it.
    pub fn to_json(&self) -> Value {
        let level = |level: Option<SecurityLevel>| level.map(SecurityLevel::name);
        let set = |allow: &Option<BTreeSet<SecurityLevel>>| {
            allow.as_ref().map(|allow| allow.iter().map(|level| level.name()).collect::<Vec<_>>())
        };
        let per_app: serde_json::Map<String, Value> = self
            .per_app
            .iter()
            .map(|(app, own)| {
                let rules = json!({
                    "minimum": level(own.minimum), "target": level(own.target), "allow": set(&own.allow),
                });
                (app.as_str().to_owned(), rules)
            })
            .collect();
        json!({
            "minimum": self.minimum.name(),
            "target": self.target.name(),
            "allow": set(&self.allow),
            "serves_peers_without_proof": self.anonymous,
            "applications": per_app,
        })
    }

    /// Whether a general rule serves that rung.
    pub fn serves(&self, level: SecurityLevel) -> bool {
        self.rules(None).serve(level)
    }

    fn rules(&self, app: Option<&AppId>) -> Rules<'_> {
        let general = match &self.allow {
            Some(allow) => ServedLevels::Only(allow),
            None => ServedLevels::AtLeast(self.minimum),
        };
        let Some(own) = app.and_then(|app| self.per_app.get(app)) else {
            return Rules { served: general, target: self.target };
        };
        let served = match (&own.allow, own.minimum) {
            (Some(allow), _) => ServedLevels::Only(allow),
            (None, Some(minimum)) => ServedLevels::AtLeast(minimum),
            (None, None) => general,
        };
        let target = own.target.unwrap_or_else(|| match served {
            ServedLevels::AtLeast(minimum) => self.target.max(minimum),
            ServedLevels::Only(_) => self.target,
        });
        Rules { served, target }
    }
}

impl Rules<'_> {
    fn serve(&self, level: SecurityLevel) -> bool {
        match self.served {
            ServedLevels::AtLeast(minimum) => level >= minimum,
            ServedLevels::Only(allow) => allow.contains(&level),
        }
    }

    /// The nearest rung that is served: above `level` if there is one, else below.
    fn lowest_above(&self, level: SecurityLevel) -> SecurityLevel {
        match self.served {
            ServedLevels::AtLeast(minimum) => minimum,
            ServedLevels::Only(allow) => {
                let above = allow.iter().find(|served| **served > level);
                above.or_else(|| allow.last()).copied().unwrap_or(SecurityLevel::Tls)
            }
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.allow {
            Some(allow) => write!(f, "only {}", names(allow))?,
            None => write!(f, "{} or better", self.minimum)?,
        }
        write!(f, ", target {}", self.target)?;
        match self.per_app.len() {
            0 => Ok(()),
            1 => f.write_str(", other rules for one application"),
            n => write!(f, ", other rules for {n} applications"),
        }
    }
}

/// The names of some rungs, between commas.
pub(crate) fn names<'a>(levels: impl IntoIterator<Item = &'a SecurityLevel>) -> String {
    let names: Vec<_> = levels.into_iter().map(|level| level.name()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use sealed_shuffle_protocol::auth::EngineVersion;
    use sealed_shuffle_protocol::cipher::{SessionCipher, SessionMode};

    use super::*;
    use sealed_shuffle_protocol::channel::TlsVersion;

    fn aes(cipher: SessionCipher) -> Channel {
        Channel::aes(SessionMode { version: EngineVersion::V1, cipher })
    }

    #[test]
    fn everything_from_the_minimum_up_is_served() {
        let policy = Policy::at_least(SecurityLevel::AesGcm);
        for (channel, served) in [
            (Channel::PLAINTEXT, false),
            (aes(SessionCipher::Ctr), false),
            (aes(SessionCipher::Gcm), true),
            (Channel::PLAINTEXT.inside(TlsVersion::V1_3, "TLS_AES_256_GCM_SHA384"), true),
        ] {
            assert_eq!(policy.verdict(None, &channel).served, served, "{channel:?}");
        }
    }

    #[test]
    fn a_set_serves_its_members_alone() {
        let allow = BTreeSet::from([SecurityLevel::AesCtr, SecurityLevel::Tls]);
        let policy = Policy { allow: Some(allow), ..Policy::at_least(SecurityLevel::AesCtr) };
        assert!(policy.verdict(None, &aes(SessionCipher::Ctr)).served);
        assert!(!policy.verdict(None, &aes(SessionCipher::Gcm)).served, "not even what is better");
    }

    #[test]
    fn an_application_has_its_own_rules_once_proven() {
        let app = AppId::new("old");
        let own = AppPolicy { minimum: Some(SecurityLevel::AesCtr), ..AppPolicy::default() };
        let mut policy = Policy::at_least(SecurityLevel::AesGcm);
        policy.per_app.insert(app.clone(), own);
        let ctr = aes(SessionCipher::Ctr);
        assert_eq!(policy.verdict(Some(&app), &ctr), Verdict { served: true, below_target: true });
        assert!(!policy.verdict(None, &ctr).served, "a peer that proved nothing is judged in general");
        assert!(!policy.verdict(Some(&AppId::new("other")), &ctr).served);
    }

    #[test]
    fn a_stricter_application_admits_no_unproven_peer_of_a_weaker_channel() {
        let app = AppId::new("strict");
        let own = AppPolicy { minimum: Some(SecurityLevel::Tls), ..AppPolicy::default() };
        let mut policy = Policy::at_least(SecurityLevel::Plaintext);
        policy.per_app.insert(app.clone(), own);
        assert!(policy.verdict(None, &Channel::PLAINTEXT).served);
        assert!(!policy.admits_unproven(&app, &Channel::PLAINTEXT));
    }

    #[test]
    fn another_target_replaces_every_own_one() {
        let app = AppId::new("a");
        let own = AppPolicy { target: Some(SecurityLevel::AesCtr), ..AppPolicy::default() };
        let mut policy = Policy::at_least(SecurityLevel::AesCtr);
        policy.per_app.insert(app.clone(), own);
        let ctr = aes(SessionCipher::Ctr);
        assert!(!policy.verdict(Some(&app), &ctr).below_target);
        assert!(policy.aiming_at(SecurityLevel::Tls).verdict(Some(&app), &ctr).below_target);
    }
}
