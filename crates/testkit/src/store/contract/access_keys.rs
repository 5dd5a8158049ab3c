//! What [`AccessKeys`](drover_ports::AccessKeys) promises.

use drover_domain::access::{KeyDigest, Role};

use crate::store::fixtures::api_key;

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
        world.keys().put(&api_key("1111111111111111", Role::Viewer)).await.unwrap();
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

    /// A key that is put replaces the one with the same public half.
    async fn a_key_that_is_put_replaces_the_old_one(world) {
        let old = api_key("1111111111111111", Role::Viewer);
        let mut new = api_key("1111111111111111", Role::Admin);
        new.digest = KeyDigest::from_bytes([9; 32]);
        "renamed".clone_into(&mut new.name);
        world.keys().put(&old).await.unwrap();
        world.keys().put(&new).await.unwrap();
        assert_eq!(world.keys().find("1111111111111111").await.unwrap(), Some(new));
    }
}
