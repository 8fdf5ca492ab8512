//! A service of slots behind a layer, and single requests to it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, Priority, RETURN_TICKET, RequestInfo};

/// A service, and the layer in front of it.
#[derive(Clone)]
pub(crate) struct Site {
    service: BoxCloneSyncService<Request<()>, Response<()>, Infallible>,
    pub(crate) layer: AdmissionLayer,
    per_second: f64,
}

/// What a rejection said.
#[derive(Clone, Debug)]
pub(crate) struct Rejection {
    pub(crate) wait: Duration,
    pub(crate) ticket: Option<HeaderValue>,
    pub(crate) reason: String,
}

impl Site {
    /// `slots` requests at once, each of which takes half to one and a half times `millis`.
    pub(crate) fn new(layer: AdmissionLayer, slots: usize, millis: u64) -> Self {
        let free = Arc::new(Semaphore::new(slots));
        let rng = Arc::new(std::sync::Mutex::new(Rng::with_seed(11)));
        let handler = service_fn(move |_: Request<()>| {
            let (free, rng) = (Arc::clone(&free), Arc::clone(&rng));
            async move {
                let _slot = free.acquire().await.expect("the semaphore is never closed");
                let share = 0.5 + rng.lock().expect("no panic").f64();
                sleep(Duration::from_millis((millis as f64 * share) as u64)).await;
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        });
        let service = layer.layer(handler).map_response(|response| response.map(drop));
        let per_second = slots as f64 * 1e3 / millis as f64;
        Self { service: BoxCloneSyncService::new(service), layer, per_second }
    }

    /// One with a constant limit of all slots.
    pub(crate) fn fixed(slots: usize, millis: u64) -> Self {
        Self::new(AdmissionLayer::fixed("api", slots), slots, millis)
    }

    /// Requests that the service finishes a second.
    pub(crate) fn per_second(&self) -> f64 {
        self.per_second
    }

    pub(crate) async fn send(&self, request: Request<()>) -> Result<(), Rejection> {
        let response = self.service.clone().oneshot(request).await.expect("infallible");
        let is_grpc_error = response.headers().contains_key("grpc-status");
        if response.status() == StatusCode::OK && !is_grpc_error {
            return Ok(());
        }
        let text = |name: &str| Some(response.headers().get(name)?.to_str().expect("text"));
        let number = |name| text(name).and_then(|text| text.parse::<u64>().ok());
        let wait = match number("grpc-retry-pushback-ms") {
            Some(millis) => Duration::from_millis(millis),
            None => Duration::from_secs(number("retry-after").expect("every rejection says when")),
        };
        let ticket = response.headers().get(RETURN_TICKET).cloned();
        Err(Rejection { wait, ticket, reason: text("x-shed-reason").unwrap_or("").to_owned() })
    }

    pub(crate) async fn ask(&self) -> Result<(), Rejection> {
        self.send(Request::new(())).await
    }

    /// Comes back with the ticket of a rejection.
    pub(crate) async fn return_with(&self, ticket: Option<HeaderValue>) -> Result<(), Rejection> {
        self.send(with_ticket(Request::new(()), ticket)).await
    }

    /// Requests at random times until the site is dropped or the task aborted; `rate` a second on average.
    pub(crate) fn flood(&self, rate: f64, priority: Priority, seed: u64) -> JoinHandle<()> {
        let site = self.clone();
        tokio::spawn(async move {
            let (mut rng, mut requests) = (Rng::with_seed(seed), JoinSet::new());
            let (start, mut at) = (Instant::now(), 0.0);
            loop {
                at -= (1.0 - rng.f64()).ln() / rate;
                sleep_until(start + Duration::from_secs_f64(at)).await;
                let site = site.clone();
                requests.spawn(async move { site.send(of(priority)).await.is_ok() });
                while requests.try_join_next().is_some() {}
            }
        })
    }

    /// `count` requests at one moment; what those were told that were rejected.
    pub(crate) async fn herd(&self, count: usize) -> Vec<Rejection> {
        let requests: JoinSet<_> = (0..count)
            .map(|_| {
                let site = self.clone();
                async move { site.ask().await }
            })
            .collect();
        requests.join_all().await.into_iter().filter_map(Result::err).collect()
    }
}

pub(crate) fn with_ticket(mut request: Request<()>, ticket: Option<HeaderValue>) -> Request<()> {
    if let Some(ticket) = ticket {
        request.headers_mut().insert(RETURN_TICKET, ticket);
    }
    request
}

/// A request of this priority.
pub(crate) fn of(priority: Priority) -> Request<()> {
    let mut request = Request::new(());
    request.extensions_mut().insert(RequestInfo::default().priority(priority));
    request
}

/// The share of results that are good.
pub(crate) fn share(results: &[bool]) -> f64 {
    results.iter().filter(|&&good| good).count() as f64 / results.len() as f64
}
