//! What [`CatalogRegistry`](drover_ports::CatalogRegistry) promises.

use drover_domain::Key;
use drover_domain::fleet::{ApplicationKind, CatalogEntry, CatalogSettings, SettingsLayer};
use drover_domain::page::Sort;
use drover_ports::{CatalogColumn, CatalogFilter, Release, StoreError};

use super::{ALL, two_after};
use crate::store::World;
use crate::store::fixtures::{HOSTILE, at, fleet};

fn settings(name: &str) -> CatalogSettings {
    CatalogSettings {
        name: name.to_owned(),
        own: SettingsLayer::default(),
    }
}

async fn add(world: &World, kind: ApplicationKind, name: &str) -> CatalogEntry {
    let entry = settings(name);
    world.catalog().add(kind, &entry, at(0)).await.unwrap()
}

async fn names(world: &World, filter: CatalogFilter) -> Vec<String> {
    let page = world.catalog().list(&filter, ALL).await.unwrap();
    page.items.into_iter().map(|entry| entry.name).collect()
}

contract! { $ catalog_registry => catalog_registry_contract for World;
    /// An entry that was added is found as it was given; a name is taken among those of its kind.
    async fn an_added_entry_is_found(world) {
        let given = CatalogSettings {
            own: SettingsLayer {
                playbook_path: Some(HOSTILE.to_owned()),
                artifact_url: Some("http://own".to_owned()),
                artifact_extension: Some("war".to_owned()),
            },
            ..settings("jurws")
        };
        let added = world.catalog().add(ApplicationKind::Site, &given, at(1)).await.unwrap();
        assert_eq!((added.chosen(), added.kind), (given.clone(), ApplicationKind::Site));
        assert_eq!((added.applications, added.groups), (0, 0));
        assert_eq!(world.catalog().find(added.key).await.unwrap(), Some(added));
        assert_eq!(world.catalog().find(Key::new(404)).await.unwrap(), None);
        let refusal = world.catalog().add(ApplicationKind::Site, &given, at(2)).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::AlreadyExists { name, .. } if name == "jurws"), "{refusal:?}");
        add(world, ApplicationKind::Docker, "jurws").await;
        assert_eq!(names(world, CatalogFilter::default()).await, ["jurws", "jurws"]);
    }

    /// What people say about an entry is changed if it is still as they knew it; what belongs to it stays.
    async fn an_entry_is_changed_if_it_is_as_it_was_known(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let key = world.fleet().application(keys[0]).await.unwrap().unwrap().catalog.unwrap();
        let before = world.catalog().find(key).await.unwrap().unwrap();
        assert_eq!((before.applications, before.groups), (1, 1));
        add(world, before.kind, "taken").await;
        let known = before.chosen();
        let wanted = settings("renamed");
        let changed = world.catalog().change(key, &known, &wanted).await.unwrap();
        assert_eq!(changed, Some(CatalogEntry { name: "renamed".to_owned(), ..before }));
        assert_eq!(world.catalog().find(key).await.unwrap(), changed);
        assert_eq!(world.catalog().change(key, &known, &known).await.unwrap(), None, "somebody else did");
        let refusal = world.catalog().change(key, &wanted, &settings("taken")).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::AlreadyExists { name, .. } if name == "taken"), "{refusal:?}");
        assert_eq!(world.catalog().change(Key::new(404), &wanted, &wanted).await.unwrap(), None);
        assert_eq!(world.catalog().find(key).await.unwrap(), changed);
    }

    /// An entry that something belongs to stays.
    async fn an_entry_in_use_stays(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let key = world.fleet().application(keys[0]).await.unwrap().unwrap().catalog.unwrap();
        let used = world.catalog().remove(key, &settings("jurws")).await.unwrap();
        assert_eq!(used, Release::InUse { applications: 1, groups: 1 });
        assert!(world.catalog().find(key).await.unwrap().is_some());
        let entry = add(world, ApplicationKind::Docker, "free").await;
        let remove = async |name: &str| world.catalog().remove(entry.key, &settings(name)).await.unwrap();
        assert_eq!(remove("other").await, Release::Changed, "it is not as it was known");
        assert_eq!(remove("free").await, Release::Done);
        assert_eq!(remove("free").await, Release::Changed);
    }

    /// Entries are listed by key or by name, narrowed by conditions.
    async fn entries_are_listed_in_the_order_asked_for(world) {
        let kinds = [ApplicationKind::Site, ApplicationKind::Docker, ApplicationKind::Site];
        for (name, kind) in ["beta", "Gamma", "alpha"].into_iter().zip(kinds) {
            add(world, kind, name).await;
        }
        let any = CatalogFilter::default;
        let by_name = |is_descending| Sort { by: CatalogColumn::Name, is_descending };
        assert_eq!(names(world, any()).await, ["beta", "Gamma", "alpha"]);
        assert_eq!(names(world, CatalogFilter { sort: by_name(false), ..any() }).await, ["Gamma", "alpha", "beta"]);
        assert_eq!(names(world, CatalogFilter { sort: by_name(true), ..any() }).await, ["beta", "alpha", "Gamma"]);
        assert_eq!(names(world, CatalogFilter { like: Some("GA".to_owned()), ..any() }).await, ["Gamma"]);
        assert_eq!(names(world, CatalogFilter { kind: Some(ApplicationKind::Site), ..any() }).await, ["beta", "alpha"]);

        let filter = CatalogFilter { sort: by_name(false), ..any() };
        let first = world.catalog().list(&filter, two_after(None)).await.unwrap();
        let rest = world.catalog().list(&filter, two_after(first.next)).await.unwrap();
        assert_eq!((first.items.len(), rest.items.len(), rest.next), (2, 1, None));
        let last = &first.items[1];
        world.catalog().remove(last.key, &last.chosen()).await.unwrap();
        let gone = world.catalog().list(&filter, two_after(first.next)).await.unwrap_err();
        assert!(matches!(gone, StoreError::PositionGone), "{gone:?}");
    }
}
