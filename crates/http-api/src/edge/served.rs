//! The routes behind one connection, which know whether a request is in hand.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use futures::future::BoxFuture;
use hyper::body::{Frame, Incoming, SizeHint};
use tower::ServiceExt as _;

use super::Peer;
use super::connections::Place;

/// The routes behind one connection.
#[derive(Debug)]
pub(super) struct Served {
    routes: Router,
    peer: SocketAddr,
    place: Place,
}

/// The place of the connection was given to another one just before the request came.
#[derive(Debug, thiserror::Error)]
#[error("the connection gave way to another one")]
pub(super) struct GaveWay;

impl Served {
    pub(super) fn new(routes: Router, peer: SocketAddr, place: Place) -> Self {
        Self {
            routes,
            peer,
            place,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Served {
    type Response = Response<InHand>;
    type Error = GaveWay;
    type Future = BoxFuture<'static, Result<Self::Response, GaveWay>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if !self.place.begin() {
            return Box::pin(async { Err(GaveWay) });
        }
        let answering = Answering(Some(self.place.clone()));
        request.extensions_mut().insert(Peer(self.peer));
        let routes = self.routes.clone();
        Box::pin(async move {
            let mut answering = answering;
            let response = routes
                .oneshot(request)
                .await
                .unwrap_or_else(|never: Infallible| match never {});
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                // What follows is no HTTP: the connection is in use until it closes.
                answering.0 = None;
            }
            Ok(response.map(|body| InHand {
                body,
                _answering: answering,
            }))
        })
    }
}

/// From the request to the end of the answer's body.
#[derive(Debug)]
struct Answering(Option<Place>);

impl Drop for Answering {
    fn drop(&mut self) {
        if let Some(place) = &self.0 {
            place.answered();
        }
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct InHand {
    body: Body,
    _answering: Answering,
}

impl hyper::body::Body for InHand {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
