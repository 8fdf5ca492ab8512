//! What stands in front of the service.

use tower::layer::util::Identity;
use tower_backpressure::{AdmissionLayer, OriginLimitLayer, QueueBounds, Snapshot};

use super::caller::ORIGIN;

fn admission(layer: AdmissionLayer) -> (AdmissionLayer, impl Fn() -> Option<Snapshot> + Send) {
    let probe = layer.clone();
    (layer, move || Some(probe.snapshot()))
}

/// `AdmissionLayer::adaptive` with its defaults, on one worker.
pub fn adaptive() -> (AdmissionLayer, impl Fn() -> Option<Snapshot> + Send) {
    admission(AdmissionLayer::adaptive("api"))
}

/// `AdmissionLayer::fixed` without a queue.
pub fn fixed(limit: usize) -> (AdmissionLayer, impl Fn() -> Option<Snapshot> + Send) {
    admission(AdmissionLayer::fixed("api", limit).queue(QueueBounds::NONE))
}

/// The limit of a client, with its defaults.
pub fn client() -> (OriginLimitLayer, impl Fn() -> Option<Snapshot> + Send) {
    let layer = OriginLimitLayer::new("client");
    let probe = layer.clone();
    let origin = ORIGIN.parse().expect("a URI");
    (layer, move || probe.limiter(&origin).map(|limiter| limiter.snapshot()))
}

/// Nothing.
pub fn bare() -> (Identity, impl Fn() -> Option<Snapshot> + Send) {
    (Identity::new(), || None)
}
