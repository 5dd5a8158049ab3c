//! A killed service goes on where it was: the same job, started once.

use std::time::Duration;

use crate::world::{Database, World};

async fn a_killed_service_follows_the_same_job(database: Database) {
    let mut world = World::start(database).await;
    let task = world.update().await;
    assert_eq!(world.until_marked().await, 1);
    let job = world.until_status(&task, &["processing"]).await["runs"][0]["job_id"].clone();

    world.service.take().unwrap().kill();
    world.start_service().await;
    let running = world.until_status(&task, &["processing"]).await;
    assert_eq!(running["runs"][0]["job_id"], job);

    world.go();
    let ended = world
        .until_status(&task, &["completed", "failed", "unknown"])
        .await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(ended["runs"][0]["job_id"], job);
    assert!(ended["attempt"].as_i64().unwrap() >= 2, "{ended}");
    let outcomes: Vec<_> = ended["targets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["done", "done"]);
    assert_eq!(world.marks(), 1, "the play was started more than once");
}

#[tokio::test]
async fn on_sqlite_a_killed_service_follows_the_same_job() {
    a_killed_service_follows_the_same_job(Database::Sqlite).await;
}

#[tokio::test]
async fn on_postgresql_a_killed_service_follows_the_same_job() {
    a_killed_service_follows_the_same_job(Database::postgres()).await;
}

#[tokio::test]
async fn a_stopped_service_hands_its_task_over_and_exits_cleanly() {
    let mut world = World::start(Database::Sqlite).await;
    let task = world.update().await;
    world.until_marked().await;
    let mut service = world.service.take().unwrap();
    service.signal("TERM");
    assert_eq!(
        service.wait(Duration::from_secs(15)).code(),
        Some(0),
        "{}",
        world.log()
    );

    world.go();
    world.start_service().await;
    let ended = world
        .until_status(&task, &["completed", "failed", "unknown"])
        .await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert_eq!(world.marks(), 1);
}
