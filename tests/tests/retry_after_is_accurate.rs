//! The time in `Retry-After` is accurate: neither too early nor, once the load has changed, much too late.

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds, Shed};

const SHORT_QUEUE: QueueBounds = QueueBounds::new(4, Duration::from_millis(100));

/// A service that responds after `time`, or never.
fn service_of(
    layer: &AdmissionLayer,
    time: Option<Duration>,
) -> impl Service<Request<()>, Response = Response<impl Send + use<>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ 'static
+ use<> {
    layer.layer(service_fn(move |_: Request<()>| async move {
        match time {
            Some(time) => sleep(time).await,
            None => pending().await,
        }
        Ok::<_, Infallible>(Response::new(String::new()))
    }))
}

/// Sends a request; the error is the `Retry-After` of its rejection in seconds.
async fn send<S, B>(service: &S) -> Result<(), u64>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible> + Clone,
{
    let response = service.clone().oneshot(Request::new(())).await.expect("infallible");
    if response.status() == StatusCode::OK {
        return Ok(());
    }
    Err(response.headers()["retry-after"].to_str().expect("text").parse().expect("a number"))
}

/// Starts `count` requests in tasks of their own.
fn send_at_once<S, B>(service: &S, count: usize) -> JoinSet<Result<(), u64>>
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    B: Send + 'static,
{
    (0..count)
        .map(|_| {
            let service = service.clone();
            async move { send(&service).await }
        })
        .collect()
}

/// Takes all free permits for this time.
fn hold_all(layer: &AdmissionLayer, time: Duration) {
    while let Ok(permit) = layer.limiter().try_acquire() {
        tokio::spawn(async move {
            sleep(time).await;
            drop(permit);
        });
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_recovers_after_a_flood_that_ignored_it() {
    for (limit, millis, callers, seconds) in
        [(2, 300, 8, 10), (1, 50, 30, 20), (8, 1_000, 100, 30), (2, 3_000, 8, 30)]
    {
        let layer = AdmissionLayer::fixed("api", limit).queue(SHORT_QUEUE);
        let service = service_of(&layer, Some(Duration::from_millis(millis)));
        let end = Instant::now() + Duration::from_secs(seconds);
        let mut flood = JoinSet::new();
        for n in 0..callers {
            let service = service.clone();
            flood.spawn(async move {
                while Instant::now() < end {
                    let _ = send(&service).await;
                    sleep(Duration::from_millis(20 + n)).await;
                }
            });
        }
        flood.join_all().await;
        sleep(Duration::from_millis(4 * millis)).await;
        // All permits are taken repeatedly by other requests, for as long as a response takes.
        let mut retry_after = Vec::new();
        for _ in 0..12 {
            hold_all(&layer, Duration::from_millis(millis));
            retry_after.push(send(&service).await.err().unwrap_or(0));
            sleep(Duration::from_secs(5)).await;
        }
        println!(
            "{limit} × {millis} ms, {callers} callers in a loop for {seconds} s, retry_after: {retry_after:?}"
        );
        let needed = (millis / 1_000).max(1);
        assert!(
            retry_after[2..].iter().all(|&retry_after| retry_after <= 3 * needed),
            "{retry_after:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_retries_a_hundred_times_does_not_delay_the_retry_after_of_others() {
    for (limit, millis) in [(2, 300), (1, 1_000), (8, 100)] {
        let layer = AdmissionLayer::fixed("api", limit).queue(QueueBounds::NONE);
        let service = service_of(&layer, Some(Duration::from_millis(millis)));
        let mut busy = JoinSet::new();
        for _ in 0..limit {
            let service = service.clone();
            busy.spawn(async move {
                loop {
                    let _ = send(&service).await;
                }
            });
        }
        sleep(Duration::from_secs(5)).await;
        let before = send(&service).await.expect_err("no permit is free");
        for _ in 0..100 {
            let _ = send(&service).await;
        }
        let retry_after = send(&service).await.expect_err("no permit is free");
        sleep(Duration::from_secs(5)).await;
        let later = send(&service).await.expect_err("no permit is free");
        println!(
            "{limit} × {millis} ms: retry_after {before} s before, {retry_after} s after, {later} s later"
        );
        assert!(retry_after <= 6 && later <= 3, "{limit} × {millis} ms: {retry_after}, {later}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_retry_after_is_at_most_twice_the_latency_of_the_first_response() {
    for (limit, millis) in [(2, 300_u64), (1, 2_000), (4, 8_000)] {
        let layer = AdmissionLayer::fixed("api", limit).queue(QueueBounds::NONE);
        let service = service_of(&layer, Some(Duration::from_millis(millis)));
        assert_eq!(send(&service).await, Ok(()));
        let _running = send_at_once(&service, limit);
        sleep(Duration::from_millis(1)).await;
        let retry_after = send(&service).await.expect_err("no permit is free");
        println!("{limit} × {millis} ms: {retry_after} s");
        assert!(
            retry_after <= (2 * millis).div_ceil(1_000),
            "{limit} × {millis} ms: {retry_after} s"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_retry_after_is_two_seconds_before_any_response() {
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::NONE);
    let service = service_of(&layer, Some(Duration::from_millis(300)));
    let _running = send_at_once(&service, 2);
    sleep(Duration::from_millis(1)).await;
    assert_eq!(send(&service).await, Err(2));
}

#[tokio::test(start_paused = true)]
async fn permits_released_by_cancelled_requests_count_like_responses() {
    let layer = AdmissionLayer::fixed("api", 2).queue(SHORT_QUEUE);
    let fast = service_of(&layer, Some(Duration::from_millis(300)));
    for _ in 0..20 {
        assert_eq!(send(&fast).await, Ok(()));
    }
    // From now on the service never responds, and callers cancel after four seconds.
    let hangs = service_of(&layer, None);
    let mut callers = JoinSet::new();
    for n in 0..6 {
        let hangs = hangs.clone();
        callers.spawn(async move {
            sleep(Duration::from_millis(100 * n)).await;
            for _ in 0..40 {
                if let Ok(Err(retry_after)) = timeout(Duration::from_secs(4), send(&hangs)).await {
                    sleep(Duration::from_secs(retry_after)).await;
                }
            }
        });
    }
    let mut retry_after = Vec::new();
    for _ in 0..20 {
        sleep(Duration::from_millis(3_100)).await;
        retry_after.extend(send(&fast).await.err());
    }
    callers.abort_all();
    println!("retry_after {retry_after:?}");
    let later = &retry_after[5..];
    let mean = later.iter().sum::<u64>() as f64 / later.len() as f64;
    assert!(mean >= 2.0 && later.iter().all(|&retry_after| retry_after <= 30), "{retry_after:?}");
}

#[tokio::test(start_paused = true)]
async fn retry_after_grows_while_all_permits_are_held() {
    for kind in ["", "application/grpc"] {
        let layer = AdmissionLayer::fixed("api", 4).queue(SHORT_QUEUE);
        // The heads of the streams arrive at once.
        let service = service_of(&layer, Some(Duration::ZERO));
        for _ in 0..50 {
            assert_eq!(send(&service).await, Ok(()));
        }
        let _streams: Vec<_> =
            (0..4).map(|_| layer.limiter().try_acquire().expect("a free permit")).collect();
        let mut retry_after = Vec::new();
        for seconds in [0_u64, 1, 9, 30] {
            sleep(Duration::from_secs(seconds)).await;
            let request = Request::builder().header("content-type", kind).body(());
            let response = service.clone().oneshot(request.expect("a request")).await;
            let response = response.expect("infallible");
            let (field, unit) = match kind {
                "" => ("retry-after", 1),
                _ => ("grpc-retry-pushback-ms", 1_000),
            };
            let value: u64 =
                response.headers()[field].to_str().expect("text").parse().expect("a number");
            assert!(value >= unit, "{kind}: {value}");
            retry_after.push(value.div_ceil(unit));
        }
        println!("{kind}: retry_after {retry_after:?}");
        assert!(
            retry_after[2] >= 8 && retry_after[3] >= 30 && retry_after[0] <= 2,
            "{kind}: {retry_after:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_hung_keeps_no_caller_away_for_longer_than_it_hung() {
    const BEGIN: u64 = 60;
    const HANG: u64 = 5;
    for layer in [AdmissionLayer::fixed("api", 8), AdmissionLayer::adaptive("api").max(8)] {
        let layer = layer.queue(SHORT_QUEUE);
        let dependency = Arc::new(RwLock::new(()));
        let used = dependency.clone();
        let service = layer.layer(service_fn(move |_: Request<()>| {
            let dependency = used.clone();
            async move {
                let _answers = dependency.read().await;
                sleep(Duration::from_millis(40)).await;
                Ok::<_, Infallible>(Response::new(String::new()))
            }
        }));
        let mut sent = Vec::new();
        for second in 0..BEGIN + 2 * HANG {
            if second == BEGIN {
                let hangs = dependency.clone().write_owned().await;
                tokio::spawn(async move { (sleep(Duration::from_secs(HANG)).await, hangs) });
            }
            // Half of the 200 a second that it can do, and a burst that finds the queue full.
            let burst = if second == BEGIN + HANG + 2 { 40 } else { 1 };
            for count in std::iter::once(burst).chain([1; 99]) {
                let all = send_at_once(&service, count);
                sent.push((second, tokio::spawn(all.join_all())));
                sleep(Duration::from_millis(10)).await;
            }
        }
        let (mut during, mut after) = (Vec::new(), Vec::new());
        for (second, results) in sent {
            let told = results.await.expect("no panic").into_iter().filter_map(Result::err);
            match second {
                ..BEGIN => assert_eq!(told.count(), 0, "second {second}"),
                _ if second < BEGIN + HANG => during.extend(told),
                _ if second > BEGIN + HANG => after.extend(told),
                _ => {}
            }
        }
        println!(
            "told {:?} of {}, {:?} of {}",
            during.iter().max(),
            during.len(),
            after.iter().max(),
            after.len()
        );
        assert!(during.len() > 400 && during.iter().all(|&told| told <= 2 * HANG), "{during:?}");
        assert!(!after.is_empty() && after.iter().all(|&told| told <= HANG), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_removed_queue_are_told_to_return_within_three_seconds() {
    let layer =
        AdmissionLayer::fixed("api", 10).queue(QueueBounds::new(1_000, Duration::from_secs(5)));
    let service = service_of(&layer, Some(Duration::from_millis(100)));
    // A hundred requests a second for a minute, exactly the capacity.
    let mut callers = JoinSet::new();
    for _ in 0..6_000 {
        let service = service.clone();
        callers.spawn(async move { send(&service).await });
        sleep(Duration::from_millis(10)).await;
    }
    for _ in 0..200 {
        let service = service.clone();
        callers.spawn(async move { send(&service).await });
    }
    sleep(Duration::from_millis(1)).await;
    layer.limiter().bound_queue(QueueBounds::NONE);
    let retry_after: Vec<_> =
        callers.join_all().await.into_iter().filter_map(Result::err).collect();
    println!("{} retry_after {:?}", retry_after.len(), retry_after.iter().max());
    assert!(
        retry_after.len() >= 150 && retry_after.iter().all(|&retry_after| retry_after <= 3),
        "{retry_after:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn no_caller_is_told_to_stay_away_for_more_than_a_minute_while_a_handler_hangs() {
    let layer =
        AdmissionLayer::fixed("api", 1).queue(QueueBounds::new(1_000, Duration::from_secs(600)));
    let service = service_of(&layer, Some(Duration::from_secs(1)));
    for _ in 0..20 {
        assert_eq!(send(&service).await, Ok(()));
    }
    hold_all(&layer, Duration::from_secs(300));
    let queued = send_at_once(&service, 200);
    sleep(Duration::from_secs(100)).await;
    layer.limiter().bound_queue(QueueBounds::NONE);
    let told: Vec<_> = queued.join_all().await.into_iter().filter_map(Result::err).collect();
    assert!(told.len() > 150 && told.iter().all(|told| (30..=60).contains(told)), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn a_burst_that_returns_when_told_is_admitted() {
    for (limit, millis, load, burst) in [(16, 10, 0.5, 5_000), (4, 20, 0.3, 500), (2, 300, 0.5, 60)]
    {
        // What is rendered has the exact time with it.
        let layer = AdmissionLayer::fixed("api", limit).on_reject(|_, response| response);
        let service = service_of(&layer, Some(Duration::from_millis(millis)));
        let capacity = limit as f64 / (millis as f64 / 1e3);
        let gap = Duration::from_secs_f64(1.0 / (capacity * load));
        let steady = {
            let service = service.clone();
            tokio::spawn(async move {
                let mut all = JoinSet::new();
                loop {
                    let service = service.clone();
                    all.spawn(async move { send(&service).await });
                    sleep(gap).await;
                }
            })
        };
        sleep(Duration::from_secs(60)).await;
        let mut callers = JoinSet::new();
        for _ in 0..burst {
            let service = service.clone();
            callers.spawn(async move {
                let response = service.clone().oneshot(Request::new(())).await.expect("infallible");
                let shed = response.extensions().get::<Shed>()?;
                sleep(shed.retry_after).await;
                Some(send(&service).await.is_ok())
            });
        }
        let results = callers.join_all().await;
        steady.abort();
        let returned = results.iter().flatten().count();
        let admitted = results.iter().flatten().filter(|&&admitted| admitted).count();
        let share = admitted as f64 / returned.max(1) as f64;
        println!("{limit} × {millis} ms: {returned} of {burst} returned, {share:.3} were admitted");
        assert!(returned > 0 && share >= 0.95, "{limit} × {millis} ms: {share:.3} of {returned}");
    }
}
