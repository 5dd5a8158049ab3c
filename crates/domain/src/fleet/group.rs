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
    /// How its applications are grouped into tasks; the stored word.
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
    /// How its applications are grouped into tasks; the stored word.
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
}

/// Resolves an application by its name, unless it already has both a catalog entry and a group:
/// what a person assigned survives. Seed 001, "Application group service".
#[must_use]
pub fn resolve_group(
    name: &str,
    kind: ApplicationKind,
    has_catalog: bool,
    has_group: bool,
) -> Option<Resolution> {
    if has_catalog && has_group {
        return None;
    }
    let ApplicationName { base, number } = ApplicationName::parse(name);
    Some(Resolution { base, kind, number })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assigned_application_is_never_resolved_again() {
        assert_eq!(
            resolve_group("jurws_1", ApplicationKind::Site, true, true),
            None
        );
    }

    #[test]
    fn a_new_application_goes_by_its_base_name() {
        let expected = Resolution {
            base: "jurws".to_owned(),
            kind: ApplicationKind::Site,
            number: 1,
        };
        assert_eq!(
            resolve_group("jurws_1", ApplicationKind::Site, false, false),
            Some(expected.clone())
        );
        assert_eq!(
            resolve_group("jurws_1", ApplicationKind::Site, true, false),
            Some(expected)
        );
    }
}
