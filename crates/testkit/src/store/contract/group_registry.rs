//! What [`GroupRegistry`](drover_ports::GroupRegistry) promises.

use drover_domain::Key;
use drover_domain::fleet::{
    ApplicationKind, ApplicationSettings, CatalogSettings, Group, GroupSettings, SettingsLayer,
};
use drover_domain::page::Sort;
use drover_ports::{GroupColumn, GroupFilter, Release, Settled, StoreError};

use super::{ALL, two_after};
use crate::store::World;
use crate::store::fixtures::{HOSTILE, at, fleet};

fn settings(name: &str) -> GroupSettings {
    GroupSettings {
        name: name.to_owned(),
        catalog: None,
        grouping: "by_group".to_owned(),
        own: SettingsLayer::default(),
    }
}

async fn add(world: &World, name: &str) -> Group {
    let added = world.groups().add(&settings(name), at(0)).await.unwrap();
    added.unwrap().0
}

async fn names(world: &World, filter: GroupFilter) -> Vec<String> {
    let page = world.fleet().groups(&filter, ALL).await.unwrap();
    page.items
        .into_iter()
        .map(|(group, _)| group.name)
        .collect()
}

contract! { $ group_registry => group_registry_contract for World;
    /// A group that was added is found as it was given, without applications.
    async fn an_added_group_is_found(world) {
        let entry = CatalogSettings { name: "jurws".to_owned(), own: SettingsLayer::default() };
        let entry = world.catalog().add(ApplicationKind::Site, &entry, at(0)).await.unwrap();
        let given = GroupSettings {
            catalog: Some(entry.key),
            grouping: "no_grouping".to_owned(),
            own: SettingsLayer {
                playbook_path: Some(HOSTILE.to_owned()),
                artifact_url: Some("http://own".to_owned()),
                artifact_extension: Some("war".to_owned()),
            },
            ..settings("mine")
        };
        let (added, catalog) = world.groups().add(&given, at(1)).await.unwrap().unwrap();
        assert_eq!((added.chosen(), catalog.as_deref()), (given.clone(), Some("jurws")));
        assert_eq!((added.applications, added.online), (0, 0));
        let found = world.groups().find(added.key).await.unwrap();
        assert_eq!(found, Some((added.clone(), catalog)));
        assert_eq!(world.fleet().groups(&GroupFilter::default(), ALL).await.unwrap().items, [found.unwrap()]);

        let absent = GroupSettings { catalog: Some(Key::new(404)), ..settings("other") };
        assert_eq!(world.groups().add(&absent, at(2)).await.unwrap(), None);
        let refusal = world.groups().add(&settings("mine"), at(3)).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::AlreadyExists { name, .. } if name == "mine"), "{refusal:?}");
        assert_eq!(names(world, GroupFilter::default()).await, ["mine"]);
        assert_eq!(world.groups().find(Key::new(404)).await.unwrap(), None);
    }

    /// Of several that add one name at once, one does.
    async fn one_name_is_added_once_however_many_try(world) {
        let group = settings("mine");
        let add = || world.groups().add(&group, at(0));
        let (a, b, c, d) = tokio::join!(add(), add(), add(), add());
        let added = [&a, &b, &c, &d].into_iter().filter(|result| result.is_ok()).count();
        assert_eq!(added, 1, "{a:?} {b:?} {c:?} {d:?}");
    }

    /// What people say about a group is changed if it is still as they knew it; its applications stay in it.
    async fn a_group_is_changed_if_it_is_as_it_was_known(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        add(world, "taken").await;
        let (key, _) = world.fleet().application(keys[0]).await.unwrap().unwrap().group.unwrap();
        let (before, catalog) = world.groups().find(key).await.unwrap().unwrap();
        assert_eq!((before.applications, before.online, catalog.as_deref()), (1, 1, Some("jurws")));
        let known = before.chosen();
        let wanted = GroupSettings { grouping: "by_server".to_owned(), ..settings("renamed") };
        let changed = world.groups().change(key, &known, &wanted).await.unwrap();
        let after = world.groups().find(key).await.unwrap().unwrap();
        assert_eq!(changed, Settled::Done(after.clone()));
        assert_eq!((after.0.chosen(), after.0.applications, after.1.as_deref()), (wanted.clone(), 1, None));
        let application = world.fleet().application(keys[0]).await.unwrap().unwrap();
        assert_eq!(application.group, Some((key, "renamed".to_owned())));

        let late = world.groups().change(key, &known, &known).await.unwrap();
        assert_eq!(late, Settled::Changed, "somebody else did");
        let refusal = world.groups().change(key, &wanted, &settings("taken")).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::AlreadyExists { name, .. } if name == "taken"), "{refusal:?}");
        let absent = GroupSettings { catalog: Some(Key::new(404)), ..wanted.clone() };
        assert_eq!(world.groups().change(key, &wanted, &absent).await.unwrap(), Settled::NoOwner);
        assert_eq!(world.groups().change(Key::new(404), &wanted, &wanted).await.unwrap(), Settled::Changed);
        assert_eq!(world.groups().find(key).await.unwrap(), Some(after));
    }

    /// A group with applications stays.
    async fn a_group_with_applications_stays(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let application = world.fleet().application(keys[0]).await.unwrap().unwrap();
        let (key, _) = application.group.clone().unwrap();
        let known = world.groups().find(key).await.unwrap().unwrap().0.chosen();
        let remove = async |known: &GroupSettings| world.groups().remove(key, known).await.unwrap();
        assert_eq!(remove(&known).await, Release::InUse { applications: 1, groups: 0 });
        let alone = ApplicationSettings::default();
        world.applications().change(keys[0], &application.chosen(), &alone).await.unwrap();
        assert_eq!(remove(&settings("jurws")).await, Release::Changed, "it is not as it was known");
        assert_eq!(remove(&known).await, Release::Done);
        assert_eq!(remove(&known).await, Release::Changed);
        assert_eq!(world.groups().find(key).await.unwrap(), None);
    }

    /// Groups are listed by key or by name, narrowed by conditions.
    async fn groups_are_listed_in_the_order_asked_for(world) {
        fleet(world, "app01", &["beta_1"]).await;
        for name in ["Gamma", "alpha"] {
            add(world, name).await;
        }
        let any = GroupFilter::default;
        let by_name = |is_descending| Sort { by: GroupColumn::Name, is_descending };
        assert_eq!(names(world, any()).await, ["beta", "Gamma", "alpha"]);
        assert_eq!(names(world, GroupFilter { sort: by_name(false), ..any() }).await, ["Gamma", "alpha", "beta"]);
        assert_eq!(names(world, GroupFilter { sort: by_name(true), ..any() }).await, ["beta", "alpha", "Gamma"]);
        assert_eq!(names(world, GroupFilter { like: Some("GA".to_owned()), ..any() }).await, ["Gamma"]);
        assert_eq!(names(world, GroupFilter { like: Some("%".to_owned()), ..any() }).await, [""; 0]);
        assert_eq!(names(world, GroupFilter { catalog: Some("beta".to_owned()), ..any() }).await, ["beta"]);
        assert_eq!(names(world, GroupFilter { catalog: Some("alpha".to_owned()), ..any() }).await, [""; 0]);

        let filter = GroupFilter { sort: by_name(false), ..any() };
        let first = world.fleet().groups(&filter, two_after(None)).await.unwrap();
        let rest = world.fleet().groups(&filter, two_after(first.next)).await.unwrap();
        assert_eq!((first.items.len(), rest.items.len(), rest.next), (2, 1, None));
        assert_eq!(rest.items[0].0.name, "beta");
        let (last, _) = &first.items[1];
        world.groups().remove(last.key, &last.chosen()).await.unwrap();
        let gone = world.fleet().groups(&filter, two_after(first.next)).await.unwrap_err();
        assert!(matches!(gone, StoreError::PositionGone), "{gone:?}");
    }
}
