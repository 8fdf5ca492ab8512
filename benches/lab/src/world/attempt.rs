//! An attempt and its way through the stages of a service.

use backpressure_core::Outcome;

use crate::controller::{AttemptInfo, Refusal};
use crate::scenario::stream::ALL_STAGES;

use super::World;
use super::clock::{fraction, mix, nanos, seconds, step_key};
use super::event_queue::Event;
use super::journal::AttemptOutcome;
use super::plan::{ServicePlan, Step};
use super::slab::Id;

/// One attempt at one service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    pub(super) info: AttemptInfo,
    /// Its request, as long as the client waits for this attempt.
    pub(super) request: Id,
    /// The attempt at the calling service, and the one at the service being called.
    pub(super) parent: Id,
    pub(super) child: Id,
    /// Random numbers of its demands are made of this.
    pub(super) key: u64,
    /// Its work at each station over the usual work.
    pub(super) demand: f64,
    /// The stages that it passes, one bit each.
    pub(super) stages: u64,
    pub(super) service: u32,
    pub(super) server: u32,
    pub(super) round: u16,
    pub(super) step: u16,
    /// How often the present call was tried.
    pub(super) tries: u32,
    pub(super) state: State,
    pub(super) outcome: Outcome,
    pub(super) promised: bool,
    /// The controller has already learned from it.
    pub(super) measured: bool,
    pub(super) admitted: u64,
    /// Latency to the head of the answer, once that is sent.
    pub(super) head: Option<u64>,
    pub(super) in_flight: u32,
    pub(super) run_queue: u64,
    pub(super) busy: u64,
    /// Since when it waits for a core of this process.
    pub(super) runnable: Option<u64>,
    /// Since when it computes in this process, within one poll.
    pub(super) computes: Option<u64>,
    /// It was cancelled while it computed.
    pub(super) called_off: bool,
    /// At a shared station: the station, and the value of its counter at which this work is done.
    pub(super) work: f64,
    pub(super) shared: Option<(u32, f64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// In the queue of the controller.
    Waiting,
    Inside,
    /// The head of the answer is sent, and the body is being read.
    Reading,
}

impl Attempt {
    pub(super) const fn new(info: AttemptInfo, service: u32) -> Self {
        Self {
            info,
            request: Id::NONE,
            parent: Id::NONE,
            child: Id::NONE,
            key: 0,
            demand: 1.0,
            stages: ALL_STAGES,
            service,
            server: 0,
            round: 0,
            step: 0,
            tries: 0,
            state: State::Waiting,
            outcome: Outcome::Success,
            promised: false,
            measured: false,
            admitted: 0,
            head: None,
            in_flight: 0,
            run_queue: 0,
            busy: 0,
            runnable: None,
            computes: None,
            called_off: false,
            work: 0.0,
            shared: None,
        }
    }

    /// Key of the random numbers of its present step.
    pub(super) fn draw(&self) -> u64 {
        step_key(self.key, self.round, self.step)
    }
}

impl World<'_> {
    /// The attempt was admitted, or has finished its present step.
    pub(super) fn advance(&mut self, id: Id) {
        let plan = self.plan;
        loop {
            let Some(attempt) = self.attempts.get_mut(id) else { return };
            let service = &plan.services[attempt.service as usize];
            if usize::from(attempt.step) == service.steps.len() {
                attempt.round += 1;
                attempt.step = 0;
                if attempt.round >= service.rounds {
                    return self.ends(id, Outcome::Success);
                }
            }
            let (draw, index) = (attempt.draw(), usize::from(attempt.step));
            let step = &service.steps[index];
            attempt.step += 1;
            if !ServicePlan::passes(attempt.stages, index) {
                continue;
            }
            if attempt.called_off && step.yields() {
                return self.cancels(id);
            }
            match step {
                Step::Visit(local) => return self.visits(id, *local, draw),
                Step::Delay { draw: law, factors } => {
                    let replica = plan.servers[attempt.server as usize].replica;
                    let span = law.of(draw) * factors[replica as usize].at(seconds(self.now));
                    return self.events.push(self.now + nanos(span), Event::Passed(id));
                }
                Step::Call { .. } => {
                    attempt.tries = 0;
                    return self.calls(id);
                }
                Step::Fail { share, outcome } if fraction(draw) < share.at(seconds(self.now)) => {
                    return self.ends(id, *outcome);
                }
                Step::Fail { .. } => {}
                Step::Body { draw: law } => {
                    let span = nanos(law.of(draw));
                    return self.answers(id, span);
                }
            }
        }
    }

    /// The head of the answer is sent; the attempt stays in flight until the body has been read.
    fn answers(&mut self, id: Id, span: u64) {
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        attempt.state = State::Reading;
        attempt.head = Some(self.now - attempt.admitted);
        let told =
            std::mem::replace(attempt, Attempt { request: Id::NONE, parent: Id::NONE, ..*attempt });
        self.events.push(self.now + span, Event::Read(id));
        self.answered(id);
        self.report(&told, Outcome::Success);
    }

    /// The attempt is over.
    fn ends(&mut self, id: Id, outcome: Outcome) {
        let Some(attempt) = self.attempts.remove(id) else { return };
        self.release(&attempt, outcome, 1);
        self.report(&attempt, outcome);
    }

    /// Reports the outcome to the calling attempt, or to the client.
    fn report(&mut self, attempt: &Attempt, outcome: Outcome) {
        if self.attempts.get(attempt.parent).is_some() {
            return self.returns(attempt.parent, outcome);
        }
        let ended = match outcome {
            Outcome::Success => AttemptOutcome::Answered,
            Outcome::Overload => AttemptOutcome::Overloaded,
            _ => AttemptOutcome::Failed,
        };
        self.attempt_ended(attempt.request, ended, Refusal::default());
    }

    /// Calls the service of the present step.
    pub(super) fn calls(&mut self, id: Id) {
        let plan = self.plan;
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        let steps = &plan.services[attempt.service as usize].steps;
        let step = attempt.step - 1;
        let Step::Call { service, .. } = &steps[usize::from(step)] else { return };
        attempt.tries += 1;
        let key = step_key(attempt.key, attempt.round, step);
        let draw = mix(key, u64::from(attempt.tries));
        let (demand, info) = (attempt.demand, attempt.info);
        let child = Attempt { key, demand, parent: id, ..Attempt::new(info, *service) };
        let child = self.attempts.insert(child);
        if let Some(attempt) = self.attempts.get_mut(id) {
            attempt.child = child;
        }
        self.arrives_at_server(child, draw);
    }

    /// The called service has answered or rejected.
    pub(super) fn returns(&mut self, id: Id, outcome: Outcome) {
        let plan = self.plan;
        let Some(attempt) = self.attempts.get_mut(id) else { return };
        attempt.child = Id::NONE;
        let steps = &plan.services[attempt.service as usize].steps;
        let Step::Call { attempts, after, .. } = &steps[usize::from(attempt.step - 1)] else {
            return;
        };
        match outcome {
            Outcome::Success => self.advance(id),
            Outcome::Overload if attempt.tries < *attempts => {
                self.events.push(self.now + nanos(*after), Event::Calls(id));
            }
            _ => self.ends(id, outcome),
        }
    }
}
