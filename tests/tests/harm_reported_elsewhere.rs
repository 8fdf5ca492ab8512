//! Reports of harm by other limiters, made again as small inputs. Each test names the report.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_tests::client::{Connection, text};
use backpressure_tests::load::{
    Class, Content, Distribution, Failure, Load, Reader, adaptive, verify,
};
use backpressure_tests::server::serve;
use http::{Request, Response, StatusCode, Version};
use tokio::time::{sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds};

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const LENGTH: Duration = Duration::from_secs(40);

fn pool(label: &str) -> Load {
    Load::new(label, 21).bottleneck(20, Distribution::Lognormal(30 * MILLI, 0.5))
}

/// Requests a second at this share of the pool's capacity.
fn rate(load: f64) -> f64 {
    load * 20.0 / 0.03
}

// Netflix/concurrency-limits #155: the limit was halved for a service that was well, once it reached its maximum.
#[tokio::test(start_paused = true)]
async fn a_limit_at_its_maximum_stays_there() {
    let layer = AdmissionLayer::adaptive("api").max(16);
    let service = layer.layer(service_fn(async |_: Request<()>| {
        sleep(20 * MILLI).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    for _ in 0..3_000 {
        tokio::spawn(service.clone().oneshot(Request::new(())));
        sleep(2 * MILLI).await;
    }
    assert!(layer.snapshot().limit >= 12, "{:?}", layer.snapshot());
}

// Netflix/concurrency-limits #137: a constant time-out of all requests let the limit grow without bound.
#[test]
fn requests_that_all_time_out_after_the_same_time_do_not_raise_the_limit_without_bound() {
    let report = pool("all time out after 5 s")
        .class(Class::poisson("before", rate(0.5)).work().between(Duration::ZERO, 10 * SECOND))
        .class(
            Class::poisson("stuck", 20.0)
                .hangs()
                .cancels_after(5 * SECOND)
                .between(10 * SECOND, 30 * SECOND),
        )
        .class(Class::poisson("after", rate(2.0)).work().between(30 * SECOND, 2 * LENGTH))
        .run(2 * LENGTH, adaptive)
        .expect_rate("after", 0.95 * rate(1.0), 40 * SECOND, 2 * LENGTH);
    verify([report]);
}

// Netflix/concurrency-limits #125: only health checks, quick and rare, taught the limit a latency that no request has.
#[test]
fn quick_health_checks_before_the_traffic_do_not_lower_the_limit() {
    let report = pool("health checks for 20 s, then traffic")
        .class(Class::every("checks", SECOND).delay(MILLI))
        .class(Class::poisson("traffic", rate(0.5)).work().between(20 * SECOND, LENGTH))
        .run(LENGTH, adaptive);
    verify([report.expect_all_served("checks").expect_all_served("traffic")]);
}

// envoy #8337, #18152: traffic was rejected at low load whenever the least latency was measured again.
#[test]
fn ten_minutes_at_a_third_of_the_capacity_have_no_rejection() {
    let report = pool("ten minutes at a third")
        .class(Class::poisson("all", rate(0.33)).work())
        .run(600 * SECOND, adaptive);
    verify([report.expect_all_served("all")]);
}

// envoy #38338, #10647: a service that stays slower is measured against the latency of better days, for ever.
#[test]
fn a_service_that_stays_half_as_fast_is_used_at_its_new_capacity() {
    let length = 3 * LENGTH;
    let report = pool("half as fast from 20 s on, 0.9 of what is left")
        .class(Class::poisson("all", rate(0.4)).work())
        .slower(2.0, 20 * SECOND, length)
        .run(length, adaptive);
    verify([report.expect_all_served("all")]);
}

// envoy #42243: long-lived streams count as latency when they end.
#[test]
fn streams_that_end_after_minutes_are_not_taken_for_slow_responses() {
    let streams = Class::poisson("streams", 2.0).content(Content::Heartbeats(5 * SECOND));
    let report = pool("2 streams a second that end after 30 s")
        .class(streams.content_type("application/grpc").cancels_after(30 * SECOND))
        .class(Class::poisson("all", rate(0.5)).work())
        .run(2 * LENGTH, adaptive);
    verify([report.expect_all_served("all")]);
}

// kubernetes #115409: a client that asks for long lists and does not read them starved the others.
#[test]
fn a_client_that_asks_for_long_lists_and_reads_slowly_starves_no_other() {
    let lists = Class::poisson("lists", 10.0).work().content(Content::Frames(640));
    let report = pool("10 lists of 10 MB a second, read in a minute")
        .class(lists.reader(Reader::Slow(100 * MILLI)).late_after(90 * SECOND))
        .class(Class::poisson("others", rate(0.5)).work())
        .run(LENGTH, adaptive);
    verify([report.expect_all_served("others")]);
}

// vector #3255: after an end point was away, the limit rose by one a second to what was there all the time.
#[test]
fn an_end_point_that_was_away_is_used_fully_within_five_seconds() {
    let away = Class::poisson("away", rate(0.9)).failing(1.0, Failure::Error);
    let report = pool("away from 20 s to 30 s at .9")
        .class(Class::poisson("before", rate(0.9)).work().between(Duration::ZERO, 20 * SECOND))
        .class(away.between(20 * SECOND, 30 * SECOND))
        .class(Class::poisson("after", rate(0.9)).work().between(30 * SECOND, 2 * LENGTH))
        .run(2 * LENGTH, adaptive)
        .expect_rate("after", 0.95 * rate(0.9), 35 * SECOND, 2 * LENGTH);
    verify([report]);
}

/// A layer with one permit and a queue, before a handler that takes ten milliseconds.
fn one_permit(
    wait: Duration,
) -> (
    AdmissionLayer,
    impl Service<Request<()>, Response = Response<impl Send>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static,
) {
    let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(100, wait));
    let service = layer.layer(service_fn(async |_: Request<()>| {
        sleep(10 * MILLI).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    (layer, service)
}

// failsafe #393, #400: a permit that was granted to a caller whose wait had timed out was lost for good.
#[tokio::test(start_paused = true)]
async fn callers_that_time_out_in_the_queue_at_the_moment_of_a_release_lose_no_permit() {
    let (layer, service) = one_permit(10 * MILLI);
    for _ in 0..200 {
        let calls: Vec<_> =
            (0..8).map(|_| tokio::spawn(service.clone().oneshot(Request::new(())))).collect();
        for call in calls {
            let _ = call.await;
        }
    }
    assert_eq!((layer.snapshot().in_flight, layer.snapshot().queued), (0, 0));
    let last = service.oneshot(Request::new(())).await.expect("infallible");
    assert_eq!(last.status(), StatusCode::OK);
}

// resilience4j #332, #543: a bulkhead kept the permit of a call that was cancelled.
#[tokio::test(start_paused = true)]
async fn callers_that_leave_at_any_moment_keep_no_permit() {
    let (layer, service) = one_permit(SECOND);
    for millis in 0..40 {
        let calls: Vec<_> = (0..4)
            .map(|n| {
                tokio::spawn(timeout(
                    (millis + n) * MILLI / 2,
                    service.clone().oneshot(Request::new(())),
                ))
            })
            .collect();
        for call in calls {
            let _ = call.await;
        }
        sleep(50 * MILLI).await;
        assert_eq!(
            (layer.snapshot().in_flight, layer.snapshot().queued),
            (0, 0),
            "after {millis} ms"
        );
    }
}

// vector #26457, linkerd2-proxy #751: idle connections held the permits that their `poll_ready` had taken.
#[tokio::test]
async fn idle_connections_hold_no_permit() {
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::NONE);
    let app = Router::new().route("/", get(async || "served")).layer(layer.clone());
    let address = serve(app).await;
    let mut idle = Vec::new();
    for version in [Version::HTTP_11, Version::HTTP_2] {
        for _ in 0..20 {
            let mut connection = Connection::open(address, version).await;
            let response = connection.get("/").await.expect("a response");
            assert_eq!(text(response).await, "served");
            assert!(connection.is_ready().await);
            idle.push(connection);
        }
    }
    assert_eq!(layer.snapshot().in_flight, 0);
}

// tower #793: a limit behind which requests wait without a bound gives no answer at all.
#[tokio::test(start_paused = true)]
async fn each_request_beyond_the_limit_gets_an_answer_within_a_second() {
    let layer = AdmissionLayer::fixed("api", 1);
    let service = layer.layer(service_fn(async |_: Request<()>| {
        std::future::pending::<()>().await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let _stuck = tokio::spawn(service.clone().oneshot(Request::new(())));
    sleep(MILLI).await;
    let calls: Vec<_> =
        (0..500).map(|_| tokio::spawn(service.clone().oneshot(Request::new(())))).collect();
    sleep(SECOND + 100 * MILLI).await;
    for call in calls {
        let response = timeout(MILLI, call).await.expect("an answer within a second");
        let response = response.expect("no panic").expect("infallible");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key("retry-after"));
    }
}
