//! The layers under test, each with a function that takes a snapshot of its limiter.

use tower::layer::layer_fn;
use tower::layer::util::Identity;
use tower::limit::ConcurrencyLimit;
use tower::load_shed::LoadShed;
use tower::util::MapErr;
use tower::{BoxError, Layer};
use tower_backpressure::{AdmissionLayer, OriginLimitLayer, QueueBounds, Snapshot};

use super::caller::ORIGIN;
use super::handler::{Failed, Handler};

fn admission(layer: AdmissionLayer) -> (AdmissionLayer, impl Fn() -> Option<Snapshot> + Send) {
    let observed = layer.clone();
    (layer, move || Some(observed.snapshot()))
}

/// `AdmissionLayer::adaptive` with its defaults, on one worker.
pub fn adaptive() -> (AdmissionLayer, impl Fn() -> Option<Snapshot> + Send) {
    admission(AdmissionLayer::adaptive("api"))
}

/// `AdmissionLayer::fixed` without a queue.
pub fn fixed(limit: usize) -> (AdmissionLayer, impl Fn() -> Option<Snapshot> + Send) {
    admission(AdmissionLayer::fixed("api", limit).queue(QueueBounds::NONE))
}

/// `OriginLimitLayer` with its defaults.
pub fn client() -> (OriginLimitLayer, impl Fn() -> Option<Snapshot> + Send) {
    let layer = OriginLimitLayer::new("client");
    let observed = layer.clone();
    let origin = ORIGIN.parse().expect("a URI");
    (layer, move || observed.limiter(&origin).map(|limiter| limiter.snapshot()))
}

/// No layer.
pub fn bare() -> (Identity, impl Fn() -> Option<Snapshot> + Send) {
    (Identity::new(), || None)
}

type TowerLimit = MapErr<LoadShed<ConcurrencyLimit<Handler>>, fn(BoxError) -> Failed>;

/// tower's `ConcurrencyLimit` with its `LoadShed`: requests beyond the limit fail.
pub fn tower_limit(
    limit: usize,
) -> (impl Layer<Handler, Service = TowerLimit>, impl Fn() -> Option<Snapshot> + Send) {
    let failed: fn(BoxError) -> Failed = |_| Failed;
    let layer = layer_fn(move |handler| {
        let limited = LoadShed::new(ConcurrencyLimit::new(handler, limit));
        MapErr::new(limited, failed)
    });
    (layer, || None)
}
