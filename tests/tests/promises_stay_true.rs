//! What a refusal says about coming back is true: neither too early nor, for longer than it takes to
//! find out, much too late.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds, Shed};

const BRIEF: QueueBounds = QueueBounds::new(4, Duration::from_millis(100));

/// A service that takes so long, or for ever.
fn work(
    layer: &AdmissionLayer,
    time: Option<Duration>,
) -> impl Service<Request<()>, Response = Response<impl Send>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static {
    layer.layer(service_fn(move |_: Request<()>| async move {
        match time {
            Some(time) => sleep(time).await,
            None => pending().await,
        }
        Ok::<_, Infallible>(Response::new(String::new()))
    }))
}

/// Asks; a refusal is told by the seconds of its header.
async fn ask<S, B>(service: &S) -> Result<(), u64>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
{
    let answer = service.clone().oneshot(Request::new(())).await.expect("no error");
    if answer.status() == StatusCode::OK {
        return Ok(());
    }
    Err(answer.headers()["retry-after"].to_str().expect("text").parse().expect("a number"))
}

/// Takes all places for so long, from inside the limiter.
fn hold_all(layer: &AdmissionLayer, time: Duration) {
    while let Ok(permit) = layer.limiter().try_acquire() {
        tokio::spawn(async move {
            sleep(time).await;
            drop(permit);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_caller_is_not_made_to_wait_for_rude_ones_that_have_gone() {
    for (limit, millis, rude, seconds) in
        [(2, 300, 8, 10), (1, 50, 30, 20), (8, 1_000, 100, 30), (2, 3_000, 8, 30)]
    {
        let layer = AdmissionLayer::fixed("api", limit).queue(BRIEF);
        let service = work(&layer, Some(Duration::from_millis(millis)));
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut storm = JoinSet::new();
        for n in 0..rude {
            let service = service.clone();
            storm.spawn(async move {
                while Instant::now() < end {
                    let _ = ask(&service).await;
                    sleep(Duration::from_millis(20 + n)).await;
                }
            });
        }
        storm.join_all().await;
        sleep(Duration::from_millis(4 * millis)).await;
        // Both places are taken again and again by others, for as long as an answer takes.
        let mut told = Vec::new();
        for _ in 0..12 {
            hold_all(&layer, Duration::from_millis(millis));
            told.push(ask(&service).await.err().unwrap_or(0));
            sleep(Duration::from_secs(5)).await;
        }
        println!("{limit} × {millis} ms, {rude} rude callers for {seconds} s, told: {told:?}");
        let needed = (millis / 1_000).max(1);
        assert!(told[2..].iter().all(|&told| told <= 3 * needed), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_asks_a_hundred_times_does_not_book_the_time_of_others() {
    for (limit, millis) in [(2, 300), (1, 1_000), (8, 100)] {
        let layer = AdmissionLayer::fixed("api", limit).queue(QueueBounds::NONE);
        let service = work(&layer, Some(Duration::from_millis(millis)));
        let mut busy = JoinSet::new();
        for _ in 0..limit {
            let service = service.clone();
            busy.spawn(async move {
                loop {
                    let _ = ask(&service).await;
                }
            });
        }
        sleep(Duration::from_secs(5)).await;
        let before = ask(&service).await.expect_err("all places are taken");
        for _ in 0..100 {
            let _ = ask(&service).await;
        }
        let told = ask(&service).await.expect_err("all places are taken");
        sleep(Duration::from_secs(5)).await;
        let later = ask(&service).await.expect_err("all places are taken");
        println!("{limit} × {millis} ms: told {before} s before, {told} s after, {later} s later");
        assert!(told <= 6 && later <= 3, "{limit} × {millis} ms: {told}, {later}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_value_is_within_twice_the_truth_once_an_answer_was_seen() {
    for (limit, millis) in [(2, 300_u64), (1, 2_000), (4, 8_000)] {
        let layer = AdmissionLayer::fixed("api", limit).queue(QueueBounds::NONE);
        let service = work(&layer, Some(Duration::from_millis(millis)));
        assert_eq!(ask(&service).await, Ok(()));
        let mut busy = JoinSet::new();
        for _ in 0..limit {
            let service = service.clone();
            busy.spawn(async move { ask(&service).await });
        }
        sleep(Duration::from_millis(1)).await;
        let told = ask(&service).await.expect_err("all places are taken");
        println!("{limit} × {millis} ms: {told} s");
        assert!(told <= (2 * millis).div_ceil(1_000), "{limit} × {millis} ms: {told} s");
    }
}

#[tokio::test(start_paused = true)]
async fn without_any_answer_yet_the_first_refused_caller_is_told_two_seconds() {
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::NONE);
    let service = work(&layer, Some(Duration::from_millis(300)));
    let mut busy = JoinSet::new();
    for _ in 0..2 {
        let service = service.clone();
        busy.spawn(async move { ask(&service).await });
    }
    sleep(Duration::from_millis(1)).await;
    assert_eq!(ask(&service).await, Err(2));
}

#[tokio::test(start_paused = true)]
async fn places_that_come_free_because_callers_leave_count_like_answers() {
    let layer = AdmissionLayer::fixed("api", 2).queue(BRIEF);
    let fast = work(&layer, Some(Duration::from_millis(300)));
    for _ in 0..20 {
        assert_eq!(ask(&fast).await, Ok(()));
    }
    // From now on nothing is answered; the callers hang up after four seconds.
    let hangs = work(&layer, None);
    let mut callers = JoinSet::new();
    for n in 0..6 {
        let hangs = hangs.clone();
        callers.spawn(async move {
            sleep(Duration::from_millis(100 * n)).await;
            for _ in 0..40 {
                if let Ok(Err(told)) = timeout(Duration::from_secs(4), ask(&hangs)).await {
                    sleep(Duration::from_secs(told)).await;
                }
            }
        });
    }
    let mut told = Vec::new();
    for _ in 0..20 {
        sleep(Duration::from_millis(3_100)).await;
        told.extend(ask(&fast).await.err());
    }
    callers.abort_all();
    println!("told {told:?}");
    let later = &told[5..];
    let mean = later.iter().sum::<u64>() as f64 / later.len() as f64;
    assert!(mean >= 2.0 && later.iter().all(|&told| told <= 30), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_longer_all_places_are_held_the_later_a_caller_is_told_to_come() {
    for kind in ["", "application/grpc"] {
        let layer = AdmissionLayer::fixed("api", 4).queue(BRIEF);
        // The heads of the streams are there at once.
        let service = work(&layer, Some(Duration::ZERO));
        for _ in 0..50 {
            assert_eq!(ask(&service).await, Ok(()));
        }
        let _streams: Vec<_> =
            (0..4).map(|_| layer.limiter().try_acquire().expect("room")).collect();
        let mut told = Vec::new();
        for seconds in [0_u64, 1, 9, 30] {
            sleep(Duration::from_secs(seconds)).await;
            let request = Request::builder().header("content-type", kind).body(());
            let answer = service.clone().oneshot(request.expect("a request")).await;
            let answer = answer.expect("no error");
            let (field, unit) = match kind {
                "" => ("retry-after", 1),
                _ => ("grpc-retry-pushback-ms", 1_000),
            };
            let value: u64 =
                answer.headers()[field].to_str().expect("text").parse().expect("a number");
            assert!(value >= unit, "{kind}: {value}");
            told.push(value.div_ceil(unit));
        }
        println!("{kind}: told {told:?}");
        assert!(told[2] >= 8 && told[3] >= 30 && told[0] <= 2, "{kind}: {told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_is_taken_away_sends_its_requests_back_in_their_turn() {
    let layer =
        AdmissionLayer::fixed("api", 10).queue(QueueBounds::new(1_000, Duration::from_secs(5)));
    let service = work(&layer, Some(Duration::from_millis(100)));
    // A hundred a second for a minute, all the time just what can be done.
    let mut callers = JoinSet::new();
    for _ in 0..6_000 {
        let service = service.clone();
        callers.spawn(async move { ask(&service).await });
        sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..200 {
        let service = service.clone();
        callers.spawn(async move { ask(&service).await });
    }
    sleep(Duration::from_millis(1)).await;
    layer.limiter().bound_queue(QueueBounds::NONE);
    let told: Vec<_> = callers.join_all().await.into_iter().filter_map(Result::err).collect();
    println!("{} told {:?}", told.len(), told.iter().max());
    assert!(told.len() >= 150 && told.iter().all(|&told| told <= 3), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_herd_that_returns_when_told_is_let_in() {
    for (limit, millis, load, herd) in [(16, 10, 0.5, 5_000), (4, 20, 0.3, 500), (2, 300, 0.5, 60)]
    {
        let layer = AdmissionLayer::fixed("api", limit);
        let service = work(&layer, Some(Duration::from_millis(millis)));
        let capacity = limit as f64 / (millis as f64 / 1e3);
        let gap = Duration::from_secs_f64(1.0 / (capacity * load));
        let steady = {
            let service = service.clone();
            tokio::spawn(async move {
                let mut all = JoinSet::new();
                loop {
                    let service = service.clone();
                    all.spawn(async move { ask(&service).await });
                    sleep(gap).await;
                }
            })
        };
        sleep(Duration::from_secs(60)).await;
        let mut callers = JoinSet::new();
        for _ in 0..herd {
            let service = service.clone();
            callers.spawn(async move {
                let answer = service.clone().oneshot(Request::new(())).await.expect("no error");
                let shed = answer.extensions().get::<Shed>()?;
                sleep(shed.retry_after).await;
                Some(ask(&service).await.is_ok())
            });
        }
        let fates = callers.join_all().await;
        steady.abort();
        let back = fates.iter().flatten().count();
        let admitted = fates.iter().flatten().filter(|&&admitted| admitted).count();
        let share = admitted as f64 / back.max(1) as f64;
        println!("{limit} × {millis} ms: {back} of {herd} came back, {share:.3} were admitted");
        assert!(back > 0 && share >= 0.95, "{limit} × {millis} ms: {share:.3} of {back}");
    }
}
