//! Quotas that replicas share, in virtual time, through a store that is well, slow, silent, wrong or gone.

use std::time::Duration;

use backpressure_tests::memory_store::{Behaviour, MemoryStore};
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use tower_backpressure::Quota;
use tower_backpressure::server::{OnStoreFailure, QuotaLayer, SharedQuota};

use crate::support::{BY_KEY, Done, field, request, reservation_of_a, send};

/// Replicas of one service, whose layers share a quota.
pub(crate) struct Replicas {
    pub(crate) store: MemoryStore,
    layers: Vec<QuotaLayer>,
}

impl Replicas {
    pub(crate) fn new(
        count: usize,
        quota: Quota,
        options: impl Fn(SharedQuota) -> SharedQuota,
    ) -> Self {
        let store = MemoryStore::default();
        let shared = || options(SharedQuota::new(store.clone()));
        let layers = (0..count).map(|_| QuotaLayer::per("shared", BY_KEY, quota).shared(shared()));
        Self { layers: layers.collect(), store }
    }

    /// How many of this many requests at one moment the first replica admits.
    pub(crate) async fn admitted_at_once(&self, requests: u32) -> u32 {
        let mut admitted = 0;
        for _ in 0..requests {
            admitted += u32::from(send(&self.layers[0], request("a")).await.status() == 200);
        }
        admitted
    }

    /// How many requests each replica admits when each gets this many a second, evenly; no request may wait.
    pub(crate) async fn admitted(&self, per_second: u32, time: Duration) -> Vec<u32> {
        let mut admitted = vec![0; self.layers.len()];
        let requests = (time.as_secs_f64() * f64::from(per_second)) as u32;
        for _ in 0..requests {
            for (layer, admitted) in self.layers.iter().zip(&mut admitted) {
                let start = Instant::now();
                let response = layer.layer(Done).oneshot(request("a")).await.expect("no error");
                *admitted += u32::from(response.status() == 200);
                assert_eq!(start.elapsed(), Duration::ZERO, "a request has waited");
                if response.status() == 429 {
                    assert!(field(&response, "retry-after").parse::<u64>().expect("seconds") >= 1);
                }
            }
            sleep(Duration::from_secs(1) / per_second).await;
        }
        admitted
    }
}

pub(crate) fn sum(counts: &[u32]) -> u32 {
    counts.iter().sum()
}

pub(crate) const LEASE: u64 = 10;

pub(crate) fn hundred_a_second() -> Quota {
    Quota::per_second(100)
}

#[tokio::test(start_paused = true)]
async fn three_replicas_admit_the_quota_and_at_most_a_lease_each() {
    let replicas = Replicas::new(3, hundred_a_second(), |it| it.lease(LEASE));
    let admitted = replicas.admitted(200, Duration::from_secs(60)).await;
    // 60 s, a burst, and three leases.
    let most = 100 * 60 + 100 + 3 * 10;
    assert!((6_000..=most).contains(&sum(&admitted)), "{admitted:?}");
    for share in &admitted {
        assert!((1_500..=2_600).contains(share), "{admitted:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn below_the_quota_nothing_is_rejected_and_a_round_trip_serves_many_requests() {
    let replicas = Replicas::new(3, Quota::per_second(3_000), |it| it);
    let admitted = replicas.admitted(500, Duration::from_secs(20)).await;
    assert_eq!(sum(&admitted), 30_000);
    let per_thousand = replicas.store.exchanges() * 1_000 / 30_000;
    assert!(per_thousand <= 20, "{per_thousand} round trips per 1 000 requests");
}

#[tokio::test(start_paused = true)]
async fn tokens_that_a_replica_does_not_need_go_to_the_others() {
    let replicas = Replicas::new(3, Quota::per_minute(600), |it| it.lease(60));
    // Each gets something, then one has all the load.
    assert_eq!(sum(&replicas.admitted(10, Duration::from_secs(2)).await), 60);
    sleep(Duration::from_secs(5)).await;
    assert!(replicas.store.claimed("a") <= 60, "{}", replicas.store.claimed("a"));
    let mut served = 0;
    for _ in 0..2_000 {
        served += u32::from(send(&replicas.layers[0], request("a")).await.status() == 200);
        sleep(Duration::from_millis(5)).await;
    }
    // Ten seconds, what was left of the burst, what came back in five seconds; less a lease that expires.
    assert!((540..=720).contains(&served), "{served}");
}

#[tokio::test(start_paused = true)]
async fn keys_that_are_not_used_any_more_are_forgotten() {
    let replicas = Replicas::new(1, Quota::per_second(10), |it| it);
    for key in 0..5_000 {
        assert_eq!(send(&replicas.layers[0], request(&key.to_string())).await.status(), 200);
    }
    assert!(replicas.layers[0].handle().keys() >= 5_000);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(replicas.layers[0].handle().keys(), 0);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_hangs_or_fails_each_replica_does_what_it_is_told_to_and_no_request_waits()
{
    for behaviour in [Behaviour::Hangs, Behaviour::Fails] {
        for (mode, least, most) in [
            // A third of the quota each, all together the quota and a burst.
            (OnStoreFailure::LocalShare, 2_700, 3_100),
            (OnStoreFailure::Open, 17_000, 18_000),
            (OnStoreFailure::Closed, 0, 200),
        ] {
            let replicas =
                Replicas::new(3, hundred_a_second(), |it| it.lease(LEASE).on_failure(mode));
            let well = sum(&replicas.admitted(200, Duration::from_secs(10)).await);
            assert!((1_000..=1_130).contains(&well), "{well}");
            replicas.store.behave(behaviour);
            let failing = sum(&replicas.admitted(200, Duration::from_secs(30)).await);
            assert!((least..=most).contains(&failing), "{behaviour:?} {mode:?}: {failing}");
            replicas.store.behave(Behaviour::Answers(Duration::from_millis(1)));
            // It is asked again within two seconds.
            let _ = replicas.admitted(200, Duration::from_secs(3)).await;
            let back = sum(&replicas.admitted(200, Duration::from_secs(10)).await);
            assert!((950..=1_130).contains(&back), "{behaviour:?} {mode:?}: {back}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_gone_from_the_start_costs_no_request_its_answer() {
    let replicas = Replicas::new(3, hundred_a_second(), |it| it.replicas(3));
    replicas.store.behave(Behaviour::Hangs);
    let admitted = replicas.admitted(100, Duration::from_secs(20)).await;
    // A third of the quota each, a share of the burst, and an overdraft before the store was given up.
    for admitted in &admitted {
        assert!((640..=730).contains(admitted), "{admitted}");
    }
    // It is not asked for each request.
    assert!(replicas.store.exchanges() < 150, "{}", replicas.store.exchanges());
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_cost_no_token_twice() {
    let replicas = Replicas::new(2, Quota::per_hour(1_000), |it| {
        it.lease(20).on_failure(OnStoreFailure::Closed)
    });
    let mut spent = 0;
    for round in 0..40 {
        let behaviour = match round % 2 {
            0 => Behaviour::Answers(Duration::from_millis(3)),
            _ => Behaviour::LosesAnswers,
        };
        replicas.store.behave(behaviour);
        spent += sum(&replicas.admitted(5, Duration::from_secs(3)).await);
    }
    replicas.store.behave(Behaviour::Answers(Duration::from_millis(1)));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(replicas.store.claimed("a"), u64::from(spent));
    assert!(spent > 600, "{spent}");
}

#[tokio::test(start_paused = true)]
async fn one_replica_behind_a_partition_has_its_share_and_the_others_the_quota() {
    let well = MemoryStore::default();
    let cut_off = MemoryStore::default();
    let quota = hundred_a_second();
    let layer = |store: &MemoryStore| {
        let shared = SharedQuota::new(store.clone()).lease(LEASE).replicas(3);
        QuotaLayer::per("shared", BY_KEY, quota).shared(shared)
    };
    cut_off.behave(Behaviour::Hangs);
    let layers = vec![layer(&well), layer(&well), layer(&cut_off)];
    let replicas = Replicas { store: well, layers };
    let admitted = replicas.admitted(200, Duration::from_secs(30)).await;
    assert!((3_000..=3_120).contains(&(admitted[0] + admitted[1])), "{admitted:?}");
    assert!((990..=1_060).contains(&admitted[2]), "{admitted:?}");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lies_mints_no_tokens_beyond_a_lease_a_claim_and_locks_no_tenant_out_for_ever()
{
    for lie in [0, 1, u64::MAX] {
        let replicas = Replicas::new(1, hundred_a_second(), |it| it.lease(LEASE));
        replicas.store.behave(Behaviour::Lies(lie));
        let _ = replicas.admitted(200, Duration::from_secs(5)).await;
        replicas.store.behave(Behaviour::Answers(Duration::from_millis(1)));
        let _ = replicas.admitted(200, Duration::from_secs(15)).await;
        let after = sum(&replicas.admitted(200, Duration::from_secs(10)).await);
        assert!((950..=1_120).contains(&after), "{lie}: {after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_loses_its_data_costs_at_most_a_burst() {
    let replicas = Replicas::new(3, hundred_a_second(), |it| it.lease(LEASE));
    let _ = replicas.admitted(200, Duration::from_secs(5)).await;
    let mut admitted = 0;
    for _ in 0..5 {
        replicas.store.lose_data();
        admitted += sum(&replicas.admitted(200, Duration::from_secs(4)).await);
    }
    assert!((2_000..=2_000 + 5 * 130).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn estimates_are_settled_in_shared_quotas_too() {
    let store = MemoryStore::default();
    let quota = Quota::per_hour(10_000);
    let layer = QuotaLayer::per("tokens", BY_KEY, quota)
        .cost(|_| 300)
        .settle(|_| Some(100))
        .shared(SharedQuota::new(store.clone()));
    for _ in 0..50 {
        assert_eq!(send(&layer, request("a")).await.status(), 200);
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_secs(10)).await;
    assert_eq!(store.claimed("a"), 5_000);
}

#[tokio::test(start_paused = true)]
async fn a_wrong_report_that_is_corrected_forgives_nothing_of_other_requests_of_any_replica() {
    let quota = Quota::per_hour(1_000).max_debt(50).and(Quota::per_day(1_000_000));
    // Between report and correction there is an exchange, several, or none.
    for pause in [Duration::ZERO, Duration::from_millis(300), Duration::from_secs(5)] {
        let replicas = Replicas::new(2, quota, |it| it.lease(20));
        let layers: Vec<_> =
            replicas.layers.iter().map(|it| it.clone().expose_reservation(true)).collect();
        for layer in &layers {
            for _ in 0..400 {
                assert_eq!(send(layer, request("a")).await.status(), 200);
                sleep(Duration::from_millis(5)).await;
            }
        }
        let reservation = reservation_of_a(&layers[0]).await;
        for tokens in [1_000_000, 0, u64::MAX, 7, u64::MAX, u64::MAX, 100] {
            reservation.settle(tokens);
            sleep(pause).await;
        }
        sleep(Duration::from_secs(5)).await;
        let mut served = 0;
        for _ in 0..400 {
            served += u32::from(send(&layers[1], request("a")).await.status() == 200);
            sleep(Duration::from_millis(5)).await;
        }
        // A hundred are left, and what comes back in half a minute.
        assert!((95..=112).contains(&served), "{pause:?}: {served}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_window_forgave_is_not_owed_by_requests_that_cost_less_than_they_reserved() {
    let replicas = Replicas::new(1, Quota::per_hour(1_000).max_debt(0), |it| it.lease(100));
    let layer = replicas.layers[0].clone().cost(|_| 50).expose_reservation(true);
    let dear = reservation_of_a(&layer).await;
    dear.settle(5_000);
    // Its bucket is empty, and nine tenths of its cost are forgiven.
    sleep(Duration::from_secs(3_700)).await;
    for _ in 0..10 {
        let cheap = reservation_of_a(&layer).await;
        sleep(Duration::from_secs(3)).await;
        cheap.settle(10);
        sleep(Duration::from_secs(3)).await;
    }
    let remaining = layer.handle().standing("a").map(|it| it.windows[0].remaining);
    assert!(remaining.is_some_and(|it| (900..=1_000).contains(&it)), "{remaining:?}");
}

#[tokio::test(start_paused = true)]
async fn a_cost_without_bounds_is_claimed_up_to_a_full_bucket_and_the_debt() {
    let store = MemoryStore::default();
    let layer = QuotaLayer::per("unbounded-costs", BY_KEY, Quota::per_second(100).max_debt(200))
        .settle(|_| Some(u64::MAX))
        .shared(SharedQuota::new(store.clone()));
    let mut served = 0;
    for _ in 0..600 {
        served += u64::from(send(&layer, request("a")).await.status() == 200);
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(10)).await;
    assert!(store.claimed("a") <= 300 * served, "{} of {served}", store.claimed("a"));
    // The debt is paid back in two seconds, and a request is served then.
    assert!((15..=40).contains(&served), "{served} in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_changed_in_all_replicas_without_a_restart() {
    let replicas = Replicas::new(2, hundred_a_second(), |it| it.lease(LEASE));
    let _ = replicas.admitted(200, Duration::from_secs(5)).await;
    for layer in &replicas.layers {
        layer.handle().set_quota(Quota::per_second(20));
    }
    let _ = replicas.admitted(200, Duration::from_secs(10)).await;
    let admitted = sum(&replicas.admitted(200, Duration::from_secs(20)).await);
    assert!((380..=440).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn with_a_bounded_wait_a_burst_at_a_cold_replica_is_served_and_none_waits_longer() {
    let wait = Duration::from_millis(10);
    for (max_wait, expected) in [(wait, 60..=60), (Duration::ZERO, 10..=12)] {
        let replicas =
            Replicas::new(1, hundred_a_second(), |it| it.lease(LEASE).max_wait(max_wait));
        let mut calls = tokio::task::JoinSet::new();
        let (start, service) = (Instant::now(), replicas.layers[0].layer(Done));
        for _ in 0..60 {
            let call = service.clone().oneshot(request("a"));
            calls.spawn(async move { call.await.expect("no error").status() == 200 });
        }
        let served = calls.join_all().await.into_iter().filter(|served| *served).count();
        assert!(expected.contains(&served), "{max_wait:?}: {served}");
        assert!(start.elapsed() <= max_wait, "{:?}", start.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_silent_store_no_longer_than_it_may_and_then_for_none() {
    let wait = Duration::from_millis(10);
    let replicas =
        Replicas::new(1, hundred_a_second(), |it| it.lease(1).max_wait(wait).replicas(50));
    replicas.store.behave(Behaviour::Hangs);
    let (mut longest, mut late) = (Duration::ZERO, 0);
    for round in 0..2_000 {
        let start = Instant::now();
        let _ = send(&replicas.layers[0], request("a")).await;
        longest = longest.max(start.elapsed());
        late += u32::from(!start.elapsed().is_zero() && round > 200);
        sleep(Duration::from_millis(5)).await;
    }
    assert!(longest <= wait, "{longest:?}");
    // Once it is known that the store fails, only the key that asks again finds that out.
    assert_eq!(late, 0);
}
