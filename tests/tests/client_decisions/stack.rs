//! All client layers together, in the recommended order.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use http_body_util::BodyExt;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::yield_now;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::client::{AttemptTimeoutLayer, TimedOut};
use tower_backpressure::{
    AdmissionLayer, Attempts, BreakerLayer, ClientStack, Deadline, OriginLimitLayer, RetryBudget,
    RetryLayer, backpressure_client,
};

use super::{Arrivals, MS, ORIGIN, SECOND, get, load, ok, reply, server};

#[tokio::test(start_paused = true)]
async fn an_attempt_without_a_response_ends_with_a_504_and_only_an_idempotent_one_is_repeated() {
    let arrivals = Arrivals::new();
    let seen = arrivals.clone();
    let hangs = service_fn(move |_: Request<()>| {
        seen.record();
        async { pending::<Result<super::Reply, Infallible>>().await }
    });
    let client = ClientStack::new("search").attempt_timeout(2 * SECOND).layer(hangs);
    let start = Instant::now();
    let response = client.clone().oneshot(get(ORIGIN)).await.expect("a response");
    assert_eq!(response.status(), 504);
    assert_eq!(response.extensions().get(), Some(&TimedOut(2 * SECOND)));
    assert_eq!((Attempts::of(response.extensions()), arrivals.count()), (Attempts(3), 3));
    assert!(start.elapsed() < 7 * SECOND);
    let text = response.into_body().collect().await.expect("a body").to_bytes();
    assert_eq!(&text[..], b"no response in time");

    let grpc = Request::post(ORIGIN).header("content-type", "application/grpc+proto").body(());
    let response = client.clone().oneshot(grpc.expect("a request")).await.expect("a response");
    assert_eq!(response.headers()["grpc-status"], "4");

    let post = Request::builder().method(Method::POST).uri(ORIGIN).body(()).expect("a request");
    let response = client.oneshot(post).await.expect("a response");
    assert_eq!((response.status().as_u16(), arrivals.count()), (504, 5));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_the_attempt_the_wait_and_the_retries() {
    let hangs =
        || service_fn(async |_: Request<()>| pending::<Result<super::Reply, Infallible>>().await);
    let start = Instant::now();
    let client = ClientStack::new("search").deadline(3 * SECOND).layer(hangs());
    assert_eq!(client.clone().oneshot(get(ORIGIN)).await.expect("a response").status(), 504);
    assert_eq!(start.elapsed(), 3 * SECOND);

    let mut urgent = get(ORIGIN);
    urgent.extensions_mut().insert(Deadline(Instant::now() + SECOND));
    let start = Instant::now();
    assert_eq!(client.oneshot(urgent).await.expect("a response").status(), 504);
    assert_eq!(start.elapsed(), SECOND);
}

/// A response that comes after half a second, and is read by the task of its connection, which others keep waiting.
async fn response_read_by_a_task() -> Result<super::Reply, Infallible> {
    let (sender, receiver) = oneshot::channel();
    tokio::spawn(async move {
        sleep(SECOND / 2).await;
        for _ in 0..100 {
            yield_now().await;
        }
        sender.send(ok())
    });
    Ok(receiver.await.expect("it is sent"))
}

#[tokio::test(start_paused = true)]
async fn a_response_that_came_while_the_process_was_suspended_is_no_time_out() {
    let stack = || ClientStack::new("search");
    for stack in [stack().attempt_timeout(SECOND), stack().deadline(SECOND)] {
        let client = stack.layer(service_fn(|_: Request<()>| response_read_by_a_task()));
        let call = tokio::spawn(client.oneshot(get(ORIGIN)));
        sleep(SECOND / 4).await;
        advance(3 * SECOND).await;
        assert_eq!(call.await.expect("no panic").expect("a response").status(), 200);
    }
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_ends_a_second_after_a_suspension_at_most() {
    let hangs = service_fn(|_: Request<()>| pending::<Result<super::Reply, Infallible>>());
    for suspended in [2 * SECOND, 60 * SECOND] {
        let client = ClientStack::new("search").deadline(SECOND).layer(hangs);
        let call = tokio::spawn(client.oneshot(get(ORIGIN)));
        sleep(SECOND / 4).await;
        advance(suspended).await;
        let resumed = Instant::now();
        assert_eq!(call.await.expect("no panic").expect("a response").status(), 504);
        assert!(resumed.elapsed() <= SECOND + MS, "{:?}", resumed.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_is_down_for_ten_seconds_gets_few_requests_and_is_used_again_at_once() {
    let arrivals = Arrivals::new();
    let down = 10 * SECOND..20 * SECOND;
    let answer =
        move |at| if down.contains(&at) { reply(503, &[("retry-after", "2")]) } else { ok() };
    let client = backpressure_client("search", server(&arrivals, answer));
    let responses = load(&client, 10 * MS, 40 * SECOND).await;
    assert!(arrivals.between(10 * SECOND, 20 * SECOND) <= 40);
    // From three seconds after its return on, the requests of each second are served.
    let served = responses.iter().skip(2_300).filter(|it| it.status() == 200).count();
    assert_eq!(served, responses.len() - 2_300);
    assert!(arrivals.between(23 * SECOND, 40 * SECOND) >= 1_700);
}

/// A server of 16 slots of 20 ms behind an admission layer: 800 a second.
async fn goodput_at_three_times_the_capacity(with_stack: bool) -> (usize, f64) {
    let arrivals = Arrivals::new();
    let slots = Arc::new(Semaphore::new(16));
    let seen = arrivals.clone();
    let handler = service_fn(move |_: Request<()>| {
        let slots = Arc::clone(&slots);
        async move {
            let slot = slots.acquire().await.expect("never closed");
            sleep(20 * MS).await;
            drop(slot);
            Ok::<_, Infallible>(ok())
        }
    });
    let server = AdmissionLayer::fixed("search", 16).layer(handler);
    let server = tower::ServiceBuilder::new()
        .map_request(move |request: Request<()>| {
            seen.record();
            request
        })
        // Over the wire a response has no extensions.
        .map_response(|mut response: Response<_>| {
            response.extensions_mut().clear();
            response
        })
        .service(server);
    let length = 20 * SECOND;
    let every = Duration::from_secs_f64(1.0 / 2_400.0);
    let (served, requests) = match with_stack {
        true => count(load(&backpressure_client("search", server), every, length).await),
        false => count(load(&server, every, length).await),
    };
    (served, arrivals.count() as f64 / requests as f64)
}

fn count<B>(responses: Vec<Response<B>>) -> (usize, usize) {
    let served = responses.iter().filter(|response| response.status() == 200).count();
    (served, responses.len())
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_server_of_this_crate_does_as_much_as_without_the_stack_and_is_asked_less() {
    let (bare, _) = goodput_at_three_times_the_capacity(false).await;
    let (with_stack, attempts) = goodput_at_three_times_the_capacity(true).await;
    assert!(with_stack as f64 >= 0.97 * bare as f64, "{with_stack} of {bare}");
    assert!(attempts <= 1.2, "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn each_part_can_be_replaced() {
    let arrivals = Arrivals::new();
    let client = ClientStack::new("search")
        .retry(RetryLayer::named("search").max_attempts(10).budget(RetryBudget::new(1.0)))
        .breaker(
            BreakerLayer::new("search")
                .min_calls(2)
                .failure_share(0.5)
                .probes(1)
                .open_for(5 * SECOND),
        )
        .origin_limit(OriginLimitLayer::new("search").dry_run(true))
        .deadline(60 * SECOND)
        .layer(server(&arrivals, |at| if at < 3 * SECOND { reply(500, &[]) } else { ok() }));
    let mut statuses = Vec::new();
    for _ in 0..5 {
        let response = client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
        statuses.push(response.status().as_u16());
    }
    assert_eq!(
        statuses,
        [500, 500, 200, 200, 200],
        "the third waited until the breaker let it pass"
    );
    assert_eq!(arrivals.between(MS, 3 * SECOND), 0);
    let late = AttemptTimeoutLayer::new(SECOND).layer(client);
    let inner = late.get_ref().clone();
    assert_eq!(inner.oneshot(get(ORIGIN)).await.expect("infallible").status(), 200);
}
