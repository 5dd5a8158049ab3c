//! What [`AccessKeys`](drover_ports::AccessKeys) promises.

use drover_domain::access::{KeyDigest, KeyOrigin, Role};
use drover_ports::StoreError;

use crate::store::fixtures::{api_key, at};

contract! { $ access_keys => access_keys_contract for crate::store::World;
    /// The first key is stored and read equal.
    async fn the_first_key_is_read_equal(world) {
        let key = api_key("0123456789abcdef", Role::Admin);
        assert!(world.keys().insert_first(&key).await.unwrap());
        assert_eq!(world.keys().find("0123456789abcdef").await.unwrap(), Some(key));
        assert_eq!(world.keys().find("0000000000000000").await.unwrap(), None);
    }

    /// Where there is a key of any kind, no first key is stored.
    async fn there_is_one_first_key(world) {
        world.keys().insert(&api_key("1111111111111111", Role::Viewer)).await.unwrap();
        assert!(!world.keys().insert_first(&api_key("2222222222222222", Role::Admin)).await.unwrap());
        assert_eq!(world.keys().find("2222222222222222").await.unwrap(), None);
    }

    /// Of several nodes that start at once, one stores its first key.
    async fn one_of_many_stores_the_first_key(world) {
        let keys: Vec<_> = (0..4).map(|number| api_key(&format!("{number:016x}"), Role::Admin)).collect();
        // So that each has a connection of its own when it matters.
        let asked = |key| world.keys().find(key);
        let (a, b, c, d) = tokio::join!(asked("a"), asked("b"), asked("c"), asked("d"));
        a.and(b).and(c).and(d).unwrap();
        let (a, b, c, d) = tokio::join!(
            world.keys().insert_first(&keys[0]),
            world.keys().insert_first(&keys[1]),
            world.keys().insert_first(&keys[2]),
            world.keys().insert_first(&keys[3]),
        );
        let stored = [a.unwrap(), b.unwrap(), c.unwrap(), d.unwrap()];
        assert_eq!(stored.iter().filter(|stored| **stored).count(), 1);
        for (key, stored) in keys.iter().zip(stored) {
            assert_eq!(world.keys().find(&key.public_id).await.unwrap().is_some(), stored);
        }
    }

    /// A key is stored and read equal, with its end and its origin, and listed; oldest first.
    async fn inserted_keys_are_listed(world) {
        let mut old = api_key("2222222222222222", Role::Operator);
        old.expires_at = Some(at(90));
        let mut new = api_key("1111111111111111", Role::Viewer);
        (new.created_at, new.created_by) = (at(1), None);
        world.keys().insert(&new).await.unwrap();
        world.keys().insert(&old).await.unwrap();
        assert_eq!(world.keys().find("2222222222222222").await.unwrap(), Some(old.clone()));
        assert_eq!(world.keys().list().await.unwrap(), [old, new]);
    }

    /// Two keys have neither one name nor one public half.
    async fn names_of_keys_are_unique(world) {
        let first = api_key("1111111111111111", Role::Viewer);
        world.keys().insert(&first).await.unwrap();
        let mut same_name = api_key("2222222222222222", Role::Admin);
        same_name.name.clone_from(&first.name);
        let mut same_id = api_key("1111111111111111", Role::Admin);
        "another".clone_into(&mut same_id.name);
        for second in [same_name, same_id] {
            let refusal = world.keys().insert(&second).await.unwrap_err();
            assert!(matches!(refusal, StoreError::AlreadyExists { .. }), "{refusal:?}");
        }
        assert_eq!(world.keys().list().await.unwrap(), [first]);
    }

    /// A removed key is gone at once, and its name is free.
    async fn a_removed_key_is_gone(world) {
        let key = api_key("1111111111111111", Role::Viewer);
        world.keys().insert(&key).await.unwrap();
        assert_eq!(world.keys().remove("2222222222222222").await.unwrap(), None);
        assert_eq!(world.keys().remove("1111111111111111").await.unwrap(), Some(key.clone()));
        assert_eq!(world.keys().find("1111111111111111").await.unwrap(), None);
        assert_eq!(world.keys().remove("1111111111111111").await.unwrap(), None);
        world.keys().insert(&key).await.unwrap();
    }

    /// The last administrator's key without an end stays; one with an end does not replace it.
    async fn the_last_administrator_stays(world) {
        let admin = api_key("1111111111111111", Role::Admin);
        let mut passing = api_key("2222222222222222", Role::Admin);
        passing.expires_at = Some(at(1_000_000));
        for key in [&admin, &passing, &api_key("3333333333333333", Role::Operator)] {
            world.keys().insert(key).await.unwrap();
        }
        let refusal = world.keys().remove("1111111111111111").await.unwrap_err();
        let StoreError::Refused { reason } = &refusal else { panic!("{refusal:?}") };
        assert!(reason.contains("the last one with the role admin"), "{reason}");
        assert_eq!(world.keys().list().await.unwrap().len(), 3);
        world.keys().insert(&api_key("4444444444444444", Role::Admin)).await.unwrap();
        world.keys().remove("1111111111111111").await.unwrap();
        world.keys().remove("2222222222222222").await.unwrap();
        world.keys().remove("4444444444444444").await.unwrap_err();
    }

    /// Of two administrators that revoke each other at once, one stays.
    async fn one_of_two_administrators_stays(world) {
        for id in ["1111111111111111", "2222222222222222"] {
            world.keys().insert(&api_key(id, Role::Admin)).await.unwrap();
        }
        let (a, b) = tokio::join!(
            world.keys().remove("1111111111111111"),
            world.keys().remove("2222222222222222"),
        );
        assert_eq!(usize::from(a.is_ok()) + usize::from(b.is_ok()), 1, "{a:?}, {b:?}");
        assert_eq!(world.keys().list().await.unwrap().len(), 1);
    }

    /// There is one key of the settings: another one replaces it, and none removes it. It is not removed otherwise.
    async fn the_key_of_the_settings_is_the_one_in_them(world) {
        let configured = |id: &str| {
            let mut key = api_key(id, Role::Admin);
            key.origin = KeyOrigin::Configured;
            "configured admin".clone_into(&mut key.name);
            key
        };
        let (one, other) = (configured("1111111111111111"), configured("2222222222222222"));
        let issued = api_key("3333333333333333", Role::Admin);
        world.keys().insert(&issued).await.unwrap();
        assert!(!world.keys().configure(None).await.unwrap());
        assert!(world.keys().configure(Some(&one)).await.unwrap());
        let mut later = one.clone();
        later.created_at = at(9);
        assert!(!world.keys().configure(Some(&later)).await.unwrap(), "the same key");
        let refusal = world.keys().remove("1111111111111111").await.unwrap_err();
        assert!(matches!(refusal, StoreError::Refused { .. }), "{refusal:?}");
        assert!(world.keys().configure(Some(&other)).await.unwrap());
        assert_eq!(world.keys().find("1111111111111111").await.unwrap(), None);
        let mut same_id = other.clone();
        same_id.digest = KeyDigest::from_bytes([9; 32]);
        assert!(world.keys().configure(Some(&same_id)).await.unwrap(), "another secret");
        assert_eq!(world.keys().find("2222222222222222").await.unwrap(), Some(same_id));
        assert!(world.keys().configure(None).await.unwrap());
        assert_eq!(world.keys().list().await.unwrap(), [issued]);
        let mut adopted = configured("3333333333333333");
        adopted.digest = KeyDigest::from_bytes([9; 32]);
        assert!(world.keys().configure(Some(&adopted)).await.unwrap());
        assert_eq!(world.keys().list().await.unwrap(), [adopted], "an issued key that is put into the settings");
    }
}
