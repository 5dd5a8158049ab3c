//! Lists of HAProxy under conditions.

use serde_json::Value;

use crate::world::World;

async fn count(world: &World, path: &str) -> usize {
    let page = world.get(path).await.ok(200).json();
    page["items"].as_array().unwrap().len()
}

async fn first(world: &World, path: &str) -> Value {
    world.get(path).await.ok(200).json()["items"][0]["id"].clone()
}

#[tokio::test]
async fn lists_of_haproxy_are_narrowed() {
    let world = World::with_fleet().await;
    let list = "/api/v1/haproxy/instances";
    for (query, found) in [
        ("server_id=1", 1),
        ("server_id=2", 0),
        ("active=true", 1),
        ("active=false", 0),
        ("q=WEB01", 1),
        ("q=web02", 0),
    ] {
        assert_eq!(
            count(&world, &format!("{list}?{query}")).await,
            found,
            "{query}"
        );
    }
    let instance = first(&world, list).await;
    let backends = format!("{list}/{instance}/backends");
    assert_eq!(count(&world, &format!("{backends}?q=JURWS")).await, 1);
    assert_eq!(count(&world, &format!("{backends}?q=other")).await, 0);
    let servers = format!(
        "/api/v1/haproxy/backends/{}/servers",
        first(&world, &backends).await
    );
    for (query, found) in [
        ("mapped=true", 6),
        ("mapped=false", 0),
        ("status=UP%201/3", 6),
        ("status=UP", 0),
        ("q=web02_&mapped=true", 2),
    ] {
        assert_eq!(
            count(&world, &format!("{servers}?{query}")).await,
            found,
            "{query}"
        );
    }

    let server = first(&world, &servers).await;
    let unmap = format!("/api/v1/haproxy/servers/{server}/unmap");
    world.post(&unmap, serde_json::json!({})).await.ok(200);
    let unmapped = "/api/v1/haproxy/servers/unmapped";
    for (query, found) in [
        (format!("instance={instance}"), 1),
        ("instance=999".to_owned(), 0),
        ("q=BE_".to_owned(), 1),
        ("q=nobody".to_owned(), 0),
    ] {
        assert_eq!(
            count(&world, &format!("{unmapped}?{query}")).await,
            found,
            "{query}"
        );
    }
    for wrong in [
        format!("{list}?active=yes"),
        format!("{servers}?mapped=1"),
        format!("{unmapped}?instance=0"),
        "/api/v1/haproxy/actions?action=stop".to_owned(),
        "/api/v1/haproxy/actions?since=today".to_owned(),
    ] {
        world
            .get(&wrong)
            .await
            .problem(400, "invalid_query_parameter");
    }
}

#[tokio::test]
async fn actions_are_narrowed() {
    let world = World::with_fleet().await;
    let list = "/api/v1/haproxy/instances";
    let backends = format!("{list}/{}/backends", first(&world, list).await);
    let servers = format!(
        "/api/v1/haproxy/backends/{}/servers",
        first(&world, &backends).await
    );
    let server = first(&world, &servers).await;
    let act = format!("/api/v1/haproxy/servers/{server}/action");
    let body = serde_json::json!({ "action": "drain" });
    let answer = world.post(&act, body).await;
    assert!(answer.status.is_success(), "{answer:?}");
    for (query, found) in [
        ("action=drain", 1),
        ("action=ready", 0),
        ("since=2023-11-14T00:00:00Z", 1),
        ("since=2023-11-15T00:00:00Z", 0),
        ("until=2023-11-14T00:00:00Z", 0),
    ] {
        let path = format!("/api/v1/haproxy/actions?{query}&server={server}");
        assert_eq!(count(&world, &path).await, found, "{query}");
    }
}
