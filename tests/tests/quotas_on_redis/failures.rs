//! Three replicas as processes, and what happens to their store and to its network.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::proxy::{Mode, Proxy};
use crate::replica::{Counts, LEASE, OFFERED, PER_SECOND, Replica, Span, run};
use crate::server::{PATIENCE, Server};

fn start(addresses: [&str; 3], mode: &str) -> Vec<Replica> {
    addresses.iter().map(|address| Replica::start(address, mode)).collect()
}

/// For a connection, a time-out or an answer.
pub(crate) fn assert_that_none_waited(replicas: &mut [Replica]) {
    for replica in replicas {
        let counts = replica.counts();
        assert_eq!(counts.waited, 0, "{counts:?}");
    }
}

/// Replicas ask a store that fails every two seconds, and trust it after an answer. On a busy machine that takes longer.
const NOTICED_WITHIN: u64 = 3;

/// After an outage of a store that is back now: what was admitted while it was `gone` and since is the quota and no more
/// than two bursts, as the shares are full once when it begins, and the store's buckets when it ends; and the shares of two
/// replicas that notice the end later than the third. Then the quota holds again.
async fn assert_that_the_quota_holds_again(name: &str, replicas: &mut [Replica], gone: &Span) {
    let back = run(replicas, Duration::from_secs(4)).await;
    println!("{name}: {:?}, then {:?}", gone.admitted, back.admitted);
    let (admitted, quota) = (gone.total() + back.total(), gone.quota() + back.quota());
    let shares = PER_SECOND * 2 / 3 * NOTICED_WITHIN;
    assert!(admitted <= quota + 2 * PER_SECOND + shares + 3 * LEASE, "{name}: {admitted}/{quota}");
    assert!(gone.total() * 10 >= gone.quota() * 7, "{name}: {:?}", gone.admitted);
    // A store that has answered late on a busy machine may be given up once more.
    for _ in 0..8 {
        let span = run(replicas, Duration::from_secs(2)).await;
        let (admitted, quota) = (span.total(), span.quota());
        if admitted <= quota + 3 * LEASE && admitted * 10 >= quota * 8 {
            return;
        }
    }
    panic!("{name}: the quota does not hold again");
}

/// What replicas may admit from the start of the first of them to what they said last.
fn quota_and_burst(counts: &[Counts]) -> u64 {
    let longest = counts.iter().map(|it| it.micros).max().unwrap_or_default();
    longest * PER_SECOND / 1_000_000 + PER_SECOND
}

fn long_run() -> Duration {
    let seconds = std::env::var("QUOTA_SECONDS").ok().and_then(|it| it.parse().ok());
    Duration::from_secs(seconds.unwrap_or(6))
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn three_processes_admit_the_quota_and_at_most_a_lease_each() {
    let server = Server::start(&[]).await;
    let address = server.address();
    let mut replicas = start([&address; 3], "local-share");
    sleep(long_run()).await;
    let counts: Vec<_> = replicas.iter_mut().map(Replica::kill).collect();
    let scripts = server.scripts().await;
    let admitted: u64 = counts.iter().map(|it| it.admitted).sum();
    let asked: u64 = counts.iter().map(|it| it.admitted + it.rejected).sum();
    let quota = quota_and_burst(&counts);
    println!(
        "{admitted} admitted of {asked}; quota and burst {quota}; {:.1} round trips per 1 000 requests; {counts:?}",
        scripts as f64 * 1_000.0 / asked as f64
    );
    assert!(admitted <= quota + 3 * LEASE, "{counts:?}");
    // They start one after the other, and say what they did up to 50 ms late.
    assert!(admitted + PER_SECOND * 3 / 2 >= quota, "{counts:?}");
    assert!(scripts * 1_000 / asked <= 150, "{scripts} scripts for {asked} requests");
    assert!(counts.iter().all(|it| it.waited == 0), "{counts:?}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_is_killed_and_restarted_costs_no_request_and_the_share_is_the_quota() {
    let mut server = Server::start(&[]).await;
    let address = server.address();
    let mut replicas = start([&address; 3], "local-share");
    let _ = run(&mut replicas, Duration::from_secs(3)).await;
    for _ in 0..2 {
        server.kill();
        let gone = run(&mut replicas, Duration::from_secs(4)).await;
        server.restart().await;
        assert_that_the_quota_holds_again("killed", &mut replicas, &gone).await;
    }
    assert_that_none_waited(&mut replicas);
}

/// Not by way of a proxy: the system goes on to accept connections and data for a process that is suspended.
#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_is_suspended_costs_no_request_and_goes_on_within_the_quota() {
    let server = Server::start(&[]).await;
    let address = server.address();
    let mut replicas = start([&address; 3], "local-share");
    let _ = run(&mut replicas, Duration::from_secs(3)).await;
    for _ in 0..2 {
        server.signal("STOP");
        let gone = run(&mut replicas, Duration::from_secs(4)).await;
        server.signal("CONT");
        // Claims that it has not read yet are counted once, whenever it reads them.
        assert_that_the_quota_holds_again("suspended", &mut replicas, &gone).await;
    }
    assert_that_none_waited(&mut replicas);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_store_that_is_slow_silent_or_cut_off_makes_no_request_wait() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::to(server.port).await;
    let address = proxy.redis();
    let mut replicas = start([&address; 3], "local-share");
    let _ = run(&mut replicas, Duration::from_secs(3)).await;
    let modes = [
        // Slower than a request may wait, and than the store may take.
        Mode::Delays(Duration::from_millis(20)),
        Mode::Delays(Duration::from_millis(400)),
        Mode::Stalls,
        Mode::Cuts,
    ];
    for mode in modes {
        proxy.set(mode);
        let gone = run(&mut replicas, Duration::from_secs(4)).await;
        proxy.set(Mode::Passes);
        assert_that_the_quota_holds_again(&format!("{mode:?}"), &mut replicas, &gone).await;
    }
    assert_that_none_waited(&mut replicas);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn without_its_store_a_replica_is_open_or_closed_if_it_is_told_to() {
    let mut server = Server::start(&[]).await;
    let address = server.address();
    let mut open = [Replica::start(&address, "open")];
    let mut closed = [Replica::start(&address, "closed")];
    sleep(Duration::from_secs(2)).await;
    server.kill();
    sleep(Duration::from_secs(1)).await;
    let (open_span, closed_span) = tokio::join!(
        run(&mut open, Duration::from_secs(3)),
        run(&mut closed, Duration::from_secs(3))
    );
    println!("open {}, closed {}", open_span.total(), closed_span.total());
    let offered = open_span.seconds * OFFERED as f64;
    assert!(open_span.total() as f64 >= offered * 0.9, "{} of {offered}", open_span.total());
    assert_eq!(closed_span.total(), 0);
    assert_that_none_waited(&mut open);
    assert_that_none_waited(&mut closed);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn one_replica_behind_a_partition_has_its_share_and_the_others_go_on() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::to(server.port).await;
    let (direct, behind) = (server.address(), proxy.redis());
    let mut replicas = start([&direct, &direct, &behind], "local-share");
    let _ = run(&mut replicas, Duration::from_secs(3)).await;
    proxy.set(Mode::Stalls);
    let _ = run(&mut replicas, Duration::from_secs(2)).await;
    let span = run(&mut replicas, Duration::from_secs(5)).await;
    println!("partitioned: {:?}, quota {}", span.admitted, span.quota());
    let others = span.admitted[0] + span.admitted[1];
    assert!(
        others <= span.quota() + 2 * LEASE && others * 10 >= span.quota() * 8,
        "{:?}",
        span.admitted
    );
    // A third, and no more.
    assert!(span.admitted[2] * 3 <= span.quota() * 11 / 10, "{:?}", span.admitted);
    assert!(span.admitted[2] * 3 * 10 >= span.quota() * 8, "{:?}", span.admitted);
    assert_that_none_waited(&mut replicas);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn replicas_that_are_killed_with_their_leases_cost_at_most_those() {
    let server = Server::start(&[]).await;
    let address = server.address();
    let began = Instant::now();
    let mut replicas = start([&address; 3], "local-share");
    let (mut admitted, mut killed) = (0, 0);
    for round in 0..6 {
        sleep(Duration::from_secs(1)).await;
        admitted += replicas[round % 3].kill().admitted;
        killed += 1;
        replicas[round % 3] = Replica::start(&address, "local-share");
    }
    admitted += replicas.iter_mut().map(|it| it.kill().admitted).sum::<u64>();
    let quota = (began.elapsed().as_secs_f64() * PER_SECOND as f64) as u64 + PER_SECOND;
    println!("{admitted} admitted, quota and burst {quota}, {killed} killed");
    // What one overdraws, it takes with it.
    assert!(admitted <= quota + (killed + 3) * LEASE, "{admitted} {quota}");
    assert!(admitted * 10 >= quota * 6, "{admitted} {quota}");
}

/// What an old master is after a failover: a replica, one that has no master, or one without replicas.
const OLD_MASTERS: [&[&str]; 3] = [
    &["REPLICAOF 127.0.0.1 1"],
    &["CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"],
    &["CONFIG SET min-replicas-to-write 1"],
];

#[tokio::test]
#[ignore = "needs redis-server"]
async fn after_a_failover_the_connection_to_the_old_master_is_given_up() {
    for commands in OLD_MASTERS {
        let (old, new) = (Server::start(&[]).await, Server::start(&[]).await);
        let proxy = Proxy::to(old.port).await;
        let address = proxy.redis();
        let mut replicas = [Replica::start(&address, "closed")];
        let before = run(&mut replicas, Duration::from_secs(2)).await;
        assert!(before.total() > 0 && new.scripts().await == 0);
        // The old master keeps its connections.
        proxy.lead_to(new.port);
        old.run(commands).await;
        let moved = async {
            loop {
                let after = run(&mut replicas, Duration::from_secs(2)).await;
                println!("{commands:?}: before {}, after {}", before.total(), after.total());
                if after.total() * 10 >= after.quota() * 8 {
                    return;
                }
            }
        };
        timeout(PATIENCE, moved).await.expect("a new connection");
        assert!(new.scripts().await > 0);
        assert_that_none_waited(&mut replicas);
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_replica_that_was_suspended_and_makes_up_for_it_stays_within_the_quota() {
    let server = Server::start(&[]).await;
    let proxy = Proxy::to(server.port).await;
    // So that it waits for an answer when it is suspended.
    proxy.set(Mode::Delays(Duration::from_millis(10)));
    let (direct, behind) = (server.address(), proxy.redis());
    let mut replicas = start([&behind, &direct, &direct], "local-share");
    for _ in 0..3 {
        sleep(Duration::from_secs(1)).await;
        replicas[0].signal("STOP");
        sleep(Duration::from_secs(1)).await;
        // It sends all the requests at once that it has missed.
        replicas[0].signal("CONT");
    }
    sleep(Duration::from_secs(1)).await;
    let counts: Vec<_> = replicas.iter_mut().map(Replica::kill).collect();
    let quota = quota_and_burst(&counts);
    let admitted: u64 = counts.iter().map(|it| it.admitted).sum();
    println!("{admitted} admitted, quota and burst {quota}; {counts:?}");
    assert!(admitted <= quota + 3 * LEASE, "{counts:?}");
    assert!(admitted * 10 >= quota * 7, "{counts:?}");
}
