//! What a request's headers say of priority and deadline, and how far a caller is believed.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::request::Parts;
use http::{Request, Response};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Deadline, Priority, QueueBounds, RequestInfo, RequestInfoLayer,
    SHED_REASON,
};

const SECOND: Duration = Duration::from_secs(1);
const LONG_QUEUE: QueueBounds = QueueBounds::new(64, Duration::from_secs(60));

fn request(path: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut builder = Request::get(path);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).expect("a request")
}

fn read(layer: &RequestInfoLayer, headers: &[(&str, &str)]) -> RequestInfo {
    layer.read(&request("/", headers).into_parts().0)
}

fn by_route(head: &Parts) -> RequestInfo {
    let priority = match head.uri.path() {
        "/checkout" => Priority::Critical,
        "/batch" => Priority::Deferrable,
        _ => Priority::Normal,
    };
    RequestInfo::default().priority(priority)
}

fn from_proxy(head: &Parts) -> bool {
    head.headers.contains_key("test-peer-is-the-proxy")
}

const PROXY: (&str, &str) = ("test-peer-is-the-proxy", "1");

#[tokio::test(start_paused = true)]
async fn requests_run_in_the_order_of_the_priorities_in_their_headers() {
    let ran = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&ran);
    let work = service_fn(move |request: Request<()>| {
        log.lock().expect("no panic").push(request.uri().path().to_owned());
        async {
            sleep(SECOND).await;
            Ok::<_, Infallible>(Response::new(String::new()))
        }
    });
    let service = ServiceBuilder::new()
        .layer(RequestInfoLayer::from_headers().base(by_route))
        .layer(AdmissionLayer::fixed("api", 1).queue(LONG_QUEUE))
        .service(work);
    let requests = [
        request("/first", &[]),
        request("/prefetch", &[("priority", "u=7, i")]),
        request("/batch", &[]),
        request("/image", &[("priority", "u=5")]),
        request("/plain", &[]),
        request("/checkout", &[]),
        request("/liar", &[("x-criticality", "critical"), ("priority", "u=0")]),
        request("/checkout-later", &[("x-criticality", "sheddable")]),
    ];
    let mut running = tokio::task::JoinSet::new();
    for request in requests {
        running.spawn(service.clone().oneshot(request));
        tokio::task::yield_now().await;
    }
    running.join_all().await;
    let expected = [
        "/first",
        "/checkout",
        "/plain",
        "/liar",
        "/batch",
        "/image",
        "/prefetch",
        "/checkout-later",
    ];
    assert_eq!(*ran.lock().expect("no panic"), expected);
}

#[tokio::test(start_paused = true)]
async fn a_caller_lowers_its_priority_and_only_a_trusted_one_raises_it() {
    use Priority::{Critical, Deferrable, Normal, Sheddable};
    let layer = RequestInfoLayer::from_headers().base(by_route).trust(from_proxy);
    for (claim, untrusted, trusted) in [
        (("x-criticality", "critical"), Normal, Critical),
        (("x-criticality", "normal"), Normal, Normal),
        (("x-criticality", "deferrable"), Deferrable, Deferrable),
        (("x-criticality", "sheddable"), Sheddable, Sheddable),
        (("x-criticality", "nonsense"), Normal, Normal),
        (("priority", "u=0"), Normal, Critical),
        (("priority", "u=3"), Normal, Normal),
        (("priority", "u=4"), Deferrable, Deferrable),
        (("priority", "u=7"), Sheddable, Sheddable),
        (("priority", "u=9"), Normal, Normal),
    ] {
        assert_eq!(read(&layer, &[claim]).priority, untrusted, "{claim:?}");
        assert_eq!(read(&layer, &[claim, PROXY]).priority, trusted, "{claim:?}");
    }
    let both = [("x-criticality", "deferrable"), ("priority", "u=7")];
    assert_eq!(read(&layer, &both).priority, Deferrable, "the criticality is about this service");
}

#[tokio::test(start_paused = true)]
async fn a_caller_brings_its_deadline_forward_and_never_beyond_the_services_own() {
    let layer = RequestInfoLayer::from_headers().timeout(10 * SECOND).trust(from_proxy);
    let now = Instant::now();
    for (headers, seconds) in [
        (&[][..], 10),
        (&[("grpc-timeout", "3S")], 3),
        (&[("grpc-timeout", "30S")], 10),
        (&[("grpc-timeout", "30S"), PROXY], 10),
        (&[("connect-timeout-ms", "4000")], 4),
        (&[("x-envoy-expected-rq-timeout-ms", "5000")], 5),
        (&[("request-timeout", "6")], 6),
        (&[("request-timeout", "6"), ("grpc-timeout", "2S")], 2),
        (&[("request-timeout", "soon")], 10),
        (&[("grpc-timeout", "99999999H")], 10),
        (&[("grpc-timeout", "0n")], 0),
    ] {
        let deadline = read(&layer, headers).deadline;
        assert_eq!(deadline, Some(now + seconds * SECOND), "{headers:?}");
    }
    let unbounded = RequestInfoLayer::from_headers();
    assert_eq!(read(&unbounded, &[]).deadline, None);
    assert!(read(&unbounded, &[("grpc-timeout", "99999999H")]).deadline > Some(now + SECOND));
}

#[tokio::test(start_paused = true)]
async fn time_in_the_queue_of_a_named_proxy_counts_towards_the_deadline() {
    let layer = RequestInfoLayer::from_headers().timeout(10 * SECOND).trust(from_proxy);
    let started = |ago: Duration| {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") - ago;
        format!("t={}.{:03}", at.as_secs(), at.subsec_millis())
    };
    let left = |headers: &[(&str, &str)]| {
        let deadline = read(&layer, headers).deadline.expect("the layer has a timeout");
        deadline.saturating_duration_since(Instant::now())
    };
    let start = started(30 * SECOND);
    assert!(left(&[("x-request-start", &started(Duration::ZERO)), PROXY]) > 9 * SECOND);
    assert_eq!(left(&[("x-request-start", &start), PROXY]), Duration::ZERO);
    assert_eq!(left(&[("x-queue-start", &start), PROXY]), Duration::ZERO);
    assert_eq!(
        left(&[("x-request-start", &start)]),
        10 * SECOND,
        "not from a caller that is not trusted"
    );
    let ahead = (SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") + 30 * SECOND)
        .as_millis()
        .to_string();
    assert_eq!(left(&[("x-request-start", &ahead), PROXY]), 10 * SECOND, "its clock is ahead");
    assert_eq!(left(&[("x-request-start", &started(90 * SECOND)), PROXY]), 10 * SECOND);
    assert_eq!(left(&[("x-request-start", "yesterday"), PROXY]), 10 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_proxy_whose_clock_is_behind_has_no_request_rejected() {
    let layer = RequestInfoLayer::from_headers().timeout(10 * SECOND).trust(from_proxy);
    let left = |behind: Duration| {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970") - behind;
        let start = format!("t={}.{:03}", at.as_secs(), at.subsec_millis());
        let deadline = read(&layer, &[("x-request-start", &start), PROXY]).deadline;
        deadline.expect("the layer has a timeout").saturating_duration_since(Instant::now())
    };
    // Requests may pass the queue within these times on a busy machine.
    let about = |seconds: u32| seconds * SECOND - SECOND / 2..=seconds * SECOND + SECOND / 2;
    for _ in 0..300 {
        let all = left(25 * SECOND);
        assert!(about(10).contains(&all), "{all:?}");
        let some = left(29 * SECOND);
        assert!(about(6).contains(&some), "{some:?}");
        advance(SECOND).await;
    }
    // It is set, and is right from now on.
    assert!(about(10).contains(&left(Duration::ZERO)));
    assert_eq!(left(25 * SECOND), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_served_in_its_callers_time_is_rejected_at_once() {
    let work = service_fn(async |_: Request<()>| {
        sleep(SECOND).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    let admission = AdmissionLayer::adaptive("api").queue(LONG_QUEUE).max(1);
    let service = ServiceBuilder::new()
        .layer(RequestInfoLayer::from_headers())
        .layer(admission)
        .layer(BulkheadLayer::new("inner", 8))
        .service(work);
    let send = |headers: &[(&str, &str)]| service.clone().oneshot(request("/", headers));
    send(&[]).await.expect("infallible");
    let running = tokio::spawn(send(&[]));
    tokio::task::yield_now().await;
    let start = Instant::now();
    for headers in [[("grpc-timeout", "200m")], [("request-timeout", "0")]] {
        let response = send(&headers).await.expect("infallible");
        assert_eq!(response.headers()[SHED_REASON], "deadline", "{headers:?}");
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    let patient = send(&[("request-timeout", "5s")]).await.expect("infallible");
    assert_eq!(patient.status(), 200);
    assert_eq!(running.await.expect("no panic").expect("infallible").status(), 200);
}

#[tokio::test(start_paused = true)]
async fn one_value_in_the_extensions_says_all_and_an_outer_one_is_the_base() {
    let echo = service_fn(async |request: Request<()>| {
        let extensions = request.extensions();
        let stated = extensions.get::<RequestInfo>().copied().expect("the layer puts it there");
        assert_eq!(RequestInfo::of(extensions), stated);
        Ok::<_, Infallible>(Response::new(stated))
    });
    let service = RequestInfoLayer::from_headers().layer(echo);
    let deadline = Instant::now() + 3 * SECOND;
    let mut request = request("/", &[("x-criticality", "deferrable"), ("grpc-timeout", "1S")]);
    request.extensions_mut().insert(Priority::Critical);
    request.extensions_mut().insert(Deadline(deadline));
    let info = service.oneshot(request).await.expect("infallible").into_body();
    assert_eq!(info.priority, Priority::Deferrable);
    assert_eq!(info.deadline, Some(deadline - 2 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_layer_of_ones_own_rules_reads_no_header() {
    let layer = RequestInfoLayer::from_fn(by_route).timeout(SECOND);
    let info = read(&layer, &[("x-criticality", "sheddable"), ("grpc-timeout", "1m")]);
    assert_eq!(info.priority, Priority::Normal);
    assert_eq!(info.deadline, Some(Instant::now() + SECOND));
}
