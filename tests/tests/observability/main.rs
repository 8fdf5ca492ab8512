//! Metrics and tracing events of the layers.

use std::convert::Infallible;
use std::future::{pending, poll_fn, ready};
use std::task::Poll;
use std::time::Duration;

use backpressure_tests::reasons;
use backpressure_tests::recorded_metrics::RecordedMetrics;
use backpressure_tests::scripted_body::{End, ScriptedBody};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Deadline, OriginLimitLayer, Priority, QueueBounds, RetryBudget,
    RetryLayer,
};

mod events;
use self::events::EventLog;

const SECOND: Duration = Duration::from_secs(1);

async fn respond(_: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    Ok(Response::new(ScriptedBody::pieces(1, 10)))
}

/// Polls a request once; whether it is pending.
macro_rules! is_pending {
    ($request:expr) => {
        poll_fn(|cx| Poll::Ready($request.as_mut().poll(cx).is_pending())).await
    };
}

#[tokio::test(start_paused = true)]
async fn every_rejection_is_counted_with_its_reason() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let layer = AdmissionLayer::fixed("api", 1);
    let service = layer.layer(service_fn(respond));
    let send = |priority: Priority| {
        let mut request = Request::new(());
        request.extensions_mut().insert(priority);
        Box::pin(service.clone().oneshot(request))
    };
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let mut expired = Request::new(());
    expired.extensions_mut().insert(Deadline(Instant::now()));
    service.clone().oneshot(expired).await.expect("deadline");
    let layer = layer.queue(QueueBounds::new(1, SECOND));
    send(Priority::Normal).await.expect("queue-timeout");
    advance(2 * SECOND).await;
    let (mut displaced, mut queued) = (send(Priority::Normal), send(Priority::Critical));
    assert!(is_pending!(displaced) && is_pending!(queued));
    displaced.await.expect("displaced");
    send(Priority::Normal).await.expect("queue-full");
    drop(queued);
    let layer = layer.queue(QueueBounds::NONE);
    send(Priority::Normal).await.expect("limit");
    layer.handle().stop();
    send(Priority::Normal).await.expect("stopped");
    for reason in reasons::of_limits() {
        assert_eq!(
            recorded.counter(&format!("backpressure_requests_total api shed {reason}")),
            1,
            "{reason}"
        );
    }
    assert_eq!(layer.snapshot().in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn gauges_and_counters_agree_with_the_state_of_the_limiter() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let bounds = QueueBounds::new(8, 10 * SECOND);
    let layer = AdmissionLayer::fixed("api", 3).queue(bounds);
    let service = layer.layer(service_fn(async |request: Request<Option<Duration>>| {
        match request.into_body() {
            Some(work) => sleep(work).await,
            None => pending().await,
        }
        Ok::<_, Infallible>(Response::new(ScriptedBody::pieces(2, 10)))
    }));
    let send = |work| Box::pin(service.clone().oneshot(Request::new(work)));
    let (mut one, mut two, mut three) = (send(Some(SECOND)), send(Some(3 * SECOND)), send(None));
    assert!(is_pending!(one) && is_pending!(two) && is_pending!(three));
    let mut queued = send(Some(SECOND));
    assert!(is_pending!(queued));
    let mut expired = Request::new(None);
    expired.extensions_mut().insert(Deadline(Instant::now()));
    assert_eq!(service.clone().oneshot(expired).await.expect("a rejection").status(), 503);
    assert_eq!(recorded.gauge("backpressure_in_flight api"), 3.0);
    assert_eq!(recorded.gauge("backpressure_limit api"), 3.0);
    assert_eq!(recorded.gauge("backpressure_queue_depth api"), 1.0);
    assert_eq!(recorded.counter("backpressure_requests_total api admitted"), 3);
    assert_eq!(recorded.counter("backpressure_requests_total api shed deadline"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_in_flight_gauge_returns_to_zero_however_requests_end() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::new(8, SECOND));
    let plain = layer.layer(service_fn(respond));
    // A body read to its end, one dropped unread, and one dropped after a frame.
    plain
        .clone()
        .oneshot(Request::new(()))
        .await
        .expect("infallible")
        .collect()
        .await
        .expect("whole");
    drop(plain.clone().oneshot(Request::new(())).await);
    let endless = layer.layer(service_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(ScriptedBody::pieces(1, 10).end(End::Hangs))))
    }));
    let mut partly_read = endless.oneshot(Request::new(())).await.expect("infallible").into_body();
    assert!(partly_read.frame().await.is_some());
    // Cancelled while running, and while queued.
    let never = layer.layer(service_fn(|_: Request<()>| {
        pending::<Result<Response<ScriptedBody>, Infallible>>()
    }));
    let (mut running, mut queued) = (
        Box::pin(never.clone().oneshot(Request::new(()))),
        Box::pin(never.oneshot(Request::new(()))),
    );
    assert!(is_pending!(running) && is_pending!(queued));
    assert_eq!(layer.snapshot().queued, 1);
    drop((partly_read, queued, running));
    // The handler panics; the handler fails.
    let panics = layer.layer(service_fn(async |request: Request<()>| {
        let () = request.into_body();
        if layer.snapshot().in_flight > 0 {
            std::panic::resume_unwind(Box::new("a deliberate panic"));
        }
        Ok::<_, Infallible>(Response::new(ScriptedBody::default()))
    }));
    let mut panics = Box::pin(panics.oneshot(Request::new(())));
    let panicked = poll_fn(|cx| {
        let poll = std::panic::AssertUnwindSafe(|| panics.as_mut().poll(cx).is_ready());
        Poll::Ready(std::panic::catch_unwind(poll))
    });
    assert!(panicked.await.is_err());
    drop(panics);
    let fails =
        layer.layer(service_fn(|_: Request<()>| ready(Err::<Response<ScriptedBody>, _>("no"))));
    assert!(fails.oneshot(Request::new(())).await.is_err());
    assert_eq!(layer.snapshot().in_flight, 0);
    assert_eq!(recorded.gauge("backpressure_in_flight api"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_queued_request_leaves_the_queue_gauge_at_zero() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(8, SECOND));
    let service = layer.layer(service_fn(respond));
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    let mut queued = Box::pin(service.clone().oneshot(Request::new(())));
    assert!(is_pending!(queued));
    // Another request is rejected meanwhile, which updates the gauges.
    let mut expired = Request::new(());
    expired.extensions_mut().insert(Deadline(Instant::now()));
    assert_eq!(service.oneshot(expired).await.expect("infallible").status(), 503);
    drop(queued);
    assert_eq!(layer.snapshot().queued, 0);
    assert_eq!(recorded.gauge("backpressure_queue_depth api"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn the_time_in_the_queue_is_recorded_for_admitted_and_rejected_requests() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(8, SECOND));
    let service = layer.layer(service_fn(respond));
    let permit = layer.limiter().try_acquire().expect("a free permit");
    let queued = tokio::spawn(service.clone().oneshot(Request::new(())));
    sleep(Duration::from_millis(300)).await;
    drop(permit);
    queued.await.expect("no panic").expect("infallible").collect().await.expect("whole");
    let _permit = layer.limiter().try_acquire().expect("a free permit");
    assert_eq!(service.oneshot(Request::new(())).await.expect("infallible").status(), 503);
    let waits =
        |result| recorded.histogram(&format!("backpressure_queue_wait_seconds api {result}"));
    let (admitted, rejected) = (waits("admitted"), waits("rejected"));
    assert!(admitted.len() == 1 && (0.3..0.302).contains(&admitted[0]), "{admitted:?}");
    assert!(rejected.len() == 1 && (1.0..1.002).contains(&rejected[0]), "{rejected:?}");
    assert!(waits("cancelled").is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_balance_of_a_retry_budget_rises_with_requests_that_do_not_fail() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let budget = RetryBudget::new(0.5).reserve(4);
    while let Some(withdrawal) = budget.withdraw() {
        withdrawal.spend();
    }
    let layer = RetryLayer::named("steady").budget(budget.clone());
    let service = layer.layer(service_fn(async |_: Request<Empty<Bytes>>| {
        Ok::<_, Infallible>(Response::new(ScriptedBody::default()))
    }));
    let balance = || recorded.gauge("backpressure_retry_budget_balance steady");
    for _ in 0..10 {
        let request = Request::new(Empty::<Bytes>::new());
        service.clone().oneshot(request).await.expect("infallible");
        assert!((balance() - budget.balance()).abs() < 0.01, "{}", balance());
    }
    assert!(balance() > 1.0, "{}", balance());
}

#[tokio::test(start_paused = true)]
async fn metrics_are_labelled_with_their_policy() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let service = AdmissionLayer::fixed("api", 4)
        .layer(BulkheadLayer::new("payments", 2).layer(service_fn(respond)));
    for _ in 0..3 {
        service.clone().oneshot(Request::new(())).await.expect("infallible");
    }
    for policy in ["api", "payments"] {
        assert_eq!(recorded.counter(&format!("backpressure_requests_total {policy} admitted")), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn metrics_sum_over_origins_and_events_name_the_origin() {
    let recorded = RecordedMetrics::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let (log, _log) = EventLog::here();
    let layer = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let service = layer.layer(service_fn(respond));
    let send = async |uri: &str| {
        let request = Request::get(uri).body(()).expect("a request");
        service.clone().oneshot(request).await.expect("infallible").status()
    };
    assert_eq!(
        (send("http://one/").await, send("http://two/").await),
        (StatusCode::OK, StatusCode::OK)
    );
    let limiter = layer.limiter(&"http://two/".parse().expect("a URI")).expect("a known origin");
    let _permits: Vec<_> = std::iter::from_fn(|| limiter.try_acquire().ok()).collect();
    assert_eq!(
        (send("http://one/").await, send("http://two/").await),
        (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE)
    );
    assert_eq!(recorded.counter("backpressure_requests_total search admitted"), 3);
    assert_eq!(recorded.counter("backpressure_requests_total search shed limit"), 1);
    assert_eq!(recorded.gauge("backpressure_in_flight search"), 0.0);
    let has_limit = recorded.names().contains("backpressure_limit");
    assert!(!has_limit, "there is no limit for all origins together");
    let events = log.events();
    assert!(events.len() == 1 && events[0].contains("http://two"), "{events:?}");
}
