//! The two services that the storm runs: real CPU time, real waiting.

use crate::cpu;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::future::pending;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// The work of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Handler {
    /// 5 ms of CPU at once, without an await.
    Cpu,
    /// Four times 1 ms of CPU and 10 ms of sleep.
    Mix,
}

impl Handler {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Mix => "mix",
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Cpu => "5 ms of CPU, never awaits",
            Self::Mix => "4 × (1 ms of CPU, then 10 ms of sleep)",
        }
    }

    /// How often it computes.
    pub(crate) const fn rounds(self) -> u32 {
        match self {
            Self::Cpu => 1,
            Self::Mix => 4,
        }
    }

    /// How long it sleeps after computing.
    pub(crate) const fn away(self) -> Duration {
        match self {
            Self::Cpu => Duration::ZERO,
            Self::Mix => Duration::from_millis(10),
        }
    }

    /// The service: `/work` is the handler, `/hold` a request that never ends.
    pub(crate) fn router(self, work: Arc<Work>) -> Router {
        let route = match self {
            Self::Cpu => get(burn),
            Self::Mix => get(burn_and_wait),
        };
        Router::new().route("/work", route).route("/hold", get(pending::<()>)).with_state(work)
    }
}

impl ValueEnum for Handler {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Cpu, Self::Mix]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.describe()))
    }
}

async fn burn(State(work): State<Arc<Work>>) -> &'static str {
    work.spin(5);
    "done"
}

async fn burn_and_wait(State(work): State<Arc<Work>>) -> &'static str {
    for _ in 0..Handler::Mix.rounds() {
        work.spin(1);
        sleep(Handler::Mix.away()).await;
    }
    "done"
}

/// Work for a CPU: a number of loop iterations. A fixed duration would not become slower under overload.
#[derive(Debug)]
pub(crate) struct Work {
    iterations_per_ms: u64,
    factor: AtomicU64,
}

impl Work {
    /// Counts the iterations per millisecond of the calling thread's CPU time.
    pub(crate) fn calibrate() -> Self {
        let iterations = 2_000_000;
        let fastest = (0..10)
            .map(|_| time_of(iterations))
            .min()
            .expect("ten rounds")
            .max(Duration::from_micros(1));
        Self::of((iterations as f64 / fastest.as_secs_f64() / 1e3) as u64)
    }

    fn of(iterations_per_ms: u64) -> Self {
        Self { iterations_per_ms: iterations_per_ms.max(1), factor: AtomicU64::new(1) }
    }

    /// Makes every millisecond of work take `factor` milliseconds: the brown-out.
    pub(crate) fn slow_down(&self, factor: u64) {
        self.factor.store(factor, Ordering::Relaxed);
    }

    pub(crate) fn factor(&self) -> u64 {
        self.factor.load(Ordering::Relaxed)
    }

    pub(crate) fn spin(&self, milliseconds: u64) {
        iterate(self.iterations_per_ms * milliseconds * self.factor());
    }
}

fn time_of(iterations: u64) -> Duration {
    let start = clock();
    iterate(iterations);
    clock().saturating_sub(start)
}

#[cfg(unix)]
fn clock() -> Duration {
    cpu::thread_clock()
}

#[cfg(not(unix))]
fn clock() -> Duration {
    use std::sync::OnceLock;
    static START: OnceLock<tokio::time::Instant> = OnceLock::new();
    START.get_or_init(tokio::time::Instant::now).elapsed()
}

fn iterate(iterations: u64) {
    let mut state = 1_u64;
    for turn in 0..iterations {
        state = black_box(state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(turn));
    }
}
