//! The layers of a set: each has a queue, reasons and a handle of its own.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, ServiceExt};
use tower_backpressure::server::Handle;
use tower_backpressure::{
    AdmissionLayer, BulkheadSet, Compartment, QueueBounds, Reason, SHED_REASON,
};

use crate::support::{SERVICE_TIME, in_flight, request, send, service};

#[tokio::test(start_paused = true)]
async fn compartments_have_queues_reasons_and_handles_of_their_own() {
    let set = BulkheadSet::total(4)
        .compartment("one", Compartment::guaranteed(2).lend(0).queue(QueueBounds::NONE))
        .compartment(
            "two",
            Compartment::guaranteed(2).queue(QueueBounds::new(1, Duration::from_millis(50))),
        );
    let services = ["one", "two"].map(|name| set.layer(name).layer(service()));
    let mut running = JoinSet::new();
    for service in &services {
        for _ in 0..2 {
            running.spawn(send(service.clone(), request(Duration::from_secs(1))));
        }
    }
    sleep(Duration::from_millis(1)).await;
    let reason = async |index: usize| {
        let response = services[index].clone().oneshot(request(SERVICE_TIME)).await;
        let response = response.expect("infallible");
        let reason = response.headers().get(SHED_REASON).expect("rejected");
        reason.to_str().expect("ASCII").to_owned()
    };
    assert_eq!(reason(0).await, Reason::Limit.as_str());
    assert_eq!(reason(1).await, Reason::QueueTimeout.as_str());
    let handle = Handle::named("two").expect("it exists");
    assert_eq!(handle.snapshot().in_flight, 2);
    handle.pin(1_000);
    assert_eq!(reason(1).await, Reason::QueueTimeout.as_str(), "an operator mints no permits");
    running.join_all().await;
    assert_eq!(in_flight(&set, &["one", "two"]), 0);
}

#[tokio::test(start_paused = true)]
async fn one_layer_selects_the_compartment_by_the_head_of_a_request() {
    let set = BulkheadSet::total(10)
        .compartment("other", Compartment::guaranteed(1).max(1).queue(QueueBounds::NONE))
        .compartment("batch", Compartment::guaranteed(2).max(2).queue(QueueBounds::NONE));
    let layer = set.by("other", |head| match head.uri.path() {
        "/batch" => Some("batch"),
        "/nowhere" => Some("no such compartment"),
        _ => None,
    });
    let service = layer.layer(service());
    let mut running = JoinSet::new();
    for path in ["/batch", "/batch", "/batch", "/", "/nowhere"] {
        let mut request = request(SERVICE_TIME);
        *request.uri_mut() = path.parse().expect("valid");
        running.spawn(send(service.clone(), request));
    }
    let served = running.join_all().await.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(served, 3, "two of batch, one of all others");
}

#[tokio::test(start_paused = true)]
async fn a_set_inside_an_admission_layer_teaches_it_nothing() {
    let set = BulkheadSet::total(4)
        .compartment("one", Compartment::guaranteed(2).queue(QueueBounds::NONE))
        .compartment("two", Compartment::guaranteed(2).lend(0));
    let outer = AdmissionLayer::fixed("outer", 64);
    let service = outer.layer(set.layer("one").layer(service()));
    let mut running = JoinSet::new();
    for _ in 0..10 {
        let service = service.clone();
        running.spawn(async move {
            let response = service.oneshot(request(SERVICE_TIME)).await.expect("infallible");
            (response.status().as_u16(), response.headers().contains_key("x-shed-reason"))
        });
    }
    let results = running.join_all().await;
    assert_eq!(results.iter().filter(|it| it.0 == 200).count(), 2);
    assert!(
        results.iter().all(|it| !it.1),
        "the outer layer admitted them: no promise is passed on"
    );
    assert_eq!(outer.snapshot().in_flight, 0);
}
