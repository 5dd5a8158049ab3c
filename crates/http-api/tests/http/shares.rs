//! What one API key may take, and what is left for others meanwhile.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use drover_domain::access::Role;
use drover_http_api::{Options, router};
use drover_ports::IdSource as _;
use drover_testkit::clock::SequentialIds;
use futures::future::join_all;
use futures::{FutureExt as _, stream};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::workflows::{remote, started};
use crate::world::{Answer, World};

fn endless() -> Body {
    Body::from_stream(stream::pending::<Result<Vec<u8>, std::io::Error>>())
}

async fn slow_body(world: &World, path: &str) -> Answer {
    let request = world.request(Method::POST, path, Some(Role::Operator));
    let request = request.header("content-type", "application/json");
    world.send(request.body(endless()).unwrap()).await
}

#[tokio::test]
async fn slow_bodies_of_one_key_leave_places_for_others() {
    let world = World::with(|options| Options {
        concurrency: 8,
        lasting: 8,
        ..options
    })
    .await;
    let paths = ["/api/v1/workflows", "/api/v1/workers/claim"];
    let mut slow: Vec<_> = (0..30)
        .map(|number| Box::pin(slow_body(&world, paths[number % 2])))
        .collect();
    let mut refused = 0;
    for request in &mut slow {
        if let Some(answer) = request.as_mut().now_or_never() {
            answer.problem(503, "overloaded");
            refused += 1;
        }
    }
    assert_eq!(refused, 28, "one key has a quarter of the bodies under way");
    // Others, and the same key where no body has to come, are served as ever.
    for _ in 0..5 {
        started(&world, json!([remote("a", &[])])).await;
        let claim = json!({ "worker": "w", "queues": ["default"] });
        world.post("/api/v1/workers/claim", claim).await.ok(200);
    }
    let request = world.request(Method::GET, "/api/v1/servers", Some(Role::Operator));
    world
        .send(request.body(Body::empty()).unwrap())
        .await
        .ok(200);
}

#[tokio::test]
async fn streams_of_one_viewer_stop_neither_workers_nor_other_readers() {
    let world = World::with(|options| Options {
        lasting: 8,
        ..options
    })
    .await;
    let open = |role| {
        let request = world.request(Method::GET, "/api/v1/events/stream", Some(role));
        world
            .router
            .clone()
            .oneshot(request.body(Body::empty()).unwrap())
    };
    let streams = join_all((0..11).map(|_| open(Role::Viewer))).await;
    let statuses = streams
        .iter()
        .map(|answer| answer.as_ref().unwrap().status());
    assert_eq!(statuses.filter(|status| *status == 200).count(), 2);
    let claim = json!({ "worker": "w", "queues": ["default"] });
    world.post("/api/v1/workers/claim", claim).await.ok(200);
    assert_eq!(open(Role::Operator).await.unwrap().status(), 200);
}

#[tokio::test]
async fn steering_has_a_place_while_all_others_are_taken() {
    let mut world = World::new().await;
    let workflow = started(&world, json!([remote("a", &[])])).await;
    let ids = Arc::new(SequentialIds::default());
    let options = Options {
        concurrency: 0,
        ..Options::new(Arc::new(move || ids.draw()))
    };
    world.router = router(world.service.clone(), options);
    world
        .get("/api/v1/rollouts")
        .await
        .problem(503, "overloaded");
    for verb in ["pause", "resume", "cancel"] {
        world
            .post(&format!("{workflow}/{verb}"), Value::Null)
            .await
            .ok(200);
    }
    let server = json!({ "action": "ready" });
    world
        .post("/api/v1/haproxy/servers/7/action", server)
        .await
        .problem(404, "not_found");
}
