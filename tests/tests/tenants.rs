//! Where a tenant gets less than it asks for, the cut through its requests is between tasks, and moves. Between tenants
//! capacity is shared.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use http::{Request, Response};
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, Reason, RequestInfo, SHED_REASON, Task, Tenant,
};

const TASKS: u64 = 40;
/// How long a task keeps its level.
const PERIOD: Duration = Duration::from_secs(10);
const PERIODS: u32 = 30;

/// Requests of one task within one period: sent and served.
type Shares = HashMap<(u64, u32), (u32, u32)>;

/// Twice as many requests as there is capacity for, of forty tasks with the same load each.
async fn overload(seed: u64, labelled: bool) -> Shares {
    let service = AdmissionLayer::fixed("api", 10).layer(service_fn(async |_: Request<()>| {
        sleep(Duration::from_millis(50)).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let shares = Arc::new(Mutex::new(Shares::new()));
    let (mut rng, start) = (Rng::with_seed(seed), Instant::now());
    let (mut at, mut running) = (start, tokio::task::JoinSet::new());
    while at < start + PERIODS * PERIOD {
        at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / 400.0);
        sleep_until(at).await;
        let task = rng.u64(..TASKS);
        let mut request = Request::new(());
        if labelled {
            request.extensions_mut().insert(RequestInfo::default().task(Task::new(task)));
        }
        let (service, shares) = (service.clone(), Arc::clone(&shares));
        let period = (at - start).div_duration_f64(PERIOD) as u32;
        running.spawn(async move {
            let served = service.oneshot(request).await.expect("infallible").status() == 200;
            let mut shares = shares.lock().expect("no panic");
            let share = shares.entry((task, period)).or_default();
            *share = (share.0 + 1, share.1 + u32::from(served));
        });
    }
    running.join_all().await;
    Arc::into_inner(shares).expect("all have ended").into_inner().expect("no panic")
}

fn share(&(sent, served): &(u32, u32)) -> f64 {
    f64::from(served) / f64::from(sent.max(1))
}

/// The probability that a task of five calls, made at random times of one period, succeeds.
fn tasks_of_five_calls(shares: &Shares) -> f64 {
    shares.values().map(|counts| share(counts).powi(5)).sum::<f64>() / shares.len() as f64
}

/// Jain's index of what was served of each task over all periods: 1 is equal.
fn fairness(shares: &Shares) -> f64 {
    let mut totals = HashMap::<u64, (u32, u32)>::new();
    for (&(task, _), &(sent, served)) in shares {
        let total = totals.entry(task).or_default();
        *total = (total.0 + sent, total.1 + served);
    }
    let shares: Vec<_> = totals.values().map(share).collect();
    let (sum, squares) = (shares.iter().sum::<f64>(), shares.iter().map(|it| it * it).sum::<f64>());
    sum * sum / (shares.len() as f64 * squares)
}

#[tokio::test(start_paused = true)]
async fn a_cut_is_between_tasks_and_moves_from_task_to_task() {
    for seed in 0..2 {
        let (cut, plain) = (overload(seed, true).await, overload(seed, false).await);
        let served = |shares: &Shares| {
            let sums = shares.values().fold((0, 0), |sum, it| (sum.0 + it.0, sum.1 + it.1));
            share(&sums)
        };
        println!(
            "seed {seed}: served {:.3} (plain {:.3}), tasks of five calls {:.3} (plain {:.3}), fairness {:.4}",
            served(&cut),
            served(&plain),
            tasks_of_five_calls(&cut),
            tasks_of_five_calls(&plain),
            fairness(&cut)
        );
        assert!(served(&cut) > served(&plain) - 0.01, "the cut costs no capacity");
        assert!(tasks_of_five_calls(&plain) < 0.06);
        assert!(tasks_of_five_calls(&cut) > 0.3, "a half is the most there can be");
        assert!(fairness(&cut) > 0.95, "no task stays below the cut");
        let decided = cut.values().filter(|it| !(0.1..0.9).contains(&share(it))).count();
        assert!(decided as f64 > 0.6 * cut.len() as f64, "{decided} of {}", cut.len());
    }
}

/// Requests of a tenant at one of two rates for ten seconds; how many were sent, served, and rejected because of its
/// share.
async fn send(
    service: impl tower::Service<
        Request<()>,
        Response = Response<impl Sized>,
        Error = Infallible,
        Future = impl Future + Send,
    > + Clone
    + Send
    + 'static,
    tenant: u64,
    per_second: f64,
    seed: u64,
) -> [u32; 3] {
    let (mut rng, start) = (Rng::with_seed(seed ^ tenant), Instant::now());
    let mut running = tokio::task::JoinSet::new();
    let mut at = start;
    loop {
        at += Duration::from_secs_f64(-(1.0 - rng.f64()).ln() / per_second);
        if at > start + Duration::from_secs(10) {
            break;
        }
        sleep_until(at).await;
        let mut request = Request::new(());
        request.extensions_mut().insert(RequestInfo::default().tenant(Tenant::new(tenant)));
        let service = service.clone();
        running.spawn(async move {
            let Ok(response) = service.oneshot(request).await;
            let reason = response.headers().get(SHED_REASON);
            let is_over = reason.is_some_and(|reason| reason == Reason::TenantShare.as_str());
            [1, u32::from(response.status() == 200), u32::from(is_over)]
        });
    }
    let results = running.join_all().await;
    results.into_iter().fold([0; 3], |sum, it| std::array::from_fn(|n| sum[n] + it[n]))
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_asks_for_twenty_times_its_share_is_the_one_that_is_rejected() {
    let handler = service_fn(async |_: Request<()>| {
        sleep(Duration::from_millis(50)).await;
        Ok::<_, Infallible>(Response::new(String::new()))
    });
    // Twenty tenants; a hundred requests a second for each.
    for queues in [true, false] {
        let layer = match queues {
            true => AdmissionLayer::fixed("shared", 100),
            false => BulkheadLayer::new("shared", 100).into(),
        };
        let service = layer.layer(handler);
        let mut running = tokio::task::JoinSet::new();
        for tenant in 0..20 {
            let rate = if tenant == 0 { 2_000.0 } else { 80.0 };
            let service = service.clone();
            running.spawn(async move { (tenant, send(service, tenant, rate, 1).await) });
        }
        let results = running.join_all().await;
        let (mut others, mut noisy) = ([0; 3], [0; 3]);
        for (tenant, counts) in results {
            let sum = if tenant == 0 { &mut noisy } else { &mut others };
            *sum = std::array::from_fn(|n| sum[n] + counts[n]);
        }
        let share = |[sent, served, _]: [u32; 3]| f64::from(served) / f64::from(sent);
        println!("queue {queues}: others {others:?} {:.4}, noisy {noisy:?}", share(others));
        assert!(share(others) > if queues { 0.999 } else { 0.95 });
        let rejected = noisy[0] - noisy[1];
        assert!(f64::from(noisy[2]) > 0.95 * f64::from(rejected), "with a reason of its own");
        assert_eq!(layer.snapshot().in_flight, 0);
    }
}
