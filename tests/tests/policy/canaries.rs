//! A new file for a part of the tenants: a bad one is rolled back, a good one is promoted.

use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tower_backpressure::policy::PolicySet;

use super::support::{Events, Work, of_tenant, request, service, status};

/// A file whose bulkhead has this limit.
fn file(name: &str, limit: usize, canary: &str) -> String {
    format!("{canary}\n[bulkhead.{name}]\nlimit = {limit}\n[default]\nbulkhead = \"{name}\"\n")
}

const CANARY: &str = "canary = \"10%\"\ncanary_for = \"60s\"\ncanary_min_requests = 100";

/// Requests of a thousand tenants at 500 a second, each of which takes about 100 ms: 50 at once. `fails`: the share
/// with a 500. Returns how many were not served.
async fn load(policies: &PolicySet, seconds: u64, fails: f64, seed: u64) -> usize {
    let (service, mut rng, mut tasks) = (service(policies), Rng::with_seed(seed), JoinSet::new());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut lost = 0;
    while Instant::now() < end {
        sleep(Duration::from_millis(2)).await;
        let time = Duration::from_millis(100).mul_f64(0.5 + rng.f64());
        let work = Work(time, if rng.f64() < fails { 500 } else { 200 });
        let request = of_tenant(request("/", work), &format!("tenant-{}", rng.u32(..1_000)));
        let service = service.clone();
        tasks.spawn(async move { status(&service, request).await });
        while let Some(ended) = tasks.try_join_next() {
            lost += usize::from(ended.expect("no panic") != 200);
        }
    }
    while let Some(ended) = tasks.join_next().await {
        lost += usize::from(ended.expect("no panic") != 200);
    }
    lost
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_too_small_is_rolled_back_and_most_requests_never_notice() {
    for seed in 0..5 {
        let events = Events::default();
        let name = format!("too-small-{seed}");
        let policies = events.loader().parse(&file(&name, 100, "")).expect("a good file");
        policies.replace(&file(&name, 5, CANARY)).expect("a good file");
        assert!(policies.canary().is_some());
        let lost = load(&policies, 30, 0.0, seed).await;
        assert_eq!(events.names(), ["in_force", "canary_started", "rolled_back"], "seed {seed}");
        assert!(events.last().contains("are rejected"), "{}", events.last());
        assert!(policies.canary().is_none());
        // 15 000 requests, 1 500 of them of the canary's tenants.
        assert!(lost <= 300, "{lost}, seed {seed}");
        assert_eq!(load(&policies, 10, 0.0, seed).await, 0, "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_file_is_promoted_after_its_time_and_in_force_for_all() {
    for seed in 0..5 {
        let events = Events::default();
        let name = format!("good-{seed}");
        let policies = events.loader().parse(&file(&name, 100, "")).expect("a good file");
        policies.replace(&file(&name, 120, CANARY)).expect("a good file");
        assert_eq!(load(&policies, 59, 0.0, seed).await, 0, "seed {seed}");
        let canary = policies.canary().expect("it still runs");
        let share = canary.requests as f64 / (canary.requests + canary.other_requests) as f64;
        assert!((0.06..0.14).contains(&share), "{canary:?}");
        assert_eq!(load(&policies, 2, 0.0, seed).await, 0, "seed {seed}");
        assert_eq!(events.names(), ["in_force", "canary_started", "promoted"], "seed {seed}");
        let handle = tower_backpressure::Handle::named(&name).expect("the layer");
        assert_eq!(handle.snapshot().limit, 120);
        assert_eq!(handle.snapshot().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn errors_that_have_nothing_to_do_with_the_file_roll_no_canary_back() {
    for seed in 0..6 {
        let events = Events::default();
        let policies = events.loader().parse(&file("noise", 100, "")).expect("a good file");
        policies.replace(&file("noise", 101, CANARY)).expect("a good file");
        load(&policies, 62, [0.01, 0.1, 0.3][seed as usize % 3], seed).await;
        assert_eq!(
            events.last().split(':').next(),
            Some("the canary is in force for all requests"),
            "seed {seed}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_tenant_is_always_in_the_same_part_and_its_quota_is_one() {
    let file = |rate: &str, canary: &str| {
        format!(
            "{canary}\n[quota.one]\nwindow = [{{ rate = \"{rate}\" }}]\n[default]\nquota = \"one\"\n"
        )
    };
    let policies = PolicySet::parse(&file("10/h", "")).expect("a good file");
    let service = service(&policies);
    let instant = Work(Duration::ZERO, 200);
    let tenants: Vec<String> = (0..100).map(|number| format!("tenant-{number}")).collect();
    for tenant in &tenants {
        for _ in 0..5 {
            status(&service, of_tenant(request("/", instant), tenant)).await;
        }
    }
    policies.replace(&file("20/h", CANARY)).expect("a good file");
    // A quarter of its time is over: it is live after the next request.
    sleep(Duration::from_secs(15)).await;
    status(&service, request("/", instant)).await;
    assert!(policies.canary().expect("it runs").is_live);
    let mut larger = 0;
    for tenant in &tenants {
        let mut served = 0;
        for _ in 0..30 {
            let status = status(&service, of_tenant(request("/", instant), tenant)).await;
            served += u32::from(status == 200);
        }
        assert!([5, 15].contains(&served), "{tenant}: {served}, what was used before stays used");
        larger += u32::from(served == 15);
    }
    assert!((3..=20).contains(&larger), "{larger} of 100");
    assert!(policies.promote());
    for tenant in &tenants {
        let status = status(&service, of_tenant(request("/", instant), tenant)).await;
        assert!([200, 429].contains(&status));
    }
}

#[tokio::test(start_paused = true)]
async fn an_operator_promotes_or_ends_a_canary_and_another_file_takes_its_place() {
    let events = Events::default();
    let policies = events.loader().parse(&file("operator", 10, "")).expect("a good file");
    assert!(!policies.promote() && !policies.roll_back());
    policies.replace(&file("operator", 20, CANARY)).expect("a good file");
    assert!(policies.roll_back());
    policies.replace(&file("operator", 20, CANARY)).expect("a good file");
    assert!(policies.canary().is_some(), "the same file may be tried again");
    policies.replace(&file("operator", 20, CANARY)).expect("a good file");
    policies.replace(&file("operator", 30, CANARY)).expect("a good file");
    assert!(policies.promote());
    policies.replace(&file("operator", 40, CANARY)).expect("a good file");
    policies.replace(&file("operator", 50, "")).expect("a good file");
    assert!(policies.canary().is_none());
    let expected = [
        "in_force",
        "canary_started",
        "rolled_back",
        "canary_started",
        "rolled_back",
        "canary_started",
        "promoted",
        "canary_started",
        "rolled_back",
        "in_force",
    ];
    assert_eq!(events.names(), expected);
    let handle = tower_backpressure::Handle::named("operator").expect("the layer");
    assert_eq!(handle.snapshot().limit, 50);
}

#[tokio::test(start_paused = true)]
async fn a_canary_with_too_few_requests_ends_after_four_times_its_time_and_a_bad_one_after_its_time()
 {
    // A quota of one request an hour, which only counts, and one that rejects.
    let rule = |dry_run: bool| {
        format!(
            "[quota.quiet]\nwindow = [{{ rate = \"1/h\" }}]\ndry_run = {dry_run}\n\
             [default]\nquota = \"quiet\"\n"
        )
    };
    for (is_good, minutes, expected) in [(true, 4, "promoted"), (false, 1, "rolled_back")] {
        let events = Events::default();
        let policies = events.loader().parse(&rule(true)).expect("a good file");
        let after = format!("{CANARY}\n# Another file.\n{}", rule(is_good));
        policies.replace(&after).expect("a good file");
        let service = service(&policies);
        let start = Instant::now();
        while let Some(canary) = policies.canary() {
            assert!(canary.requests < 100, "too few to judge");
            assert!(start.elapsed() <= Duration::from_secs(60 * minutes + 20));
            for tenant in 0..30 {
                let request = request("/", Work(Duration::ZERO, 200));
                status(&service, of_tenant(request, &format!("tenant-{tenant}"))).await;
            }
            sleep(Duration::from_secs(20)).await;
        }
        assert!(start.elapsed() >= Duration::from_secs(60 * minutes));
        assert_eq!(events.names().last(), Some(&expected));
    }
}

#[tokio::test(start_paused = true)]
async fn the_second_canary_of_a_quota_has_its_own_plan_too_and_a_plan_that_is_added_later_counts() {
    let file = |rate: &str, rest: &str| {
        format!(
            "{rest}\n[quota.again]\nwindow = [{{ rate = \"{rate}\" }}]\n[default]\nquota = \"again\"\n"
        )
    };
    let policies = PolicySet::parse(&file("10/h", "")).expect("a good file");
    for rate in ["20/h", "30/h"] {
        policies.replace(&file(rate, CANARY)).expect("a good file");
        assert!(policies.roll_back());
    }
    policies.replace(&file("40/h", CANARY)).expect("a good file");
    let service = service(&policies);
    sleep(Duration::from_secs(15)).await;
    status(&service, request("/", Work(Duration::ZERO, 200))).await;
    let served = async |tenant: &str| {
        let mut served = 0;
        for _ in 0..60 {
            let request = of_tenant(request("/", Work(Duration::ZERO, 200)), tenant);
            served += u32::from(status(&service, request).await == 200);
        }
        served
    };
    let mut found = std::collections::BTreeSet::new();
    for tenant in 0..60 {
        found.insert(served(&format!("tenant-{tenant}")).await);
    }
    assert_eq!(Vec::from_iter(found), [10, 40]);
    let with_plan = file("10/h", "[quota.again.plan.pro]\nwindow = [{ rate = \"50/h\" }]").replace(
        "window = [{ rate = \"10/h\" }]",
        "window = [{ rate = \"10/h\" }]\ntenants = { gold = \"pro\" }",
    );
    policies.replace(&with_plan).expect("a good file");
    assert_eq!([served("gold").await, served("plain").await], [50, 10]);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_is_always_beyond_its_quota_rolls_no_canary_back() {
    let file = |rate: &str, canary: &str| {
        format!(
            "{canary}\n[quota.noisy]\nwindow = [{{ rate = \"{rate}\" }}]\n\
             [default]\nquota = \"noisy\"\n"
        )
    };
    for noisy in 0..40 {
        let events = Events::default();
        let policies = events.loader().parse(&file("10/s", "")).expect("a good file");
        let canary = CANARY.replace("10%", "20%");
        policies.replace(&file("11/s", &canary)).expect("a good file");
        let (service, instant) = (service(&policies), Work(Duration::ZERO, 200));
        while policies.canary().is_some() {
            for tenant in 0..20 {
                for _ in 0..if tenant == noisy % 20 { 20 } else { 1 } {
                    // Other names in each run: in some of them the noisy tenant is alone in the canary.
                    let request =
                        of_tenant(request("/", instant), &format!("tenant-{noisy}-{tenant}"));
                    status(&service, request).await;
                }
            }
            sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(events.names().last(), Some(&"promoted"), "{noisy}: {}", events.last());
    }
}
