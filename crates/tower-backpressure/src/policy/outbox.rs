//! Events in the order in which they happened, told one by one and outside of all locks.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::event::PolicyEvent;

/// Events that are still to be told.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    events: VecDeque<PolicyEvent>,
    is_sending: bool,
}

/// Events that wait while one is told. A rule that takes so long that there are more misses the oldest ones.
const MAX_EVENTS: usize = 1_000;

impl Outbox {
    pub(super) fn add(&self, event: PolicyEvent) {
        let mut state = self.state();
        if state.events.len() >= MAX_EVENTS {
            state.events.pop_front();
        }
        state.events.push_back(event);
    }

    /// Tells all events, unless another call does so: of a thread, or this one if telling has caused an event.
    pub(super) fn send(&self, tell: impl Fn(&PolicyEvent)) {
        if std::mem::replace(&mut self.state().is_sending, true) {
            return;
        }
        let sending = Sending(self);
        while let Some(event) = sending.next() {
            tell(&event);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the sending, also if telling panics.
struct Sending<'a>(&'a Outbox);

impl Sending<'_> {
    /// The next event; `None`: there is none, and the sending has ended.
    fn next(&self) -> Option<PolicyEvent> {
        let mut state = self.0.state();
        let event = state.events.pop_front();
        state.is_sending = event.is_some();
        event
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.state().is_sending = false;
        }
    }
}
