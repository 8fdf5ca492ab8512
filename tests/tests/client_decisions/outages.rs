//! An origin that is down for a while: how long calls that fail take, and which are served once it is back.

use std::io;
use std::ops::Range;
use std::time::Duration;

use http::{Request, Response, Uri};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, advance, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{ClientStack, CooldownLayer, OriginLimitLayer, RetryLayer};

use super::{Arrivals, MS, ORIGIN, Reply, SECOND, get, ok, reply};

/// How an origin fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Down {
    Refuses,
    /// As behind a proxy that forwards connections.
    Breaks,
    Status(u16, Option<&'static str>),
}

impl Down {
    pub(super) fn answer(self) -> io::Result<Reply> {
        match self {
            Self::Refuses => Err(io::ErrorKind::ConnectionRefused.into()),
            Self::Breaks => Err(io::ErrorKind::ConnectionReset.into()),
            Self::Status(status, None) => Ok(reply(status, &[])),
            Self::Status(status, Some(after)) => Ok(reply(status, &[("retry-after", after)])),
        }
    }
}

pub(super) const UP: Duration = Duration::from_secs(10);
const HOUR: Duration = Duration::from_secs(3_600);

/// What became of the calls that began while the origin was down.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) served: usize,
    mean_failure: Duration,
    pub(super) attempts: usize,
}

/// With 50 calls a second.
pub(super) async fn outage<S, B>(client: S, length: Duration, arrivals: &Arrivals) -> Ends
where
    S: Service<Request<()>, Response = Response<B>, Error = io::Error, Future: Send>
        + Clone
        + Send
        + 'static,
{
    outage_at(50, client, length, arrivals).await
}

pub(super) async fn outage_at<S, B>(
    rate: u32,
    client: S,
    length: Duration,
    arrivals: &Arrivals,
) -> Ends
where
    S: Service<Request<()>, Response = Response<B>, Error = io::Error, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let (start, mut calls) = (Instant::now(), JoinSet::new());
    for index in 0..rate * (UP + length + UP).as_secs() as u32 {
        sleep_until(start + index * SECOND / rate).await;
        let client = client.clone();
        calls.spawn(async move {
            let began = Instant::now();
            let is_served = client.oneshot(get(ORIGIN)).await.is_ok_and(|it| it.status() == 200);
            (began - start, is_served, began.elapsed())
        });
    }
    let ends = calls.join_all().await;
    let begun: Vec<_> =
        ends.into_iter().filter(|(began, ..)| (UP..UP + length).contains(began)).collect();
    let failed: Vec<_> =
        begun.iter().filter(|(_, served, _)| !served).map(|(.., took)| *took).collect();
    Ends {
        served: begun.len() - failed.len(),
        mean_failure: failed.iter().sum::<Duration>() / failed.len().max(1) as u32,
        attempts: arrivals.between(UP, UP + length),
    }
}

pub(super) fn origin(
    down: Down,
    length: Duration,
    arrivals: &Arrivals,
) -> impl Service<Request<()>, Response = Reply, Error = io::Error, Future: Send> + Clone + Send + use<>
{
    let arrivals = arrivals.clone();
    service_fn(move |_: Request<()>| {
        let at = arrivals.record();
        async move {
            sleep(20 * MS).await;
            if (UP..UP + length).contains(&at) { down.answer() } else { Ok(ok()) }
        }
    })
}

/// The stack, and the retry layer alone, with jitter that can be repeated.
pub(super) fn retries(seed: u64) -> RetryLayer {
    RetryLayer::named("outage").seed(seed)
}

pub(super) fn stack(seed: u64) -> ClientStack {
    ClientStack::new("outage")
        .retry(retries(seed))
        .cooldown(CooldownLayer::new("outage").seed(seed))
}

#[tokio::test(start_paused = true)]
async fn calls_to_an_origin_that_is_down_fail_about_when_they_were_held_and_few_reach_it() {
    let told_a_second = [Down::Status(503, Some("1")), Down::Status(429, Some("1"))];
    let others = [
        Down::Status(503, Some("5")),
        Down::Status(503, None),
        Down::Status(502, None),
        Down::Breaks,
    ];
    let held = told_a_second.map(|down| (down, 3.6, 60));
    let others = others.map(|down| (down, 2.6, 600));
    let cases = held.into_iter().chain(others).chain([(Down::Refuses, 0.6, 600)]);
    for (down, seconds, attempts) in cases {
        for seed in 1..=4 {
            let length = (18 + seed as u32) * SECOND;
            let arrivals = Arrivals::new();
            let ends =
                outage(stack(seed).layer(origin(down, length, &arrivals)), length, &arrivals).await;
            assert!(ends.mean_failure.as_secs_f64() <= seconds, "{down:?} {seed}: {ends:?}");
            assert!(ends.attempts <= attempts, "{down:?} {seed}: {ends:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_stack_serves_as_many_calls_that_begin_in_an_outage_as_retries_alone() {
    for told in ["1", "5"] {
        let (mut alone, mut with_stack) = (0, 0);
        for seed in 1..=8 {
            let length = (16 + seed as u32) * SECOND;
            let down = Down::Status(503, Some(told));
            let arrivals = Arrivals::new();
            alone +=
                outage(retries(seed).layer(origin(down, length, &arrivals)), length, &arrivals)
                    .await
                    .served;
            let arrivals = Arrivals::new();
            with_stack +=
                outage(stack(seed).layer(origin(down, length, &arrivals)), length, &arrivals)
                    .await
                    .served;
        }
        assert!(with_stack >= alone, "{told}: {with_stack}, alone {alone}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_busy_client_has_saved_adds_no_more_than_two_seconds_of_its_retries_to_an_outage() {
    let (length, arrivals) = (20 * SECOND, Arrivals::new());
    let client = retries(1).layer(origin(Down::Status(502, None), length, &arrivals));
    let ends = outage_at(300, client, length, &arrivals).await;
    assert!(ends.attempts <= 6_000 + 600 + 60, "{ends:?}");
}

/// An origin that at times tells all callers to come back in a second, and hangs from one time to another.
fn crowded(
    tells: impl Fn(Duration) -> bool + Clone + Send + 'static,
    hangs: Range<Duration>,
) -> impl Service<Request<()>, Response = Reply, Error = io::Error, Future: Send> + Clone + Send + 'static
{
    let start = Instant::now();
    service_fn(move |_: Request<()>| {
        let (tells, hangs) = (tells.clone(), hangs.clone());
        async move {
            sleep(20 * MS).await;
            let at = start.elapsed();
            if hangs.contains(&at) {
                sleep(hangs.end - at).await;
            }
            Ok(if tells(at) { reply(429, &[("retry-after", "1")]) } else { ok() })
        }
    })
}

type Calls = Vec<JoinHandle<io::Result<bool>>>;

const CROWD: usize = 3_000;

/// Begins this many calls at one moment.
fn begin<S, B>(client: &S, calls: usize) -> Calls
where
    S: Service<Request<()>, Response = Response<B>, Error = io::Error, Future: Send>
        + Clone
        + Send
        + 'static,
{
    let call = |client: S| async move { Ok(client.oneshot(get(ORIGIN)).await?.status() == 200) };
    (0..calls).map(|_| tokio::spawn(call(client.clone()))).collect()
}

async fn served(calls: Calls) -> usize {
    let mut served = 0;
    for call in calls {
        // A call that was aborted is not served.
        served += usize::from(call.await.is_ok_and(|end| end.is_ok_and(|is_served| is_served)));
    }
    served
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_waits_unsent_is_served_although_the_client_was_suspended_meanwhile() {
    for seconds in [1, 3, 8, 20] {
        let client = stack(1).layer(crowded(|at| at < SECOND, HOUR..HOUR));
        let calls = begin(&client, CROWD);
        sleep(SECOND / 2).await;
        advance(seconds * SECOND).await;
        let served = served(calls).await;
        assert!(served >= CROWD * 8 / 10, "{served} after {seconds} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_waits_unsent_is_served_although_the_origin_was_suspended_meanwhile() {
    for seconds in 1..=3 {
        let suspended = SECOND..(1 + seconds) * SECOND;
        let client = stack(1).layer(crowded(|at| at < SECOND, suspended));
        let served = served(begin(&client, CROWD)).await;
        assert!(served >= CROWD * 9 / 10, "{served} after {seconds} s");
    }
}

/// Crowds to an origin that rejects all of them, whose callers leave. When it has answered others for a while, it
/// rejects all for a second once more: how many of a crowd that comes then are served.
async fn last_crowd() -> usize {
    let (cooldown, limit) = (CooldownLayer::new("crowd").seed(1), OriginLimitLayer::new("crowd"));
    let again = 40 * SECOND;
    let tells = move |at| at < 8 * SECOND || (again..again + SECOND).contains(&at);
    let client = stack(1).cooldown(cooldown.clone()).origin_limit(limit.clone());
    let client = client.layer(crowded(tells, HOUR..HOUR));
    let (start, mut rng) = (Instant::now(), fastrand::Rng::with_seed(7));
    // More than can wait at once.
    for _ in 0..8 {
        let calls = begin(&client, CROWD);
        sleep(rng.u32(1..900) * MS).await;
        calls.iter().for_each(JoinHandle::abort);
    }
    sleep(12 * SECOND).await;
    while start.elapsed() < again - SECOND {
        begin(&client, 10);
        sleep(SECOND / 20).await;
    }
    sleep_until(start + again).await;
    let origin = Uri::from_static(ORIGIN);
    assert_eq!(cooldown.snapshot(&origin).expect("in use").held, 0);
    let snapshot = limit.limiter(&origin).expect("in use").snapshot();
    assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0));
    served(begin(&client, CROWD)).await
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_while_they_wait_unsent_take_no_place_from_others() {
    let served = last_crowd().await;
    assert!(served >= CROWD * 8 / 10, "{served}");
}
