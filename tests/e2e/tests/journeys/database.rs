//! A database that is not there: at the start, and while the service runs.

use std::time::Duration;

use crate::world::{Database, World};
use drover_testkit::eventually::eventually;

#[tokio::test]
async fn a_lost_database_is_seen_and_its_return_too() {
    let world = World::start(Database::postgres()).await;
    let Database::Postgres(server, _) = &world.database else {
        unreachable!()
    };
    server.stop();
    eventually(Duration::from_secs(30), || async {
        let answer = world.api.get("/readyz").await;
        if answer.status == 503 {
            Ok(())
        } else {
            Err(format!("{answer:?}"))
        }
    })
    .await;
    assert_eq!(world.api.get("/livez").await.status, 200);
    server.start();
    world.until_ready(Duration::from_secs(30)).await;
    assert_eq!(world.applications().await.len(), 2);
}

#[tokio::test]
async fn without_a_database_the_service_says_so_and_exits_with_69() {
    let mut world = World::start(Database::postgres()).await;
    drop(world.service.take());
    let Database::Postgres(server, _) = &world.database else {
        unreachable!()
    };
    server.stop();
    let mut service = world.spawn_service();
    assert_eq!(
        service.wait(Duration::from_secs(20)).code(),
        Some(69),
        "{}",
        world.log()
    );
    assert!(world.log().contains("database"), "{}", world.log());
}
