//! Streams count under a policy of their own, and a handler releases or holds its own permit.

use std::convert::Infallible;
use std::time::Duration;

use backpressure_tests::scripted_body::{End, ScriptedBody};
use http::{Request, Response, StatusCode, header};
use http_body::Body;
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Service, ServiceExt};
use tower_backpressure::{AdmissionLayer, PermitHandle, QueueBounds};

mod ends;
mod handles;
mod upgrades;
mod watches;

const SECOND: Duration = Duration::from_secs(1);

/// `/events` is a stream that never ends, everything else a short response.
async fn serve(request: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    if request.uri().path() != "/events" {
        sleep(SECOND / 100).await;
        return Ok(Response::new(ScriptedBody::pieces(1, 10)));
    }
    let body = ScriptedBody::pieces(1, 10).end(End::Hangs);
    let events = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
    Ok(events.body(body).expect("a response"))
}

fn get(path: &str) -> Request<()> {
    Request::get(path).body(()).expect("a request")
}

/// Opens streams and reads their first event.
async fn open<S, B>(service: &S, count: usize) -> Vec<Response<B>>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
    B: Body + Unpin,
{
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = service.clone().oneshot(get("/events")).await.expect("infallible");
        if stream.status() == StatusCode::OK {
            assert!(stream.body_mut().frame().await.is_some());
        }
        streams.push(stream);
    }
    streams
}

fn served<B>(responses: &[Response<B>]) -> usize {
    responses.iter().filter(|response| response.status() == StatusCode::OK).count()
}

/// Short requests, one every 10 ms for five seconds; how many of 500 were served.
async fn short_requests<S, B>(service: &S) -> usize
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Error: Send> + Send + 'static,
    B::Data: Send,
{
    let mut running = JoinSet::new();
    for _ in 0..500 {
        let service = service.clone();
        running.spawn(async move {
            let response = service.oneshot(get("/")).await.expect("infallible");
            let is_served = response.status() == StatusCode::OK;
            response.into_body().collect().await.is_ok_and(|_| is_served)
        });
        sleep(SECOND / 100).await;
    }
    running.join_all().await.into_iter().filter(|&served| served).count()
}

/// The three kinds of limit, each of 8 and without a queue.
fn kinds() -> [AdmissionLayer; 2] {
    [
        AdmissionLayer::fixed("fixed", 8).queue(QueueBounds::NONE),
        AdmissionLayer::adaptive("adaptive").queue(QueueBounds::NONE).max(8),
    ]
}

/// The handle of the request that a handler runs for.
fn permit_of<B>(request: &Request<B>) -> PermitHandle {
    request.extensions().get::<PermitHandle>().cloned().expect("the layer exposes it")
}
