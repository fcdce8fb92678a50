//! The three cells of a mode.

use std::{fmt, sync::Arc};

use super::{broken_gcm, case, verdict::Verdict};
use crate::{
    fixture::Fixture,
    modes::{Abilities, Gcm, Mode, Service, matrix::cells},
    spark::Peer,
};

/// Who stands on which side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// Spark's client at Spark's own service: the control.
    Spark,
    /// Spark's client at our server.
    Server,
    /// Our client at Spark's own service.
    Client,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spark => "Spark with Spark",
            Self::Server => "our server",
            Self::Client => "our client",
        })
    }
}

/// What came of a mode: in each role.
#[derive(Clone, Debug)]
pub struct Row {
    /// The mode.
    pub mode: Mode,
    /// In the order of [`Role`].
    pub verdicts: [(Role, Verdict); 3],
}

impl Row {
    fn of(peer: &Arc<Peer>, mode: Mode, abilities: Abilities) -> Self {
        let loses = mode.is_gcm() && abilities.gcm == Gcm::Broken;
        let verdicts =
            [Role::Spark, Role::Server, Role::Client].map(|role| (role, verdict(role, peer, mode, loses)));
        Self { mode, verdicts }
    }

    /// What came of it in one role.
    pub fn verdict(&self, role: Role) -> &Verdict {
        let [spark, server, client] = &self.verdicts;
        match role {
            Role::Spark => &spark.1,
            Role::Server => &server.1,
            Role::Client => &client.1,
        }
    }

    /// A text for each cell in which something went otherwise.
    pub fn failures(&self) -> impl Iterator<Item = String> {
        self.verdicts.iter().filter_map(|(role, verdict)| match verdict {
            Verdict::Failed(text) => Some(format!("{}, {role}: {text}", self.mode)),
            _ => None,
        })
    }
}

/// Goes through every mode that the Spark of `peer` has, and whose name holds `part`; `tell` hears of each row as it is
/// there.
pub fn rows_of(
    peer: &Arc<Peer>,
    version: &'static str,
    abilities: Abilities,
    part: &str,
    mut tell: impl FnMut(&Row),
) -> Vec<Row> {
    let modes = cells(version, abilities).into_iter().filter(|mode| mode.to_string().contains(part));
    modes
        .map(|mode| {
            let row = Row::of(peer, mode, abilities);
            tell(&row);
            row
        })
        .collect()
}

/// Goes through one cell. `loses` says that the AES-GCM of this Spark loses messages.
fn verdict(role: Role, peer: &Arc<Peer>, mode: Mode, loses: bool) -> Verdict {
    let service = match role {
        Role::Server => Service::Ours,
        Role::Spark | Role::Client => Service::Spark,
    };
    if service == Service::Spark && !mode.spark_serves() {
        return Verdict::Impossible;
    }
    let start = |more: &[_]| Fixture::start_on(Arc::clone(peer), service, mode, more);
    Verdict::of(|| match (role, loses) {
        (Role::Spark | Role::Server, false) => {
            case::serves_sparks_client(&start(&[]));
            Verdict::Passed
        }
        (Role::Client, false) => {
            case::serves_our_client(&start(&[]));
            Verdict::Passed
        }
        (Role::Spark, true) => {
            broken_gcm::loses_the_second_message(&start(&[]));
            Verdict::Impossible
        }
        (Role::Server, true) => {
            // As by default, both ends have the same deadline.
            broken_gcm::is_refused_by_name(&start(&[broken_gcm::DEADLINE]));
            Verdict::Refused
        }
        (Role::Client, true) => {
            broken_gcm::is_explained(&start(&[]));
            Verdict::Refused
        }
    })
}
