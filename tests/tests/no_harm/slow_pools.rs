//! Small and slow bottlenecks behind an await, from a cold start: few responses show where the knee is.

use std::time::Duration;

use backpressure_tests::load::{Class, Distribution, Load, adaptive, verify};

use super::{MILLI, Pool, SECOND, SEEDS};

const LENGTH: Duration = Duration::from_secs(60);
/// Less than elsewhere: at five responses a second chance alone is a tenth of the goodput.
const MIN_SLOW_GOODPUT_SHARE: f64 = 0.7;

/// Traffic of `load` times the capacity, of which a response is late after ten service times.
fn overload(pool: Pool, load: f64, warm_up: Duration) {
    verify(SEEDS.map(|seed| {
        let mean = pool.service.mean();
        Load::new(format!("{} slots of {mean:?} {load}x", pool.slots), seed)
            .bottleneck(pool.slots, pool.service)
            .class(Class::poisson("all", load * pool.capacity()).work().late_after(10 * mean))
            .run(LENGTH, adaptive)
            .expect_rate("all", MIN_SLOW_GOODPUT_SHARE * pool.capacity(), warm_up, LENGTH)
    }));
}

#[test]
fn four_slots_of_200_ms_keep_their_goodput_in_overload() {
    for load in [1.2, 2.0, 4.0] {
        overload(Pool::fixed(4, 200), load, 15 * SECOND);
    }
}

#[test]
#[ignore = "known miss: in one seed of three, at twice the capacity, 53 requests of 300 are served in time: ten responses \
            before the limit is reached do not show the queue beyond doubt"]
fn one_slot_of_200_ms_keeps_its_goodput_in_overload() {
    let pool = Pool { slots: 1, service: Distribution::Exponential(200 * MILLI) };
    for load in [1.2, 2.0] {
        overload(pool, load, 20 * SECOND);
    }
}
