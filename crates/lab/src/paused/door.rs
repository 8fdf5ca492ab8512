//! The doors: which replica an attempt comes to, and its way through the layer that stands there.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Request;
use http::response::Parts;
use http_body_util::BodyExt;
use hyper::body::Body;
use tokio::sync::oneshot;
use tower::{Layer, Service};
use tower_backpressure::{Deadline, Shed};

use crate::world::slab::Id;

use super::service::{Errand, Handler};
use super::stage::Stage;

/// An attempt under way. Dropped before its answer it is called off, if its caller cancels.
pub(super) struct Reply<'p> {
    stage: Arc<Stage<'p>>,
    task: Id,
    cancels: bool,
    answer: oneshot::Receiver<Parts>,
}

/// An attempt stands at the door of one of its service's replicas.
pub(super) fn knock<'p>(
    stage: &Arc<Stage<'p>>,
    mut errand: Errand,
    draw: u64,
    cancels: bool,
) -> Reply<'p> {
    let service = &stage.plan.services[errand.service as usize];
    let mut state = stage.state();
    let state = &mut *state;
    let turn = &mut state.turns[errand.service as usize];
    let outstanding = |replica| state.outstanding[(service.first_post + replica) as usize];
    errand.replica = service.replica(turn, draw, outstanding);
    let post = (service.first_post + errand.replica) as usize;
    state.outstanding[post] += 1;
    state.journal.entered += 1;
    state.asleep += 1;
    let present = Present { stage: Arc::clone(stage), post, began: Arc::clone(&errand.began) };
    let (told, answer) = oneshot::channel();
    let task = state.tasks.spawn(Box::pin(passes(present, errand, told)));
    Reply { stage: Arc::clone(stage), task, cancels, answer }
}

/// From the door to the end of the body.
async fn passes(present: Present<'_>, errand: Errand, told: oneshot::Sender<Parts>) {
    let stage = &present.stage;
    let mut door = stage.doors[present.post].layer(Handler(Arc::clone(stage)));
    let (service, replica) = (errand.service, errand.replica);
    let Ok(response) = door.call(request(stage, errand)).await;
    let (head, mut body) = response.into_parts();
    if head.extensions.get::<Shed>().is_some() {
        charge(stage, service, replica);
    } else if !body.is_end_stream() {
        // The caller may have gone.
        let _ = told.send(head);
        while body.frame().await.is_some() {}
        return;
    }
    drop((body, present));
    let _ = told.send(head);
}

fn request(stage: &Stage<'_>, errand: Errand) -> Request<()> {
    let mut request = Request::new(());
    let arrival = errand.arrival;
    request.extensions_mut().insert(arrival.priority);
    if let Some(deadline) = arrival.deadline {
        let at = stage.epoch + Duration::from_nanos(deadline.as_nanos());
        request.extensions_mut().insert(Deadline(at));
    }
    request.extensions_mut().insert(errand);
    request
}

fn charge(stage: &Stage<'_>, service: u32, replica: u32) {
    let service = &stage.plan.services[service as usize];
    if let Some(local) = service.refuses {
        let mut state = stage.state();
        let now = state.now;
        state.stations.charge(service.station(replica, local), service.refusal, now);
    }
}

/// Counts as outstanding until it is dropped.
struct Present<'p> {
    stage: Arc<Stage<'p>>,
    post: usize,
    began: Arc<AtomicBool>,
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        let mut state = self.stage.state();
        state.outstanding[self.post] -= 1;
        state.journal.left += 1;
        if !self.began.load(Ordering::Relaxed) {
            state.asleep -= 1;
        }
    }
}

impl Future for Reply<'_> {
    type Output = Parts;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Parts> {
        match ready!(Pin::new(&mut self.answer).poll(cx)) {
            Ok(head) => {
                self.cancels = false;
                Poll::Ready(head)
            }
            // The run is over.
            Err(_) => Poll::Pending,
        }
    }
}

impl Drop for Reply<'_> {
    fn drop(&mut self) {
        if self.cancels {
            self.stage.cancel(self.task);
        }
    }
}
