//! A replica as a process of its own, which sends itself requests at a constant rate and says what it has admitted.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io::{BufRead, BufReader};
use std::pin::pin;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use backpressure_redis::RedisStore;
use http::{Request, Response};
use tokio::task::unconstrained;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::Quota;
use tower_backpressure::server::{OnStoreFailure, QuotaKey, QuotaLayer, SharedQuota};

/// The quota that all replicas share, and the lease of each.
pub(crate) const PER_SECOND: u64 = 300;
pub(crate) const LEASE: u64 = 15;
/// What each replica asks for: all together three times the quota.
pub(crate) const OFFERED: u64 = 300;

/// A replica that runs.
pub(crate) struct Replica {
    child: Child,
    counts: mpsc::Receiver<Counts>,
    last: Counts,
}

/// What a replica has done since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) admitted: u64,
    pub(crate) rejected: u64,
    /// Requests whose response was not there at once.
    pub(crate) waited: u64,
    /// The longest that a request took, which depends on how busy the machine is.
    pub(crate) slowest_micros: u64,
    /// How long it has run by its own clock: what it says may be read late.
    pub(crate) micros: u64,
}

/// What some replicas have done in a time.
pub(crate) struct Span {
    pub(crate) admitted: Vec<u64>,
    pub(crate) seconds: f64,
}

impl Span {
    pub(crate) fn total(&self) -> u64 {
        self.admitted.iter().sum()
    }

    /// The quota of this time. Each of them has begun and ended its part up to 50 ms before the others.
    pub(crate) fn quota(&self) -> u64 {
        ((self.seconds + 0.1) * PER_SECOND as f64) as u64
    }
}

/// Lets replicas run for this long, and returns what they did meanwhile.
pub(crate) async fn run(replicas: &mut [Replica], time: Duration) -> Span {
    let before: Vec<_> = replicas.iter_mut().map(Replica::counts).collect();
    sleep(time).await;
    let after: Vec<_> = replicas.iter_mut().map(Replica::counts).collect();
    let admitted =
        after.iter().zip(&before).map(|(after, before)| after.admitted - before.admitted);
    let micros = after.iter().zip(&before).map(|(after, before)| after.micros - before.micros);
    let seconds = micros.max().unwrap_or_default() as f64 / 1e6;
    Span { admitted: admitted.collect(), seconds }
}

const ADDRESS: &str = "QUOTA_ADDRESS";
const ON_FAILURE: &str = "QUOTA_ON_FAILURE";

impl Replica {
    pub(crate) fn start(address: &str, on_failure: &str) -> Self {
        let program = std::env::current_exe().expect("a test has a program");
        let mut child = Command::new(program)
            .args(["--exact", "replica::a_replica", "--ignored", "--nocapture"])
            .env(ADDRESS, address)
            .env(ON_FAILURE, on_failure)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let (sender, counts) = mpsc::channel();
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let numbers: Vec<u64> = line.split(' ').filter_map(|it| it.parse().ok()).collect();
                if let [admitted, rejected, waited, slowest_micros, micros] = numbers[..] {
                    let counts = Counts { admitted, rejected, waited, slowest_micros, micros };
                    let _ = sender.send(counts);
                }
            }
        });
        Self { child, counts, last: Counts::default() }
    }

    /// What it has said last.
    pub(crate) fn counts(&mut self) -> Counts {
        self.last = self.counts.try_iter().last().unwrap_or(self.last);
        self.last
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(status.is_ok_and(|status| status.success()), "it runs");
    }

    /// As by `kill -9`.
    pub(crate) fn kill(&mut self) -> Counts {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
        self.counts()
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn layer(address: &str, on_failure: OnStoreFailure) -> QuotaLayer {
    let store = RedisStore::open(address).expect("an address");
    let shared = SharedQuota::new(store).lease(LEASE).on_failure(on_failure).replicas(3);
    let everything = |_: &http::request::Parts| Some(QuotaKey::from("tenant"));
    QuotaLayer::per("replicas", everything, Quota::per_second(PER_SECOND)).shared(shared)
}

/// Sends a request; whether it is admitted, and whether it waited for anything: on a busy machine a request that does not
/// wait may take long as well.
pub(crate) async fn call<S, B>(service: S) -> (bool, bool)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
{
    // Without a budget, whose end would look like a wait.
    let mut call = pin!(unconstrained(service.oneshot(Request::new(()))));
    let mut waited = false;
    let response = poll_fn(|cx| {
        let polled = call.as_mut().poll(cx);
        waited |= polled.is_pending();
        polled
    });
    let response = response.await.expect("no error");
    (response.status() == 200, waited)
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "is started as a process by the other tests"]
async fn a_replica() {
    let (Ok(address), Ok(mode)) = (std::env::var(ADDRESS), std::env::var(ON_FAILURE)) else {
        return;
    };
    let on_failure = match mode.as_str() {
        "open" => OnStoreFailure::Open,
        "closed" => OnStoreFailure::Closed,
        _ => OnStoreFailure::LocalShare,
    };
    let service = layer(&address, on_failure).layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let (mut counts, began) = (Counts::default(), Instant::now());
    let mut said = began;
    let mut ticks = interval(Duration::from_secs(1) / OFFERED as u32);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        ticks.tick().await;
        let start = Instant::now();
        let (is_admitted, waited) = call(service.clone()).await;
        counts.waited += u64::from(waited);
        let took = start.elapsed().as_micros() as u64;
        counts.slowest_micros = counts.slowest_micros.max(took);
        if is_admitted {
            counts.admitted += 1
        } else {
            counts.rejected += 1
        }
        if said.elapsed() >= Duration::from_millis(50) {
            let Counts { admitted, rejected, waited, slowest_micros, .. } = counts;
            let micros = began.elapsed().as_micros();
            println!("{admitted} {rejected} {waited} {slowest_micros} {micros}");
            said = Instant::now();
        }
    }
}
