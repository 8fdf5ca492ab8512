//! A limit per origin between clients and a server on real sockets.

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

/// A server without a limit that works on eight requests at once, for 20 ms each.
#[derive(Clone, Debug)]
struct UnlimitedServer {
    slots: Arc<Semaphore>,
    arrivals: Arc<Mutex<Arrivals>>,
}

#[derive(Debug, Default)]
struct Arrivals {
    in_flight: usize,
    /// Requests in flight at each arrival, the new one included.
    in_flight_at_arrival: Vec<usize>,
}

impl UnlimitedServer {
    async fn serve() -> (Self, SocketAddr) {
        let server = Self { slots: Arc::new(Semaphore::new(SLOTS)), arrivals: Arc::default() };
        let handler = server.clone();
        let address = serve(Router::new().route("/", get(move || handler.clone().work()))).await;
        (server, address)
    }

    async fn work(self) -> &'static str {
        {
            let mut arrivals = self.arrivals.lock().expect("no panic");
            arrivals.in_flight += 1;
            let in_flight = arrivals.in_flight;
            arrivals.in_flight_at_arrival.push(in_flight);
        }
        let slot = self.slots.acquire().await.expect("the semaphore is never closed");
        tokio::time::sleep(Duration::from_millis(20)).await;
        drop(slot);
        self.arrivals.lock().expect("no panic").in_flight -= 1;
        "done"
    }

    /// The numbers in flight at a thousand consecutive arrivals, sorted, once they have happened.
    async fn thousand_arrivals(&self, which: usize) -> Vec<usize> {
        let range = 1_000 * which..1_000 * (which + 1);
        while self.arrivals.lock().expect("no panic").in_flight_at_arrival.len() < range.end {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut in_flight =
            self.arrivals.lock().expect("no panic").in_flight_at_arrival[range].to_vec();
        in_flight.sort_unstable();
        in_flight
    }

    /// The number of thousands of arrivals until the slots were busy and hardly any request waited for
    /// one in a whole thousand; `None`: not within `max_thousands`. A busy machine may delay it.
    async fn thousands_until_not_overloaded(&self, max_thousands: usize) -> Option<usize> {
        for which in 0..max_thousands {
            let in_flight = self.thousand_arrivals(which).await;
            let busy: usize = in_flight.iter().map(|&in_flight| in_flight.min(SLOTS)).sum();
            if in_flight[900] <= 3 * SLOTS && busy >= 700 * SLOTS {
                return Some(which + 1);
            }
        }
        None
    }
}

/// Starts callers that send requests in a loop until the returned set is dropped.
fn start_callers<S, B>(client: &S, address: SocketAddr) -> JoinSet<()>
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
                let response = client.clone().oneshot(request.expect("a request")).await;
                let response = response.expect("a rejection is a response");
                assert_eq!(response.status(), StatusCode::OK);
                response.into_body().collect().await.expect("a complete body");
            }
        });
    }
    callers
}

fn hyper() -> Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_queue_at_the_client_and_not_at_a_server_with_eight_slots() {
    let (without_limit, address) = UnlimitedServer::serve().await;
    let callers = start_callers(&hyper(), address);
    assert_eq!(
        without_limit.thousands_until_not_overloaded(3).await,
        None,
        "without a limit the server is overloaded"
    );
    drop(callers);

    let (with_limit, address) = UnlimitedServer::serve().await;
    let limits = OriginLimitLayer::new("search");
    let retries = RetryLayer::new().budget(RetryBudget::new(1.0).reserve(1_000_000));
    let retries = retries.max_attempts(10).deadline(Duration::from_secs(600));
    let client = ServiceBuilder::new().layer(retries).layer(limits.clone()).service(hyper());
    let mut callers = start_callers(&client, address);
    assert!(
        with_limit.thousands_until_not_overloaded(20).await.is_some(),
        "a arrivals stays at the server"
    );

    callers.shutdown().await;
    let origin: Uri = format!("http://{address}").parse().expect("a URI");
    let now = limits.limiter(&origin).expect("a known origin").snapshot();
    assert_eq!((now.in_flight, now.queued), (0, 0), "cancelled requests hold no permit");
}

#[tokio::test]
async fn with_reqwest_a_permit_is_held_to_the_end_of_the_body() {
    let (_, address) = UnlimitedServer::serve().await;
    let limits = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let client = limits.layer(reqwest::Client::new());
    let url: reqwest::Url = format!("http://{address}/").parse().expect("a URL");
    let call = || reqwest::Request::new(reqwest::Method::GET, url.clone());
    let origin: Uri = url.as_str().parse().expect("a URI");
    let in_flight = || limits.limiter(&origin).expect("a known origin").snapshot().in_flight;

    let response = client.clone().oneshot(call()).await.expect("a response");
    assert_eq!((response.url(), response.status()), (&url, reqwest::StatusCode::OK));
    assert_eq!(response.content_length(), Some(4));
    assert_eq!(in_flight(), 1);
    assert_eq!(response.text().await.expect("a body"), "done");
    assert_eq!(in_flight(), 0);

    let limiter = limits.limiter(&origin).expect("a known origin");
    let permits: Vec<_> = std::iter::from_fn(|| limiter.try_acquire().ok()).collect();
    let rejected = client.clone().oneshot(call()).await.expect("a rejection is a response");
    assert!(rejected.extensions().get::<Shed>().is_some());
    assert_eq!((rejected.url(), rejected.status().as_u16()), (&url, 503));
    assert!(rejected.headers().contains_key("retry-after"));
    drop(permits);
    assert_eq!(in_flight(), 0);
}
