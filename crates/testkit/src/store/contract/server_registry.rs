//! What [`ServerRegistry`](drover_ports::ServerRegistry) promises.

use drover_domain::Key;
use drover_domain::fleet::{NewServer, Server, ServerStatus};
use drover_domain::page::PageRequest;
use drover_ports::StoreError;

use super::{ALL, two_after};
use crate::store::fixtures::{at, balancer, new_server};

contract! { $ server_registry => server_registry_contract for crate::store::World;
    /// A server that was added is found as it was given, and nobody has polled it yet.
    async fn an_added_server_is_found_and_not_polled_yet(world) {
        let new = NewServer::new("lb01.example", "fe80::1", 65535, true).unwrap();
        let added = world.servers().add(&new, at(3)).await.unwrap();
        assert_eq!((added.name.as_str(), added.address.as_str(), added.port), ("lb01.example", "fe80::1", 65535));
        assert_eq!((added.status, added.is_haproxy_node, added.failures), (ServerStatus::Unknown, true, 0));
        assert_eq!((added.last_check, added.inventory_at, &added.last_error, added.suspect), (None, None, &None, None));
        assert_eq!(added.created_at, at(3));
        assert!(added.key.get() > 0);
        assert_eq!(world.servers().find(added.key).await.unwrap(), Some(added));
    }

    /// A name that is taken is refused, and nothing changes.
    async fn a_taken_name_is_refused(world) {
        let first = world.servers().add(&new_server("web01"), at(0)).await.unwrap();
        let again = NewServer::new("web01", "10.9.9.9", 1, true).unwrap();
        let refusal = world.servers().add(&again, at(1)).await.unwrap_err();
        assert!(matches!(&refusal, StoreError::AlreadyExists { name, .. } if name == "web01"), "{refusal:?}");
        assert_eq!(world.servers().list(ALL).await.unwrap().items, [first]);
    }

    /// Of several that add one name at once, one does.
    async fn one_name_is_added_once_however_many_try(world) {
        let new = new_server("web01");
        let add = || world.servers().add(&new, at(0));
        let (a, b, c, d) = tokio::join!(add(), add(), add(), add());
        let added = [&a, &b, &c, &d].into_iter().filter(|result| result.is_ok()).count();
        assert_eq!(added, 1, "{a:?} {b:?} {c:?} {d:?}");
        assert_eq!(world.servers().list(ALL).await.unwrap().items.len(), 1);
    }

    /// A server that is not there is absent.
    async fn an_unknown_server_is_absent(world) {
        assert_eq!(world.servers().find(Key::new(404)).await.unwrap(), None);
        for is_haproxy_node in [true, false] {
            let absent = world.servers().set_haproxy_node(Key::new(404), is_haproxy_node).await.unwrap();
            assert_eq!(absent, None);
        }
    }

    /// Whether a server is an HAProxy node can be said at any time; nothing else of it changes, nor any other server.
    async fn a_server_becomes_an_haproxy_node_and_none_again(world) {
        let added = world.servers().add(&new_server("web01"), at(0)).await.unwrap();
        let other = world.servers().add(&new_server("web02"), at(0)).await.unwrap();
        for is_haproxy_node in [true, true, false, false] {
            let expected = Server { is_haproxy_node, ..added.clone() };
            let told = world.servers().set_haproxy_node(added.key, is_haproxy_node).await.unwrap();
            assert_eq!(told.as_ref(), Some(&expected));
            assert_eq!(world.servers().list(ALL).await.unwrap().items, [expected, other.clone()]);
        }
    }

    /// The instances of a server that is no node any more are not active, those of others are.
    async fn instances_end_with_their_node(world) {
        let instance = balancer(world, "lb01", &[]).await;
        let kept = balancer(world, "lb02", &[]).await;
        let node = world.balancers().load(instance).await.unwrap().unwrap().instance.server;
        world.servers().set_haproxy_node(node, false).await.unwrap();
        assert_eq!(world.balancers().active_instances(node).await.unwrap(), []);
        assert!(!world.balancers().load(instance).await.unwrap().unwrap().instance.is_active);
        assert!(world.balancers().load(kept).await.unwrap().unwrap().instance.is_active);
        // They return when the agent lists them again, not before.
        world.servers().set_haproxy_node(node, true).await.unwrap();
        assert_eq!(world.balancers().active_instances(node).await.unwrap(), []);
    }

    /// The list goes by key, page by page, to its end.
    async fn the_list_goes_by_key(world) {
        let mut added = Vec::new();
        for name in ["c", "a", "b"] {
            added.push(world.servers().add(&new_server(name), at(0)).await.unwrap());
        }
        let first = world.servers().list(two_after(None)).await.unwrap();
        assert_eq!((first.items.as_slice(), first.next), (&added[..2], Some(added[1].key.get())));
        let rest = world.servers().list(two_after(first.next)).await.unwrap();
        assert_eq!((rest.items.as_slice(), rest.next), (&added[2..], None));
    }

    /// A page never has more items than pages may have.
    async fn a_page_has_a_greatest_size(world) {
        for number in 0..=PageRequest::LIMIT_MAX {
            world.servers().add(&new_server(&format!("web{number}")), at(0)).await.unwrap();
        }
        let page = world.servers().list(PageRequest { after: None, limit: u16::MAX }).await.unwrap();
        assert_eq!(page.items.len(), usize::from(PageRequest::LIMIT_MAX));
        assert!(page.next.is_some());
    }
}
