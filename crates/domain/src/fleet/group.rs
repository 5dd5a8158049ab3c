//! Groups and catalog entries, and how an application finds its own.

use crate::Key;

use super::{ApplicationKind, ApplicationName, SettingsLayer};

/// Marks group keys.
#[derive(Debug)]
pub enum GroupKind {}
/// The key of a group.
pub type GroupKey = Key<GroupKind>;

/// Marks catalog keys.
#[derive(Debug)]
pub enum CatalogKind {}
/// The key of a catalog entry.
pub type CatalogKey = Key<CatalogKind>;

/// A group of applications that are updated together; it spans servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its key.
    pub key: GroupKey,
    /// Its name; unique.
    pub name: String,
    /// The catalog entry it belongs to.
    pub catalog: Option<CatalogKey>,
    /// Its settings.
    pub settings: SettingsLayer,
    /// How its applications are grouped into rollouts; the stored word.
    pub grouping: String,
    /// How many applications it has.
    pub applications: u32,
    /// How many of them are online.
    pub online: u32,
}

/// What people say about a group. What belongs to it is found out, and said with the applications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSettings {
    /// Its name; unique.
    pub name: String,
    /// The catalog entry it belongs to.
    pub catalog: Option<CatalogKey>,
    /// How its applications are grouped into rollouts; the stored word.
    pub grouping: String,
    /// Its settings: they come after those of its applications and before those of their catalog entries.
    pub own: SettingsLayer,
}

impl Group {
    /// What people say about it.
    #[must_use]
    pub fn chosen(&self) -> GroupSettings {
        GroupSettings {
            name: self.name.clone(),
            catalog: self.catalog,
            grouping: self.grouping.clone(),
            own: self.settings.clone(),
        }
    }
}

/// What is known of all applications of one base name and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogEntry {
    /// Its key.
    pub key: CatalogKey,
    /// Its name; unique among those of its kind.
    pub name: String,
    /// Of which kind its applications are.
    pub kind: ApplicationKind,
    /// Its settings.
    pub settings: SettingsLayer,
    /// How many applications it has.
    pub applications: u32,
    /// How many groups belong to it.
    pub groups: u32,
}

/// What people say about a catalog entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CatalogSettings {
    /// Its name; unique among those of its kind.
    pub name: String,
    /// Its settings: they come after those of applications and groups.
    pub own: SettingsLayer,
}

impl CatalogEntry {
    /// What people say about it.
    #[must_use]
    pub fn chosen(&self) -> CatalogSettings {
        CatalogSettings {
            name: self.name.clone(),
            own: self.settings.clone(),
        }
    }
}

/// Where an application belongs: the catalog entry and the group are found by `base`, or made.
///
/// The catalog entry is keyed by name and kind together, so a site and a container of one name
/// do not share an entry (in the original the first kind won).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// The name of the catalog entry and of the group.
    pub base: String,
    /// The kind of the catalog entry.
    pub kind: ApplicationKind,
    /// The instance number.
    pub number: u32,
    /// Whether a catalog entry and a group are made where there are none.
    pub make: bool,
    /// How it gets into a group that is there.
    pub entry: GroupEntry,
}

/// How an application on a server that has none in a group yet gets into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum GroupEntry {
    /// It joins.
    #[default]
    Join,
    /// It is proposed, and a person accepts it by assigning the group.
    Propose,
}

impl GroupEntry {
    /// The word used in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Propose => "propose",
        }
    }

    /// The entry with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Join, Self::Propose]
            .into_iter()
            .find(|entry| entry.as_str() == word)
    }
}

/// Resolves an application by its name, unless it already has a catalog entry, and a group or a proposal:
/// what a person assigned survives. Seed 001, "Application group service".
#[must_use]
pub fn resolve_group(
    name: &str,
    kind: ApplicationKind,
    has_catalog: bool,
    has_group: bool,
    make: bool,
    entry: GroupEntry,
) -> Option<Resolution> {
    if has_catalog && has_group {
        return None;
    }
    let ApplicationName { base, number } = ApplicationName::parse(name);
    Some(Resolution {
        base,
        kind,
        number,
        make,
        entry,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(name: &str, has_catalog: bool, has_group: bool) -> Option<Resolution> {
        let entry = GroupEntry::Propose;
        resolve_group(
            name,
            ApplicationKind::Site,
            has_catalog,
            has_group,
            true,
            entry,
        )
    }

    #[test]
    fn an_assigned_application_is_never_resolved_again() {
        assert_eq!(resolve("jurws_1", true, true), None);
    }

    #[test]
    fn a_new_application_goes_by_its_base_name() {
        let expected = Resolution {
            base: "jurws".to_owned(),
            kind: ApplicationKind::Site,
            number: 1,
            make: true,
            entry: GroupEntry::Propose,
        };
        assert_eq!(resolve("jurws_1", false, false), Some(expected.clone()));
        assert_eq!(resolve("jurws_1", true, false), Some(expected));
    }
}
