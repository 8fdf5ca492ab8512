//! One request from its making to the end of its response.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use tokio::time::Instant;
use tower::Service;

/// Takes one request through a service as a server would: readiness, the call, the future, and the
/// body frame by frame.
pub fn once<S, B>(service: &mut S)
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    let cx = &mut Context::from_waker(Waker::noop());
    while service.poll_ready(cx).is_pending() {}
    let mut future = pin!(service.call(Request::new(())));
    let answer = loop {
        if let Poll::Ready(answer) = future.as_mut().poll(cx) {
            break answer;
        }
    };
    if let Ok(response) = black_box(answer) {
        let mut body = pin!(response.into_body());
        while !body.is_end_stream() {
            let frame = body.as_mut().poll_frame(cx);
            if matches!(black_box(frame), Poll::Ready(None | Some(Err(_)))) {
                break;
            }
        }
    }
}

/// How long `count` requests take, one after the other.
pub fn time<S, B>(service: &mut S, count: u32) -> Duration
where
    S: Service<Request<()>, Response = Response<B>>,
    B: Body,
{
    let begun = Instant::now();
    for _ in 0..count {
        once(service);
    }
    begun.elapsed()
}
