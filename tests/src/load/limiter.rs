//! The layers under test, each with a function that takes a snapshot of its limiter.

use tower::layer::util::Identity;
use tower_backpressure::{AdmissionLayer, OriginLimitLayer, QueueBounds, Snapshot};

use super::caller::ORIGIN;

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
