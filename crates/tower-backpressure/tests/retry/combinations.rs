//! Situations that come together: fields that contradict each other, layers with different deadlines, bodies and
//! probes that fail.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};
use tower_backpressure::client::{AttemptTimeoutLayer, GiveUpReason};
use tower_backpressure::{
    Attempts, ClientStack, CooldownLayer, Deadline, GaveUp, RetryBudget, RetryLayer,
};

use crate::memory_server::{Arrivals, SECOND, ample_budget, get, ok, request, response, server};

#[tokio::test(start_paused = true)]
async fn a_delay_on_a_response_that_is_no_failure_delays_nothing() {
    for status in [103, 200, 202, 204, 301, 303, 304, 307, 400, 401, 404, 410, 422] {
        for fields in [
            &[("retry-after", "30")][..],
            &[("ratelimit", "\"default\";r=0;t=30")],
            &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "30")],
            &[("retry-after", "-1"), ("x-should-retry", "false")],
        ] {
            let arrivals = Arrivals::default();
            let first = response(status, fields);
            let client = ClientStack::new("api").layer(server(&arrivals, &[first]));
            for _ in 0..20 {
                let call = Request::get("http://api.example/").body(()).unwrap();
                let answer = client.clone().oneshot(call).await.unwrap();
                assert_eq!(answer.status(), status, "{fields:?}");
            }
            assert_eq!(arrivals.count(), 20, "{status} {fields:?}");
            assert!(arrivals.gaps().iter().all(Duration::is_zero), "{status} {fields:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_contradicting_fields_the_most_careful_one_counts() {
    for (fields, least) in [
        (
            &[("retry-after", "0"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "9")][..],
            0,
        ),
        (&[("ratelimit", "\"default\";r=0;t=0")], 1_000),
        (&[("retry-after", "soon"), ("ratelimit", "\"default\";r=0;t=4")], 4_000),
        (&[("retry-after", "2"), ("x-should-retry", "true"), ("retry-after-ms", "3500")], 3_500),
        (
            &[
                ("retry-after", "Sat, 21 Nov 2026 07:59:50 GMT"),
                ("date", "Sat, 21 Nov 2026 07:59:45 GMT"),
            ],
            5_000,
        ),
    ] {
        for seed in 0..20 {
            let arrivals = Arrivals::default();
            let layer = RetryLayer::new().seed(seed).budget(ample_budget());
            let client = layer.layer(server(&arrivals, &[response(429, fields), ok()]));
            assert_eq!(client.oneshot(request(Method::POST)).await.unwrap().status(), 200);
            let wait = arrivals.gaps()[0].as_millis();
            assert!(wait >= least && wait <= least + 1_500, "{fields:?}: {wait} ms");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_layers_the_earlier_deadline_ends_the_call_and_no_wait_passes_it() {
    let busy = response(503, &[("retry-after", "5")]);
    for (outer, inner) in [(2, 60), (60, 2)] {
        let arrivals = Arrivals::default();
        let start = Instant::now();
        let inner = RetryLayer::named("inner").deadline(inner * SECOND);
        let outer = RetryLayer::named("outer").deadline(outer * SECOND).max_attempts(10);
        let client = outer.layer(inner.layer(server(&arrivals, std::slice::from_ref(&busy))));
        let last = client.oneshot(get()).await.unwrap();
        assert_eq!(last.status(), 503);
        assert!(start.elapsed() <= 60 * SECOND && arrivals.count() <= 10, "{arrivals:?}");
        assert!(arrivals.gaps().iter().all(|gap| *gap >= 5 * SECOND), "{arrivals:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_request_is_earlier_than_every_timeout_around_it() {
    let hangs = service_fn(|_: Request<()>| pending::<Result<Response<String>, Infallible>>());
    for own in [100, 900, 1_100] {
        let stack = ClientStack::new("api").deadline(SECOND).attempt_timeout(2 * SECOND);
        let mut call = Request::get("http://api.example/").body(()).unwrap();
        let start = Instant::now();
        call.extensions_mut().insert(Deadline(start + Duration::from_millis(own)));
        let answer = stack.layer(hangs).oneshot(call).await.unwrap();
        assert_eq!(answer.status(), 504);
        assert_eq!(start.elapsed(), Duration::from_millis(own.min(1_000)), "{own} ms");
        let why = GaveUp::of(answer.extensions()).unwrap();
        assert_eq!((why.reason, why.attempts), (GiveUpReason::Deadline, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_at_the_moment_of_the_attempt_timeout_is_returned_and_not_repeated() {
    let arrivals = Arrivals::default();
    let counter = arrivals.clone();
    let slow = service_fn(move |_: Request<()>| {
        counter.record();
        async {
            sleep(SECOND).await;
            Ok::<_, Infallible>(ok())
        }
    });
    let client = RetryLayer::new().layer(AttemptTimeoutLayer::new(SECOND).layer(slow));
    assert_eq!(client.oneshot(get()).await.unwrap().status(), 200);
    assert_eq!(arrivals.count(), 1);
}

type Upload = UnsyncBoxBody<Bytes, BoxError>;

/// Parts of a kilobyte, and then an error, as where the source of an upload cannot be reached, or the end.
fn upload(parts: usize, fails: bool) -> Upload {
    let (mut sender, body) = Channel::<Bytes, BoxError>::new(1);
    tokio::spawn(async move {
        for _ in 0..parts {
            if sender.send_data(vec![b'x'; 1_024].into()).await.is_err() {
                return;
            }
        }
        if fails {
            sender.abort(io::Error::from(io::ErrorKind::ConnectionRefused).into());
        }
    });
    Upload::new(body)
}

/// A connection that is refused this often, and then takes the body and answers.
fn refusing(
    arrivals: &Arrivals,
    refusals: usize,
) -> impl Service<Request<Upload>, Response = Response<String>, Error = BoxError, Future: Send>
+ Clone
+ use<> {
    let arrivals = arrivals.clone();
    service_fn(move |request: Request<Upload>| {
        let is_refused = arrivals.record() <= refusals;
        async move {
            if is_refused {
                return Err(BoxError::from(io::Error::from(io::ErrorKind::ConnectionRefused)));
            }
            let body = request.into_body().collect().await?.to_bytes();
            Ok(Response::new(body.len().to_string()))
        }
    })
}

#[tokio::test(start_paused = true)]
async fn an_upload_of_any_size_whose_connection_was_refused_is_sent_again_as_a_whole() {
    let arrivals = Arrivals::default();
    let layer = RetryLayer::new().buffer_bodies(16, Upload::new);
    let call = Request::post("/files").body(upload(100, false)).unwrap();
    let answer = layer.layer(refusing(&arrivals, 2)).oneshot(call).await.unwrap();
    assert_eq!(Attempts::of(answer.extensions()), Attempts(3));
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "102400");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_fails_itself_is_sent_once() {
    let arrivals = Arrivals::default();
    let layer = RetryLayer::new().buffer_bodies(1 << 20, Upload::new);
    let call = Request::post("/files").body(upload(3, true)).unwrap();
    assert!(layer.layer(refusing(&arrivals, 0)).oneshot(call).await.is_err());
    assert_eq!(arrivals.count(), 1);
}

/// A body whose every frame is an error.
fn broken_response(status: u16) -> Response<Upload> {
    let body = response(status, &[("retry-after", "1"), ("x-shed-reason", "limit")]);
    body.map(|_| upload(1, true))
}

#[tokio::test(start_paused = true)]
async fn a_rejection_whose_body_breaks_off_is_retried_and_a_success_whose_body_does_is_not() {
    let arrivals = Arrivals::default();
    let counter = arrivals.clone();
    let breaking = service_fn(move |_: Request<()>| {
        let status = if counter.record() == 1 { 503 } else { 200 };
        ready(Ok::<_, Infallible>(broken_response(status)))
    });
    let answer = RetryLayer::new().layer(breaking).oneshot(request(Method::POST)).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(arrivals.gaps()[0] >= SECOND);
    assert!(answer.into_body().collect().await.is_err());
    assert_eq!(arrivals.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_budget_outlives_the_services_that_share_it_and_gets_back_what_they_did_not_spend() {
    let budget = RetryBudget::new(0.0).reserve(50).refill(Duration::ZERO);
    let before = budget.balance();
    let arrivals = Arrivals::default();
    let mut calls = JoinSet::new();
    for name in 0..100 {
        let layer = RetryLayer::named(name.to_string()).budget(budget.clone());
        let busy = response(503, &[("retry-after", "20")]);
        calls.spawn(layer.layer(server(&arrivals, &[busy])).oneshot(get()));
    }
    sleep(SECOND).await;
    assert!(budget.balance() < 1.0, "{}", budget.balance());
    drop(calls);
    sleep(SECOND).await;
    assert_eq!(budget.balance(), before);
    assert_eq!(arrivals.count(), 100);
}

/// A thousand callers of an origin that has told all to come back after two seconds, and whose next answers are
/// these: the number of requests that it gets in the ten seconds after, and of those that are served.
async fn thousand_after_a_cooldown(probes: &'static [Probe]) -> (usize, usize) {
    let (arrivals, sent) = (Arrivals::default(), Arc::new(AtomicUsize::new(0)));
    let counter = arrivals.clone();
    let origin = service_fn(move |_: Request<()>| {
        let count = counter.record();
        async move {
            match probes.get(count.wrapping_sub(2)) {
                _ if count == 1 => return Ok(response(429, &[("retry-after", "2")])),
                Some(Probe::Hangs) => pending::<()>().await,
                Some(Probe::Fails) => return Err(BoxError::from("reset")),
                Some(Probe::Rejected) => return Ok(response(429, &[("retry-after", "2")])),
                None => sleep(Duration::from_millis(10)).await,
            }
            Ok(ok())
        }
    });
    let client = CooldownLayer::new("api").hold(2_000, 60 * SECOND).layer(origin);
    let call = || client.clone().oneshot(Request::get("http://api.example/").body(()).unwrap());
    call().await.unwrap();
    let mut calls = JoinSet::new();
    for _ in 0..1_000 {
        let (call, sent) = (call(), Arc::clone(&sent));
        calls.spawn(async move {
            if call.await.is_ok_and(|answer| answer.status() == 200) {
                sent.fetch_add(1, SeqCst);
            }
        });
    }
    sleep(13 * SECOND).await;
    (arrivals.count() - 1, sent.load(SeqCst))
}

#[derive(Clone, Copy, Debug)]
enum Probe {
    Hangs,
    Fails,
    Rejected,
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_are_served_whatever_happens_to_the_first_probes() {
    for probes in [
        &[][..],
        &[Probe::Hangs],
        &[Probe::Hangs, Probe::Hangs, Probe::Hangs],
        &[Probe::Fails],
        &[Probe::Rejected],
        &[Probe::Hangs, Probe::Rejected],
        &[Probe::Rejected, Probe::Hangs, Probe::Fails],
    ] {
        let (asked, served) = thousand_after_a_cooldown(probes).await;
        assert_eq!(asked, 1_000, "{probes:?}");
        assert_eq!(served, 1_000 - probes.len(), "{probes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_are_served_though_each_probe_is_cancelled_in_turn() {
    let arrivals = Arrivals::default();
    let counter = arrivals.clone();
    let start = Instant::now();
    let origin = service_fn(move |_: Request<()>| {
        let count = counter.record();
        async move {
            match count {
                1 => return Ok::<_, Infallible>(response(429, &[("retry-after", "2")])),
                2..20 => pending::<()>().await,
                _ => {}
            }
            Ok(ok())
        }
    });
    let client = CooldownLayer::new("api").hold(2_000, 60 * SECOND).layer(origin);
    let call = || client.clone().oneshot(Request::get("http://api.example/").body(()).unwrap());
    call().await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut calls = JoinSet::new();
    for index in 0..1_000_u32 {
        let (call, served) = (call(), Arc::clone(&served));
        // The callers at the head give up one after the other.
        let patience =
            if index < 100 { 3 * SECOND + index * Duration::from_millis(50) } else { 60 * SECOND };
        calls.spawn(async move {
            if tokio::time::timeout(patience, call).await.is_ok() {
                served.lock().unwrap().push(start.elapsed());
            }
        });
    }
    sleep(12 * SECOND).await;
    let served = served.lock().unwrap();
    assert!(served.len() >= 900, "{} of 900, last {:?}", served.len(), served.last());
}
