//! What a limit for each origin promises a client, on the paused clock.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use backpressure_tests::script::Script;
use http::{Method, Request, Response, StatusCode, Uri};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::{
    Attempts, Cause, Deadline, Limiter, OriginLimitLayer, QueueBounds, RetryBudget, RetryLayer,
    SHED_REASON, Shed,
};

const SECOND: Duration = Duration::from_secs(1);
/// What a limit begins with.
const INITIAL: usize = 100;
const HERE: &str = "http://here/";

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

fn limiter(layer: &OriginLimitLayer, origin: &str) -> Limiter {
    layer.limiter(&origin.parse().expect("a URI")).expect("an origin that was talked to")
}

fn is_local<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Shed>().is_some()
}

/// A server with so many slots, all of them behind an await.
#[derive(Clone, Debug)]
struct Server {
    slots: Arc<Semaphore>,
    work: Duration,
    /// Whoever comes while so many are inside is refused, after a millisecond.
    most: Arc<AtomicUsize>,
    inside: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
}

impl Server {
    fn new(slots: usize, work: Duration) -> Self {
        let (slots, most) = (Arc::new(Semaphore::new(slots)), Arc::new(usize::MAX.into()));
        let [inside, served, refused] = Default::default();
        Self { slots, work, most, inside, served, refused }
    }

    async fn refuse(self) -> Result<Response<Script>, Infallible> {
        self.refused.fetch_add(1, SeqCst);
        sleep(SECOND / 1_000).await;
        let mut answer = Response::new(Script::default());
        *answer.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok(answer)
    }

    async fn answer(self) -> Result<Response<Script>, Infallible> {
        if self.inside.load(SeqCst) >= self.most.load(SeqCst) {
            return self.refuse().await;
        }
        self.inside.fetch_add(1, SeqCst);
        let slot = self.slots.acquire().await.expect("never closed");
        sleep(self.work).await;
        drop(slot);
        self.inside.fetch_sub(1, SeqCst);
        self.served.fetch_add(1, SeqCst);
        Ok(Response::new(Script::default()))
    }

    fn behind(
        &self,
        layer: &OriginLimitLayer,
    ) -> impl Service<Request<()>, Response = Response<Answered>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + use<> {
        let server = self.clone();
        layer.layer(service_fn(move |_: Request<()>| server.clone().answer()))
    }
}

type Answered = tower_backpressure::ResponseBody<Script>;

/// Calls that are never answered take so many places.
fn fill<S>(client: &S, uri: &str, count: usize) -> Vec<JoinHandle<()>>
where
    S: Service<Request<()>, Future: Send> + Clone + Send + 'static,
{
    let call = || {
        let (client, request) = (client.clone(), get(uri));
        tokio::spawn(async move { drop(client.oneshot(request).await) })
    };
    (0..count).map(|_| call()).collect()
}

/// Asks, and drops the answer: an unread body would keep its place.
async fn status<S>(client: S, uri: &str) -> StatusCode
where
    S: Service<Request<()>, Response = Response<Answered>, Error = Infallible>,
{
    client.oneshot(get(uri)).await.expect("infallible").status()
}

async fn never(_: Request<()>) -> Result<Response<Script>, Infallible> {
    pending().await
}

#[tokio::test(start_paused = true)]
async fn each_origin_has_a_limit_of_its_own() {
    let layer = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let client = layer.layer(service_fn(never));
    let _calls = fill(&client, HERE, 2 * INITIAL);
    let _others = fill(&layer.layer(service_fn(never)), "http://there/", 3);
    sleep(SECOND).await;
    assert_eq!(limiter(&layer, HERE).snapshot().in_flight, INITIAL);
    assert_eq!(limiter(&layer.clone(), "http://there/").snapshot().in_flight, 3);
    assert!(layer.limiter(&Uri::from_static("http://nowhere/")).is_none());
}

#[tokio::test(start_paused = true)]
async fn however_it_is_spelled_an_origin_is_one() {
    let layer = OriginLimitLayer::new("search");
    let client = layer.layer(service_fn(never));
    let spellings = ["http://here/a", "http://HERE:80/b?c", "http://me:secret@here/"];
    let _calls = spellings.map(|uri| fill(&client, uri, 1));
    let named = Request::get("/").header("host", "here:3000").body(()).expect("a request");
    let _named = tokio::spawn(client.clone().oneshot(named));
    let _nameless = fill(&client, "/a", 1);
    let _nameless_too = fill(&client, "/b", 1);
    sleep(SECOND).await;
    assert_eq!(limiter(&layer, HERE).snapshot().in_flight, spellings.len());
    assert_eq!(limiter(&layer, "here:3000").snapshot().in_flight, 1);
    assert_eq!(limiter(&layer, "/").snapshot().in_flight, 2);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_fit_waits_and_is_sent_when_there_is_room() {
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(10 * INITIAL, SECOND / 2);
    let client = server.behind(&layer);
    let mut calls = JoinSet::new();
    for _ in 0..INITIAL + 10 {
        calls.spawn(status(client.clone(), HERE));
    }
    sleep(SECOND / 4).await;
    let now = limiter(&layer, HERE).snapshot();
    assert_eq!((now.in_flight, now.queued), (INITIAL, 10));
    assert_eq!(server.inside.load(SeqCst), INITIAL);
    assert!(calls.join_all().await.iter().all(|&status| status == StatusCode::OK));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_made_here_and_says_so_and_when_to_come_back() {
    let layer = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let server = Server::new(INITIAL, 10 * SECOND);
    let client = server.behind(&layer);
    let _calls = fill(&client, HERE, INITIAL);
    sleep(SECOND).await;
    let answer = client.oneshot(get(HERE)).await.expect("a refusal is a response");
    let shed = *answer.extensions().get::<Shed>().expect("told from the server's own");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()[&SHED_REASON], "limit");
    let told = answer.headers()["retry-after"].to_str().expect("text");
    let told = Duration::from_secs(told.parse().expect("whole seconds"));
    assert!(told >= shed.retry_after && told < shed.retry_after + SECOND, "{told:?} for {shed}");
    assert_eq!(server.inside.load(SeqCst), INITIAL, "nothing was sent");
}

#[tokio::test(start_paused = true)]
async fn the_servers_own_words_pass_untouched() {
    let client = OriginLimitLayer::new("search").layer(service_fn(async |_: Request<()>| {
        let theirs = Response::builder().status(503).header(SHED_REASON, "queue-full");
        let theirs = theirs.header("retry-after", "7").body(Script::pieces(1, 10));
        Ok::<_, Infallible>(theirs.expect("a response"))
    }));
    let answer = client.oneshot(get(HERE)).await.expect("infallible");
    assert!(!is_local(&answer));
    assert_eq!(answer.headers()[&SHED_REASON], "queue-full", "not begun, says who knows");
    assert_eq!(answer.headers()["retry-after"], "7");
}

#[tokio::test(start_paused = true)]
async fn inside_retries_what_was_refused_here_is_sent_later_whatever_its_method() {
    let layer = OriginLimitLayer::new("search").queue(QueueBounds::NONE);
    let server = Server::new(INITIAL, SECOND / 2);
    let limited = server.behind(&layer);
    let _calls = fill(&limited, HERE, INITIAL);
    sleep(SECOND / 10).await;
    let client = ServiceBuilder::new().layer(RetryLayer::new()).service(limited);
    let post = Request::builder().method(Method::POST).uri(HERE).body(()).expect("a request");
    let begun = Instant::now();
    let retried = tokio::spawn(client.oneshot(post));
    sleep(SECOND * 6 / 10).await;
    let now = limiter(&layer, HERE).snapshot();
    assert_eq!((now.in_flight, now.queued), (0, 0), "a pause holds no place");
    let answer = retried.await.expect("no panic").expect("infallible");
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(Attempts::of(answer.extensions()), Attempts(2));
    assert!(begun.elapsed() >= SECOND, "not before it was told to");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_honoured_in_the_line() {
    let layer = OriginLimitLayer::new("search");
    let client = layer.layer(service_fn(never));
    let _calls = fill(&client, HERE, INITIAL);
    sleep(SECOND).await;
    let mut late = get(HERE);
    late.extensions_mut().insert(Deadline(Instant::now() + SECOND / 10));
    let begun = Instant::now();
    let answer = client.oneshot(late).await.expect("a refusal");
    assert_eq!(answer.headers()[&SHED_REASON], "deadline");
    assert!(begun.elapsed() < SECOND / 5);
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_gives_back_its_place_and_its_place_in_the_line() {
    let layer = OriginLimitLayer::new("search");
    let client = layer.layer(service_fn(never));
    let calls = fill(&client, HERE, INITIAL + 10);
    sleep(SECOND / 10).await;
    let limiter = limiter(&layer, HERE);
    assert_eq!((limiter.snapshot().in_flight, limiter.snapshot().queued), (INITIAL, 10));
    for call in calls {
        call.abort();
        let _ = call.await;
    }
    assert_eq!((limiter.snapshot().in_flight, limiter.snapshot().queued), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_fails_fast_is_no_fast_server() {
    let layer = OriginLimitLayer::new("search");
    let client = layer.layer(service_fn(|_: Request<()>| ready(Err::<Response<Script>, _>("no"))));
    for _ in 0..1_000 {
        assert!(client.clone().oneshot(get(HERE)).await.is_err());
    }
    let limiter = limiter(&layer, HERE);
    assert_eq!((limiter.snapshot().limit, limiter.snapshot().in_flight), (INITIAL, 0));
    assert_eq!(limiter.last_change(), None);
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_lowers_the_limit_for_that_server() {
    for status in [StatusCode::TOO_MANY_REQUESTS, StatusCode::SERVICE_UNAVAILABLE] {
        let layer = OriginLimitLayer::new("search");
        let client = layer.layer(service_fn(move |request: Request<()>| async move {
            sleep(SECOND / 100).await;
            let mut answer = Response::new(Script::default());
            if request.uri().host() == Some("here") {
                *answer.status_mut() = status;
            }
            Ok::<_, Infallible>(answer)
        }));
        for uri in [HERE, "http://there/"] {
            for _ in 0..40 {
                for call in fill(&client, uri, 10) {
                    call.await.expect("no panic");
                }
            }
        }
        let here = limiter(&layer, HERE);
        assert!(here.snapshot().limit < 10, "{status}: {:?}", here.snapshot());
        let cause = here.last_change().expect("it moved").cause;
        assert!(matches!(cause, Cause::Pushback { .. }), "{status}: {cause}");
        assert_eq!(limiter(&layer, "http://there/").snapshot().limit, INITIAL, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_a_thousand_idle_origins_the_one_left_longest_ago_is_forgotten_and_none_in_use() {
    let layer = OriginLimitLayer::new("crawler");
    let server = Server::new(INITIAL, Duration::ZERO);
    let client = server.behind(&layer);
    let _busy = fill(&layer.layer(service_fn(never)), "http://busy/", 1);
    sleep(SECOND).await;
    let visit = async |site: usize| {
        let site = format!("http://site-{site}/");
        client.clone().oneshot(get(&site)).await.expect("infallible");
    };
    let knows = |site: &str| layer.limiter(&site.parse().expect("a URI")).is_some();
    // With the busy one, as many as are remembered.
    for site in 1..1_024 {
        visit(site).await;
    }
    visit(1).await;
    assert!(knows("http://site-2/"));
    visit(1_024).await;
    assert!(!knows("http://site-2/"), "left longest ago");
    assert!(knows("http://site-1/") && knows("http://site-3/") && knows("http://site-1024/"));
    for site in 2_000..4_000 {
        visit(site).await;
    }
    assert_eq!(
        limiter(&layer, "http://busy/").snapshot().in_flight,
        1,
        "in use, and so not forgotten"
    );
    assert!(!knows("http://site-1/"));
}

#[tokio::test(start_paused = true)]
async fn nobody_is_refused_while_the_server_has_room() {
    // Fifty in flight on average.
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(usize::MAX >> 4, SECOND / 2);
    let client = server.behind(&layer);
    let mut rng = fastrand::Rng::with_seed(7);
    let mut calls = JoinSet::new();
    for _ in 0..3_000 {
        sleep(SECOND.mul_f64(rng.f64() / 50.0)).await;
        calls.spawn(status(client.clone(), HERE));
    }
    // And a burst of which half has to wait for its turn.
    for _ in 0..2 * INITIAL {
        calls.spawn(status(client.clone(), "http://there/"));
    }
    assert!(calls.join_all().await.iter().all(|&status| status == StatusCode::OK));
}

/// So many calls a second, at random, for so many seconds; how many were refused here.
async fn offer<S>(client: &S, rate: u32, seconds: u32, seed: u64) -> usize
where
    S: Service<Request<()>, Response = Response<Answered>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut calls = JoinSet::new();
    for _ in 0..rate * seconds {
        sleep(SECOND.mul_f64(2.0 * rng.f64() / f64::from(rate))).await;
        let client = client.clone();
        calls.spawn(async move { is_local(&client.oneshot(get(HERE)).await.expect("infallible")) });
    }
    calls.join_all().await.into_iter().filter(|&local| local).count()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_the_ninth_is_seldom_asked_to() {
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(8, SECOND / 50);
    server.most.store(8, SeqCst);
    let client = server.behind(&layer);
    for seed in 1..=3 {
        offer(&client, 800, 5, seed).await;
    }
    let [served, refused] = [&server.served, &server.refused].map(|count| count.load(SeqCst));
    assert!(8 * refused < served, "{served} served, {refused} refused");
}

/// A server with room for eight requests of each client, which are offered about twice what it can do.
#[tokio::test(start_paused = true)]
async fn clients_that_share_a_full_server_find_that_lower_limits_help() {
    for clients in [2, 4] {
        let room = 8 * clients;
        let server = Server::new(room, SECOND / 50);
        server.most.store(room, SeqCst);
        let mut offers = JoinSet::new();
        for seed in 1..=clients {
            let client = server.behind(&OriginLimitLayer::new("search"));
            offers.spawn(async move { offer(&client, 800, 10, seed as u64).await });
        }
        offers.join_all().await;
        let [served, refused] = [&server.served, &server.refused].map(|count| count.load(SeqCst));
        assert!(4 * refused < served, "{clients} clients: {served} served, {refused} refused");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_leaves_the_door_open() {
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(64, SECOND / 50);
    let client = server.behind(&layer);
    assert_eq!(offer(&client, 1_000, 5, 1).await, 0);
    server.most.store(0, SeqCst);
    offer(&client, 1_000, 5, 2).await;
    assert!(limiter(&layer, HERE).snapshot().limit < 10, "nothing is of use there");
    server.most.store(usize::MAX, SeqCst);
    let refused = offer(&client, 1_000, 10, 3).await;
    assert!(refused < 300, "{refused} of 10000 refused by who was not told that it is over");
}

/// Four hundred callers who all want to be served, again and again, by eight slots of 20 ms.
#[tokio::test(start_paused = true)]
async fn a_server_has_hardly_more_to_do_than_it_can_and_always_enough() {
    let layer = OriginLimitLayer::new("search");
    let server = Server::new(8, SECOND / 50);
    let patient =
        RetryLayer::new().max_attempts(10).budget(RetryBudget::new(1.0).reserve(1_000_000));
    let client = patient.layer(server.behind(&layer));
    let mut callers = JoinSet::new();
    for _ in 0..400 {
        let client = client.clone();
        callers.spawn(async move {
            loop {
                let answer = client.clone().oneshot(get(HERE)).await.expect("infallible");
                // Time stands still while anybody has something to do.
                if answer.status() != StatusCode::OK {
                    sleep(SECOND / 10).await;
                }
            }
        });
    }
    sleep(5 * SECOND).await;
    let before = server.served.load(SeqCst);
    let mut crowd: Vec<_> = Vec::new();
    for _ in 0..1_000 {
        sleep(SECOND / 100).await;
        crowd.push(server.inside.load(SeqCst));
    }
    crowd.sort_unstable();
    let served = server.served.load(SeqCst) - before;
    assert!(crowd[990] <= 16, "{} at the server in the hundredth worst of cases", crowd[990]);
    assert!((3_600..=4_000).contains(&served), "{served} of 4000");
    callers.abort_all();
}
