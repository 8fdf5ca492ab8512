//! Through the layers, no request is rejected while one of a lower priority is served in its place.
//!
//! Higher priorities ask for six tenths of the capacity, the lowest one for three times all of it. Whatever the shape
//! of the requests and the nesting of the layers, the higher ones are served.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Version};
use tower::Layer;
use tower::layer::layer_fn;
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Priority, QueueBounds, RequestInfo, RequestInfoLayer,
    RetryLayer, Tenant,
};

mod pauses;
mod world;

use self::world::{Service, Slots, Stack, Tally, Traffic, Weight, send_all};

const SECOND: Duration = Duration::from_secs(1);
/// Seconds until the layers know the service, and until the end.
const SPAN: [f64; 2] = [8.0, 24.0];

/// A service of each shape.
const SHAPES: [Slots; 3] = [Slots::new(16, 100), Slots::new(4, 20), Slots::new(2, 50)];

/// A limit that is known, and one that is found.
fn layers(slots: Slots) -> [(&'static str, AdmissionLayer); 2] {
    [
        ("fixed", AdmissionLayer::fixed("api", slots.count)),
        ("adaptive", AdmissionLayer::adaptive("api")),
    ]
    // So that a rejected request is told at the moment of the decision.
    .map(|(kind, layer)| (kind, layer.delay_rejections(0)))
}

/// Three tenths of the capacity for the two higher priorities, and three times all of it for the lowest.
fn traffic(slots: Slots) -> [Traffic; 3] {
    let capacity = slots.per_second();
    [(Priority::Critical, 0.3), (Priority::Normal, 0.3), (Priority::Sheddable, 3.0)]
        .map(|(priority, share)| Traffic::of(priority, share * capacity))
}

fn assert_higher_are_served(name: &str, [critical, normal, _]: [Tally; 3]) {
    assert_eq!(critical.passed + normal.passed, 0, "{name}: {critical:?}, {normal:?}");
    // A limit that is found is lower than it could be at times.
    assert!(critical.share() >= 0.97, "{name}: critical {critical:?}");
    assert!(normal.share() >= 0.97, "{name}: normal {normal:?}");
}

/// Sends the traffic, changed, to a service of each shape behind each kind of limit.
async fn in_all_shapes(
    situation: &str,
    change: impl Fn([Traffic; 3], Slots) -> [Traffic; 3],
    stack: impl Fn(Slots, AdmissionLayer) -> Stack,
) {
    for slots in SHAPES {
        for (kind, layer) in layers(slots) {
            let name = format!("{situation}, {slots:?}, {kind}");
            let traffic = change(traffic(slots), slots);
            let tallies = send_all(&name, &stack(slots, layer), traffic, SPAN).await;
            assert_higher_are_served(&name, tallies);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_queue_is_enough_for_priorities_and_without_one_they_count_for_little() {
    let slots = Slots::new(16, 100);
    for max_len in [0, 16] {
        let queue = QueueBounds::new(max_len, SECOND);
        let layer = AdmissionLayer::fixed("api", slots.count).queue(queue).delay_rejections(0);
        let name = format!("a queue of {max_len}");
        let tallies = send_all(&name, &slots.behind(layer), traffic(slots), SPAN).await;
        if max_len > 0 {
            assert_higher_are_served(&name, tallies);
        } else {
            let [critical, normal, sheddable] = tallies.map(|tally| tally.share());
            assert!(critical >= normal && normal > sheddable, "{critical} {normal} {sheddable}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn bursts_at_one_moment_are_served_in_the_order_of_priority() {
    let change = |[critical, normal, sheddable]: [Traffic; 3], slots: Slots| {
        [critical.in_bursts(2), normal.in_bursts(2), sheddable.in_bursts(10 * slots.count)]
    };
    in_all_shapes("bursts", change, |slots, layer| slots.behind(layer)).await;
}

#[tokio::test(start_paused = true)]
async fn short_requests_of_the_lowest_priority_do_not_pass_long_ones_of_a_higher() {
    let change = |[critical, normal, sheddable]: [Traffic; 3], _: Slots| {
        let long = |call: &mut world::Call| _ = call.extensions_mut().insert(Weight(1.5));
        let short = |call: &mut world::Call| _ = call.extensions_mut().insert(Weight(0.25));
        [critical.with(long), normal, sheddable.with(short)]
    };
    in_all_shapes("long and short", change, |slots, layer| slots.behind(layer)).await;
}

#[tokio::test(start_paused = true)]
async fn priorities_of_the_wire_hold_and_an_untrusted_caller_cannot_raise_its_own() {
    let change = |[critical, normal, sheddable]: [Traffic; 3], _: Slots| {
        let from_wire = |field: &'static str, trusted: bool| {
            move |call: &mut world::Call| {
                call.extensions_mut().remove::<RequestInfo>();
                call.headers_mut().insert("priority", HeaderValue::from_static(field));
                if trusted {
                    call.headers_mut().insert("x-gateway", HeaderValue::from_static("1"));
                }
            }
        };
        [
            critical.with(from_wire("u=0", true)),
            // Says that it is more urgent than it may say.
            normal.with(from_wire("u=0", false)),
            sheddable.with(from_wire("u=7", false)),
        ]
    };
    let gateway = HeaderName::from_static("x-gateway");
    in_all_shapes("of the wire", change, |slots, layer| {
        let gateway = gateway.clone();
        let info = RequestInfoLayer::from_headers()
            .trust(move |head: &http::request::Parts| head.headers.contains_key(&gateway));
        slots.behind(layer_fn(move |inner: Service| info.layer(layer.layer(inner))))
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_inside_of_an_admission_layer_keeps_the_order() {
    in_all_shapes(
        "nested",
        |traffic, _| traffic,
        |slots, layer| {
            let inside = BulkheadLayer::new("inside", slots.count).queue(QueueBounds::default());
            slots.behind(layer_fn(move |inner: Service| layer.layer(inside.layer(inner))))
        },
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn retries_of_the_lowest_priority_pass_no_new_request_of_a_higher() {
    for slots in SHAPES {
        for (kind, layer) in layers(slots) {
            let stack = slots.behind(layer);
            let retrying = stack.behind(RetryLayer::new().seed(7));
            let [critical, normal, sheddable] = traffic(slots);
            let name = format!("retries, {slots:?}, {kind}");
            let flood =
                tokio::spawn(async move { send_all("their", &retrying, [sheddable], SPAN).await });
            let [critical, normal] = send_all(&name, &stack, [critical, normal], SPAN).await;
            flood.abort();
            assert_higher_are_served(&name, [critical, normal, Tally::default()]);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn callers_of_the_lowest_priority_that_leave_early_make_no_room_for_others_like_them() {
    let change = |[critical, normal, sheddable]: [Traffic; 3], slots: Slots| {
        [critical, normal, sheddable.patience(slots.time / 2)]
    };
    in_all_shapes("impatient", change, |slots, layer| slots.behind(layer)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_with_little_time_left_are_served_before_those_that_have_all() {
    let change = |[critical, normal, sheddable]: [Traffic; 3], slots: Slots| {
        let soon = move |call: &mut world::Call| {
            let deadline = tokio::time::Instant::now() + 8 * slots.time;
            let info = RequestInfo::of(call.extensions()).deadline(deadline);
            call.extensions_mut().insert(info);
        };
        [critical.with(soon), normal.with(soon), sheddable]
    };
    in_all_shapes("deadlines", change, |slots, layer| slots.behind(layer)).await;
}

#[tokio::test(start_paused = true)]
async fn uploads_over_http_2_of_a_high_priority_are_served_before_small_requests_of_a_lower() {
    let change = |[critical, normal, sheddable]: [Traffic; 3], _: Slots| {
        let upload = |call: &mut world::Call| {
            *call.version_mut() = Version::HTTP_2;
            call.headers_mut().insert("content-length", HeaderValue::from_static("1000000"));
        };
        [critical.with(upload), normal.with(upload), sheddable]
    };
    in_all_shapes("uploads", change, |slots, layer| slots.behind(layer)).await;
}

#[tokio::test(start_paused = true)]
async fn requests_that_cost_several_permits_are_not_passed_by_cheap_ones_of_a_lower_priority() {
    let slots = Slots::new(16, 100);
    let costly = |call: &mut world::Call| {
        let info = RequestInfo::of(call.extensions()).cost(4);
        call.extensions_mut().insert(info);
        call.extensions_mut().insert(Weight(1.0));
    };
    // A quarter as many, as each takes the room of four.
    let capacity = slots.per_second();
    let traffic = [
        Traffic::of(Priority::Critical, 0.3 / 4.0 * capacity).with(costly),
        Traffic::of(Priority::Normal, 0.3 * capacity),
        Traffic::of(Priority::Sheddable, 3.0 * capacity),
    ];
    let stack = slots.behind(AdmissionLayer::fixed("api", slots.count));
    let tallies = send_all("costly", &stack, traffic, SPAN).await;
    assert_higher_are_served("costly", tallies);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_asks_for_little_is_served_before_lower_priorities_of_all_tenants() {
    let slots = Slots::new(16, 100);
    let capacity = slots.per_second();
    let of = |tenant: u64| {
        move |call: &mut world::Call| {
            let info = RequestInfo::of(call.extensions()).tenant(Tenant::new(tenant));
            call.extensions_mut().insert(info);
        }
    };
    let traffic = [
        Traffic::of(Priority::Critical, 0.3 * capacity).with(of(1)),
        Traffic::of(Priority::Normal, 0.3 * capacity).with(of(2)),
        Traffic::of(Priority::Sheddable, 3.0 * capacity).with(of(3)),
    ];
    for (kind, layer) in layers(slots) {
        let tallies = send_all(kind, &slots.behind(layer), traffic.clone(), SPAN).await;
        assert_higher_are_served(kind, tallies);
    }
}
