//! The service under the layer: its stages, one await after the other.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use backpressure_core::Arrival;
use http::{Request, Response, StatusCode};
use tower::Service;

use crate::world::clock::{fraction, mix, nanos, seconds, step_key};
use crate::world::plan::Step;

use super::body::Slow;
use super::door::knock;
use super::nap::Nap;
use super::stage::Stage;
use super::station::Visit;

/// What an attempt is for.
#[derive(Clone, Debug)]
pub(super) struct Errand {
    /// Its demands are drawn with this.
    pub(super) key: u64,
    /// How much longer than usual it takes at each station.
    pub(super) demand: f64,
    pub(super) arrival: Arrival,
    pub(super) service: u32,
    /// Which of the service's replicas it came to.
    pub(super) replica: u32,
    pub(super) promised: bool,
    /// Whether it was let in.
    pub(super) began: Arc<AtomicBool>,
}

/// What a replica does with those who are let in.
#[derive(Clone)]
pub(super) struct Handler<'p>(pub(super) Arc<Stage<'p>>);

type Answering<'p> =
    Pin<Box<dyn Future<Output = Result<Response<Slow<'p>>, Infallible>> + Send + 'p>>;

impl<'p> Service<Request<()>> for Handler<'p> {
    type Response = Response<Slow<'p>>;
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

async fn serve<'p>(stage: &Arc<Stage<'p>>, errand: &Errand) -> Response<Slow<'p>> {
    let service = &stage.plan.services[errand.service as usize];
    for round in 0..service.rounds {
        for (index, step) in service.steps.iter().enumerate() {
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
                Step::Fail { share } if fraction(draw) < *share => {
                    return answer(StatusCode::INTERNAL_SERVER_ERROR, Slow::nothing());
                }
                Step::Fail { .. } => {}
                Step::Body { draw: law } => {
                    return answer(StatusCode::OK, Slow::over(stage, nanos(law.of(draw))));
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
        let errand = Errand { key, service, promised: false, began, ..errand.clone() };
        let answer = knock(stage, errand, mix(key, u64::from(tries)), true).await;
        if answer.status != StatusCode::SERVICE_UNAVAILABLE || tries >= attempts {
            return answer.status;
        }
        Nap::over(stage, nanos(after)).await;
    }
    StatusCode::SERVICE_UNAVAILABLE
}

fn answer(status: StatusCode, body: Slow<'_>) -> Response<Slow<'_>> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}
