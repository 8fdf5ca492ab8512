//! The second driver: the layers that ship, on tokio's paused clock.
//!
//! Nothing at a door is simulated here: `AdmissionLayer` with its gate, permits, meter, bodies and
//! refusals, and `RetryLayer` where callers use ours. The services behind and the callers in front
//! are futures that follow the same plan with the same draws as the [world](crate::world), and
//! leave the same kind of journal. What the two have in common is data: plan, sources, draws, the
//! arithmetic of a station. That they agree, attempt by attempt, is tested in `agreement`.
//!
//! - Time is tokio's, set forward from event to event to the nanosecond. The layers' own timers are
//!   tokio's and ring at whole milliseconds: waits in a queue and pauses between attempts may end up
//!   to one later than in the world.
//! - A handler that computes holds its poll, and the meter sees it: see [`cores`]. Polls that do not
//!   compute take no time and need no core, so the wait for one is seen at the wake, not at the
//!   yields before the first poll. Those need real workers and real sockets: the storm has them.
//! - Who computes cannot be called off, as in life: its place is free when it stops.
//! - The retry layer draws its jitter for all callers of a fleet, the world for each request.
//! - Who is let in by its own arrival starts before those whom the same arrival lets in. Where the
//!   limit's experiments turn on such a moment, the course from there on is another (`slots-exp-1.2x`,
//!   `chain-retries`).

#[cfg(test)]
mod agreement;
mod attempt;
mod body;
mod caller;
mod cores;
mod door;
mod event;
mod nap;
mod ours;
mod service;
mod stage;
mod station;
mod tasks;
mod work;

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{unconstrained, yield_now};
use tokio::time::advance;

use crate::world::LOOKS;
use crate::world::clock::nanos;
use crate::world::journal::Journal;
use crate::world::plan::Plan;
use crate::world::slab::Id;

use cores::{Cores, Polled};
use event::{Event, moments};
use stage::Stage;
use work::Served;

/// Runs a scenario once, with the layers that ship at its doors.
pub(crate) fn simulate(plan: &Plan, seed: u64) -> Journal {
    let runtime = runtime();
    let context = runtime.enter();
    let stage = Stage::new(plan, seed, ours::layers(plan, seed));
    drop(context);
    thread::scope(|scope| {
        let mut driver = Driver { stage: &stage, cores: Cores::new(scope) };
        driver.open();
        runtime.block_on(unconstrained(driver.play(nanos(plan.seconds))));
        let journal = std::mem::take(&mut stage.state().journal);
        // Those who are still on their way hold the stage, which holds them.
        let left = stage.state().tasks.clear();
        let _context = runtime.enter();
        drop((left, driver));
        journal
    })
}

fn runtime() -> Runtime {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime without sockets needs nothing of the system")
}

/// Nanoseconds between two moments at which tokio's own timers ring.
const TICK: u64 = 1_000_000;

struct Driver<'a, 'scope, 'env, 'p> {
    stage: &'a Arc<Stage<'p>>,
    cores: Cores<'scope, 'env, 'p>,
}

impl<'scope, 'p: 'scope> Driver<'_, 'scope, '_, 'p> {
    /// Puts on the agenda what is known from the start.
    fn open(&self) {
        let plan = self.stage.plan;
        let mut state = self.stage.state();
        let state = &mut *state;
        for (index, source) in state.sources.iter_mut().enumerate() {
            for at in source.first(&plan.streams[index].stream) {
                state.agenda.push(at, Event::Arrives(index as u32));
            }
        }
        for (at, event) in moments(plan) {
            state.agenda.push(at, event);
        }
        state.agenda.push(0, Event::Look);
    }

    /// Lets happen what happens until `end`, or until nothing is left to happen.
    async fn play(&mut self, end: u64) {
        self.stage.state().journal.end = end;
        while let Some(at) = self.next().filter(|at| *at <= end) {
            self.jump(at).await;
            while let Some(event) = self.due() {
                self.happens(event);
                self.work();
            }
            // Tokio's own timers, and whoever has asked to go on after everybody else.
            let woken = self.stage.ready.len();
            yield_now().await;
            self.stage.state().tasks.sort_after(woken);
            self.work();
        }
    }

    /// The next moment at which something may happen.
    fn next(&self) -> Option<u64> {
        let state = self.stage.state();
        let tick = (state.asleep > 0).then(|| (state.now / TICK + 1) * TICK);
        state.agenda.next().into_iter().chain(tick).min()
    }

    /// Sets the clock forward. What tokio's own timers say comes after what the agenda has for the
    /// same moment: that is why this does not yield.
    async fn jump(&self, until: u64) {
        let now = std::mem::replace(&mut self.stage.state().now, until);
        if until > now {
            let mut advance = pin!(advance(Duration::from_nanos(until - now)));
            poll_fn(|cx| {
                // Its first poll moves the clock; all it does after that is yield.
                let _ = advance.as_mut().poll(cx);
                Poll::Ready(())
            })
            .await;
        }
    }

    fn due(&self) -> Option<Event> {
        let mut state = self.stage.state();
        if state.agenda.next()? > state.now {
            return None;
        }
        state.agenda.pop().map(|(_, event)| event)
    }

    fn happens(&mut self, event: Event) {
        let stage = self.stage;
        match event {
            Event::Arrives(stream) => caller::arrive(stage, stream),
            Event::Wakes(alarm) => {
                let waker = stage.state().alarms.remove(alarm);
                waker.into_iter().for_each(std::task::Waker::wake);
            }
            Event::Begins(job) => stage.state().stations.granted.push_back(job),
            Event::Served(station, job) => self.served(station, job),
            Event::Shared(station, estimate) => {
                let wakers = stage.state().shared(station, estimate);
                wakers.into_iter().for_each(std::task::Waker::wake);
            }
            Event::Recounts(station) => stage.state().recounts(station),
            Event::Look => self.look(),
        }
    }

    fn look(&self) {
        self.stage.look();
        let mut state = self.stage.state();
        let end = nanos(self.stage.plan.seconds);
        let next = state.now + nanos(self.stage.plan.seconds / f64::from(LOOKS));
        if next <= end {
            state.agenda.push(next, Event::Look);
        }
    }

    fn served(&mut self, station: u32, job: Id) {
        let served = self.stage.state().served(station, job);
        match served {
            Served::Computed(core, task) => {
                self.stage.state().tasks.current = task;
                let stop = self.cores.resume(core);
                self.stopped(task, None, stop);
            }
            Served::Elsewhere(waker) => waker.wake(),
            Served::ForNobody => {}
        }
    }

    /// Polls whoever can be polled.
    fn work(&mut self) {
        loop {
            self.begin();
            let Some(id) = self.stage.ready.pop() else { return };
            let taken = self.stage.state().tasks.take(id);
            let Some((mut work, waker)) = taken else { continue };
            let poll = work.as_mut().poll(&mut Context::from_waker(&waker));
            self.put_back(id, (work, poll));
        }
    }

    /// Lets cores begin with the jobs they have turned to.
    fn begin(&mut self) {
        loop {
            let mut state = self.stage.state();
            let Some(job) = state.stations.granted.pop_front() else { return };
            let Some(task) = state.stations.task(job) else { continue };
            let Some((work, waker)) = state.tasks.release(task) else { continue };
            drop(state);
            let stop = self.cores.begin(work, waker);
            self.stopped(task, Some(job), stop);
        }
    }

    fn stopped(&self, task: Id, job: Option<Id>, stop: Result<usize, Polled<'p>>) {
        match (stop, job) {
            (Ok(core), Some(job)) => self.stage.state().stations.computes(job, core),
            (Ok(_), None) => {}
            (Err(polled), _) => self.put_back(task, polled),
        }
    }

    fn put_back(&self, id: Id, (work, poll): Polled<'p>) {
        let over = self.stage.state().tasks.put_back(id, work, poll);
        drop(over);
    }
}
