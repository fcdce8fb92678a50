//! What goes wrong now. Each trouble is said when it comes, and when it goes.

use std::collections::BTreeMap;

use tracing::{info, warn};

/// Troubles by what they are about.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<String, String>);

impl Troubles {
    /// `about` is in this trouble.
    pub(super) fn is(&mut self, about: &str, trouble: String) {
        if self.0.get(about) != Some(&trouble) {
            warn!("{about}: {trouble}");
            self.0.insert(about.to_owned(), trouble);
        }
    }

    /// `about` is in none.
    pub(super) fn is_well(&mut self, about: &str) {
        if let Some(was) = self.0.remove(about) {
            info!("no longer: {about}: {was}");
        }
    }

    /// All of a kind but these are in none.
    pub(super) fn keep(&mut self, kind: &str, abouts: &[String]) {
        let gone = |about: &&String| about.starts_with(kind) && !abouts.contains(about);
        let gone: Vec<String> = self.0.keys().filter(gone).cloned().collect();
        gone.iter().for_each(|about| self.is_well(about));
    }

    /// One of them.
    pub(super) fn first(&self) -> Option<String> {
        self.0.iter().next().map(|(about, trouble)| format!("{about}: {trouble}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_stays_until_its_subject_is_well() {
        let mut troubles = Troubles::default();
        troubles.is("the server", "it does not answer".to_owned());
        troubles.is("asking a", "forbidden".to_owned());
        troubles.is("asking b", "forbidden".to_owned());
        troubles.keep("asking ", &["asking b".to_owned()]);
        assert_eq!(troubles.first().as_deref(), Some("asking b: forbidden"));
        troubles.is_well("asking b");
        assert_eq!(troubles.first().as_deref(), Some("the server: it does not answer"));
        troubles.is_well("the server");
        assert_eq!(troubles.first(), None);
    }
}
