//! A limit for each origin between real clients and a real server.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_tests::server::serve;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::{Layer, Service, ServiceBuilder, ServiceExt};
use tower_backpressure::{OriginLimitLayer, QueueBounds, RetryBudget, RetryLayer, Shed};

const SLOTS: usize = 8;
const CALLERS: usize = 400;

/// A service that can do eight things at once, of 20 ms each, and lets everybody in.
#[derive(Clone, Debug)]
struct Hidden {
    slots: Arc<Semaphore>,
    crowd: Arc<Mutex<Crowd>>,
}

#[derive(Debug, Default)]
struct Crowd {
    inside: usize,
    /// How many were inside whenever somebody came, who came included.
    seen: Vec<usize>,
}

impl Hidden {
    async fn serve() -> (Self, SocketAddr) {
        let hidden = Self { slots: Arc::new(Semaphore::new(SLOTS)), crowd: Arc::default() };
        let handler = hidden.clone();
        let address = serve(Router::new().route("/", get(move || handler.clone().work()))).await;
        (hidden, address)
    }

    async fn work(self) -> &'static str {
        {
            let mut crowd = self.crowd.lock().expect("no panic");
            crowd.inside += 1;
            let inside = crowd.inside;
            crowd.seen.push(inside);
        }
        let slot = self.slots.acquire().await.expect("never closed");
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(slot);
        self.crowd.lock().expect("no panic").inside -= 1;
        "done"
    }

    /// What a thousand found here who came one after the other, in order of size, once they have.
    async fn thousand(&self, which: usize) -> Vec<usize> {
        let range = 1_000 * which..1_000 * (which + 1);
        while self.crowd.lock().expect("no panic").seen.len() < range.end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut found = self.crowd.lock().expect("no panic").seen[range].to_vec();
        found.sort_unstable();
        found
    }

    /// How many thousands have come when one of them, of so many at most, found enough to do here and
    /// nearly nobody waiting. A machine with much other load may spoil some.
    async fn is_spared_after(&self, most: usize) -> Option<usize> {
        for which in 0..most {
            let found = self.thousand(which).await;
            let busy: usize = found.iter().map(|&inside| inside.min(SLOTS)).sum();
            if found[900] <= 3 * SLOTS && busy >= 700 * SLOTS {
                return Some(which + 1);
            }
        }
        None
    }
}

/// Everybody calls again and again, as long as what is returned is kept.
fn storm<S, B>(client: &S, address: SocketAddr) -> JoinSet<()>
where
    S: Service<Request<Full<Bytes>>, Response = Response<B>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Error,
    B: http_body::Body<Data = Bytes, Error: std::fmt::Debug> + Send,
{
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let client = client.clone();
        callers.spawn(async move {
            loop {
                let request = Request::get(format!("http://{address}/")).body(Full::default());
                let answer = client.clone().oneshot(request.expect("a request")).await;
                let answer = answer.expect("a response, be it a refusal");
                assert_eq!(answer.status(), StatusCode::OK);
                answer.into_body().collect().await.expect("a whole body");
            }
        });
    }
    callers
}

fn hyper() -> Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_hundred_callers_queue_at_home_and_not_at_a_server_that_can_do_eight_at_once() {
    let (bare, address) = Hidden::serve().await;
    let callers = storm(&hyper(), address);
    assert_eq!(bare.is_spared_after(3).await, None, "or there is nothing to prevent");
    drop(callers);

    let (limited, address) = Hidden::serve().await;
    let limits = OriginLimitLayer::new("search");
    let patient = RetryLayer::new().budget(RetryBudget::new(1.0).reserve(1_000_000));
    let patient = patient.max_attempts(10).deadline(Duration::from_secs(600));
    let client = ServiceBuilder::new().layer(patient).layer(limits.clone()).service(hyper());
    let mut callers = storm(&client, address);
    assert!(limited.is_spared_after(20).await.is_some(), "a crowd stays at the server");

    callers.shutdown().await;
    let origin: Uri = format!("http://{address}").parse().expect("a URI");
    let now = limits.limiter(&origin).expect("known").snapshot();
    assert_eq!((now.in_flight, now.queued), (0, 0), "nobody who left is counted");
}

#[tokio::test]
async fn over_reqwest_a_place_is_held_to_the_end_of_the_body() {
    let (_, address) = Hidden::serve().await;
    let limits = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let client = limits.layer(reqwest::Client::new());
    let url: reqwest::Url = format!("http://{address}/").parse().expect("a URL");
    let call = || reqwest::Request::new(reqwest::Method::GET, url.clone());
    let origin: Uri = url.as_str().parse().expect("a URI");
    let in_flight = || limits.limiter(&origin).expect("known").snapshot().in_flight;

    let answer = client.clone().oneshot(call()).await.expect("an answer");
    assert_eq!((answer.url(), answer.status()), (&url, reqwest::StatusCode::OK));
    assert_eq!(answer.content_length(), Some(4));
    assert_eq!(in_flight(), 1);
    assert_eq!(answer.text().await.expect("a body"), "done");
    assert_eq!(in_flight(), 0);

    let limiter = limits.limiter(&origin).expect("known");
    let taken: Vec<_> = std::iter::from_fn(|| limiter.try_acquire().ok()).collect();
    let refused = client.clone().oneshot(call()).await.expect("a refusal is a response");
    assert!(refused.extensions().get::<Shed>().is_some());
    assert_eq!((refused.url(), refused.status().as_u16()), (&url, 503));
    assert!(refused.headers().contains_key("retry-after"));
    drop(taken);
    assert_eq!(in_flight(), 0);
}
