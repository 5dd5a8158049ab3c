//! Saying what holds for applications.

use drover_domain::fleet::{Application, ApplicationSettings, SettingsLayer};
use drover_usecases::Settled;

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

    // Somebody who saw it before changes nothing.
    let other = with_playbook(&known, "other.yml");
    let late = settings
        .change_application(&known, &other, &origin())
        .await
        .unwrap();
    assert_eq!(late, Settled::Changed);
    assert_eq!(first(&harness).await.chosen(), wanted);
}
