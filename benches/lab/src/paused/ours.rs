//! Callers who use the client layer that ships.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::response::Parts;
use http::{Request, Response, StatusCode, header};
use tower::{Layer, Service};
use tower_backpressure::{Deadline, RetryLayer};

use crate::scenario::stream::Retry;
use crate::world::clock::mix;
use crate::world::plan::Plan;

use super::attempt::{Demand, Left, attempt};
use super::stage::Stage;

/// What the layers draw with.
const JITTER: u64 = 22;
/// A caller without a deadline waits as long as it is told to.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

/// One layer a fleet, for each stream whose callers use it.
pub(super) fn layers(plan: &Plan, seed: u64) -> Vec<Vec<RetryLayer>> {
    let streams = plan.streams.iter().enumerate().map(|(index, plan)| match plan.stream.retry {
        Retry::Ours { attempts } => {
            let key = mix(mix(seed, JITTER), index as u64);
            let layer = |fleet| {
                let layer = RetryLayer::named("lab").seed(mix(key, u64::from(fleet)));
                layer.max_attempts(attempts).deadline(FOR_EVER)
            };
            (0..plan.stream.fleets).map(layer).collect()
        }
        _ => Vec::new(),
    });
    streams.collect()
}

/// A request, from the first attempt to the last.
pub(super) async fn ask<'p>(stage: &Arc<Stage<'p>>, demand: Demand) {
    let layers = &stage.retries[demand.own.stream as usize];
    let layer = &layers[demand.own.user as usize % layers.len()];
    let progress = Arc::new(Progress::default());
    let _awake = Awake { stage: Arc::clone(stage), progress: Arc::clone(&progress) };
    let attempts = Attempts { stage: Arc::clone(stage), demand, progress };
    let mut request = Request::new(());
    if demand.own.ends < u64::MAX {
        let at = stage.epoch + Duration::from_nanos(demand.own.ends);
        request.extensions_mut().insert(Deadline(at));
    }
    // However it ended: that is in the journal.
    let _ = layer.layer(attempts).call(request).await;
}

/// What the layer calls: one attempt after the other.
#[derive(Clone)]
struct Attempts<'p> {
    stage: Arc<Stage<'p>>,
    demand: Demand,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    attempts: AtomicU32,
    /// Whether the last answer said when to come back.
    told: AtomicBool,
    /// Whether the layer may be pausing.
    asleep: AtomicBool,
}

impl Progress {
    /// The layer pauses, or pauses no more.
    fn sleeps(&self, stage: &Stage<'_>, asleep: bool) {
        let before = self.asleep.swap(asleep, Ordering::Relaxed);
        let mut state = stage.state();
        state.asleep = state.asleep + u32::from(asleep) - u32::from(before);
    }
}

/// Nobody is asleep any more when the request is over.
struct Awake<'p> {
    stage: Arc<Stage<'p>>,
    progress: Arc<Progress>,
}

impl Drop for Awake<'_> {
    fn drop(&mut self) {
        self.progress.sleeps(&self.stage, false);
    }
}

impl<'p> Service<Request<()>> for Attempts<'p> {
    type Response = Response<()>;
    type Error = Left;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, Left>> + Send + 'p>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Left>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _request: Request<()>) -> Self::Future {
        let Self { stage, demand, progress } = self.clone();
        Box::pin(async move {
            progress.sleeps(&stage, false);
            let attempts = progress.attempts.fetch_add(1, Ordering::Relaxed) + 1;
            let promised = progress.told.load(Ordering::Relaxed);
            let answer = attempt(&stage, demand, attempts, promised).await;
            let head = answer.as_ref().ok();
            progress.told.store(head.is_some_and(says_when), Ordering::Relaxed);
            let may_come_back = head.is_none_or(|head| head.status != StatusCode::OK);
            progress.sleeps(&stage, may_come_back);
            answer.map(|head| Response::from_parts(head, ()))
        })
    }
}

fn says_when(head: &Parts) -> bool {
    head.headers.contains_key(header::RETRY_AFTER)
}
