//! However requests and their handles end, nothing is left.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use backpressure_tests::scripted_body::{End, ScriptedBody};
use backpressure_tests::seed::seeded_rng;
use http::{Request, Response, header};
use tokio::sync::mpsc;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{HeldPermit, PermitHandle, QueueBounds, StreamPolicy};

use super::{get, kinds, permit_of, serve};

/// What a handler does with its permit, and how it ends.
#[derive(Clone, Copy)]
struct Script {
    holds: bool,
    releases: bool,
    end: u8,
}

async fn play(
    script: Script,
    handle: PermitHandle,
    holds: mpsc::UnboundedSender<HeldPermit>,
) -> Result<Response<ScriptedBody>, &'static str> {
    if script.holds {
        let _ = holds.send(handle.hold());
    }
    if script.releases {
        handle.release();
    }
    tokio::task::yield_now().await;
    match script.end {
        0 => resume_unwind(Box::new("a deliberate panic")),
        1 => Err("no"),
        2 => Ok(Response::new(ScriptedBody::pieces(2, 10))),
        _ => {
            let response = Response::builder().header(header::CONTENT_TYPE, "text/event-stream");
            let body = ScriptedBody::pieces(1, 10).end(End::Hangs);
            Ok(response.body(body).expect("a response"))
        }
    }
}

#[tokio::test(start_paused = true)]
async fn permits_and_streams_return_however_requests_and_their_handles_end() {
    const REQUESTS: usize = 100_000;
    let (seed, mut rng) = seeded_rng();
    println!("seed {seed}");
    let layers = kinds().map(|layer| {
        layer.queue(QueueBounds::default()).expose_permit(true).streams(StreamPolicy::Watch(20))
    });
    for layer in layers {
        let (sender, mut holds) = mpsc::unbounded_channel();
        let (mut held, mut bodies) = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            let script = Script { holds: rng.bool(), releases: rng.bool(), end: rng.u8(..4) };
            let sender = sender.clone();
            let service = layer.layer(service_fn(move |request: Request<()>| {
                play(script, permit_of(&request), sender.clone())
            }));
            let mut future = pin!(service.oneshot(get("/")));
            let cx = &mut Context::from_waker(Waker::noop());
            // Dropped after so many polls, ended or not.
            for _ in 0..rng.u8(..8) {
                match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
                    Ok(Poll::Pending) => continue,
                    Ok(Poll::Ready(Ok(response))) => bodies.push(response),
                    Ok(Poll::Ready(Err(_))) | Err(_) => {}
                }
                break;
            }
            held.extend(holds.try_recv().ok());
            if rng.u8(..8) == 0 || bodies.len() > 5 {
                held.truncate(rng.usize(..=held.len()));
                bodies.truncate(rng.usize(..=bodies.len()));
            }
        }
        drop((held, bodies));
        let now = layer.snapshot();
        assert_eq!((now.in_flight, now.apart, now.queued), (0, 0, 0), "{layer:?}");
        assert_eq!(layer.handle().streams(), 0);
        let response = layer.layer(service_fn(serve)).oneshot(get("/")).await.expect("infallible");
        assert_eq!(response.status(), 200);
    }
}
