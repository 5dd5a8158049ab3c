//! Saying what holds for applications, groups and catalog entries.

use drover_domain::fleet::{
    Application, ApplicationKind, ApplicationSettings, CatalogSettings, GroupSettings,
    SettingsLayer,
};
use drover_usecases::{Release, Settled};

use crate::harness::{Harness, origin};

async fn first(harness: &Harness) -> Application {
    let keys = harness.applications().await;
    let found = harness.service.fleet.application(keys[0]).await.unwrap();
    found.unwrap().application
}

fn with_playbook(known: &Application, playbook: &str) -> ApplicationSettings {
    ApplicationSettings {
        own: SettingsLayer {
            playbook_path: Some(playbook.to_owned()),
            ..SettingsLayer::default()
        },
        ..known.chosen()
    }
}

#[tokio::test]
async fn the_playbook_of_an_application_holds_for_it() {
    let harness = Harness::with_fleet(2).await;
    let known = first(&harness).await;
    let settings = &harness.service.settings;
    let wanted = with_playbook(&known, "own.yml");
    let changed = settings
        .change_application(&known, &wanted, &origin())
        .await
        .unwrap();
    assert!(
        matches!(&changed, Settled::Done(found) if found.chosen() == wanted),
        "{changed:?}"
    );
    let fleet = &harness.service.fleet;
    let detail = fleet.application(known.key).await.unwrap().unwrap();
    assert_eq!(detail.playbook_path, "own.yml");

    // A change by a caller that read an earlier state has no effect.
    let other = with_playbook(&known, "other.yml");
    let late = settings
        .change_application(&known, &other, &origin())
        .await
        .unwrap();
    assert_eq!(late, Settled::Changed);
    assert_eq!(first(&harness).await.chosen(), wanted);
}

#[tokio::test]
async fn a_group_is_added_changed_and_removed_as_it_was_known() {
    let harness = Harness::with_fleet(1).await;
    let settings = &harness.service.settings;
    let wanted = GroupSettings {
        name: "nightly".to_owned(),
        catalog: None,
        grouping: "by_server".to_owned(),
        own: SettingsLayer::default(),
    };
    let added = settings.add_group(&wanted, &origin()).await.unwrap();
    let (group, _) = added.unwrap();
    let renamed = GroupSettings {
        name: "daily".to_owned(),
        ..wanted
    };
    let changed = settings.change_group(&group, &renamed, &origin()).await;
    let Settled::Done((changed, _)) = changed.unwrap() else {
        panic!("it is as it was known");
    };
    assert_eq!(changed.chosen(), renamed);
    let remove = async |known| settings.remove_group(known, &origin()).await.unwrap();
    assert_eq!(remove(&group).await, Release::Changed);
    assert_eq!(remove(&changed).await, Release::Done);
}

#[tokio::test]
async fn a_catalog_entry_is_added_changed_and_removed_as_it_was_known() {
    let harness = Harness::with_fleet(1).await;
    let settings = &harness.service.settings;
    let wanted = CatalogSettings {
        name: "jurws".to_owned(),
        own: SettingsLayer::default(),
    };
    let kind = ApplicationKind::Site;
    let entry = settings.add_entry(kind, &wanted, &origin()).await.unwrap();
    let renamed = CatalogSettings {
        name: "other".to_owned(),
        ..wanted
    };
    let changed = settings.change_entry(&entry, &renamed, &origin()).await;
    let changed = changed.unwrap().unwrap();
    let late = settings.change_entry(&entry, &renamed, &origin()).await;
    assert_eq!(late.unwrap(), None);
    let remove = async |known| settings.remove_entry(known, &origin()).await.unwrap();
    assert_eq!(remove(&entry).await, Release::Changed);
    assert_eq!(remove(&changed).await, Release::Done);
}
