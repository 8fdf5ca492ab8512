//! Which requests share the limit of an origin, and which origins are kept.

use std::time::Duration;

use http::{Request, Uri};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{OriginLimitLayer, QueueBounds};

use super::{INITIAL_LIMIT, ORIGIN, SECOND, Server, get, limiter, never, spawn_calls};

#[tokio::test(start_paused = true)]
async fn each_origin_has_a_limit_of_its_own() {
    let layer = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let client = layer.layer(service_fn(never));
    let _calls = spawn_calls(&client, ORIGIN, 2 * INITIAL_LIMIT);
    let _others = spawn_calls(&layer.layer(service_fn(never)), "http://there/", 3);
    sleep(SECOND).await;
    assert_eq!(limiter(&layer, ORIGIN).snapshot().in_flight, INITIAL_LIMIT);
    assert_eq!(limiter(&layer.clone(), "http://there/").snapshot().in_flight, 3);
    assert!(layer.limiter(&Uri::from_static("http://nowhere/")).is_none());
}

#[tokio::test(start_paused = true)]
async fn every_spelling_of_an_origin_has_the_same_limit() {
    let layer = OriginLimitLayer::new("search");
    let client = layer.layer(service_fn(never));
    let spellings = ["http://here/a", "http://HERE:80/b?c", "http://me:secret@here/"];
    let _calls = spellings.map(|uri| spawn_calls(&client, uri, 1));
    let with_host_header =
        Request::get("/").header("host", "here:3000").body(()).expect("a request");
    let _with_host_header = tokio::spawn(client.clone().oneshot(with_host_header));
    let _without_host = spawn_calls(&client, "/a", 1);
    let _without_host_too = spawn_calls(&client, "/b", 1);
    sleep(SECOND).await;
    assert_eq!(limiter(&layer, ORIGIN).snapshot().in_flight, spellings.len());
    assert_eq!(limiter(&layer, "here:3000").snapshot().in_flight, 1);
    assert_eq!(limiter(&layer, "/").snapshot().in_flight, 2);
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_idle_origin_is_evicted_and_none_in_use() {
    let layer = OriginLimitLayer::new("crawler");
    let server = Server::new(INITIAL_LIMIT, Duration::ZERO);
    let client = server.behind(&layer);
    let _busy = spawn_calls(&layer.layer(service_fn(never)), "http://busy/", 1);
    sleep(SECOND).await;
    let visit = async |site: usize| {
        let site = format!("http://site-{site}/");
        client.clone().oneshot(get(&site)).await.expect("infallible");
    };
    let is_known = |site: &str| layer.limiter(&site.parse().expect("a URI")).is_some();
    // With the busy one, as many origins as the layer keeps.
    for site in 1..1_024 {
        visit(site).await;
    }
    visit(1).await;
    assert!(is_known("http://site-2/"));
    visit(1_024).await;
    assert!(!is_known("http://site-2/"), "least recently used");
    assert!(
        is_known("http://site-1/") && is_known("http://site-3/") && is_known("http://site-1024/")
    );
    for site in 2_000..4_000 {
        visit(site).await;
    }
    assert_eq!(
        limiter(&layer, "http://busy/").snapshot().in_flight,
        1,
        "an origin in use is not evicted"
    );
    assert!(!is_known("http://site-1/"));
}
