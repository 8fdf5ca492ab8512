//! Readiness for load balancers, and pressure for handlers that can do with less.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Pressure, QueueBounds};

use super::{SECOND, WORK, request, send, work};

#[tokio::test(start_paused = true)]
async fn readiness_outlasts_a_burst_and_ends_with_lasting_overload_or_a_drain() {
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::new(8, SECOND));
    let (service, handle) = (layer.layer(service_fn(work)), layer.handle().clone());
    let (readiness, patient) = (handle.readiness(), handle.readiness().ignoring_overload());
    // Four times the capacity of 20 a second, for the given number of seconds.
    let overload = async |seconds: u32| {
        let mut running = JoinSet::new();
        let mut answers = Vec::new();
        for n in 0..seconds * 80 {
            running.spawn(service.clone().oneshot(request()));
            sleep(SECOND / 80).await;
            if n % 80 == 79 {
                answers.push((readiness.is_ready(), patient.is_ready()));
            }
        }
        running.join_all().await;
        answers
    };
    let burst = overload(20).await;
    assert!(burst.iter().all(|&(ready, _)| ready), "{burst:?}");
    for _ in 0..10 {
        sleep(SECOND).await;
        assert!(readiness.is_ready());
    }
    let lasting = overload(40).await;
    assert!(lasting[..25].iter().all(|&(ready, _)| ready), "{lasting:?}");
    assert!(lasting[35..].iter().all(|&(ready, _)| !ready), "{lasting:?}");
    assert!(lasting.iter().all(|&(_, patient)| patient));
    let mut ready_after = 0;
    while !readiness.is_ready() {
        sleep(SECOND).await;
        ready_after += 1;
    }
    assert!((5..=8).contains(&ready_after), "{ready_after} s");
    handle.drain();
    assert!(!readiness.is_ready() && !patient.is_ready(), "at once");
    handle.resume();
    assert!(readiness.is_ready() && patient.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_degrades_under_pressure_serves_all_where_one_that_does_not_rejects() {
    // 60 requests a second against a limit of 4: full answers take 100 ms, reduced ones 20 ms.
    let run = async |degrades: bool| {
        let layer = AdmissionLayer::fixed("api", 4)
            .queue(QueueBounds::new(16, SECOND))
            .expose_pressure(true);
        let service = layer.layer(service_fn(move |request: Request<Full<Bytes>>| {
            let pressure = request.extensions().get::<Pressure>().copied().expect("exposed");
            let reduced = degrades && pressure.is_queueing();
            async move {
                sleep(if reduced { WORK / 5 } else { WORK }).await;
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
            }
        }));
        let mut running = JoinSet::new();
        for _ in 0..600 {
            running.spawn(service.clone().oneshot(request()));
            sleep(SECOND / 60).await;
        }
        let responses = running.join_all().await;
        responses.iter().flatten().filter(|response| response.status() == 503).count()
    };
    let (rejected, with_degradation) = (run(false).await, run(true).await);
    println!("rejected {rejected} of 600, and {with_degradation} by a handler that degrades");
    assert!(rejected > 150, "{rejected}");
    assert_eq!(with_degradation, 0);
}

#[tokio::test(start_paused = true)]
async fn pressure_rises_with_permits_in_use_then_with_the_queue_and_is_one_when_requests_are_rejected()
 {
    let layer = AdmissionLayer::fixed("api", 4).queue(QueueBounds::new(4, 10 * SECOND));
    let (service, handle) = (layer.layer(service_fn(work)), layer.handle());
    let mut running = Vec::new();
    let mut seen = vec![handle.pressure().value()];
    for _ in 0..8 {
        running.push(send(&service, 1).await);
        seen.push(handle.pressure().value());
    }
    assert_eq!(seen, [0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0]);
    let unqueued = BulkheadLayer::new("payments", 1);
    let _permit = unqueued.limiter().try_acquire();
    assert_eq!(unqueued.handle().pressure().value(), 1.0);
    handle.stop();
    assert_eq!(handle.pressure().value(), 1.0);
}
