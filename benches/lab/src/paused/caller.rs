//! Callers: who they are, and how they try again.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::StatusCode;
use http::response::Parts;
use tower_backpressure::{RetryAfter, RetryBudget, Shed};

use crate::scenario::stream::{Retry, Stream};
use crate::world::own::Own;
use crate::world::retries::{obeys, pause_of};
use crate::world::source::thinks;

use super::attempt::{Demand, Left, attempt};
use super::event::Event;
use super::nap::Nap;
use super::ours;
use super::stage::Stage;

/// The next requests of a stream come.
pub(super) fn arrive(stage: &Arc<Stage<'_>>, index: u32) {
    let stream = &stage.plan.streams[index as usize].stream;
    let mut state = stage.state();
    let state = &mut *state;
    let source = &mut state.sources[index as usize];
    if let Some(at) = source.follow(stream, state.now) {
        state.agenda.push(at, Event::Arrives(index));
    }
    for _ in 0..stream.size() {
        let (asked, own) = source.asks(stage.plan, state.now);
        let demand = Demand { number: state.journal.asked.len() as u32, own };
        state.journal.asked.push(asked);
        state.tasks.spawn(Box::pin(asks(Arc::clone(stage), demand)));
    }
}

async fn asks(stage: Arc<Stage<'_>>, demand: Demand) {
    let stream = &stage.plan.streams[demand.own.stream as usize].stream;
    match stream.retry {
        Retry::Ours { .. } => ours::ask(&stage, demand).await,
        _ => ask(&stage, stream, demand).await,
    }
    if let Some(pause) = thinks(stream, demand.own.key) {
        let mut state = stage.state();
        let at = state.now + pause;
        state.agenda.push(at, Event::Arrives(demand.own.stream));
    }
}

/// Attempt after attempt, as the stream has it.
async fn ask(stage: &Arc<Stage<'_>>, stream: &Stream, demand: Demand) {
    let mut promised = false;
    if let Some(budget) = budget(stage, demand.own) {
        budget.deposit();
    }
    for attempts in 1.. {
        let answer = attempt(stage, demand, attempts, promised).await;
        let told = match &answer {
            Ok(head) if head.status == StatusCode::SERVICE_UNAVAILABLE => told(head, stream.retry),
            Ok(_) => return,
            Err(Left) => None,
        };
        let now = stage.now();
        let Some(pause) = pause_of(&demand.own, stream.retry, attempts, told, now) else { return };
        let withdrawal = match budget(stage, demand.own).map(|budget| budget.withdraw()) {
            Some(None) => return,
            withdrawal => withdrawal.flatten(),
        };
        promised = told.is_some() && obeys(stream.retry);
        Nap::over(stage, pause).await;
        if let Some(withdrawal) = withdrawal {
            withdrawal.spend();
        }
    }
}

fn budget(stage: &Stage<'_>, own: Own) -> Option<RetryBudget> {
    stage.state().sources[own.stream as usize].fleets.of_user(own.user).cloned()
}

/// When to come back: by the header for those who read it, exactly for those who could.
fn told(head: &Parts, retry: Retry) -> Option<Duration> {
    match retry {
        Retry::Obedient { whole_seconds: false, .. } => {
            head.extensions.get::<Shed>().map(|shed| shed.retry_after)
        }
        _ => {
            RetryAfter::from_headers(&head.headers, SystemTime::UNIX_EPOCH).map(|told| told.delay())
        }
    }
}
