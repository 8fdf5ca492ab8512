//! Where capacity is too small for a priority, the cut through it is between tenants, and moves.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use http::{Request, Response};
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{AdmissionLayer, RequestInfo, Tenant};

const TENANTS: u64 = 40;
/// How long a tenant keeps its level.
const PERIOD: Duration = Duration::from_secs(10);
const PERIODS: u32 = 30;

/// Requests of one tenant within one period: sent and served.
type Shares = HashMap<(u64, u32), (u32, u32)>;

/// Twice as many requests as there is capacity for, of forty tenants with the same load each.
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
        let tenant = rng.u64(..TENANTS);
        let mut request = Request::new(());
        if labelled {
            request.extensions_mut().insert(RequestInfo::default().tenant(Tenant::new(tenant)));
        }
        let (service, shares) = (service.clone(), Arc::clone(&shares));
        let period = (at - start).div_duration_f64(PERIOD) as u32;
        running.spawn(async move {
            let served = service.oneshot(request).await.expect("infallible").status() == 200;
            let mut shares = shares.lock().expect("no panic");
            let share = shares.entry((tenant, period)).or_default();
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

/// Jain's index of what was served of each tenant over all periods: 1 is equal.
fn fairness(shares: &Shares) -> f64 {
    let mut totals = HashMap::<u64, (u32, u32)>::new();
    for (&(tenant, _), &(sent, served)) in shares {
        let total = totals.entry(tenant).or_default();
        *total = (total.0 + sent, total.1 + served);
    }
    let shares: Vec<_> = totals.values().map(share).collect();
    let (sum, squares) = (shares.iter().sum::<f64>(), shares.iter().map(|it| it * it).sum::<f64>());
    sum * sum / (shares.len() as f64 * squares)
}

#[tokio::test(start_paused = true)]
async fn a_cut_through_a_priority_is_between_tenants_and_moves_from_tenant_to_tenant() {
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
        assert!(fairness(&cut) > 0.95, "no tenant stays below the cut");
        let decided = cut.values().filter(|it| !(0.1..0.9).contains(&share(it))).count();
        assert!(decided as f64 > 0.6 * cut.len() as f64, "{decided} of {}", cut.len());
    }
}
