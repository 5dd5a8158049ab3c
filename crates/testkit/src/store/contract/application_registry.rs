//! What [`ApplicationRegistry`](drover_ports::ApplicationRegistry) promises.

use drover_domain::Key;
use drover_domain::fleet::{Application, ApplicationSettings, SettingsLayer};
use drover_ports::Settled;

use crate::store::fixtures::{HOSTILE, at, fleet, observed, poll};

fn settings(group: Option<&str>, playbook: Option<&str>) -> ApplicationSettings {
    ApplicationSettings {
        group: group.map(str::to_owned),
        own: SettingsLayer {
            playbook_path: playbook.map(str::to_owned),
            ..SettingsLayer::default()
        },
    }
}

contract! { $ application_registry => application_registry_contract for crate::store::World;
    /// What people say about an application is changed if it is still as they knew it; nothing else of it changes.
    async fn an_application_is_changed_if_it_is_as_it_was_known(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1", "other_1"]).await;
        let before = world.fleet().application(keys[0]).await.unwrap().unwrap();
        let other = world.fleet().application(keys[1]).await.unwrap().unwrap();
        let known = before.chosen();
        assert_eq!(known, settings(Some("jurws"), None));
        let wanted = ApplicationSettings {
            group: Some("other".to_owned()),
            own: SettingsLayer {
                playbook_path: Some(HOSTILE.to_owned()),
                artifact_url: Some("http://own".to_owned()),
                artifact_extension: Some("war".to_owned()),
            },
        };
        let changed = world.applications().change(keys[0], &known, &wanted).await.unwrap();
        let after = world.fleet().application(keys[0]).await.unwrap().unwrap();
        assert_eq!(changed, Settled::Done(after.clone()));
        let group = other.group.clone();
        assert_eq!(after, Application { group, settings: wanted.own.clone(), ..before });
        assert_eq!(world.fleet().application(keys[1]).await.unwrap(), Some(other));

        let again = world.applications().change(keys[0], &known, &known).await.unwrap();
        assert_eq!(again, Settled::Changed, "somebody else did");
        assert_eq!(world.fleet().application(keys[0]).await.unwrap(), Some(after));
        let absent = world.applications().change(Key::new(404), &known, &wanted).await.unwrap();
        assert_eq!(absent, Settled::Changed);
    }

    /// An application cannot be put into a group that is not there.
    async fn an_application_needs_its_group(world) {
        let (_, keys) = fleet(world, "app01", &["jurws_1"]).await;
        let before = world.fleet().application(keys[0]).await.unwrap();
        let wanted = settings(Some("nobody"), Some("own.yml"));
        let known = settings(Some("jurws"), None);
        let refused = world.applications().change(keys[0], &known, &wanted).await.unwrap();
        assert_eq!(refused, Settled::NoOwner);
        assert_eq!(world.fleet().application(keys[0]).await.unwrap(), before);
    }

    /// What people said survives polls; an application without a group is put into that of its name.
    async fn what_people_said_survives_polls(world) {
        let (server, keys) = fleet(world, "app01", &["jurws_1", "other_1"]).await;
        let listed = |version| [observed("jurws_1", Some(version)), observed("other_1", Some("1.0"))];
        let known = settings(Some("jurws"), None);
        let wanted = settings(Some("other"), Some("own.yml"));
        world.applications().change(keys[0], &known, &wanted).await.unwrap();
        for (second, version) in [(2, "1.0"), (3, "2.0")] {
            poll(world, server.key, &listed(version), at(second)).await;
            let found = world.fleet().application(keys[0]).await.unwrap().unwrap();
            assert_eq!((found.chosen(), found.number), (wanted.clone(), 1));
        }
        let alone = settings(None, None);
        let changed = world.applications().change(keys[0], &wanted, &alone).await.unwrap();
        assert!(matches!(&changed, Settled::Done(found) if found.chosen() == alone), "{changed:?}");
        poll(world, server.key, &listed("2.0"), at(4)).await;
        let found = world.fleet().application(keys[0]).await.unwrap().unwrap();
        assert_eq!((found.chosen(), found.number), (known, 1));
    }
}
