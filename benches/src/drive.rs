//! Drives a request from its construction to the end of its response.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower::Service;

/// Sends one request through a service as a server would: readiness, the call, the future, and the body
/// frame by frame.
pub fn once<S, B>(service: &mut S)
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    let cx = &mut Context::from_waker(Waker::noop());
    while service.poll_ready(cx).is_pending() {}
    let mut future = pin!(service.call(Request::new(())));
    let result = loop {
        if let Poll::Ready(result) = future.as_mut().poll(cx) {
            break result;
        }
    };
    if let Ok(response) = black_box(result) {
        let mut body = pin!(response.into_body());
        while !body.is_end_stream() {
            let frame = body.as_mut().poll_frame(cx);
            if matches!(black_box(frame), Poll::Ready(None | Some(Err(_)))) {
                break;
            }
        }
    }
}

/// The time that `count` requests take, one after the other.
pub fn time<S, B>(service: &mut S, count: u32) -> Duration
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    let start = Instant::now();
    for _ in 0..count {
        once(service);
    }
    start.elapsed()
}
