//! Few permits that are held for longer than a request may be queued.

use std::time::Duration;

use fastrand::Rng;
use tokio::time::{Instant, sleep, timeout};
use tower_backpressure::{AdmissionLayer, Priority, QueueBounds, RequestInfo};

use super::site::{Site, of, share, with_ticket};

const SECOND: Duration = Duration::from_secs(1);

/// The rejection of a request while all permits are in use, after `seconds` of demand at the capacity.
async fn reject(site: &Site, rng: &mut Rng) -> super::site::Rejection {
    loop {
        sleep(SECOND.mul_f64(rng.f64())).await;
        if let Err(rejection) = site.ask().await {
            return rejection;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_back_waits_for_its_turn_where_work_takes_longer_than_a_queue_allows()
{
    for (slots, millis) in [(1, 4_000), (2, 3_000), (2, 10_000), (4, 5_000), (8, 6_000)] {
        let site = Site::fixed(slots, millis);
        let flood = site.flood(1.5 * site.per_second(), Priority::Normal, 1);
        sleep(20 * SECOND).await;
        let (mut rng, mut admitted) = (Rng::with_seed(2), Vec::new());
        for _ in 0..40 {
            let rejection = reject(&site, &mut rng).await;
            sleep(rejection.wait + SECOND.mul_f64(rng.f64())).await;
            admitted.push(site.return_with(rejection.ticket).await.is_ok());
        }
        flood.abort();
        println!("{slots} × {millis} ms: {:.3} of 40 admitted", share(&admitted));
        assert!(share(&admitted) >= 0.95, "{slots} × {millis} ms: {admitted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_request_waits_no_longer_than_the_queue_allows() {
    let site = Site::fixed(2, 5_000);
    let flood = site.flood(2.0 * site.per_second(), Priority::Normal, 1);
    sleep(20 * SECOND).await;
    let mut rng = Rng::with_seed(3);
    for _ in 0..20 {
        let sent = Instant::now();
        if site.ask().await.is_err() {
            assert!(sent.elapsed() <= Duration::from_millis(1_001), "{:?}", sent.elapsed());
        }
        sleep(SECOND.mul_f64(rng.f64())).await;
    }
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_back_waits_no_longer_than_its_deadline() {
    let site = Site::fixed(2, 10_000);
    let flood = site.flood(3.0 * site.per_second(), Priority::Normal, 1);
    sleep(30 * SECOND).await;
    let mut rng = Rng::with_seed(4);
    let mut late = 0;
    for _ in 0..10 {
        let rejection = reject(&site, &mut rng).await;
        sleep(rejection.wait).await;
        let deadline = Instant::now() + Duration::from_millis(12_500);
        let mut request = with_ticket(of(Priority::Normal), rejection.ticket);
        request.extensions_mut().insert(RequestInfo::default().deadline(deadline));
        if let Err(rejection) = site.send(request).await {
            assert!(Instant::now() <= deadline + Duration::from_millis(1));
            assert_eq!(rejection.reason, "deadline");
            late += 1;
        }
    }
    flood.abort();
    println!("{late} of 10 rejected because of their deadline");
}

#[tokio::test(start_paused = true)]
async fn without_a_queue_a_request_that_comes_back_is_decided_at_once() {
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::NONE);
    let site = Site::new(layer, 2, 5_000);
    let flood = site.flood(5.0, Priority::Normal, 1);
    sleep(20 * SECOND).await;
    let mut rng = Rng::with_seed(5);
    for _ in 0..10 {
        let rejection = reject(&site, &mut rng).await;
        sleep(rejection.wait).await;
        let returned = timeout(Duration::from_millis(7_501), site.return_with(rejection.ticket));
        assert!(returned.await.is_ok(), "served within the longest work, or rejected");
    }
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn no_more_requests_come_back_into_the_queue_than_its_bound() {
    let layer = AdmissionLayer::fixed("api", 2).queue(QueueBounds::new(4, SECOND / 10));
    let site = Site::new(layer, 2, 3_000);
    let flood = site.flood(4.0 * site.per_second(), Priority::Normal, 1);
    sleep(20 * SECOND).await;
    let rejections = site.herd(60).await;
    sleep(rejections.iter().map(|rejection| rejection.wait).min().expect("some")).await;
    for rejection in rejections {
        let site = site.clone();
        tokio::spawn(async move {
            let _ = site.return_with(rejection.ticket).await;
        });
    }
    for _ in 0..100 {
        sleep(SECOND / 10).await;
        assert!(site.layer.limiter().snapshot().queued <= 4);
    }
    flood.abort();
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_keeps_a_request_that_comes_back_no_longer_than_it_used_to_take() {
    // 100 ms each until now: three permits are released within 75 ms on average, so that a second is all.
    let site = Site::fixed(4, 100);
    let flood = site.flood(1.5 * site.per_second(), Priority::Normal, 1);
    sleep(20 * SECOND).await;
    let mut rng = Rng::with_seed(6);
    let rejection = reject(&site, &mut rng).await;
    flood.abort();
    sleep(rejection.wait + SECOND).await;
    let held: Vec<_> = std::iter::from_fn(|| site.layer.limiter().try_acquire().ok()).collect();
    assert_eq!(held.len(), 4);
    sleep(5 * SECOND).await;
    let sent = Instant::now();
    assert!(site.return_with(rejection.ticket).await.is_err(), "the permits are held for ever");
    assert!(sent.elapsed() <= Duration::from_millis(1_001), "{:?}", sent.elapsed());
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_while_they_wait_for_their_turn_leave_nothing_behind() {
    let site = Site::fixed(2, 5_000);
    let flood = site.flood(2.0 * site.per_second(), Priority::Normal, 1);
    sleep(20 * SECOND).await;
    let mut rng = Rng::with_seed(7);
    for _ in 0..30 {
        let rejection = reject(&site, &mut rng).await;
        sleep(rejection.wait).await;
        let patience = SECOND.mul_f64(4.0 * rng.f64());
        let _ = timeout(patience, site.return_with(rejection.ticket)).await;
    }
    flood.abort();
    sleep(60 * SECOND).await;
    let snapshot = site.layer.limiter().snapshot();
    assert_eq!((snapshot.in_flight, snapshot.queued), (0, 0));
    assert!(site.ask().await.is_ok());
}
