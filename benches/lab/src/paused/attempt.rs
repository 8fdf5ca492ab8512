//! One attempt, as its caller sees it.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use backpressure_core::{Arrival, Timestamp};
use http::StatusCode;
use http::response::Parts;
use tower_backpressure::Shed;

use crate::scenario::stream::Stream;
use crate::world::clock::nanos;
use crate::world::door::{priority, replica_draw};
use crate::world::journal::{Ended, How};
use crate::world::own::Own;

use super::nap::Nap;
use super::service::{Errand, knock};
use super::stage::Stage;

/// Its number among all requests, and what belongs to it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Demand {
    pub(super) number: u32,
    pub(super) own: Own,
}

/// The caller has left before there was an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Left;

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
        stages: stream.passes(),
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
