//! Replicas whose process is suspended, in virtual time.

use std::time::Duration;

use tokio::time::{Instant, advance, sleep};

use crate::shared::{LEASE, Replicas, hundred_a_second, sum};

#[tokio::test(start_paused = true)]
async fn a_process_that_was_suspended_goes_on_within_the_quota() {
    let replicas = Replicas::new(2, hundred_a_second(), |it| it.lease(LEASE));
    let _ = replicas.admitted(200, Duration::from_secs(5)).await;
    sleep(Duration::from_secs(3_600)).await;
    let admitted = sum(&replicas.admitted(200, Duration::from_secs(5)).await);
    assert!((500..=500 + 100 + 20).contains(&admitted), "{admitted}");
}

/// As when it is stopped by a signal, or by a hypervisor: the store has answered meanwhile, and all requests come at once.
#[tokio::test(start_paused = true)]
async fn a_process_that_is_suspended_while_the_store_answers_takes_nothing_beyond_the_quota() {
    let replicas = Replicas::new(2, hundred_a_second(), |it| it.lease(LEASE));
    let (began, mut admitted) = (Instant::now(), 0);
    for _ in 0..20 {
        admitted += sum(&replicas.admitted(200, Duration::from_secs(1)).await);
        let exchanges = replicas.store.exchanges();
        while replicas.store.exchanges() == exchanges {
            advance(Duration::from_millis(1)).await;
            admitted += replicas.admitted_at_once(1).await;
        }
        advance(Duration::from_secs(1)).await;
        admitted += replicas.admitted_at_once(200).await;
    }
    let quota = 100.0 * began.elapsed().as_secs_f64() + 100.0;
    assert!(f64::from(admitted) <= quota + 20.0, "{admitted} of {quota}");
    assert!(f64::from(admitted) >= quota * 0.8, "{admitted} of {quota}");
}
