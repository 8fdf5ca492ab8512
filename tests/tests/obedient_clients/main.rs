//! Clients that obey `Retry-After` are served at least as well as clients that ignore it.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, RETURN_TICKET, RetryLayer};

mod situations;

/// A request without a body.
type EmptyRequest = Request<Full<Bytes>>;

/// A service that callers in separate tasks can share.
trait SharedService:
    Service<EmptyRequest, Response = Response<Self::Body>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
{
    type Body: Body + Send + 'static;
}

impl<S, B> SharedService for S
where
    S: Service<EmptyRequest, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + 'static,
    B: Body + Send + 'static,
{
    type Body = B;
}

/// Slots behind an await, each occupied by a request for a fixed time.
#[derive(Clone, Copy, Debug)]
struct Slots {
    slots: usize,
    time: Duration,
}

impl Slots {
    const fn new(slots: usize, millis: u64) -> Self {
        Self { slots, time: Duration::from_millis(millis) }
    }

    fn per_second(self) -> f64 {
        self.slots as f64 / self.time.as_secs_f64()
    }

    fn behind(self, layer: &AdmissionLayer) -> impl SharedService + use<> {
        let free = Arc::new(Semaphore::new(self.slots));
        layer.layer(service_fn(move |_: EmptyRequest| {
            let free = Arc::clone(&free);
            async move {
                let _slot = free.acquire().await.expect("the semaphore is never closed");
                sleep(self.time).await;
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        }))
    }
}

/// How many requests were served, and how many were sent.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    served: usize,
    sent: usize,
}

impl Tally {
    fn count(&mut self, served: bool) {
        self.sent += 1;
        self.served += usize::from(served);
    }

    fn share(self) -> f64 {
        self.served as f64 / self.sent as f64
    }
}

impl FromIterator<bool> for Tally {
    fn from_iter<I: IntoIterator<Item = bool>>(served: I) -> Self {
        let mut tally = Self::default();
        served.into_iter().for_each(|served| tally.count(served));
        tally
    }
}

async fn send(service: impl SharedService) -> Response<impl Send + 'static> {
    service.oneshot(Request::default()).await.expect("infallible")
}

/// Calls `request` at random times with this mean rate; returns the results in the order of completion.
async fn at_random_times<F>(
    rate: f64,
    length: f64,
    seed: u64,
    request: impl Fn() -> F,
) -> Vec<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    let (mut rng, mut requests) = (Rng::with_seed(seed), JoinSet::new());
    let start = Instant::now();
    let mut at = 0.0;
    loop {
        at -= (1.0 - rng.f64()).ln() / rate;
        if at > length {
            return requests.join_all().await;
        }
        sleep_until(start + Duration::from_secs_f64(at)).await;
        requests.spawn(request());
    }
}

/// Sends requests at random times with this mean rate, whatever the responses are.
async fn open_loop(service: impl SharedService, rate: f64, seconds: f64, seed: u64) -> Tally {
    let request = || {
        let service = service.clone();
        async move { send(service).await.status() == StatusCode::OK }
    };
    at_random_times(rate, seconds, seed, request).await.into_iter().collect()
}

/// Sends the next request `pause` after each response on each of `streams`, whatever the responses are.
async fn closed_loop(
    service: impl SharedService,
    streams: usize,
    pause: Duration,
    end: Instant,
) -> Tally {
    let mut callers = JoinSet::new();
    for _ in 0..streams {
        let service = service.clone();
        callers.spawn(async move {
            let mut tally = Tally::default();
            while Instant::now() < end {
                let response = send(service.clone()).await;
                tally.count(response.status() == StatusCode::OK);
                sleep(pause).await;
            }
            tally
        });
    }
    let tallies = callers.join_all().await;
    tallies.into_iter().fold(Tally::default(), |sum, tally| Tally {
        served: sum.served + tally.served,
        sent: sum.sent + tally.sent,
    })
}

/// Waits for the time in `Retry-After` and sends the request again with its return ticket. Returns the
/// seconds waited and whether the request was served.
async fn return_when_told<B>(service: impl SharedService, rejection: Response<B>) -> (u64, bool) {
    let retry_after = rejection.headers()["retry-after"].to_str().expect("text");
    let retry_after: u64 = retry_after.parse().expect("a number");
    let ticket = rejection.headers()[RETURN_TICKET].clone();
    drop(rejection);
    sleep(Duration::from_secs(retry_after)).await;
    let mut request = EmptyRequest::default();
    request.headers_mut().insert(RETURN_TICKET, ticket);
    let response = service.oneshot(request).await.expect("infallible");
    (retry_after, response.status() == StatusCode::OK)
}

#[tokio::test(start_paused = true)]
async fn clients_that_obey_retry_after_are_served_at_least_as_well_as_a_flood_that_ignores_it() {
    for (slots, limit, obedient_rate) in [
        (Slots::new(16, 100), Some(16), 50.0),
        (Slots::new(4, 20), Some(4), 50.0),
        (Slots::new(8, 80), Some(8), 50.0),
        (Slots::new(2, 10), Some(4), 20.0),
        (Slots::new(16, 100), None, 50.0),
    ] {
        let layer = match limit {
            Some(limit) => AdmissionLayer::fixed("api", limit),
            None => AdmissionLayer::adaptive("api"),
        };
        let service = slots.behind(&layer);
        let flood = tokio::spawn(open_loop(service.clone(), 4.0 * slots.per_second(), 60.0, 1));
        let obedient = RetryLayer::new().seed(7).layer(service);
        let obedient = tokio::spawn(open_loop(obedient, obedient_rate, 60.0, 2));
        let (flood, obedient) = (flood.await.expect("no panic"), obedient.await.expect("no panic"));
        println!(
            "{slots:?} {limit:?}: obedient {obedient:?} {:.2}, flood {flood:?} {:.2}",
            obedient.share(),
            flood.share()
        );
        assert!(obedient.share() >= flood.share(), "{slots:?}");
        assert!(obedient.share() >= 0.85, "{slots:?}: {obedient:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn streams_that_retry_at_once_leave_other_clients_their_share() {
    for (slots, streams, pause) in
        [(Slots::new(2, 10), 200, 0), (Slots::new(16, 100), 200, 0), (Slots::new(4, 20), 500, 5)]
    {
        let layer = AdmissionLayer::fixed("api", 2 * slots.slots);
        let service = slots.behind(&layer);
        let end = Instant::now() + Duration::from_secs(60);
        let pause = Duration::from_millis(pause).max(Duration::from_micros(200));
        let streams_at_once = tokio::spawn(closed_loop(service.clone(), streams, pause, end));
        let rate = 0.5 * slots.per_second();
        let obedient = RetryLayer::new().seed(7).layer(service.clone());
        let obedient = tokio::spawn(open_loop(obedient, 0.5 * rate, 60.0, 2));
        let single = tokio::spawn(open_loop(service, 0.5 * rate, 60.0, 3));
        let obedient = obedient.await.expect("no panic");
        let single = single.await.expect("no panic");
        let at_once = streams_at_once.await.expect("no panic");
        let rejections = at_once.sent - at_once.served;
        println!(
            "{slots:?}, {streams} streams: obedient {obedient:?} {:.2}, without retries {single:?} {:.2}, at once {at_once:?}: {:.0} rejections a second",
            obedient.share(),
            single.share(),
            rejections as f64 / 60.0
        );
        assert!(obedient.share() >= 0.95 && single.share() >= 0.5, "{slots:?}");
        assert!(rejections < 60 * 2 * streams, "each stream is slowed to about one a second");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_carries_a_ticket_that_is_admitted_before_new_requests() {
    let layer = AdmissionLayer::fixed("api", 1);
    let service = Slots::new(1, 100).behind(&layer);
    let flood = tokio::spawn(open_loop(service.clone(), 40.0, 1_000.0, 1));
    sleep(Duration::from_secs(5)).await;
    let (mut first, mut returned) = (Tally::default(), Tally::default());
    let mut rng = Rng::with_seed(3);
    for _ in 0..100 {
        // At random times: a request sent right after a response would find the permit just released.
        sleep(Duration::from_millis(rng.u64(50..500))).await;
        let response = send(service.clone()).await;
        let served = response.status() == StatusCode::OK;
        first.count(served);
        if !served {
            let (_, served) = return_when_told(service.clone(), response).await;
            returned.count(served);
        }
    }
    flood.abort();
    println!("first attempts {first:?}, returned with a ticket {returned:?}");
    assert!(first.share() < 0.5 && returned.sent > 50 && returned.share() >= 0.95);
}

#[tokio::test(start_paused = true)]
async fn callers_that_return_when_told_are_admitted_in_a_steady_overload() {
    for (slots, load) in [(Slots::new(16, 100), 1.1), (Slots::new(8, 40), 1.2)] {
        let layer = AdmissionLayer::fixed("api", slots.slots);
        let service = slots.behind(&layer);
        let request = || {
            let service = service.clone();
            async move {
                let response = send(service.clone()).await;
                let rejected = response.status() != StatusCode::OK;
                if rejected { Some(return_when_told(service, response).await) } else { None }
            }
        };
        let returned = at_random_times(load * slots.per_second(), 90.0, 1, request).await;
        let returned: Vec<_> = returned.into_iter().flatten().collect();
        let tally: Tally = returned.iter().map(|&(_, admitted)| admitted).collect();
        let longest = returned.iter().map(|(retry_after, _)| retry_after).max();
        println!("{slots:?} at {load}: {tally:?} returned, longest Retry-After {longest:?} s");
        assert!(tally.share() >= 0.95, "{slots:?}");
    }
}
