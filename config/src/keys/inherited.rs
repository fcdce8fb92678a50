//! Keys that stand in for others: an entry with [`Key::inherits`](crate::Key::inherits) makes one.

use std::sync::LazyLock;

use super::TABLE;
use crate::key::{AnyKey, DefaultValue, Reader};
use crate::value::Reject;

/// The key of a wider room, which counts where the narrower one is not set. It is like that in all but its name.
struct InheritedKey {
    name: &'static str,
    meaning: &'static str,
    heir: &'static dyn AnyKey,
}

/// Made once: their texts live as long as those of all other keys.
static INHERITED: LazyLock<Vec<InheritedKey>> = LazyLock::new(|| {
    let entries = TABLE.iter().copied().flatten().copied();
    entries.filter_map(|heir| Some(InheritedKey::of(heir, heir.inherits()?))).collect()
});

impl InheritedKey {
    /// `prefix` in the place of all that stands before the last dot.
    fn of(heir: &'static dyn AnyKey, prefix: &str) -> Self {
        let last = heir.name().rsplit('.').next().unwrap_or_default();
        let meaning =
            format!("What `{}` is when it is not set, here and in Spark's other uses of TLS.", heir.name());
        Self { name: format!("{prefix}.{last}").leak(), meaning: meaning.leak(), heir }
    }
}

/// All of them, in the order of their heirs.
pub(super) fn all() -> impl Iterator<Item = &'static dyn AnyKey> {
    INHERITED.iter().map(|key| key as &dyn AnyKey)
}

/// The key that stands in for this one when it is not set.
pub fn ancestor(heir: &dyn AnyKey) -> Option<&'static dyn AnyKey> {
    heir.inherits()?;
    INHERITED.iter().find(|key| key.heir.name() == heir.name()).map(|key| key as &dyn AnyKey)
}

impl AnyKey for InheritedKey {
    fn name(&self) -> &'static str {
        self.name
    }

    fn shape(&self) -> String {
        self.heir.shape()
    }

    fn default(&self) -> DefaultValue {
        self.heir.default()
    }

    fn reader(&self) -> Reader {
        self.heir.reader()
    }

    fn meaning(&self) -> &'static str {
        self.meaning
    }

    fn substitutes(&self) -> bool {
        self.heir.substitutes()
    }

    fn old_names(&self) -> &'static [&'static str] {
        &[]
    }

    fn nearest_of_spark(&self) -> Option<&'static str> {
        None
    }

    fn inherits(&self) -> Option<&'static str> {
        None
    }

    fn reloads(&self) -> bool {
        self.heir.reloads()
    }

    fn is_secret(&self) -> bool {
        self.heir.is_secret()
    }

    fn check(&self, text: &str) -> Result<(), Reject> {
        self.heir.check(text)
    }
}
