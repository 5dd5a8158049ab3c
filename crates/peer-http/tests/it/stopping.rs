//! What happens to a request whose task must stop.

use std::sync::Arc;

use drover_domain::workflow::run::Outcome;
use drover_peer_http::PeerHttp;
use drover_ports::StopReason;
use tokio::sync::Notify;

use crate::stub::{Answer, Peer, Stop, options, result, run_until, whole};

fn payload(peer: &Peer) -> String {
    format!(r#"{{"method":"POST","url":"{}"}}"#, peer.url("/"))
}

#[tokio::test]
async fn a_task_that_is_stopped_before_sends_nothing() {
    let peer = Peer::says(Answer::whole(200, &[], "")).await;
    let handler = PeerHttp::new(options()).unwrap();
    for (reason, expected) in [
        (StopReason::Cancelled, Outcome::Cancelled),
        (StopReason::HandOver, Outcome::Released),
    ] {
        let outcome = run_until(&handler, &payload(&peer), &Stop::AtOnce(reason)).await;
        assert_eq!(outcome, expected);
    }
    assert_eq!(peer.seen(), Vec::<String>::new());
}

#[tokio::test]
async fn a_cancelled_task_does_not_wait_for_its_answer() {
    let peer = Peer::says(Answer::Stall(Vec::new())).await;
    let handler = PeerHttp::new(options()).unwrap();
    let notify = Arc::new(Notify::new());
    let stop = Stop::When(Arc::clone(&notify), StopReason::Cancelled);
    let payload = payload(&peer);
    let (outcome, ()) = tokio::join!(run_until(&handler, &payload, &stop), async {
        peer.arrival().await;
        notify.notify_one();
    });
    assert_eq!(outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_request_that_was_sent_outlives_the_wish_to_hand_over() {
    let answer = Arc::new(Notify::new());
    let later = Answer::Later(Arc::clone(&answer), whole(200, &[], "done"));
    let peer = Peer::says(later).await;
    let handler = PeerHttp::new(options()).unwrap();
    let notify = Arc::new(Notify::new());
    let stop = Stop::When(Arc::clone(&notify), StopReason::HandOver);
    let payload = payload(&peer);
    let (outcome, ()) = tokio::join!(run_until(&handler, &payload, &stop), async {
        peer.arrival().await;
        notify.notify_one();
        // The handler hears of it before the answer comes.
        tokio::task::yield_now().await;
        answer.notify_one();
    });
    assert!(result(outcome).contains("done"));
    assert_eq!(peer.seen().len(), 1);
}
