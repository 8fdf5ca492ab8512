//! The clients of the demo service, and a history of what became of their requests.

use crate::bench::Bench;
use crate::client::{Client, target};
use crate::event_log::{Counts, Event, Log, Window, latencies, percentile};
use crate::generator::Ask;
use crate::serve::controls::Controls;
use crate::server::Server;
use crate::stack::Stack;
use fastrand::Rng;
use serde::Serialize;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

/// Clients hang up after this time.
const DEADLINE: Duration = Duration::from_secs(1);
/// Polite clients try again within this time.
const PATIENCE: Duration = Duration::from_secs(10);
/// One point of the history.
const TICK: Duration = Duration::from_millis(500);
/// Two minutes.
const MAX_POINTS: usize = 240;
/// Most open requests: what is due above that counts as offered, and is not sent.
const MAX_OPEN: usize = 8_000;
/// While the load is zero, how often it is looked at.
const IDLE: Duration = Duration::from_millis(100);

/// Half a second of the past. Rates are per second.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Point {
    /// Number of the point since the start.
    pub(crate) number: u64,
    offered: f64,
    goodput: f64,
    attempts: f64,
    refused: f64,
    late: f64,
    broken: f64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// The last two minutes.
pub(crate) type History = Arc<Mutex<VecDeque<Point>>>;

/// The clients at work; they stop when this is dropped.
#[derive(Debug)]
pub(crate) struct Clients {
    tasks: [JoinHandle<()>; 2],
    history: History,
}

impl Clients {
    pub(crate) fn start(bench: &Bench, service: &Server, controls: Arc<Controls>) -> Self {
        let log = Bench::log();
        let attempts = bench.attempts(service, DEADLINE, &log);
        let target = target(service.address, "/work");
        let client = |stack: Stack, deadline| Client {
            target: target.clone(),
            retries: stack.impatient(attempts.clone(), deadline),
        };
        let naive = client(Stack::Bare, DEADLINE);
        let polite = client(Stack::BackpressureClient, PATIENCE);
        let history = History::default();
        let tasks = [
            tokio::spawn(send(naive, polite, controls, Arc::clone(&log))),
            tokio::spawn(keep(log, Arc::clone(&history))),
        ];
        Self { tasks, history }
    }

    pub(crate) fn history(&self) -> History {
        Arc::clone(&self.history)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// Sends requests of a Poisson process whose rate may change at any time.
async fn send(naive: Client, polite: Client, controls: Arc<Controls>, log: Arc<Log>) {
    let mut dice = Rng::new();
    let mut open = JoinSet::new();
    let mut due = Instant::now();
    loop {
        while open.try_join_next().is_some() {}
        let settings = controls.settings();
        if settings.load < 0.1 {
            due = Instant::now() + IDLE;
            sleep_until(due).await;
            continue;
        }
        // A rate that fell must not wait for an arrival that was drawn at the old one.
        due += Duration::from_secs_f64(-(1.0 - dice.f64()).ln() / settings.load).min(IDLE * 10);
        sleep_until(due).await;
        let client = if dice.f64() < settings.polite { &polite } else { &naive };
        let (client, log, sent) = (client.clone(), Arc::clone(&log), Instant::now());
        log.note(crate::event_log::EventKind::Offered);
        if open.len() < MAX_OPEN {
            open.spawn(async move {
                if client.ask().await {
                    log.note(crate::event_log::EventKind::Answered(sent.elapsed()));
                }
            });
        }
    }
}

/// Turns the log into points, so that neither grows.
async fn keep(log: Arc<Log>, history: History) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    let mut last = Instant::now();
    for number in 0.. {
        ticks.tick().await;
        let elapsed = last.elapsed();
        last = Instant::now();
        let point = point(number, &log.take(), elapsed);
        let mut history = history.lock().expect("no thread panics while it holds the lock");
        history.push_back(point);
        while history.len() > MAX_POINTS {
            history.pop_front();
        }
    }
}

fn point(number: u64, events: &[Event], elapsed: Duration) -> Point {
    let all = Window { from: Duration::ZERO, to: Duration::MAX };
    let counts = Counts::within(events, all);
    let rate = |count: u32| (f64::from(count) / elapsed.as_secs_f64().max(1e-3)).round();
    let latencies = latencies(events, all);
    let milliseconds =
        |share| percentile(&latencies, share).map(|time| (time.as_secs_f64() * 1e3).round());
    Point {
        number,
        offered: rate(counts.offered),
        goodput: rate(counts.answered),
        attempts: rate(counts.sent),
        refused: rate(counts.refused),
        late: rate(counts.late),
        broken: rate(counts.broken),
        p50_ms: milliseconds(0.5),
        p99_ms: milliseconds(0.99),
    }
}
