//! A compartment for each key.

use std::convert::Infallible;
use std::time::Duration;

use http::{Request, Response};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower::{Layer, service_fn};
use tower_backpressure::server::{ByHeader, ByTenant};
use tower_backpressure::{BulkheadLayer, RequestInfo, Tenant};

use crate::support::{SERVICE_TIME, request, send, service};

#[tokio::test(start_paused = true)]
async fn each_key_has_a_compartment_of_its_own() {
    let service = BulkheadLayer::per("tenants", 2, ByTenant).layer(service());
    let mut running = JoinSet::new();
    for tenant in [1, 1, 1, 2, 2, 3] {
        let mut request = request(SERVICE_TIME);
        request.extensions_mut().insert(RequestInfo::default().tenant(Tenant::new(tenant)));
        running.spawn(send(service.clone(), request));
    }
    for _ in 0..3 {
        running.spawn(send(service.clone(), request(SERVICE_TIME)));
    }
    let served = running.join_all().await.iter().filter(|it| it.0 == 200).count();
    assert_eq!(served, 2 + 2 + 1 + 2, "requests without a key share a compartment");
}

#[tokio::test(start_paused = true)]
async fn hostile_keys_take_bounded_memory_and_harm_no_other_key() {
    let key = ByHeader::new(http::HeaderName::from_static("x-api-key"));
    let layer = BulkheadLayer::per("keys", 1, key);
    let inner = service_fn(async |request: Request<()>| {
        if let Some(time) = request.extensions().get::<Duration>() {
            sleep(*time).await;
        }
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let service = layer.layer(inner);
    let with_key = |key: &[u8]| {
        let mut request = Request::new(());
        let value = http::HeaderValue::from_bytes(key).expect("valid");
        request.headers_mut().insert("x-api-key", value);
        request
    };
    let mut held = with_key(b"held");
    held.extensions_mut().insert(Duration::from_secs(5));
    let holder = tokio::spawn(send(service.clone(), held));
    sleep(Duration::from_millis(1)).await;
    for number in 0..50_000u32 {
        let (status, _) = send(service.clone(), with_key(&number.to_string().into_bytes())).await;
        assert_eq!(status, 200);
    }
    let long = vec![b'k'; 1_000_000];
    assert_eq!(send(service.clone(), with_key(&long)).await.0, 200);
    assert_eq!(send(service.clone(), with_key(b"\xFF\xFE")).await.0, 200);
    // In use, it was not forgotten.
    assert_eq!(send(service.clone(), with_key(b"held")).await.0, 503);
    assert_eq!(holder.await.expect("no panic").0, 200);
    assert_eq!(send(service, with_key(b"held")).await.0, 200);
}
