//! A world: a service, its clients and what goes wrong, put together at random from a seed.

use std::fmt;
use std::time::Duration;

use backpressure_tests::load::{Distribution, Slowdown};
use fastrand::Rng;

/// Most requests a second: what a run can simulate within about a second.
const MAX_RATE: f64 = 2_000.0;
/// Requests that a run should have, so that a percent is told from chance.
const REQUESTS: f64 = 40_000.0;
/// Shortest and longest run.
const LENGTHS: (f64, f64) = (60.0, 300.0);
/// Latencies that a limiter may need to find its limit.
const WARM_UP_LATENCIES: f64 = 20.0;
/// Time that it may need in any case.
const WARM_UP: Duration = Duration::from_secs(10);
/// A response is of use within so many latencies and two seconds.
const LATE_LATENCIES: f64 = 5.0;

/// What limits the service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Scarce {
    /// Slots behind an await.
    Slots,
    /// The same after a wait for something that is not scarce, this many times as long as the work.
    SlotsAfter(f64),
    /// Slots that become slower by this share for each slot's worth of requests beyond the slots.
    Thrashing(f64),
    /// The only worker thread.
    Worker,
    /// Nothing.
    Nothing,
}

/// How requests arrive.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Arrivals {
    Poisson,
    Clock,
    /// All requests of so many seconds at one moment.
    Bursts(f64),
    /// The rate swings between nothing and twice the mean, with this period in seconds.
    Waves(f64),
    /// The rate rises from nothing to twice the mean.
    Ramp,
    /// A twentieth of the rate, then all of it from the middle on.
    Step,
    /// Users that think for so many latencies after each response.
    Users(f64),
}

/// What clients do when they are rejected, or the handler fails.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Retries {
    None,
    /// Three times at once.
    AtOnce,
    /// Four times after .1, .2, .4 and .8 s, without jitter.
    Backoff,
    /// Three times when told.
    Obedient,
}

/// What happens to the service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Trouble {
    None,
    /// Slower by this factor for 20 s from the middle on.
    Slower(f64),
    /// Slower by this factor from the middle on.
    StaysSlower(f64),
    /// Half as fast in the second half of each period, in seconds.
    Halved(f64),
    /// Nothing is done for .1 s in each period of so many seconds.
    Pauses(f64),
    /// Nothing is done for so many seconds from the middle on.
    Hangs(f64),
    /// The process is suspended for so many seconds in the middle.
    Suspended(f64),
    /// Five times as slow at first, after this time as fast as ever.
    WarmUp(f64),
    /// This share fails at once.
    Fails(f64),
    /// This share fails after three seconds.
    FailsLate(f64),
}

/// The layers before the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    Alone,
    /// Two adaptive layers, one in the other.
    Nested,
    /// In a bulkhead with room for everything.
    InBulkhead,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) seed: u64,
    pub(crate) scarce: Scarce,
    pub(crate) slots: usize,
    pub(crate) service: Distribution,
    /// Offered load as a share of the capacity.
    pub(crate) load: f64,
    pub(crate) arrivals: Arrivals,
    /// Latencies after which callers leave.
    pub(crate) patience: Option<f64>,
    /// Whether work goes on after its caller has left.
    pub(crate) goes_on: bool,
    pub(crate) retries: Retries,
    pub(crate) trouble: Trouble,
    /// Share of requests whose callers leave after a fifth of a latency, on purpose.
    pub(crate) cancelling: f64,
    /// Share of requests that wait for ten latencies and a second without work: long polls.
    pub(crate) polling: f64,
    pub(crate) stack: Stack,
}

fn one_of<T: Copy>(rng: &mut Rng, of: &[T]) -> T {
    of[rng.usize(..of.len())]
}

/// One of these with a probability, otherwise the usual.
fn seldom<T: Copy>(rng: &mut Rng, share: f64, usual: T, others: &[T]) -> T {
    if rng.f64() < share { one_of(rng, others) } else { usual }
}

fn log_uniform(rng: &mut Rng, from: f64, to: f64) -> f64 {
    from * (to / from).powf(rng.f64())
}

impl World {
    pub(crate) fn random(seed: u64) -> Self {
        let rng = &mut Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let scarce = [
            Scarce::SlotsAfter(0.5),
            Scarce::SlotsAfter(4.0),
            Scarce::Thrashing(0.3),
            Scarce::Worker,
            Scarce::Nothing,
        ];
        let scarce = seldom(rng, 0.5, Scarce::Slots, &scarce);
        let (slots, mean) = match scarce {
            Scarce::Worker => (1, log_uniform(rng, 0.0005, 0.02)),
            _ => (log_uniform(rng, 1.0, 1_000.0) as usize, log_uniform(rng, 0.002, 5.0)),
        };
        let load: f64 = one_of(rng, &[0.3, 0.5, 0.5, 0.8, 1.2, 2.0, 4.0, 10.0]);
        let load = if scarce == Scarce::Nothing { load.min(1.0) } else { load };
        let slots = slots.min((MAX_RATE * mean / load) as usize).max(1);
        let mean = Duration::from_secs_f64(mean.max(load * slots as f64 / MAX_RATE));
        let service = one_of(
            rng,
            &[
                Distribution::Lognormal(mean, 0.5),
                Distribution::Lognormal(mean, 0.5),
                Distribution::Fixed(mean),
                Distribution::Exponential(mean),
                Distribution::Bimodal(mean, 0.001),
                Distribution::Bimodal(mean, 0.05),
            ],
        );
        let world = Self {
            seed,
            scarce,
            slots,
            service,
            load,
            arrivals: Arrivals::Poisson,
            patience: None,
            goes_on: rng.bool(),
            retries: Retries::None,
            trouble: Trouble::None,
            cancelling: seldom(rng, 0.1, 0.0, &[0.01, 0.1, 0.5]),
            polling: seldom(rng, 0.1, 0.0, &[0.02, 0.2]),
            stack: seldom(rng, 0.15, Stack::Alone, &[Stack::Nested, Stack::InBulkhead]),
        };
        world.with_clients(rng).with_trouble(rng)
    }

    fn with_clients(mut self, rng: &mut Rng) -> Self {
        let arrivals = [
            Arrivals::Clock,
            Arrivals::Bursts(1.0),
            Arrivals::Bursts(15.0),
            Arrivals::Waves(10.0),
            Arrivals::Waves(60.0),
            Arrivals::Ramp,
            Arrivals::Step,
            Arrivals::Users(0.0),
            Arrivals::Users(5.0),
        ];
        self.arrivals = seldom(rng, 0.5, Arrivals::Poisson, &arrivals);
        self.patience =
            seldom(rng, 0.3, None, &[Some(2.0), Some(3.0), Some(5.0), Some(10.0), Some(30.0)]);
        self.retries = seldom(
            rng,
            0.3,
            Retries::None,
            &[Retries::AtOnce, Retries::Backoff, Retries::Obedient],
        );
        self
    }

    fn with_trouble(mut self, rng: &mut Rng) -> Self {
        let troubles = [
            Trouble::Slower(2.0),
            Trouble::Slower(10.0),
            Trouble::StaysSlower(3.0),
            Trouble::StaysSlower(0.4),
            Trouble::Halved(10.0),
            Trouble::Halved(60.0),
            Trouble::Pauses(1.0),
            Trouble::Pauses(5.0),
            Trouble::Hangs(3.0),
            Trouble::Hangs(20.0),
            Trouble::Suspended(5.0),
            Trouble::Suspended(60.0),
            Trouble::WarmUp(30.0),
            Trouble::Fails(0.05),
            Trouble::Fails(0.3),
            Trouble::FailsLate(0.05),
        ];
        self.trouble = seldom(rng, 0.5, Trouble::None, &troubles);
        self
    }

    /// Latency of a request that does not wait for others.
    pub(crate) fn latency(&self) -> Duration {
        match self.scarce {
            Scarce::SlotsAfter(times) => self.service.mean().mul_f64(1.0 + times),
            _ => self.service.mean(),
        }
    }

    /// Requests a second that the service can do when it is well.
    pub(crate) fn capacity(&self) -> f64 {
        self.slots as f64 / self.service.mean().as_secs_f64()
    }

    /// Requests a second that are offered by clients that want a response.
    pub(crate) fn rate(&self) -> f64 {
        self.load * self.capacity()
    }

    pub(crate) fn length(&self) -> Duration {
        Duration::from_secs_f64((REQUESTS / self.rate()).clamp(LENGTHS.0, LENGTHS.1))
    }

    pub(crate) fn warm_up(&self) -> Duration {
        (WARM_UP + self.latency().mul_f64(WARM_UP_LATENCIES)).min(self.length() / 3)
    }

    /// When a caller leaves.
    pub(crate) fn leaves_after(&self) -> Option<Duration> {
        self.patience.map(|latencies| self.latency().mul_f64(latencies))
    }

    /// How late a response may be.
    pub(crate) fn late_after(&self) -> Duration {
        Duration::from_secs(2) + self.latency().mul_f64(LATE_LATENCIES)
    }

    /// A limit as an operator would set it after load tests.
    pub(crate) fn tuned(&self) -> usize {
        let at_capacity = self.capacity() * self.latency().as_secs_f64();
        let polls = self.polling * self.rate() * self.poll_time().as_secs_f64();
        match self.scarce {
            Scarce::Nothing => tokio::sync::Semaphore::MAX_PERMITS,
            // Requests that wait for a worker are not in flight one after the other.
            Scarce::Worker => 8,
            _ => (2.0 * at_capacity + 1.5 * polls).ceil() as usize,
        }
    }

    pub(crate) fn poll_time(&self) -> Duration {
        Duration::from_secs(1) + 10 * self.latency()
    }

    /// Users of a closed loop that offer the load: as many as keep the slots busy, times the load.
    pub(crate) fn users(&self, thinks: f64) -> usize {
        (self.rate() * self.latency().as_secs_f64() * (1.0 + thinks)).ceil() as usize
    }

    pub(crate) fn slowdowns(&self) -> Vec<Slowdown> {
        let (middle, forever) = (self.length() / 2, Duration::from_secs(1 << 20));
        let seconds = Duration::from_secs_f64;
        let between = |from, until, factor| vec![Slowdown { from, until, repeats: None, factor }];
        let every = |period: f64, length: f64, factor| {
            let repeats = Some((seconds(period), seconds(length)));
            vec![Slowdown { from: seconds(period - length), until: forever, repeats, factor }]
        };
        match self.trouble {
            Trouble::Slower(factor) => between(middle, middle + seconds(20.0), factor),
            Trouble::StaysSlower(factor) => between(middle, forever, factor),
            Trouble::Halved(period) => every(period, period / 2.0, 2.0),
            Trouble::Pauses(period) => every(period, 0.1, f64::INFINITY),
            Trouble::Hangs(length) => between(middle, middle + seconds(length), f64::INFINITY),
            Trouble::WarmUp(length) => between(Duration::ZERO, seconds(length), 5.0),
            _ => Vec::new(),
        }
    }

    /// Whether nothing may be rejected: half of what a healthy service can do is offered at random times.
    pub(crate) fn is_at_half_load(&self) -> bool {
        let steady = matches!(self.arrivals, Arrivals::Poisson | Arrivals::Clock);
        let well = matches!(self.trouble, Trouble::None | Trouble::Fails(_));
        let waits = self.patience.is_none() && self.cancelling == 0.0;
        let never_bursts = self.slots >= 4 && self.scarce != Scarce::Worker;
        self.scarce == Scarce::Nothing
            || self.load <= 0.5 && steady && well && waits && never_bursts
    }

    /// Each part as text, for tables.
    pub(crate) fn parts(&self) -> Vec<String> {
        let shape = match self.service {
            Distribution::Bimodal(_, share) => format!("one in {:.0} takes 100×", share.recip()),
            Distribution::Lognormal(..) => "lognormal".to_owned(),
            Distribution::Fixed(_) => "fixed times".to_owned(),
            Distribution::Exponential(_) => "exponential".to_owned(),
        };
        let wide = match self.slots {
            1 => "1 slot",
            2..8 => "2–7 slots",
            8..64 => "8–63 slots",
            _ => "64–1000 slots",
        };
        let speed = match self.service.mean().as_millis() {
            0..10 => "< 10 ms",
            10..100 => "10–100 ms",
            100..1_000 => ".1–1 s",
            _ => "> 1 s",
        };
        let leaves = match (self.patience, self.goes_on) {
            (None, _) => "callers wait".to_owned(),
            (Some(times), true) => format!("callers leave after {times}×, work goes on"),
            (Some(times), false) => format!("callers leave after {times}×"),
        };
        vec![
            format!("{:?}", self.scarce),
            wide.to_owned(),
            speed.to_owned(),
            shape,
            format!("load {}", self.load),
            format!("{:?}", self.arrivals),
            leaves,
            format!("retries {:?}", self.retries),
            format!("trouble {:?}", self.trouble),
            format!("cancels {}", self.cancelling),
            format!("polls {}", self.polling),
            format!("{:?}", self.stack),
        ]
    }
}

impl fmt::Display for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = self.parts().join(", ");
        write!(f, "{} × {:.4?}: {parts}", self.slots, self.service.mean())
    }
}
