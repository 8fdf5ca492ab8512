//! Sends requests, and ends them.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderValue, Request, Version, header};
use http_body_util::{BodyExt, Full};
use tokio::time::{Instant, sleep, timeout};
use tower::Service;
use tower_backpressure::{Deadline, Priority, Rejected, RequestInfo, Tenant};

use super::Ended;
use super::ending::{Calling, Ending};
use super::handler::In;
use super::stacks::Boxed;

/// What a limiter keeps for each of them is there before the memory is looked at.
const TENANTS: u8 = 16;
/// How long a reader stalls: longer than it takes to count apart.
const STALL: Duration = Duration::from_secs(12);

pub(crate) async fn send_many(mut service: Boxed, count: usize, mut rng: Rng) -> Ended {
    let mut ended = Ended::default();
    for _ in 0..count {
        send(&mut service, &mut rng, &mut ended).await;
    }
    ended
}

async fn send(service: &mut Boxed, rng: &mut Rng, ended: &mut Ended) {
    let ending = Ending::random(rng);
    let called = catch_unwind(AssertUnwindSafe(|| service.call(request(ending, rng))));
    let Ok(future) = called else {
        ended.failed += 1;
        return;
    };
    let patience = match ending.calling {
        Calling::NeverPolls => {
            ended.left += 1;
            return;
        }
        Calling::Leaves(after) => after,
        // Longer than the waits of all layers together; a layer that hangs would show.
        _ => Duration::from_secs(3_600),
    };
    let response = match timeout(patience, catch_panic(future)).await {
        Err(_) => {
            assert!(patience < STALL, "no response: {ending:?}");
            ended.left += 1;
            return;
        }
        Ok(Some(Ok(response))) => response,
        Ok(_) => {
            ended.failed += 1;
            return;
        }
    };
    match Rejected::of(&response) {
        Some(_) => ended.rejected += 1,
        None => ended.served += 1,
    }
    end_body(response.into_body(), ending).await;
}

async fn end_body(mut body: Body, ending: Ending) {
    match ending.calling {
        Calling::Reads if ending.ends() => while let Some(Ok(_)) = body.frame().await {},
        Calling::Reads => drop(body.frame().await),
        Calling::Stalls => {
            let _ = timeout(Duration::ZERO, body.frame()).await;
            sleep(STALL).await;
        }
        Calling::Ignores | Calling::Leaves(_) | Calling::NeverPolls => {}
    }
}

fn request(ending: Ending, rng: &mut Rng) -> In {
    let mut request = Request::new(Full::new(Bytes::from_static(b"a small upload")));
    *request.uri_mut() = "http://here/".parse().expect("a URI");
    *request.version_mut() = if rng.bool() { Version::HTTP_2 } else { Version::HTTP_11 };
    if rng.bool() {
        *request.method_mut() = http::Method::POST;
        let length = rng.choice(["14", "200000"]).expect("two");
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static(length));
    }
    if rng.u8(..) < 16 {
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert(header::CONTENT_TYPE, grpc);
    }
    let priorities = [Priority::Critical, Priority::Normal, Priority::Sheddable];
    let priority = rng.choice(priorities).expect("three");
    let info = RequestInfo::default().priority(priority).tenant(Tenant::new(rng.u8(..TENANTS)));
    request.extensions_mut().insert(info);
    if rng.u8(..) < 64 {
        let at = Instant::now() + Duration::from_millis(rng.u64(0..50));
        request.extensions_mut().insert(Deadline(at));
    }
    request.extensions_mut().insert(ending);
    request
}

/// Turns a panic into `None`, as a runtime does for its tasks.
async fn catch_panic<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}
