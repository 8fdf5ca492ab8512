//! What is told while permits are held without a response, and afterwards.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use tokio::sync::RwLock;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, QueueBounds};

use super::{SHORT_QUEUE, hold_all, send, send_at_once, service_of};

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
