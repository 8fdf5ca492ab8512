//! A thousand clients that send a request at once.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::client::ClientStack;
use tower_backpressure::{AdmissionLayer, Attempts, QueueBounds, RetryLayer};

use crate::memory_server::SECOND;

const CLIENTS: usize = 1_000;
/// Length of an open loop.
const LOAD_SECONDS: f64 = 10.0;

/// How many attempts calls took together, and how many of them were served.
async fn attempts_and_served<B, E: Debug>(calls: Vec<Call<B, E>>) -> (u32, usize) {
    let (mut attempts, mut served) = (0, 0);
    for call in calls {
        let response = call.await.unwrap().unwrap();
        attempts += Attempts::of(response.extensions()).0;
        served += usize::from(response.status() == 200);
    }
    (attempts, served)
}

type Call<B, E> = JoinHandle<Result<Response<B>, E>>;

fn post() -> Request<Full<Bytes>> {
    Request::post("/orders").body(Full::default()).unwrap()
}

/// Of which 16 run at a time: 800 a second.
async fn work(_request: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    sleep(Duration::from_millis(20)).await;
    Ok(Response::new(Full::default()))
}

#[tokio::test(start_paused = true)]
async fn our_server_serves_a_herd_with_two_attempts_each() {
    let work = service_fn(work);
    let server = AdmissionLayer::fixed("herd", 16).queue(QueueBounds::new(16, SECOND)).layer(work);
    let calls: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(RetryLayer::new().layer(server.clone()).oneshot(post())))
        .collect();
    let (attempts, served) = attempts_and_served(calls).await;
    let attempts = f64::from(attempts) / CLIENTS as f64;
    assert_eq!(served, CLIENTS);
    assert!(attempts <= 2.02, "{attempts} attempts a request");
}

#[tokio::test(start_paused = true)]
async fn a_herd_that_is_told_one_second_does_not_come_back_as_a_herd() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now();
    let recorder = Arc::clone(&arrivals);
    let full = service_fn(move |_: Request<Full<Bytes>>| {
        let mut arrivals = recorder.lock().unwrap();
        arrivals.push(start.elapsed());
        let rejected = arrivals.len() <= CLIENTS;
        async move {
            let response = match rejected {
                true => Response::builder().status(429).header("retry-after", "1"),
                false => Response::builder(),
            };
            Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
        }
    });
    let calls: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(RetryLayer::new().layer(full.clone()).oneshot(post())))
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
    let arrivals = arrivals.lock().unwrap();
    let mut tenths = [0; 10];
    for at in &arrivals[CLIENTS..] {
        let tenth = (at.as_millis() - 1_000) / 100;
        tenths[usize::try_from(tenth).unwrap().min(9)] += 1;
    }
    assert!(tenths.iter().all(|&tenth| (60..150).contains(&tenth)), "{tenths:?}");
}

#[tokio::test(start_paused = true)]
async fn a_herd_that_a_full_server_tells_one_second_each_time_is_served_within_three_attempts() {
    let arrivals = Arc::new(Mutex::new(Vec::new()));
    let (start, running, recorder) =
        (Instant::now(), Arc::new(Semaphore::new(16)), arrivals.clone());
    let server = service_fn(move |request: Request<Full<Bytes>>| {
        recorder.lock().unwrap().push(start.elapsed());
        let slot = Arc::clone(&running).try_acquire_owned();
        async move {
            if slot.is_err() {
                let response = Response::builder().status(429).header("retry-after", "1");
                return Ok(response.body(Full::default()).unwrap());
            }
            work(request).await
        }
    });
    let clients = 640;
    let calls: Vec<_> = (0..clients)
        .map(|_| tokio::spawn(ClientStack::new("herd").layer(server.clone()).oneshot(post())))
        .collect();
    let (attempts, served) = attempts_and_served(calls).await;
    let arrivals = arrivals.lock().unwrap();
    // Those that come back for the first time, in the second after the one they were told.
    let mut tenths = [0; 10];
    for at in &arrivals[clients..] {
        let tenth = (at.as_millis() - 1_000) / 100;
        if let Some(count) = tenths.get_mut(usize::try_from(tenth).unwrap()) {
            *count += 1;
        }
    }
    let mean = f64::from(tenths.iter().sum::<u32>()) / 10.0;
    let peak = f64::from(*tenths.iter().max().unwrap());
    assert_eq!(served, clients);
    assert!(f64::from(attempts) <= 2.5 * clients as f64, "{attempts} attempts");
    // The cool-down alone spreads them: 64 in a tenth of the second, and four standard deviations.
    assert!(peak <= 1.5 * mean, "{tenths:?}");
}

/// Attempts a request, and the share of requests that is served, of an open loop at `load` times the capacity.
async fn at_load(load: f64, told: bool) -> (f64, f64) {
    let attempts = Arc::new(Mutex::new(0_usize));
    let counter = Arc::clone(&attempts);
    let work = service_fn(work);
    let server = AdmissionLayer::fixed("load", 16).queue(QueueBounds::new(16, SECOND)).layer(work);
    let counted = service_fn(move |request: Request<Full<Bytes>>| {
        *counter.lock().unwrap() += 1;
        let server = server.clone();
        async move {
            let mut response = server.oneshot(request).await?;
            if !told {
                response.headers_mut().remove("retry-after");
                response.headers_mut().remove("x-backpressure-ticket");
            }
            Ok::<_, Infallible>(response)
        }
    });
    let client = RetryLayer::new().seed(1).layer(counted);
    let gap = Duration::from_secs_f64(1.0 / (800.0 * load));
    let mut calls = Vec::new();
    let mut at = Instant::now();
    for _ in 0..(LOAD_SECONDS / gap.as_secs_f64()) as usize {
        at += gap;
        tokio::time::sleep_until(at).await;
        calls.push(tokio::spawn(client.clone().oneshot(post())));
    }
    let requests = calls.len() as f64;
    let mut served = 0.0;
    for call in calls {
        served += f64::from(call.await.unwrap().unwrap().status() == 200);
    }
    let attempts = *attempts.lock().unwrap() as f64;
    (attempts / requests, served / requests)
}

#[tokio::test(start_paused = true)]
async fn at_three_times_the_capacity_retries_are_a_tenth_and_tickets_are_worth_more() {
    let (attempts, served) = at_load(3.0, false).await;
    assert!(attempts <= 1.11, "{attempts} attempts a request");
    let (with_tickets, served_with_tickets) = at_load(3.0, true).await;
    assert!(with_tickets <= 2.02, "{with_tickets} attempts a request");
    // Its slots are after the ten seconds.
    assert!(served_with_tickets >= 1.5 * served, "{served_with_tickets} and {served}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_was_overloaded_serves_new_requests_three_seconds_later() {
    let server = AdmissionLayer::fixed("load", 16).queue(QueueBounds::new(16, SECOND));
    let client = RetryLayer::new().seed(1).layer(server.layer(service_fn(work)));
    let (start, mut calls) = (Instant::now(), Vec::new());
    let mut at = start;
    while at < start + 20 * SECOND {
        let load = if at < start + 10 * SECOND { 3.0 } else { 0.6 };
        at += Duration::from_secs_f64(1.0 / (800.0 * load));
        tokio::time::sleep_until(at).await;
        calls.push((at, tokio::spawn(client.clone().oneshot(post()))));
    }
    let (mut served, mut all) = (0, 0);
    for (_, call) in calls.into_iter().filter(|(at, _)| *at >= start + 13 * SECOND) {
        let response = call.await.unwrap().unwrap();
        all += 1;
        served += usize::from(response.status() == 200);
    }
    assert!(served as f64 >= 0.99 * f64::from(all), "{served} of {all}");
}

/// A server that gives a ticket with each rejection, and rejects all requests.
#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_keep_its_tickets_is_asked_twice_and_within_the_budget_after_that() {
    let attempts = Arc::new(Mutex::new(0_usize));
    let counter = Arc::clone(&attempts);
    let liar = service_fn(move |_: Request<Full<Bytes>>| {
        *counter.lock().unwrap() += 1;
        let rejection = Response::builder().status(503).header("retry-after", "1");
        let rejection =
            rejection.header("x-shed-reason", "limit").header("x-backpressure-ticket", "x");
        std::future::ready(Ok::<_, Infallible>(rejection.body(Full::<Bytes>::default()).unwrap()))
    });
    let client = RetryLayer::new().max_attempts(10).seed(1).layer(liar);
    for _ in 0..CLIENTS {
        assert_eq!(client.clone().oneshot(post()).await.unwrap().status(), 503);
    }
    let attempts = *attempts.lock().unwrap();
    // By time the budget earns one retry in five seconds.
    assert!((2 * CLIENTS..=3 * CLIENTS).contains(&attempts), "{attempts}");
}
