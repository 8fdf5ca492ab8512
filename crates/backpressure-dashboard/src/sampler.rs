//! One task that looks at all policies once a second, for all pages.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axum::body::Bytes;
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior};
use tower_backpressure::observe::{Registry, Report, Watch};

use crate::actions::{Audit, Operations, Outcome};
use crate::clients::Clients;
use crate::history::{History, SAMPLES};
use crate::journal::{EntryView, Journal};
use crate::view::{PolicyView, Recent, Status, shortened};

/// A route of the service, and the policies that its requests pass.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) name: String,
    pub(crate) policies: Vec<String>,
}

/// What all pages of one dashboard share.
#[derive(Debug)]
pub(crate) struct Sampler {
    title: String,
    routes: Vec<Route>,
    actions: Vec<&'static str>,
    pub(crate) clients: Clients,
    state: Mutex<State>,
    /// The latest state, as an event of the stream.
    published: watch::Sender<Published>,
    is_started: AtomicBool,
    started: Instant,
    _watch: Watch,
}

/// A state as pages get it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Published {
    pub(crate) json: Bytes,
    /// The same as an event of `text/event-stream`.
    pub(crate) event: Bytes,
    /// Whether a policy drains: the process may be about to end.
    pub(crate) is_ending: bool,
}

#[derive(Debug, Default)]
struct State {
    recent: HashMap<u64, Recent>,
    sampled: Option<Instant>,
    sequence: u64,
    history: History,
    journal: Journal,
}

/// `state.json`.
#[derive(Serialize)]
struct StateView<'a> {
    version: u32,
    /// One more with each sample.
    sequence: u64,
    title: &'a str,
    running_s: u64,
    interval_s: u64,
    history_s: usize,
    actions: &'a [&'static str],
    policies: &'a [PolicyView],
    hidden_policies: usize,
    routes: Vec<RouteView>,
    events: Vec<EntryView<'a>>,
    clients: ClientsView,
}

#[derive(Serialize)]
struct RouteView {
    name: String,
    policies: Vec<u64>,
}

#[derive(Serialize)]
struct ClientsView {
    now: usize,
    max: usize,
}

/// Once a second, as often as a person can read.
const INTERVAL: Duration = Duration::from_secs(1);
/// The most policies that are shown: with more, a page would be of no use, and its history takes memory.
const MAX_POLICIES: usize = 128;

impl Sampler {
    pub(crate) fn new(
        title: Option<String>,
        routes: Vec<Route>,
        operations: &Operations,
        max_clients: usize,
    ) -> Arc<Self> {
        let sampler = Self {
            title: title.as_deref().map_or_else(|| "Backpressure".to_owned(), shortened),
            routes,
            actions: operations.names(),
            clients: Clients::new(max_clients),
            state: Mutex::default(),
            published: watch::Sender::default(),
            is_started: AtomicBool::new(false),
            started: Instant::now(),
            _watch: Registry::global().watch(),
        };
        sampler.sample();
        Arc::new(sampler)
    }

    /// Starts the task, if there is a runtime and it does not run yet.
    pub(crate) fn start(self: &Arc<Self>) {
        if self.is_started.load(Ordering::Relaxed) {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if !self.is_started.swap(true, Ordering::Relaxed) {
            let ends = Ends(Arc::downgrade(self));
            runtime.spawn(ends.run());
        }
    }

    /// The latest state, and what tells of the next.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Published> {
        self.published.subscribe()
    }

    pub(crate) fn state_json(&self) -> Bytes {
        self.published.borrow().json.clone()
    }

    pub(crate) fn history_json(&self) -> String {
        self.lock().history.to_json().to_string()
    }

    /// Notes an action for the page. One that was refused is for the audit alone: a visitor without leave must not be
    /// able to push out what has happened.
    pub(crate) fn acted(&self, audit: &Audit) {
        let policy = audit.command.policy.as_ref().map_or("all", |(_, _, name)| name);
        let action = audit.command.action.describe();
        let operator = shortened(audit.operator.as_deref().unwrap_or_default());
        let text = match &audit.outcome {
            Outcome::Done => format!("{operator}: {action}"),
            Outcome::Refused => return,
            Outcome::Failed(error) => format!("{operator}: {action} failed: {}", shortened(error)),
        };
        let now = Instant::now();
        self.lock().journal.note(now, shortened(policy), text);
    }

    /// Takes a sample and publishes it.
    fn sample(&self) {
        let mut reports = Registry::global().reports();
        let hidden_policies = keep_busiest(&mut reports);
        let (mut state, now) = (self.lock(), Instant::now());
        let before = state.sampled.replace(now).unwrap_or(now);
        let elapsed = now.saturating_duration_since(before);
        let names: Vec<_> =
            reports.iter().map(|report| (Arc::clone(&report.name), report.id)).collect();
        let mut recent = std::mem::take(&mut state.recent);
        let mut policies = Vec::with_capacity(reports.len());
        for report in reports {
            let id = report.id;
            let mut of_policy = recent.remove(&id).unwrap_or_default();
            policies.push(of_policy.push(report, elapsed));
            state.recent.insert(id, of_policy);
        }
        state.sequence += 1;
        let sequence = state.sequence;
        state.history.push(&policies, sequence);
        state.journal.compare(&policies, now);
        let view = StateView {
            version: 1,
            sequence,
            title: &self.title,
            running_s: now.saturating_duration_since(self.started).as_secs(),
            interval_s: INTERVAL.as_secs(),
            history_s: SAMPLES,
            actions: &self.actions,
            policies: &policies,
            hidden_policies,
            routes: self.routes.iter().map(|route| RouteView::of(route, &names)).collect(),
            events: state.journal.view(now),
            clients: ClientsView { now: self.clients.count(), max: self.clients.max() },
        };
        let published = Published::of(&view);
        drop(state);
        self.published.send_replace(published);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task: it ends with the last router.
struct Ends(Weak<Sampler>);

impl Ends {
    async fn run(self) {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and the first sample was taken already.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            match self.0.upgrade() {
                Some(sampler) => sampler.sample(),
                None => return,
            }
        }
    }
}

impl Drop for Ends {
    /// A runtime that ends takes the task with it; the next request may be served by another one.
    fn drop(&mut self) {
        if let Some(sampler) = self.0.upgrade() {
            sampler.is_started.store(false, Ordering::Relaxed);
        }
    }
}

impl Published {
    fn of(view: &StateView<'_>) -> Self {
        let is_ending = view.policies.iter().any(|policy| policy.status == Status::Draining);
        // Maps have names as keys, and there is nothing else that can fail.
        let json = Bytes::from(serde_json::to_vec(view).unwrap_or_default());
        let event = Bytes::from([b"retry: 300\ndata: ", &json[..], b"\n\n"].concat());
        Self { json, event, is_ending }
    }
}

impl RouteView {
    /// Of several policies with one name, all.
    fn of(route: &Route, names: &[(Arc<str>, u64)]) -> Self {
        let ids = route.policies.iter().flat_map(|name| {
            names.iter().filter(move |(known, _)| **known == **name).map(|(_, id)| *id)
        });
        Self { name: shortened(&route.name), policies: ids.collect() }
    }
}

/// Keeps the policies with the most requests, in their order; how many are left out.
fn keep_busiest(reports: &mut Vec<Report>) -> usize {
    let hidden = reports.len().saturating_sub(MAX_POLICIES);
    if hidden > 0 {
        let requests = |report: &Report| {
            let requests = &report.requests;
            requests.admitted + requests.rejected.iter().map(|(_, count)| count).sum::<u64>()
        };
        reports.sort_by_key(|report| std::cmp::Reverse(requests(report)));
        reports.truncate(MAX_POLICIES);
        reports.sort_by_key(|report| report.id);
    }
    hidden
}
