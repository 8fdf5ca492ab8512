//! A service of slots behind a stack of layers, and classes of traffic to it.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use fastrand::Rng;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{Priority, RequestInfo};

pub(crate) type Call = Request<Full<Bytes>>;
/// When a request entered the service, and its priority.
type Entries = Arc<Mutex<Vec<(Instant, Priority)>>>;
pub(crate) type Service = BoxCloneSyncService<Call, Response<Full<Bytes>>, Infallible>;

/// A service behind layers, and what entered it.
#[derive(Clone)]
pub(crate) struct Stack {
    pub(crate) service: Service,
    entries: Entries,
}

/// Slots behind an await, each occupied by a request for half to one and a half times `time`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slots {
    pub(crate) count: usize,
    pub(crate) time: Duration,
}

/// How many slots' worth of time a request takes, in its extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weight(pub(crate) f64);

impl Slots {
    pub(crate) const fn new(count: usize, millis: u64) -> Self {
        Self { count, time: Duration::from_millis(millis) }
    }

    pub(crate) fn per_second(self) -> f64 {
        self.count as f64 / self.time.as_secs_f64()
    }

    /// The service behind the layers.
    pub(crate) fn behind<L, S, B>(self, layers: L) -> Stack
    where
        L: Layer<Service, Service = S>,
        S: tower::Service<Call, Response = Response<B>, Error = Infallible, Future: Send>,
        S: Clone + Send + Sync + 'static,
        B: 'static,
    {
        let free = Arc::new(Semaphore::new(self.count));
        let rng = Arc::new(Mutex::new(Rng::with_seed(11)));
        let entries = Entries::default();
        let entered = Arc::clone(&entries);
        let handler = service_fn(move |call: Call| {
            let (free, rng) = (Arc::clone(&free), Arc::clone(&rng));
            let priority = RequestInfo::of(call.extensions()).priority;
            entered.lock().expect("no panic").push((Instant::now(), priority));
            async move {
                let _slot = free.acquire().await.expect("the semaphore is never closed");
                let weight = call.extensions().get().map_or(1.0, |&Weight(weight)| weight);
                let share = weight * (0.5 + rng.lock().expect("no panic").f64());
                sleep(self.time.mul_f64(share)).await;
                Ok::<_, Infallible>(Response::new(Full::default()))
            }
        });
        let service = erase(layers.layer(BoxCloneSyncService::new(handler)));
        Stack { service, entries }
    }
}

impl Stack {
    /// The same service behind another layer of its callers.
    pub(crate) fn behind<L, S, B>(&self, layer: L) -> Self
    where
        L: Layer<Service, Service = S>,
        S: tower::Service<Call, Response = Response<B>, Error = Infallible, Future: Send>,
        S: Clone + Send + Sync + 'static,
        B: 'static,
    {
        let service = erase(layer.layer(self.service.clone()));
        Self { service, entries: Arc::clone(&self.entries) }
    }

    /// Whether a request of a lower priority entered the service between two times.
    fn let_in_below(&self, priority: Priority, after: Instant, before: Instant) -> bool {
        let entries = self.entries.lock().expect("no panic");
        let first = entries.partition_point(|&(at, _)| at <= after);
        let during = entries[first..].iter().take_while(|&&(at, _)| at < before);
        during.into_iter().any(|&(_, entered)| entered < priority)
    }
}

fn erase<S, B>(service: S) -> Service
where
    S: tower::Service<Call, Response = Response<B>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
    B: 'static,
{
    BoxCloneSyncService::new(service.map_response(|response| response.map(|_| Full::default())))
}

/// Requests of one kind.
#[derive(Clone)]
pub(crate) struct Traffic {
    pub(crate) name: &'static str,
    priority: Priority,
    /// Requests a second.
    rate: f64,
    /// How many of them come at one moment.
    burst: usize,
    /// After which time their callers leave.
    patience: Duration,
    make: Arc<dyn Fn() -> Call + Send + Sync>,
}

/// What became of the requests of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) served: usize,
    pub(crate) sent: usize,
    /// Rejected, although one of a lower priority entered the service before that.
    pub(crate) passed: usize,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Served,
    Rejected,
    /// Rejected, although one of a lower priority entered the service before that.
    Passed,
    /// Its caller left.
    Left,
}

impl Tally {
    pub(crate) fn share(self) -> f64 {
        self.served as f64 / self.sent as f64
    }
}

impl Traffic {
    /// Requests of this priority at random times.
    pub(crate) fn of(priority: Priority, rate: f64) -> Self {
        let make = move || {
            let mut call = Call::default();
            call.extensions_mut().insert(RequestInfo::default().priority(priority));
            call
        };
        let name = match priority {
            Priority::Critical => "critical",
            Priority::Normal => "normal",
            Priority::Deferrable => "deferrable",
            _ => "sheddable",
        };
        let patience = Duration::from_secs(60);
        Self { name, priority, rate, burst: 1, patience, make: Arc::new(make) }
    }

    /// The same rate in bursts of so many requests, all of which begin at the same moments as those of other kinds.
    pub(crate) fn in_bursts(self, burst: usize) -> Self {
        Self { burst, ..self }
    }

    pub(crate) fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// The same requests, changed.
    pub(crate) fn with(self, change: impl Fn(&mut Call) + Send + Sync + 'static) -> Self {
        let make = self.make;
        let changed = move || {
            let mut call = make();
            change(&mut call);
            call
        };
        Self { make: Arc::new(changed), ..self }
    }

    /// When its requests are sent, in seconds.
    fn times(&self, seed: u64, length: f64) -> Vec<f64> {
        let (mut rng, mut at) = (Rng::with_seed(seed), 0.0);
        let gap = self.burst as f64 / self.rate;
        let bursts = std::iter::from_fn(|| {
            let sent = at;
            at += if self.burst > 1 { gap } else { -(1.0 - rng.f64()).ln() * gap };
            (sent < length).then_some(sent)
        });
        bursts.flat_map(|at| std::iter::repeat_n(at, self.burst)).collect()
    }

    async fn send(self, stack: Stack) -> End {
        let (start, call) = (Instant::now(), (self.make)());
        let response = timeout(self.patience, stack.service.clone().oneshot(call)).await;
        let Ok(response) = response else { return End::Left };
        if response.expect("infallible").status() == StatusCode::OK {
            return End::Served;
        }
        match stack.let_in_below(self.priority, start, Instant::now()) {
            true => End::Passed,
            false => End::Rejected,
        }
    }
}

/// Sends all traffic in the order of time; what became of each kind after `warm_up`.
pub(crate) async fn send_all<const N: usize>(
    name: &str,
    stack: &Stack,
    traffic: [Traffic; N],
    [warm_up, length]: [f64; 2],
) -> [Tally; N] {
    let times = |kind: usize| {
        let times = traffic[kind].times(kind as u64 + 1, length);
        times.into_iter().map(move |at| (at, kind))
    };
    let mut calls: Vec<_> = (0..N).flat_map(times).collect();
    calls.sort_by(|one, other| one.0.total_cmp(&other.0));
    let (start, mut sent) = (Instant::now(), JoinSet::new());
    for (at, kind) in calls {
        sleep_until(start + Duration::from_secs_f64(at)).await;
        let call = traffic[kind].clone().send(stack.clone());
        sent.spawn(async move { (kind, at >= warm_up, call.await) });
    }
    let mut tallies = [Tally::default(); N];
    for (kind, is_counted, end) in sent.join_all().await {
        tallies[kind].sent += usize::from(is_counted);
        tallies[kind].served += usize::from(is_counted && end == End::Served);
        tallies[kind].passed += usize::from(is_counted && end == End::Passed);
    }
    let shares = traffic.iter().zip(&tallies);
    let shares = shares.map(|(kind, tally)| format!("{} {:.4}", kind.name, tally.share()));
    println!("{name}: {}", shares.collect::<Vec<_>>().join(", "));
    tallies
}
