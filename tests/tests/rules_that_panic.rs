//! A user's limit or rule that panics fails the request that it was asked for, and costs no permit.

use std::convert::Infallible;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use backpressure_core::{Limit, Metering, Sample, Timestamp};
use http::{Request, Response, StatusCode};
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds, StreamPolicy};

/// How often each rule is asked.
const REQUESTS: usize = 100;

/// A limit of four that panics whenever it should learn.
#[derive(Debug)]
struct Panics;

impl Limit for Panics {
    fn limit(&self) -> usize {
        4
    }

    fn observe(&mut self, _sample: &Sample, _now: Timestamp) {
        panic();
    }

    fn metering(&self) -> Metering {
        Metering::Latency
    }
}

/// Unwinds without the panic hook, which would print each panic.
fn panic() -> ! {
    resume_unwind(Box::new("deliberate"))
}

/// Sends a request; `None`: it panicked, or its caller left.
async fn send(layer: &AdmissionLayer, leaves: bool) -> Option<StatusCode> {
    let service = layer.layer(service_fn(async |_: Request<()>| {
        sleep(Duration::from_millis(10)).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let request = catch_unwind(AssertUnwindSafe(|| service.oneshot(Request::new(())))).ok()?;
    let mut request = Box::pin(request);
    let polled = poll_fn(|cx| {
        let poll = catch_unwind(AssertUnwindSafe(|| request.as_mut().poll(cx)));
        match poll {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(response)) => Poll::Ready(Some(response.expect("infallible").status())),
            Err(_) => Poll::Ready(None),
        }
    });
    let status = match leaves {
        true => timeout(Duration::from_millis(5), pin!(polled)).await.ok().flatten(),
        false => polled.await,
    };
    // A limit may be taught by a caller that leaves.
    let _ = catch_unwind(AssertUnwindSafe(|| drop(request)));
    status
}

async fn assert_costs_no_permit(name: &str, layer: AdmissionLayer) {
    for index in 0..REQUESTS {
        send(&layer, index % 2 == 0).await;
        let now = layer.snapshot();
        assert_eq!((now.in_flight, now.apart, now.queued), (0, 0, 0), "{name}, {index}");
    }
    assert_eq!(layer.handle().streams(), 0, "{name}");
    let permit = layer.limiter().try_acquire();
    assert!(permit.is_ok(), "{name}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_panics_when_it_learns_leaks_no_permit() {
    for queue in [QueueBounds::NONE, QueueBounds::default()] {
        let layer = AdmissionLayer::with_limit("limit", Panics).queue(queue);
        assert_costs_no_permit("limit", layer.clone()).await;
        assert_costs_no_permit("exposed", layer.expose_permit(true)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_rule_that_panics_leaks_no_permit() {
    let layer = || AdmissionLayer::fixed("rules", 4);
    let adaptive = || AdmissionLayer::adaptive("rules");
    assert_costs_no_permit("classify", adaptive().classify(|_| panic())).await;
    assert_costs_no_permit("exempt", layer().exempt(|_| panic())).await;
    let streams = layer().streams(StreamPolicy::Watch(4)).stream_if(|_| panic());
    assert_costs_no_permit("stream_if", streams).await;
    assert_costs_no_permit("observer", layer().observer(|_: &str, _| panic())).await;
    let rejecting = layer().queue(QueueBounds::NONE).on_reject(|_, _| panic());
    let permits: Vec<_> = (0..4).map(|_| rejecting.limiter().try_acquire()).collect();
    for _ in 0..REQUESTS {
        assert_eq!(send(&rejecting, false).await, None);
    }
    drop(permits);
    assert_costs_no_permit("on_reject", rejecting).await;
}
