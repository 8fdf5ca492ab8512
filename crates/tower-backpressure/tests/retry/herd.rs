//! A thousand clients that send a request at once.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, Attempts, QueueBounds, RetryLayer};

use crate::memory_server::SECOND;

const CLIENTS: usize = 1_000;

fn post() -> Request<Full<Bytes>> {
    Request::post("/orders").body(Full::default()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn our_server_serves_a_herd_with_two_attempts_each() {
    // 16 at a time, 20 ms each: 800 a second.
    let work = service_fn(|_: Request<Full<Bytes>>| async {
        sleep(Duration::from_millis(20)).await;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    });
    let server = AdmissionLayer::fixed("herd", 16).queue(QueueBounds::new(16, SECOND)).layer(work);
    let calls: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(RetryLayer::new().layer(server.clone()).oneshot(post())))
        .collect();
    let (mut attempts, mut served) = (0, 0);
    for call in calls {
        let response = call.await.unwrap().unwrap();
        attempts += Attempts::of(response.extensions()).0;
        served += usize::from(response.status() == 200);
    }
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
