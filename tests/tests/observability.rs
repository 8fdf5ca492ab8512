//! What operators see: metrics that add up, and one event at either edge of a storm.

use std::convert::Infallible;
use std::future::{pending, poll_fn, ready};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use backpressure_tests::meters::Meters;
use backpressure_tests::script::{End, Script};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::{Instant, advance, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Deadline, OriginLimitLayer, Priority, QueueBounds, Reason,
};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::Subscriber;

const SECOND: Duration = Duration::from_secs(1);

async fn answer(_: Request<()>) -> Result<Response<Script>, Infallible> {
    Ok(Response::new(Script::pieces(1, 10)))
}

/// Polls a request once.
macro_rules! begin {
    ($request:expr) => {
        poll_fn(|cx| Poll::Ready($request.as_mut().poll(cx).is_pending())).await
    };
}

#[tokio::test(start_paused = true)]
async fn every_refusal_is_counted_with_its_reason() {
    let meters = Meters::default();
    let _here = metrics::set_default_local_recorder(&meters);
    let layer = AdmissionLayer::fixed("api", 1);
    let service = layer.layer(service_fn(answer));
    let ask = |priority: Priority| {
        let mut request = Request::new(());
        request.extensions_mut().insert(priority);
        Box::pin(service.clone().oneshot(request))
    };
    let _full = layer.limiter().try_acquire().expect("room for one");
    let mut late = Request::new(());
    late.extensions_mut().insert(Deadline(Instant::now()));
    service.clone().oneshot(late).await.expect("deadline");
    let layer = layer.queue(QueueBounds::new(1, SECOND));
    ask(Priority::Normal).await.expect("queue-timeout");
    advance(2 * SECOND).await;
    let (mut displaced, mut waits) = (ask(Priority::Normal), ask(Priority::Critical));
    assert!(begin!(displaced) && begin!(waits));
    displaced.await.expect("displaced");
    ask(Priority::Normal).await.expect("queue-full");
    drop(waits);
    let layer = layer.queue(QueueBounds::NONE);
    ask(Priority::Normal).await.expect("limit");

    for &reason in Reason::ALL {
        assert_eq!(
            meters.counter(&format!("backpressure_requests_total api shed {reason}")),
            1,
            "{reason}"
        );
    }
    assert_eq!(layer.snapshot().in_flight, 1);
}

#[tokio::test(start_paused = true)]
async fn the_metrics_add_up() {
    let meters = Meters::default();
    let _here = metrics::set_default_local_recorder(&meters);
    let bounds = QueueBounds::new(8, 10 * SECOND);
    let layer = AdmissionLayer::fixed("api", 3).queue(bounds);
    let service = layer.layer(service_fn(async |request: Request<Option<Duration>>| {
        match request.into_body() {
            Some(work) => sleep(work).await,
            None => pending().await,
        }
        Ok::<_, Infallible>(Response::new(Script::pieces(2, 10)))
    }));
    let ask = |work| Box::pin(service.clone().oneshot(Request::new(work)));

    let (mut one, mut two, mut three) = (ask(Some(SECOND)), ask(Some(3 * SECOND)), ask(None));
    assert!(begin!(one) && begin!(two) && begin!(three));
    let mut waits = ask(Some(SECOND));
    assert!(begin!(waits));
    let mut late = Request::new(None);
    late.extensions_mut().insert(Deadline(Instant::now()));
    assert_eq!(service.clone().oneshot(late).await.expect("a refusal").status(), 503);
    assert_eq!(meters.gauge("backpressure_in_flight api"), 3.0);
    assert_eq!(meters.gauge("backpressure_limit api"), 3.0);
    assert_eq!(meters.gauge("backpressure_queue_depth api"), 1.0);
    assert_eq!(meters.counter("backpressure_requests_total api admitted"), 3);
    assert_eq!(meters.counter("backpressure_requests_total api shed deadline"), 1);
}

#[tokio::test(start_paused = true)]
async fn the_gauge_of_those_in_flight_returns_to_zero_however_they_end() {
    let meters = Meters::default();
    let _here = metrics::set_default_local_recorder(&meters);
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::new(8, SECOND));
    let plain = layer.layer(service_fn(answer));

    // Read to its end; dropped unread; dropped half-way.
    plain
        .clone()
        .oneshot(Request::new(()))
        .await
        .expect("infallible")
        .collect()
        .await
        .expect("whole");
    drop(plain.clone().oneshot(Request::new(())).await);
    let hangs = layer.layer(service_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(Response::new(Script::pieces(1, 10).end(End::Hangs))))
    }));
    let mut half = hangs.oneshot(Request::new(())).await.expect("infallible").into_body();
    assert!(half.frame().await.is_some());
    // Cancelled while it runs, and while it waits.
    let never =
        layer.layer(service_fn(|_: Request<()>| pending::<Result<Response<Script>, Infallible>>()));
    let (mut runs, mut waits) = (
        Box::pin(never.clone().oneshot(Request::new(()))),
        Box::pin(never.oneshot(Request::new(()))),
    );
    assert!(begin!(runs) && begin!(waits));
    assert_eq!(layer.snapshot().queued, 1);
    drop((half, waits, runs));
    // It panics; it fails.
    let dies = layer.layer(service_fn(async |request: Request<()>| {
        let () = request.into_body();
        if layer.snapshot().in_flight > 0 {
            std::panic::resume_unwind(Box::new("as ordered"));
        }
        Ok::<_, Infallible>(Response::new(Script::default()))
    }));
    let mut dies = Box::pin(dies.oneshot(Request::new(())));
    let died = poll_fn(|cx| {
        let poll = std::panic::AssertUnwindSafe(|| dies.as_mut().poll(cx).is_ready());
        Poll::Ready(std::panic::catch_unwind(poll))
    });
    assert!(died.await.is_err());
    drop(dies);
    let fails = layer.layer(service_fn(|_: Request<()>| ready(Err::<Response<Script>, _>("no"))));
    assert!(fails.oneshot(Request::new(())).await.is_err());

    assert_eq!(layer.snapshot().in_flight, 0);
    assert_eq!(meters.gauge("backpressure_in_flight api"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_waiting_leaves_the_gauge_of_the_queue_as_it_was() {
    let meters = Meters::default();
    let _here = metrics::set_default_local_recorder(&meters);
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(8, SECOND));
    let service = layer.layer(service_fn(answer));
    let _full = layer.limiter().try_acquire().expect("room for one");
    let mut waits = Box::pin(service.clone().oneshot(Request::new(())));
    assert!(begin!(waits));
    // Somebody who is turned away, so that the gauges are looked at while it waits.
    let mut late = Request::new(());
    late.extensions_mut().insert(Deadline(Instant::now()));
    assert_eq!(service.oneshot(late).await.expect("infallible").status(), 503);
    drop(waits);
    assert_eq!(layer.snapshot().queued, 0);
    assert_eq!(meters.gauge("backpressure_queue_depth api"), 0.0);
}

#[tokio::test(start_paused = true)]
async fn the_time_in_the_queue_is_measured() {
    let meters = Meters::default();
    let _here = metrics::set_default_local_recorder(&meters);
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(8, SECOND));
    let service = layer.layer(service_fn(answer));
    let full = layer.limiter().try_acquire().expect("room for one");
    let waits = tokio::spawn(service.clone().oneshot(Request::new(())));
    sleep(Duration::from_millis(300)).await;
    drop(full);
    waits.await.expect("no panic").expect("infallible").collect().await.expect("whole");
    let _full = layer.limiter().try_acquire().expect("room for one");
    assert_eq!(service.oneshot(Request::new(())).await.expect("infallible").status(), 503);
    let waits = meters.histogram("backpressure_queue_wait_seconds api");
    assert_eq!(waits.len(), 2);
    assert!((0.3..0.302).contains(&waits[0]), "{waits:?}");
    assert!((1.0..1.002).contains(&waits[1]), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn two_policies_are_told_apart() {
    let meters = Meters::default();
    let _here = metrics::set_default_local_recorder(&meters);
    let service = AdmissionLayer::fixed("api", 4)
        .layer(BulkheadLayer::new("payments", 2).layer(service_fn(answer)));
    for _ in 0..3 {
        service.clone().oneshot(Request::new(())).await.expect("infallible");
    }
    for policy in ["api", "payments"] {
        assert_eq!(meters.counter(&format!("backpressure_requests_total {policy} admitted")), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn the_origins_of_a_policy_are_counted_together_and_named_in_events() {
    let meters = Meters::default();
    let _here = metrics::set_default_local_recorder(&meters);
    let log = Log::default();
    let _log = tracing::subscriber::set_default(log.clone());
    let layer = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let service = layer.layer(service_fn(answer));
    let ask = async |uri: &str| {
        let request = Request::get(uri).body(()).expect("a request");
        service.clone().oneshot(request).await.expect("infallible").status()
    };
    assert_eq!(
        (ask("http://one/").await, ask("http://two/").await),
        (StatusCode::OK, StatusCode::OK)
    );
    let limiter = layer.limiter(&"http://two/".parse().expect("a URI")).expect("known");
    let _full: Vec<_> = std::iter::from_fn(|| limiter.try_acquire().ok()).collect();
    assert_eq!(
        (ask("http://one/").await, ask("http://two/").await),
        (StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE)
    );

    assert_eq!(meters.counter("backpressure_requests_total search admitted"), 3);
    assert_eq!(meters.counter("backpressure_requests_total search shed limit"), 1);
    assert_eq!(meters.gauge("backpressure_in_flight search"), 0.0);
    assert_eq!(meters.gauge("backpressure_limit search"), 0.0, "there is none of all together");
    let events = log.read();
    assert!(events.len() == 1 && events[0].contains("http://two"), "{events:?}");
}

/// Writes down the message of each event of ours.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn read(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_backpressure")
    }

    fn event(&self, event: &tracing::Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().expect("no panic").push(line.0);
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if matches!(field.name(), "message" | "policy" | "origin" | "shed" | "reason") {
            self.0.push_str(&format!(" {value:?}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_is_two_events_however_many_it_turns_away() {
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let service = layer.layer(service_fn(answer));
    let ask =
        async || service.clone().oneshot(Request::new(())).await.expect("infallible").status();
    for storm in 1..=2 {
        assert_eq!(ask().await, 200);
        // It lasts ten seconds, and now and then somebody gets in.
        for _ in 0..100 {
            let full = layer.limiter().try_acquire().expect("room for one");
            for _ in 0..10 {
                assert_eq!(ask().await, 503);
            }
            drop(full);
            advance(Duration::from_millis(50)).await;
            assert_eq!(ask().await, 200);
            advance(Duration::from_millis(50)).await;
        }
        assert_eq!(log.read().len(), 2 * storm - 1, "{:?}", log.read());
        advance(2 * SECOND).await;
        for _ in 0..10 {
            assert_eq!(ask().await, 200);
        }
        assert_eq!(log.read().len(), 2 * storm, "{:?}", log.read());
    }
    let events = log.read();
    for storm in events.chunks(2) {
        assert!(storm[0].starts_with("WARN") && storm[0].contains("shedding starts"), "{storm:?}");
        assert!(storm[0].contains("\"api\"") && storm[0].contains("\"limit\""), "{storm:?}");
        assert!(storm[1].starts_with("INFO") && storm[1].contains("shedding stops"), "{storm:?}");
        assert!(storm[1].contains("1000"), "{storm:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_at_ease_says_nothing() {
    let log = Log::default();
    let _here = tracing::subscriber::set_default(log.clone());
    let service = AdmissionLayer::adaptive("api").layer(service_fn(answer));
    for _ in 0..100 {
        let answer = timeout(SECOND, service.clone().oneshot(Request::new(()))).await;
        assert_eq!(answer.expect("in time").expect("infallible").status(), 200);
        advance(SECOND).await;
    }
    assert_eq!(log.read(), Vec::<String>::new());
}
