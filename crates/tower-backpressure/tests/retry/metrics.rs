//! The metrics of retries, by name and label.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{RetryBudget, RetryLayer};

/// The number of updates of each metric, by name and label values.
#[derive(Clone, Debug, Default)]
struct Tally(Arc<Mutex<BTreeMap<String, u64>>>);

struct Series {
    tally: Tally,
    key: String,
}

impl Tally {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<_> = key.labels().map(|label| label.value()).collect();
        Arc::new(Series {
            tally: self.clone(),
            key: format!("{} {}", key.name(), labels.join(" ")),
        })
    }

    fn count(&self, series: &str) -> u64 {
        self.0.lock().unwrap().get(series).copied().unwrap_or(0)
    }
}

impl Series {
    fn add(&self, count: u64) {
        let mut tally = self.tally.0.lock().unwrap();
        *tally.entry(self.key.clone()).or_default() += count;
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.add(value);
    }

    fn absolute(&self, _value: u64) {
        unreachable!("the layer increments its counters");
    }
}

impl HistogramFn for Series {
    fn record(&self, _value: f64) {
        self.add(1);
    }
}

impl Recorder for Tally {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

#[tokio::test(start_paused = true)]
async fn retries_and_failures_are_counted_by_policy_and_outcome() {
    let tally = Tally::default();
    let _guard = metrics::set_default_local_recorder(&tally);
    let layer = RetryLayer::named("payments").budget(RetryBudget::new(0.0).reserve(3));
    let failing = |status: u16, retry_after: &'static str| {
        layer.layer(service_fn(move |_: Request<()>| {
            let failure = Response::builder().status(status);
            let failure = failure.header("retry-after", retry_after).body(String::new());
            ready(Ok::<_, Infallible>(failure.unwrap()))
        }))
    };
    for (status, retry_after) in [(503, "1"), (502, "0"), (503, "61"), (503, "59")] {
        failing(status, retry_after).oneshot(Request::new(())).await.unwrap();
    }

    let retries = |outcome| tally.count(&format!("backpressure_retries_total payments {outcome}"));
    assert_eq!(retries("retried"), 3);
    assert_eq!(retries("attempts"), 1);
    assert_eq!(retries("budget"), 1);
    assert_eq!(retries("retry_after"), 1);
    assert_eq!(retries("deadline"), 1);
    assert_eq!(retries("not_replayable"), 0);
    let attempts = |kind| tally.count(&format!("backpressure_attempts_total payments {kind}"));
    assert_eq!(attempts("first"), 4);
    assert_eq!(attempts("retry"), 3);
    let waits = |source| tally.count(&format!("backpressure_retry_wait_seconds payments {source}"));
    assert_eq!(waits("retry_after"), 2);
    assert_eq!(waits("backoff"), 1);
}
