//! What has a quota of its own, and what callers can do to have more of them.

use std::net::IpAddr;

use http::Request;
use tower_backpressure::server::{ByTenant, ClientAddress, QuotaKey, QuotaLayer, UnknownTenant};
use tower_backpressure::{Quota, RequestInfo, Tenant};

use crate::support::{BY_KEY, field, request, send, served};

fn forwarded(claim: &str) -> Request<String> {
    let told = format!("{claim}, 192.0.2.7");
    Request::builder().header("x-forwarded-for", told).body(String::new()).expect("a request")
}

#[tokio::test(start_paused = true)]
async fn a_spoofed_header_mints_no_tenants() {
    let by = ClientAddress::x_forwarded_for(1).peer(|_| Some(IpAddr::from([10, 0, 0, 1])));
    let layer = QuotaLayer::per("addresses", by, Quota::per_hour(10));
    let mut served = 0;
    for number in 0..10_000_u32 {
        let claim = IpAddr::from(number.to_be_bytes()).to_string();
        served += u32::from(send(&layer, forwarded(&claim)).await.status() == 200);
    }
    assert_eq!((served, layer.handle().keys()), (10, 1));
    // Without the header, they count by the peer.
    assert_eq!(crate::support::served(&layer, "a", 20).await, 10);
    assert_eq!(layer.handle().keys(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_tenant_has_the_stated_policy() {
    let layer = |unknown| QuotaLayer::per("unknown", ByTenant, Quota::per_hour(3)).unknown(unknown);
    let counts =
        [(UnknownTenant::Shared, 3), (UnknownTenant::Reject, 0), (UnknownTenant::Exempt, 20)];
    for (unknown, expected) in counts {
        let layer = layer(unknown);
        assert_eq!(served(&layer, "", 20).await, expected, "{unknown:?}");
        // A known one has its own.
        let mut known = request("");
        known.extensions_mut().insert(RequestInfo::default().tenant(Tenant::new("batch")));
        let response = send(&layer, known).await;
        assert_eq!(field(&response, "ratelimit"), r#""unknown-hour";r=2;t=1200"#, "{unknown:?}");
    }
    let rejection = send(&layer(UnknownTenant::Reject), request("")).await;
    assert_eq!((rejection.status().as_u16(), field(&rejection, "retry-after")), (429, "60"));
}

#[tokio::test(start_paused = true)]
async fn hostile_keys_are_told_apart_and_stay_within_the_bounds() {
    let layer = QuotaLayer::per("hostile", BY_KEY, Quota::per_hour(1)).max_keys(1_000);
    for index in 0..100_000_usize {
        let key = match index % 3 {
            0 => vec![b'k'; 4_000 + index % 1_000],
            1 => index.to_be_bytes().map(|byte| byte | 0x80).to_vec(),
            _ => index.to_string().into_bytes(),
        };
        let request = Request::builder().header("x-api-key", key.as_slice()).body(String::new());
        drop(send(&layer, request.expect("a request")).await);
    }
    assert!(layer.handle().keys() <= 1_024, "{}", layer.handle().keys());
    let (full, early) = layer.handle().evicted();
    assert!(full + early > 60_000, "{full} {early}");
    // Two long keys that differ at their ends only.
    let long = |end| format!("{}{end}", "k".repeat(1_000_000));
    let handle = layer.handle();
    assert!(handle.try_take(long("1"), 1).is_ok());
    assert!(handle.try_take(long("1"), 1).is_err());
    assert!(handle.try_take(long("2"), 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_a_large_plan_gets_more_and_keeps_what_it_used() {
    let layer = QuotaLayer::per("plans", BY_KEY, Quota::per_hour(10))
        .plan("pro", Quota::per_hour(100))
        .plan("internal", Quota::unlimited())
        .plan_of(|head| {
            head.headers.get("x-plan").map_or("", |it| it.to_str().unwrap_or_default())
        });
    let call = async |plan: &str| {
        let mut request = request("a");
        request.headers_mut().insert("x-plan", plan.parse().expect("a value"));
        send(&layer, request).await
    };
    let served = async |plan: &str| {
        let mut served = 0;
        for _ in 0..200 {
            served += u32::from(call(plan).await.status() == 200);
        }
        served
    };
    assert_eq!(served("no such plan").await, 10);
    assert_eq!(served("pro").await, 90);
    assert_eq!(served("default").await, 0);
    assert_eq!(field(&call("pro").await, "ratelimit-policy"), r#""plans-hour";q=100;w=3600"#);
    assert_eq!(served("internal").await, 200);
    assert_eq!(call("internal").await.headers().get("ratelimit-policy"), None);
}

#[tokio::test(start_paused = true)]
async fn a_rule_of_ones_own_makes_a_key_of_anything() {
    let by_path = |head: &http::request::Parts| Some(QuotaKey::from(head.uri.path()));
    let layer = QuotaLayer::per("paths", by_path, Quota::per_hour(1));
    for (path, expected) in [("/a", 200), ("/a", 429), ("/b?query", 200), ("/b", 429)] {
        let request = Request::get(path).body(String::new()).expect("a request");
        assert_eq!(send(&layer, request).await.status(), expected, "{path}");
    }
}
