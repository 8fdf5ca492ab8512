//! The admission layer that ships, as a controller, on tokio's paused clock.
//!
//! It stands in the simulated world where [`ours`](super::ours) stands otherwise, and the test below holds the two
//! against each other: what is simulated is what ships. Here are the layer's own service, permits, meter, queue and
//! response bodies. Its futures are polled when the world says that their tasks would be polled.
//!
//! A handler that computes does not yield: its poll lasts. So that the meter sees that, the poll is made on a thread of
//! its own, which blocks until the simulated time has moved on by as much as the handler computes. Only one of all the
//! threads runs at any time, so the result does not depend on how they are scheduled.

mod attempt;
mod handler;

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::iter;
use std::mem;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use backpressure_core::{Adaptive, Outcome, Sample, Timestamp};
use http::Request;
use http_body::Body;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::{Instant, advance};
use tower::{Layer, Service};
use tower_backpressure::{Admission, AdmissionLayer, Deadline, Event, Shed};

use crate::controller::{Answer, AttemptInfo, Controller, Next, Site, TaskChange};

use attempt::{Attempt, Stage};
use handler::{Control, Handler, HandlerAnswer, Reading, Signal};

/// tokio's timers fire at whole milliseconds.
const TIMER_RESOLUTION_NANOS: u64 = 1_000_000;

pub(crate) fn make(site: &Site) -> Box<dyn Controller> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without sockets needs nothing of the system");
    let context = runtime.enter();
    let workers = (site.cores.round() as usize).clamp(1, 4_096);
    // The simulated machine holds no refusals.
    let layer = AdmissionLayer::with_limit("lab", Adaptive::new(workers)).delay_rejections(0);
    let told = Arc::new(Mutex::new(None));
    let layer = layer.observer({
        let told = Arc::clone(&told);
        move |_policy: &str, event: Event| {
            if let Event::Rejected { shed, .. } = event {
                *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(shed);
            }
        }
    });
    let (service, epoch) = (layer.layer(Handler), Instant::now());
    drop(context);
    Box::new(Shipped {
        runtime,
        epoch,
        layer,
        service,
        told,
        woken: Arc::default(),
        attempts: BTreeMap::new(),
        arrived: 0,
        timed_out: VecDeque::new(),
        timers_at: None,
    })
}

/// The layer around a handler that does what the world says.
#[derive(Debug)]
struct Shipped {
    runtime: Runtime,
    /// The start of the run on tokio's clock.
    epoch: Instant,
    layer: AdmissionLayer,
    service: Admission<Handler>,
    /// What the layer told its observer of the last rejection: a header has whole seconds only.
    told: Arc<Mutex<Option<Shed>>>,
    /// Attempts whose tasks were woken, in that order.
    woken: Arc<Mutex<VecDeque<u64>>>,
    attempts: BTreeMap<u64, Attempt>,
    arrived: u64,
    /// What the timers decided, in the order of the requests.
    timed_out: VecDeque<Next>,
    /// When tokio's timers are looked at next; `None` while no attempt waits.
    timers_at: Option<Timestamp>,
}

impl Shipped {
    /// Sets tokio's clock to `now`, without looking at its timers.
    fn set_clock(&self, now: Timestamp) {
        let ahead = (self.epoch + Duration::from_nanos(now.as_nanos())) - Instant::now();
        if !ahead.is_zero() {
            // Its first poll moves the clock; all it does after that is yield.
            let _ = pin!(advance(ahead)).poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// What was decided on the next attempt whose task was woken, and its place.
    fn poll_woken(&mut self) -> Option<(u64, Next)> {
        loop {
            let id = self.woken.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
            let Some(attempt) = self.attempts.get_mut(&id) else { continue };
            attempt.signal.woken.store(false, Ordering::Relaxed);
            let place = attempt.place;
            let decided = match mem::replace(&mut attempt.stage, Stage::Moving) {
                Stage::Waiting(task) => attempt.poll(task, &self.told),
                other => {
                    attempt.stage = other;
                    None
                }
            };
            if let Some(Next::Shed(..)) = decided {
                self.attempts.remove(&id);
            }
            if let Some(next) = decided {
                return Some((place, next));
            }
        }
    }

    /// Looks at tokio's timers at every millisecond while an attempt may wait for one.
    fn set_timers(&mut self, now: Timestamp) {
        let waits =
            self.attempts.values().any(|attempt| matches!(attempt.stage, Stage::Waiting(_)));
        let next = (now.as_nanos() / TIMER_RESOLUTION_NANOS + 1) * TIMER_RESOLUTION_NANOS;
        self.timers_at = waits.then(|| Timestamp::from_nanos(next));
    }
}

impl Controller for Shipped {
    fn arrive(&mut self, info: AttemptInfo, now: Timestamp) -> Answer {
        let handle = self.runtime.handle().clone();
        let _context = handle.enter();
        self.set_clock(now);
        let control = Arc::<Control>::default();
        let mut request = Request::new(());
        request.extensions_mut().insert(info.arrival.priority);
        if let Some(deadline) = info.arrival.deadline {
            let at = self.epoch + Duration::from_nanos(deadline.as_nanos());
            request.extensions_mut().insert(Deadline(at));
        }
        request.extensions_mut().insert(Arc::clone(&control));
        let task = Box::pin(self.service.call(request));
        let (woken, queue) = (AtomicBool::new(false), Arc::clone(&self.woken));
        let signal = Arc::new(Signal { id: info.id, woken, queue });
        let mut attempt = Attempt { place: self.arrived, control, signal, stage: Stage::Moving };
        self.arrived += 1;
        let answer = match attempt.poll(task, &self.told) {
            Some(Next::Run(_)) => Answer::Run,
            Some(Next::Shed(_, refusal)) => return Answer::Shed(refusal),
            None => Answer::Wait,
        };
        self.attempts.insert(info.id, attempt);
        if answer == Answer::Wait && self.timers_at.is_none() {
            self.set_timers(now);
        }
        answer
    }

    fn depart(&mut self, info: AttemptInfo, sample: &Sample, now: Timestamp) {
        let handle = self.runtime.handle().clone();
        let _context = handle.enter();
        self.set_clock(now);
        let Some(mut attempt) = self.attempts.remove(&info.id) else { return };
        if sample.outcome == Outcome::Cancelled {
            return;
        }
        if let Stage::Reading(body, has_ended) = &mut attempt.stage {
            has_ended.store(true, Ordering::Relaxed);
            let frame = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()));
            assert!(matches!(frame, Poll::Ready(None)), "a body ends when it was read");
            return;
        }
        let answer = HandlerAnswer { outcome: sample.outcome, body: Reading(None) };
        attempt.respond(answer).expect("the handler answers when it is told to");
    }

    fn answered(&mut self, info: AttemptInfo, _sample: &Sample, now: Timestamp) -> bool {
        let handle = self.runtime.handle().clone();
        let _context = handle.enter();
        self.set_clock(now);
        let Some(attempt) = self.attempts.get_mut(&info.id) else { return false };
        let has_ended = Arc::<AtomicBool>::default();
        let body = Reading(Some(Arc::clone(&has_ended)));
        let response = attempt.respond(HandlerAnswer { outcome: Outcome::Success, body });
        let response = response.expect("the handler answers when it is told to");
        let mut body = Box::pin(response.into_body());
        let frame = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop()));
        assert!(frame.is_pending(), "a body that is read has not ended");
        attempt.stage = Stage::Reading(body, has_ended);
        true
    }

    fn task(&mut self, id: u64, change: TaskChange, now: Timestamp) {
        let handle = self.runtime.handle().clone();
        let _context = handle.enter();
        self.set_clock(now);
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        match change {
            TaskChange::Woken => attempt.control.wake(),
            TaskChange::PollBegins => attempt.begin_computing(&self.runtime),
            TaskChange::PollEnds(_) => attempt.end_computing(),
        }
    }

    fn next(&mut self, now: Timestamp) -> Option<Next> {
        let handle = self.runtime.handle().clone();
        let _context = handle.enter();
        self.set_clock(now);
        self.timed_out.pop_front().or_else(|| self.poll_woken().map(|(_, next)| next))
    }

    fn abandon(&mut self, info: AttemptInfo, now: Timestamp) {
        let handle = self.runtime.handle().clone();
        let _context = handle.enter();
        self.set_clock(now);
        self.attempts.remove(&info.id);
    }

    fn next_tick(&self) -> Option<Timestamp> {
        self.timers_at
    }

    fn tick(&mut self, now: Timestamp) {
        let handle = self.runtime.handle().clone();
        let context = handle.enter();
        self.set_clock(now);
        drop(context);
        self.runtime.block_on(yield_now());
        let _context = handle.enter();
        let mut decided: Vec<_> = iter::from_fn(|| self.poll_woken()).collect();
        // The timers of a millisecond fire in any order, and what clients draw next depends on it.
        decided.sort_by_key(|(place, _)| *place);
        self.timed_out = decided.into_iter().map(|(_, next)| next).collect();
        self.set_timers(now);
    }

    fn limit(&self) -> f64 {
        self.layer.snapshot().limit as f64
    }

    fn queued(&self) -> usize {
        self.layer.snapshot().queued
    }
}

impl Drop for Shipped {
    fn drop(&mut self) {
        let handle = self.runtime.handle().clone();
        let _context = handle.enter();
        self.attempts.values_mut().for_each(Attempt::end_computing);
        self.attempts.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::make;
    use crate::controller::catalogue::find;
    use crate::scenario::library;
    use crate::world::plan::Plan;
    use crate::world::simulate;

    /// The first seconds of a scenario, its steps among them.
    const SECONDS: f64 = 20.0;

    /// Queues and steps behind an await, in this process and at a shared processor; callers that leave, retry and obey
    /// `Retry-After`; priorities; streams with stages of their own, failures, and a replica that is lost.
    ///
    /// Not among them are scenarios in which bodies are read for long: the simulated machine does not see which side
    /// owes the next part of a body, so places count apart at other moments than in a limiter.
    const SCENARIOS: [&str; 23] = [
        "slots-exp-2x",
        "step-up-slots",
        "step-back-slots",
        "low-10-slots",
        "ps-2x",
        "nine-tenths-one-worker",
        "low-10-cpu",
        "disconnects-cancels",
        "disconnects-zombies",
        "retry-storm-budget-slots",
        "promises",
        "long-polls-cpu",
        "failures-20-half-slots",
        "replica-lost-and-back-cpu",
        "priorities-in-phase",
        "slow-uploads-slots",
        "bursts-slots",
        "cpu-2x",
        "mix-2x",
        "closed-loop-cpu",
        "slower-work-visible",
        "churn",
        "chain",
    ];

    #[test]
    fn every_attempt_ends_behind_the_layer_when_and_as_it_ends_behind_the_simulated_machine() {
        for name in SCENARIOS {
            let plan = Plan::of(&library::find(name).unwrap());
            let plan = Plan { seconds: plan.seconds.min(SECONDS), ..plan };
            let simulated = simulate(&plan, &find("ours").unwrap().make, 1);
            let shipped = simulate(&plan, &make, 1);
            let pairs = simulated.ended.iter().zip(&shipped.ended);
            let first = pairs.enumerate().find(|(_, (simulated, shipped))| simulated != shipped);
            assert_eq!(first, None, "{name}: the first that differ");
            assert!(simulated == shipped, "{name}");
        }
    }
}
