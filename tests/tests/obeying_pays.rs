//! A caller that obeys Retry-After is served at least as well as one that ignores it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, RETURN_TICKET, RetryLayer};

/// Slots behind an await, each request in one of them for so long.
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

    fn behind(
        self,
        layer: &AdmissionLayer,
    ) -> impl Service<Ask, Response = Response<impl Send + use<>>, Error = Infallible, Future: Send>
    + Clone
    + Send
    + 'static
    + use<> {
        let free = Arc::new(Semaphore::new(self.slots));
        layer.layer(service_fn(move |_: Ask| {
            let free = Arc::clone(&free);
            async move {
                let _slot = free.acquire().await.expect("never closed");
                sleep(self.time).await;
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        }))
    }
}

type Ask = Request<Full<Bytes>>;

/// Asks at a mean rate, at random, for so many seconds; the share that is served in the end.
async fn open_loop<S, B>(service: S, rate: f64, seconds: f64, seed: u64) -> (usize, usize)
where
    S: Service<Ask, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Send + 'static,
{
    let (mut rng, mut asked) = (Rng::with_seed(seed), JoinSet::new());
    let start = Instant::now();
    let mut at = 0.0;
    loop {
        at -= (1.0 - rng.f64()).ln() / rate;
        if at > seconds {
            break;
        }
        sleep_until(start + Duration::from_secs_f64(at)).await;
        let service = service.clone();
        asked.spawn(async move {
            let answer = service.oneshot(Request::default()).await.expect("no error");
            answer.status() == StatusCode::OK
        });
    }
    let fates = asked.join_all().await;
    (fates.iter().filter(|&&served| served).count(), fates.len())
}

/// Asks again at once, whatever it is told, on so many streams; how often that was served.
async fn closed_loop<S, B>(
    service: S,
    streams: usize,
    pause: Duration,
    end: Instant,
) -> (usize, usize)
where
    S: Service<Ask, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + 'static,
    B: Send + 'static,
{
    let mut all = JoinSet::new();
    for _ in 0..streams {
        let service = service.clone();
        all.spawn(async move {
            let (mut served, mut asked) = (0, 0);
            while Instant::now() < end {
                let answer = service.clone().oneshot(Request::default()).await.expect("no error");
                asked += 1;
                served += usize::from(answer.status() == StatusCode::OK);
                sleep(pause).await;
            }
            (served, asked)
        });
    }
    let all = all.join_all().await;
    all.into_iter().fold((0, 0), |sum, each| (sum.0 + each.0, sum.1 + each.1))
}

fn share((served, asked): (usize, usize)) -> f64 {
    served as f64 / asked as f64
}

#[tokio::test(start_paused = true)]
async fn beside_a_flood_that_ignores_retry_after_the_obedient_are_served_at_least_as_well() {
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
        let (flood, obedient) = (flood.await.expect("ends"), obedient.await.expect("ends"));
        println!(
            "{slots:?} {limit:?}: obedient {obedient:?} {:.2}, rude {flood:?} {:.2}",
            share(obedient),
            share(flood)
        );
        assert!(share(obedient) >= share(flood), "{slots:?}");
        assert!(share(obedient) >= 0.85, "{slots:?}: {obedient:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn beside_streams_that_ask_again_at_once_others_get_their_share() {
    for (slots, streams, pause) in
        [(Slots::new(2, 10), 200, 0), (Slots::new(16, 100), 200, 0), (Slots::new(4, 20), 500, 5)]
    {
        let layer = AdmissionLayer::fixed("api", 2 * slots.slots);
        let service = slots.behind(&layer);
        let end = Instant::now() + Duration::from_secs(60);
        let pause = Duration::from_millis(pause).max(Duration::from_micros(200));
        let rude = tokio::spawn(closed_loop(service.clone(), streams, pause, end));
        let rate = 0.5 * slots.per_second();
        let obedient = RetryLayer::new().seed(7).layer(service.clone());
        let obedient = tokio::spawn(open_loop(obedient, 0.5 * rate, 60.0, 2));
        let plain = tokio::spawn(open_loop(service, 0.5 * rate, 60.0, 3));
        let (obedient, plain) = (obedient.await.expect("ends"), plain.await.expect("ends"));
        let rude = rude.await.expect("ends");
        println!(
            "{slots:?}, {streams} streams: obedient {obedient:?} {:.2}, plain {plain:?} {:.2}, rude {rude:?}: {:.0} refusals a second",
            share(obedient),
            share(plain),
            (rude.1 - rude.0) as f64 / 60.0
        );
        assert!(share(obedient) >= 0.95 && share(plain) >= 0.5, "{slots:?}");
        assert!(rude.1 - rude.0 < 60 * 2 * streams, "each stream is slowed to about one a second");
    }
}

#[tokio::test(start_paused = true)]
async fn a_ticket_is_written_on_a_refusal_and_lets_its_caller_in_before_new_requests() {
    let layer = AdmissionLayer::fixed("api", 1);
    let slots = Slots::new(1, 100);
    let service = slots.behind(&layer);
    let rude = tokio::spawn(open_loop(service.clone(), 40.0, 1_000.0, 1));
    sleep(Duration::from_secs(5)).await;
    let (mut first, mut back) = ((0, 0), (0, 0));
    let mut rng = Rng::with_seed(3);
    for _ in 0..100 {
        // At random, as answers come when a place is free.
        sleep(Duration::from_millis(rng.u64(50..500))).await;
        let answer = service.clone().oneshot(Request::default()).await.expect("no error");
        first.1 += 1;
        if answer.status() == StatusCode::OK {
            first.0 += 1;
            continue;
        }
        let told: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        let ticket = answer.headers()[RETURN_TICKET].clone();
        sleep(Duration::from_secs(told)).await;
        let mut again = Request::new(Full::default());
        again.headers_mut().insert(RETURN_TICKET, ticket);
        let answer = service.clone().oneshot(again).await.expect("no error");
        back.1 += 1;
        back.0 += usize::from(answer.status() == StatusCode::OK);
    }
    rude.abort();
    println!("first attempts {first:?}, returned with a ticket {back:?}");
    assert!(share(first) < 0.5 && back.1 > 50 && share(back) >= 0.95);
}

#[tokio::test(start_paused = true)]
async fn in_a_steady_overload_callers_that_return_when_told_are_admitted() {
    for (slots, load) in [(Slots::new(16, 100), 1.1), (Slots::new(8, 40), 1.2)] {
        let layer = AdmissionLayer::fixed("api", slots.slots);
        let service = slots.behind(&layer);
        let (mut rng, mut callers) = (Rng::with_seed(1), JoinSet::new());
        let start = Instant::now();
        let mut at = 0.0;
        while at < 90.0 {
            at -= (1.0 - rng.f64()).ln() / (load * slots.per_second());
            sleep_until(start + Duration::from_secs_f64(at)).await;
            let service = service.clone();
            callers.spawn(async move {
                let answer = service.clone().oneshot(Request::default()).await.expect("no error");
                if answer.status() == StatusCode::OK {
                    return None;
                }
                let told: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                let mut again = Request::new(Full::default());
                again.headers_mut().insert(RETURN_TICKET, answer.headers()[RETURN_TICKET].clone());
                sleep(Duration::from_secs(told)).await;
                let answer = service.oneshot(again).await.expect("no error");
                Some((told, answer.status() == StatusCode::OK))
            });
        }
        let back: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
        let admitted = back.iter().filter(|(_, admitted)| *admitted).count();
        let longest = back.iter().map(|(told, _)| told).max();
        println!("{slots:?} at {load}: {admitted} of {} admitted, told {longest:?}", back.len());
        assert!(share((admitted, back.len())) >= 0.95, "{slots:?}");
    }
}
