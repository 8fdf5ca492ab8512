//! Bodies that are not `Clone`: kept while they are sent, or made anew.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, channel::Channel};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_backpressure::client::GiveUpReason;
use tower_backpressure::{Attempts, GaveUp, RetryLayer};

use crate::memory_server::response;

/// Like the bodies of tonic and of many clients: boxed, and not `Clone`.
type Boxed = UnsyncBoxBody<Bytes, BoxError>;

/// The body that each attempt had.
type Bodies = Arc<Mutex<Vec<Bytes>>>;

/// Reads up to `read` parts of the body, and then rejects the first attempts.
fn reading_server(
    bodies: &Bodies,
    read: usize,
    rejections: usize,
) -> impl Service<Request<Boxed>, Response = Response<String>, Error = Infallible> + Clone + use<> {
    let bodies = Arc::clone(bodies);
    service_fn(move |request: Request<Boxed>| {
        let bodies = Arc::clone(&bodies);
        async move {
            let mut body = request.into_body();
            let mut seen = Vec::new();
            for _ in 0..read {
                let Some(Ok(frame)) = body.frame().await else { break };
                seen.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
            }
            let mut bodies = bodies.lock().unwrap();
            bodies.push(seen.into());
            let status = if bodies.len() <= rejections { 503 } else { 200 };
            Ok(response(status, &[("x-shed-reason", "limit")]))
        }
    })
}

fn post(body: Boxed) -> Request<Boxed> {
    Request::post("/orders").body(body).unwrap()
}

fn full(text: &'static str) -> Boxed {
    Boxed::new(Full::<Bytes>::from(text).map_err(Into::into))
}

#[tokio::test(start_paused = true)]
async fn a_boxed_body_is_sent_again_as_a_whole() {
    let bodies = Bodies::default();
    let layer = RetryLayer::new().buffer_bodies(1_024, Boxed::new);
    let service = layer.layer(reading_server(&bodies, usize::MAX, 2));
    let last = service.oneshot(post(full("an order"))).await.unwrap();
    assert_eq!(Attempts::of(last.extensions()), Attempts(3));
    assert_eq!(*bodies.lock().unwrap(), ["an order"; 3]);
}

/// A body of `parts` parts of a kilobyte, and the number of those that have been made.
fn upload(parts: usize) -> (Boxed, Arc<AtomicUsize>) {
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    let made = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&made);
    tokio::spawn(async move {
        for _ in 0..parts {
            if sender.send_data(vec![b'x'; 1_024].into()).await.is_err() {
                break;
            }
            counter.fetch_add(1, SeqCst);
        }
    });
    (Boxed::new(body), made)
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_rejected_within_the_bound_is_sent_again() {
    let bodies = Bodies::default();
    let (body, made) = upload(1_000);
    let layer = RetryLayer::new().buffer_bodies(8 * 1_024, Boxed::new);
    let service = layer.layer(reading_server(&bodies, 4, 1));
    let last = service.oneshot(post(body)).await.unwrap();
    assert_eq!(last.status(), 200);
    assert_eq!(bodies.lock().unwrap().iter().map(Bytes::len).collect::<Vec<_>>(), [4_096; 2]);
    assert!(made.load(SeqCst) <= 8, "{made:?}: the upload is not read ahead");
}

#[tokio::test(start_paused = true)]
async fn an_upload_above_the_bound_is_sent_once_and_its_rejection_is_returned() {
    let bodies = Bodies::default();
    let (body, _made) = upload(100);
    let layer = RetryLayer::new().buffer_bodies(8 * 1_024, Boxed::new);
    let service = layer.layer(reading_server(&bodies, usize::MAX, 1));
    let last = service.oneshot(post(body)).await.unwrap();
    assert_eq!(last.status(), 503);
    assert_eq!(GaveUp::of(last.extensions()).unwrap().reason, GiveUpReason::NotReplayable);
    assert_eq!(bodies.lock().unwrap().iter().map(Bytes::len).collect::<Vec<_>>(), [102_400]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_can_be_made_anew_is_made_anew() {
    let bodies = Bodies::default();
    let opened = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&opened);
    let layer = RetryLayer::new().rebuild(move |request: &Request<Boxed>| {
        counter.fetch_add(1, SeqCst);
        let again = Request::builder().method(request.method()).uri(request.uri());
        Some(again.body(full("a file")).unwrap())
    });
    let service = layer.layer(reading_server(&bodies, usize::MAX, 1));
    assert_eq!(service.oneshot(post(full("a file"))).await.unwrap().status(), 200);
    assert_eq!(*bodies.lock().unwrap(), ["a file"; 2]);
    assert_eq!(opened.load(SeqCst), 2, "before each attempt but the last");
}
