//! What [`BalancerView`](drover_ports::BalancerView) promises.

use drover_domain::Key;

use super::{ALL, two_after};
use crate::store::fixtures::{at, balancer, balancer_server, sync};

contract! { $ balancer_view => balancer_view_contract for crate::store::World;
    /// Instances go by key, page by page, inactive ones included.
    async fn instances_go_by_key(world) {
        let mut keys = Vec::new();
        for server in ["lb03", "lb01", "lb02"] {
            keys.push(balancer(world, server, &[]).await);
        }
        let known = world.balancers().load(keys[0]).await.unwrap().unwrap();
        world.balancers().discovered(known.instance.server, &[], at(5)).await.unwrap();
        let first = world.balancer_view().instances(two_after(None)).await.unwrap();
        let rest = world.balancer_view().instances(two_after(first.next)).await.unwrap();
        assert_eq!(rest.next, None);
        let all: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        assert_eq!(all.iter().map(|instance| instance.key).collect::<Vec<_>>(), keys);
        assert_eq!(all.iter().map(|instance| instance.is_active).collect::<Vec<_>>(), [false, true, true]);
    }

    /// What is not there has no list.
    async fn what_is_not_there_has_no_list(world) {
        assert_eq!(world.balancer_view().backends(Key::new(404), ALL).await.unwrap(), None);
        assert_eq!(world.balancer_view().servers(Key::new(404), ALL).await.unwrap(), None);
        let empty = balancer(world, "lb01", &[]).await;
        assert_eq!(world.balancer_view().backends(empty, ALL).await.unwrap().unwrap().items, []);
    }

    /// Backends go by key, page by page, as they are loaded; removed ones are not shown.
    async fn removed_backends_are_not_shown(world) {
        let servers = [balancer_server("a", "UP"), balancer_server("b", "DOWN"), balancer_server("c", "no check")];
        let shown: [(&str, &[_]); 4] = [("one", &servers), ("two", &[]), ("three", &[]), ("gone", &servers)];
        let instance = balancer(world, "lb01", &shown).await;
        balancer(world, "lb02", &[("foreign", &[])]).await;
        sync(world, instance, &shown[..3], at(10)).await;
        let first = world.balancer_view().backends(instance, two_after(None)).await.unwrap().unwrap();
        let rest = world.balancer_view().backends(instance, two_after(first.next)).await.unwrap().unwrap();
        assert_eq!(rest.next, None);
        let all: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        let known = world.balancers().load(instance).await.unwrap().unwrap();
        let present: Vec<_> = known.backends.into_iter().filter(|backend| backend.removed_at.is_none()).collect();
        assert_eq!(all, present);
        assert_eq!(all.len(), 3);
        let one = all.iter().find(|backend| backend.name == "one").unwrap();
        assert_eq!((one.servers, one.ready), (3, 2));
    }

    /// Servers go by key, page by page, as they are loaded; removed ones are not shown.
    async fn removed_servers_are_not_shown(world) {
        let servers = ["a", "b", "c", "gone"].map(|name| balancer_server(name, "UP"));
        let instance = balancer(world, "lb01", &[("be", &servers), ("other", &servers[..1])]).await;
        sync(world, instance, &[("be", &servers[..3]), ("other", &servers[..1])], at(10)).await;
        let known = world.balancers().load(instance).await.unwrap().unwrap();
        let backend = known.backends.iter().find(|backend| backend.name == "be").unwrap().key;
        let first = world.balancer_view().servers(backend, two_after(None)).await.unwrap().unwrap();
        let rest = world.balancer_view().servers(backend, two_after(first.next)).await.unwrap().unwrap();
        assert_eq!(rest.next, None);
        let all: Vec<_> = first.items.into_iter().chain(rest.items).collect();
        let of_backend = known.servers.into_iter().filter(|server| server.backend == backend);
        let present: Vec<_> = of_backend.filter(|server| server.removed_at.is_none()).collect();
        assert_eq!(all, present);
        assert_eq!(all.len(), 3);
        sync(world, instance, &[("other", &servers[..1])], at(20)).await;
        assert_eq!(world.balancer_view().servers(backend, ALL).await.unwrap(), None);
    }
}
