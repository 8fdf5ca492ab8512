//! The service under the layer: its stages, one await after the other; and the way to it.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_core::{Arrival, Outcome};
use http::response::Parts;
use http::{Request, Response, StatusCode};
use http_body::Body;
use tokio::sync::oneshot;
use tower::{Layer, Service};
use tower_backpressure::{Deadline, Shed};

use crate::scenario::stream::ALL_STAGES;
use crate::world::clock::{fraction, mix, nanos, seconds, step_key};
use crate::world::plan::{ServicePlan, Step};

use super::body::{Reading, Slow};
use super::door::{Present, Reply};
use super::nap::Nap;
use super::stage::Stage;
use super::work::Visit;

/// What an attempt is for.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    /// Its demands are drawn with this.
    pub(super) key: u64,
    /// How much longer than usual it takes at each station.
    pub(super) demand: f64,
    /// The stages that it passes, one bit each.
    pub(super) stages: u64,
    pub(super) arrival: Arrival,
    pub(super) service: u32,
    /// Which of the service's replicas it came to.
    pub(super) replica: u32,
    pub(super) promised: bool,
    /// Whether it was let in.
    pub(super) began: Arc<AtomicBool>,
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
    let at = seconds(state.now);
    let outstanding = |replica| {
        let lost = service.is_lost(replica, &stage.plan.stations, at);
        (!lost).then(|| state.outstanding[(service.first_post + replica) as usize])
    };
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
        let reading = head.extensions.get::<Reading>().cloned();
        // The caller may have gone.
        let _ = told.send(head);
        let mut nap = reading.as_ref().map(|reading| Nap::until(stage, reading.ends_at));
        poll_fn(|cx| {
            if nap.as_mut().is_some_and(|nap| Pin::new(nap).poll(cx).is_ready()) {
                nap = None;
                reading.iter().for_each(Reading::end);
            }
            Pin::new(&mut body).poll_frame(cx)
        })
        .await;
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

/// What a replica does with those who are let in.
#[derive(Clone)]
struct Handler<'p>(Arc<Stage<'p>>);

type Answering<'p> = Pin<Box<dyn Future<Output = Result<Response<Slow>, Infallible>> + Send + 'p>>;

impl<'p> Service<Request<()>> for Handler<'p> {
    type Response = Response<Slow>;
    type Error = Infallible;
    type Future = Answering<'p>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<()>) -> Answering<'p> {
        let stage = Arc::clone(&self.0);
        let errand: Errand = request.extensions_mut().remove().expect("put there at the door");
        begins(&stage, &errand);
        Box::pin(async move { Ok(serve(&stage, &errand).await) })
    }
}

fn begins(stage: &Stage<'_>, errand: &Errand) {
    errand.began.store(true, Ordering::Relaxed);
    let mut state = stage.state();
    state.asleep -= 1;
    if errand.promised && state.is_judged() {
        state.journal.kept += 1;
    }
}

async fn serve<'p>(stage: &Arc<Stage<'p>>, errand: &Errand) -> Response<Slow> {
    let service = &stage.plan.services[errand.service as usize];
    for round in 0..service.rounds {
        let steps = service.steps.iter().enumerate();
        for (index, step) in steps.filter(|(n, _)| ServicePlan::passes(errand.stages, *n)) {
            let draw = step_key(errand.key, round, index as u16);
            match step {
                Step::Visit(local) => visit(stage, errand, *local, draw).await,
                Step::Delay { draw: law, factors } => {
                    let factor = factors[errand.replica as usize].at(seconds(stage.now()));
                    Nap::over(stage, nanos(law.of(draw) * factor)).await;
                }
                Step::Call { service, attempts, after } => {
                    let status = call(stage, errand, *service, draw, (*attempts, *after)).await;
                    if status != StatusCode::OK {
                        return answer(status, Slow::nothing());
                    }
                }
                Step::Fail { share, outcome }
                    if fraction(draw) < share.at(seconds(stage.now())) =>
                {
                    let status = match outcome {
                        Outcome::Overload => StatusCode::SERVICE_UNAVAILABLE,
                        _ => StatusCode::INTERNAL_SERVER_ERROR,
                    };
                    return answer(status, Slow::nothing());
                }
                Step::Fail { .. } => {}
                Step::Body { draw: law } => {
                    let reading = Reading::until(stage.now() + nanos(law.of(draw)));
                    let mut response = answer(StatusCode::OK, Slow::over(reading.clone()));
                    response.extensions_mut().insert(reading);
                    return response;
                }
            }
        }
    }
    answer(StatusCode::OK, Slow::nothing())
}

async fn visit<'p>(stage: &Arc<Stage<'p>>, errand: &Errand, local: u32, draw: u64) {
    let index = stage.plan.services[errand.service as usize].station(errand.replica, local);
    let work = stage.plan.stations[index].draw.of(draw) * errand.demand;
    Visit::new(stage, index, work).await;
}

/// Asks another service, again where that is too much for it, and gives the status to answer with.
async fn call(
    stage: &Arc<Stage<'_>>,
    errand: &Errand,
    service: u32,
    key: u64,
    (attempts, after): (u32, f64),
) -> StatusCode {
    for tries in 1.. {
        let began = Arc::default();
        let stages = ALL_STAGES;
        let errand = Errand { key, service, stages, promised: false, began, ..errand.clone() };
        let answer = knock(stage, errand, mix(key, u64::from(tries)), true).await;
        if answer.status != StatusCode::SERVICE_UNAVAILABLE || tries >= attempts {
            return answer.status;
        }
        Nap::over(stage, nanos(after)).await;
    }
    StatusCode::SERVICE_UNAVAILABLE
}

fn answer(status: StatusCode, body: Slow) -> Response<Slow> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    if status == StatusCode::SERVICE_UNAVAILABLE {
        // A limiter further down has said so, which is more than a status does.
        response.extensions_mut().insert(Outcome::Overload);
    }
    response
}
