//! Events of tracing: when rejections begin and end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tokio::time::{advance, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds};
use tracing::field::{Field, Visit};
use tracing::span;
use tracing::subscriber::Subscriber;

use super::{SECOND, respond};

/// Records the events of this library, one line each.
#[derive(Clone, Default)]
pub(crate) struct EventLog(Arc<Mutex<Vec<String>>>);

impl EventLog {
    /// A log of the events on this thread.
    pub(crate) fn here() -> (Self, tracing::subscriber::DefaultGuard) {
        // Without a default for all threads, tracing may remember of an event that no subscriber wants it, from a
        // test on another thread.
        drop(tracing::subscriber::set_global_default(Self::default()));
        let log = Self::default();
        (log.clone(), tracing::subscriber::set_default(log))
    }
    pub(crate) fn events(&self) -> Vec<String> {
        self.0.lock().expect("no panic").clone()
    }
}

impl Subscriber for EventLog {
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
async fn an_overload_emits_two_events_however_many_requests_it_rejects() {
    let (log, _here) = EventLog::here();
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
    let service = layer.layer(service_fn(respond));
    let send =
        async || service.clone().oneshot(Request::new(())).await.expect("infallible").status();
    for overload in 1..=2 {
        assert_eq!(send().await, 200);
        // Ten seconds of overload in which every eleventh request is admitted.
        for _ in 0..100 {
            let permit = layer.limiter().try_acquire().expect("a free permit");
            for _ in 0..10 {
                assert_eq!(send().await, 503);
            }
            drop(permit);
            advance(Duration::from_millis(50)).await;
            assert_eq!(send().await, 200);
            advance(Duration::from_millis(50)).await;
        }
        assert_eq!(log.events().len(), 2 * overload - 1, "{:?}", log.events());
        advance(2 * SECOND).await;
        for _ in 0..10 {
            assert_eq!(send().await, 200);
        }
        assert_eq!(log.events().len(), 2 * overload, "{:?}", log.events());
    }
    let events = log.events();
    for overload in events.chunks(2) {
        assert!(
            overload[0].starts_with("WARN") && overload[0].contains("shedding starts"),
            "{overload:?}"
        );
        assert!(
            overload[0].contains("\"api\"") && overload[0].contains("\"limit\""),
            "{overload:?}"
        );
        assert!(
            overload[1].starts_with("INFO") && overload[1].contains("shedding stops"),
            "{overload:?}"
        );
        assert!(overload[1].contains("1000"), "{overload:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_without_overload_emits_no_event() {
    let (log, _here) = EventLog::here();
    let service = AdmissionLayer::adaptive("api").layer(service_fn(respond));
    for _ in 0..100 {
        let response = timeout(SECOND, service.clone().oneshot(Request::new(()))).await;
        assert_eq!(response.expect("in time").expect("infallible").status(), 200);
        advance(SECOND).await;
    }
    assert_eq!(log.events(), Vec::<String>::new());
}
