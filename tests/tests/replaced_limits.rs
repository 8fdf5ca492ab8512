//! A limit that an operator replaces while requests are in flight does what it would do from the start.

use std::time::Duration;

use backpressure_core::{Adaptive, Aimd, Fixed};
use backpressure_tests::load::{Class, Content, Load, Pool, Reader, Report, verify};
use tokio::time::sleep;
use tower_backpressure::{AdmissionLayer, BulkheadLayer, Limiter, QueueBounds, Snapshot};

const SECOND: Duration = Duration::from_secs(1);
const POOL: Pool = Pool::varied(8, 40);
const LENGTH: Duration = Duration::from_secs(60);
/// From then on a replaced limit is judged.
const KNOWN: Duration = Duration::from_secs(35);

/// The replacements of a limit: after so many seconds each.
type Replacements = &'static [(u64, fn(&Limiter))];

const TO_ADAPTIVE: (u64, fn(&Limiter)) = (15, |limiter| limiter.replace_limit(Adaptive::new(1)));

/// The layer, whose limit is replaced while it runs.
fn replacing(
    layer: AdmissionLayer,
    replacements: Replacements,
) -> (AdmissionLayer, impl Fn() -> Option<Snapshot> + Send) {
    let (limiter, observed) = (layer.limiter().clone(), layer.clone());
    tokio::spawn(async move {
        let mut before = 0;
        for &(at, replace) in replacements {
            sleep((at - before) as u32 * SECOND).await;
            replace(&limiter);
            before = at;
        }
    });
    (layer, move || Some(observed.snapshot()))
}

/// How a limit is replaced: its name, the layer at the beginning, and the replacements.
type Way = (&'static str, fn() -> AdmissionLayer, Replacements);

/// A limit that is replaced before the end by an adaptive one, in each of several ways.
fn replaced(load: &Load) -> Vec<Report> {
    let ways: [Way; 6] = [
        ("far too high", || AdmissionLayer::fixed("api", 400), &[TO_ADAPTIVE]),
        ("far too low", || AdmissionLayer::fixed("api", 1), &[TO_ADAPTIVE]),
        ("a bulkhead", || bulkhead(64), &[TO_ADAPTIVE]),
        ("another algorithm", || AdmissionLayer::with_limit("api", Aimd::new()), &[TO_ADAPTIVE]),
        (
            "and back",
            || AdmissionLayer::adaptive("api"),
            &[(5, |limiter| limiter.replace_limit(Fixed::new(2))), TO_ADAPTIVE],
        ),
        (
            "again and again",
            || AdmissionLayer::fixed("api", 8),
            &[
                (5, |limiter| limiter.replace_limit(Adaptive::new(1))),
                (6, |limiter| limiter.replace_limit(Fixed::new(1))),
                (7, |limiter| limiter.replace_limit(Adaptive::new(1))),
                (8, |limiter| limiter.replace_limit(Fixed::new(100))),
                TO_ADAPTIVE,
            ],
        ),
    ];
    let run = |(way, layer, replacements): Way| {
        println!("{way}");
        load.clone().run(LENGTH, || replacing(layer(), replacements))
    };
    ways.into_iter().map(run).collect()
}

fn bulkhead(limit: usize) -> AdmissionLayer {
    AdmissionLayer::from(BulkheadLayer::new("api", limit)).queue(QueueBounds::default())
}

#[test]
fn under_overload_it_admits_what_the_service_can_do() {
    let load = POOL
        .load("3×", 1)
        .class(Class::poisson("page", 3.0 * POOL.capacity()).work().late_after(SECOND));
    verify(
        replaced(&load)
            .into_iter()
            .map(|report| report.expect_rate("page", 0.93 * POOL.capacity(), KNOWN, LENGTH)),
    );
}

#[test]
fn at_half_load_it_rejects_nothing() {
    let load = POOL.load(".5×", 2).class(Class::poisson("page", 0.5 * POOL.capacity()).work());
    verify(replaced(&load).into_iter().map(|report| report.expect_all_served_after("page", KNOWN)));
}

#[test]
fn what_held_permits_before_and_does_no_work_keeps_no_request_out() {
    let streams =
        Class::spread("stream", 40, 5 * SECOND).content(Content::Frames(64)).reader(Reader::Stalls);
    let load = POOL
        .load("stalled readers", 3)
        .class(streams)
        .class(Class::poisson("page", 0.5 * POOL.capacity()).work());
    verify(replaced(&load).into_iter().map(|report| report.expect_all_served_after("page", KNOWN)));
}

#[test]
fn requests_that_hang_since_before_keep_no_request_out() {
    let load = POOL
        .load("hanging", 4)
        .class(Class::spread("hangs", 30, 10 * SECOND).hangs())
        .class(Class::poisson("page", 0.5 * POOL.capacity()).work());
    verify(replaced(&load).into_iter().map(|report| report.expect_all_served_after("page", KNOWN)));
}
