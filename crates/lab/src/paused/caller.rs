//! Callers: how long they wait for an attempt, and how they try again.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use backpressure_core::{Arrival, Timestamp};
use http::StatusCode;
use http::response::Parts;
use tower_backpressure::{RetryAfter, RetryBudget, Shed};

use crate::scenario::stream::{Retry, Stream};
use crate::world::clock::nanos;
use crate::world::door::{priority, replica_draw};
use crate::world::journal::{Ended, How};
use crate::world::retries::{obeys, pause_of};
use crate::world::source::{Own, thinks};

use super::door::knock;
use super::nap::Nap;
use super::ours;
use super::service::Errand;
use super::stage::{Event, Stage};

/// Its number among all requests, and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) number: u32,
    pub(super) own: Own,
}

/// The caller has left before there was an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left;

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
        _ => RetryAfter::from_headers(&head.headers, std::time::SystemTime::UNIX_EPOCH)
            .map(|told| told.delay()),
    }
}

/// One attempt, until there is an answer or the caller's patience is over.
pub(super) async fn attempt(
    stage: &Arc<Stage<'_>>,
    Demand { number, own }: Demand,
    attempts: u32,
    promised: bool,
) -> Result<Parts, Left> {
    let stream = &stage.plan.streams[own.stream as usize].stream;
    let sent = stage.now();
    let patience = stream.patience.map_or(u64::MAX, |patience| sent + nanos(patience));
    let until = patience.min(own.ends);
    if promised {
        let mut state = stage.state();
        state.journal.promised += u64::from(state.is_judged());
    }
    let errand = Errand {
        key: own.key,
        demand: stream.demand,
        arrival: arrival(stream, until),
        service: 0,
        replica: 0,
        promised,
        began: Arc::default(),
    };
    let mut nap = (until < u64::MAX).then(|| Box::pin(Nap::until(stage, until)));
    let reply = knock(stage, errand, replica_draw(own.key, attempts), stream.cancels);
    let answer = {
        let mut reply = pin!(reply);
        poll_fn(|cx| {
            if let Poll::Ready(head) = reply.as_mut().poll(cx) {
                return Poll::Ready(Ok(head));
            }
            match &mut nap {
                Some(nap) => Pin::new(nap).poll(cx).map(|()| Err(Left)),
                None => Poll::Pending,
            }
        })
        .await
    };
    let how = answer.as_ref().map_or(How::Left, how);
    let mut state = stage.state();
    let at = state.now;
    state.journal.ended.push(Ended { at, latency: at - sent, request: number, how });
    answer
}

fn arrival(stream: &Stream, until: u64) -> Arrival {
    let arrival = Arrival::default().priority(priority(stream.priority));
    if stream.tells && until < u64::MAX {
        return arrival.deadline(Timestamp::from_nanos(until));
    }
    arrival
}

fn how(head: &Parts) -> How {
    match head.status {
        StatusCode::OK => How::Answered,
        StatusCode::SERVICE_UNAVAILABLE if head.extensions.get::<Shed>().is_some() => How::Refused,
        StatusCode::SERVICE_UNAVAILABLE => How::Overloaded,
        _ => How::Failed,
    }
}
