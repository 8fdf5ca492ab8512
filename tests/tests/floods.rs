//! Rejections are delayed where callers retry at once, and only there.

use std::cell::RefCell;
use std::fmt::Debug;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use tokio::task::{JoinHandle, LocalSet, spawn_local};
use tokio::time::{Instant, sleep, sleep_until};
use tower::limit::ConcurrencyLimitLayer;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::AdmissionLayer;

const SLOTS: usize = 40;
const WORK: Duration = Duration::from_millis(40);
const PER_SECOND: f64 = 1_000.0;
const MILLI: Duration = Duration::from_millis(1);

/// How requests were answered.
#[derive(Clone, Copy, Debug, Default)]
struct Answers {
    served: f64,
    rejected: f64,
    /// Of these, not at once.
    delayed: f64,
}

type Counted = Rc<RefCell<Answers>>;

/// Sends a request and counts its answer.
async fn ask<S, B>(service: S, answers: Counted)
where
    S: Service<Request<String>, Response = Response<B>, Error: Debug>,
{
    let asked = Instant::now();
    let response = service.oneshot(Request::new(String::new())).await.expect("a response");
    let mut answers = answers.borrow_mut();
    let is_served = response.status().is_success();
    let of = if is_served { &mut answers.served } else { &mut answers.rejected };
    *of += 1.0;
    if !is_served && asked.elapsed() > 500 * MILLI {
        answers.delayed += 1.0;
    }
}

/// What arrives.
#[derive(Clone, Copy)]
enum Arrivals {
    /// This many a second, all that arrive in this time at its end.
    Groups(f64, Duration),
    /// Callers that retry as soon as they are rejected, each a millisecond away.
    Loops(usize),
}

async fn arrive<S, B: 'static>(arrivals: Arrivals, service: S, answers: Counted, length: Duration)
where
    S: Service<Request<String>, Response = Response<B>, Error: Debug> + Clone + 'static,
    S::Future: 'static,
{
    let start = Instant::now();
    match arrivals {
        Arrivals::Groups(per_second, every) => {
            let mut arrived = 0.0;
            for n in 1.. {
                sleep_until(start + n * every).await;
                if start.elapsed() > length {
                    return;
                }
                while arrived < per_second * start.elapsed().as_secs_f64() {
                    arrived += 1.0;
                    spawn_local(ask(service.clone(), Rc::clone(&answers)));
                }
            }
        }
        Arrivals::Loops(callers) => {
            let call = |_| {
                let (service, answers) = (service.clone(), Rc::clone(&answers));
                spawn_local(async move {
                    loop {
                        sleep(MILLI).await;
                        ask(service.clone(), Rc::clone(&answers)).await;
                    }
                })
            };
            let callers: Vec<JoinHandle<()>> = (0..callers).map(call).collect();
            sleep(length).await;
            callers.iter().for_each(JoinHandle::abort);
        }
    }
}

/// Answers to what arrives one after the other at a pool of slots behind an adaptive limit.
async fn answers(phases: [(Arrivals, u64); 3]) -> [Answers; 3] {
    let service = ServiceBuilder::new()
        .layer(AdmissionLayer::adaptive("floods"))
        .layer(ConcurrencyLimitLayer::new(SLOTS))
        .service(service_fn(|_: Request<String>| async {
            sleep(WORK).await;
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        }));
    let run = async {
        let mut all = [Answers::default(); 3];
        for ((arrivals, seconds), all) in phases.into_iter().zip(&mut all) {
            let answers = Counted::default();
            arrive(arrivals, service.clone(), Rc::clone(&answers), Duration::from_secs(seconds))
                .await;
            *all = *answers.borrow();
        }
        all
    };
    LocalSet::new().run_until(run).await
}

/// Two thousand requests a second: twice the capacity.
const OVERLOAD: Arrivals = Arrivals::Groups(2.0 * PER_SECOND, MILLI);

#[tokio::test(start_paused = true)]
async fn requests_that_come_in_groups_are_rejected_at_once_and_so_is_what_comes_afterwards() {
    for (times, every) in [(3.0, 100 * MILLI), (8.0, 100 * MILLI), (3.0, 1_000 * MILLI)] {
        let groups = Arrivals::Groups(times * PER_SECOND, every);
        let [_, in_groups, after] = answers([(OVERLOAD, 10), (groups, 60), (OVERLOAD, 20)]).await;
        assert!(in_groups.delayed < 0.05 * in_groups.rejected, "{in_groups:?}");
        assert!(after.rejected > 0.0 && after.delayed < 0.02 * after.rejected, "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_pause_in_an_overload_delays_rejections_for_seconds() {
    let pause = Arrivals::Groups(2.0 * PER_SECOND, 300 * MILLI);
    let [_, _, after] = answers([(OVERLOAD, 10), (pause, 1), (OVERLOAD, 60)]).await;
    assert!(after.rejected > 50_000.0 && after.delayed < 0.05 * after.rejected, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn callers_that_retry_at_once_are_slowed_down_for_as_long_as_they_do() {
    for callers in [200, 800] {
        let flood = Arrivals::Loops(callers);
        let [_, flood, after] = answers([(OVERLOAD, 10), (flood, 90), (OVERLOAD, 90)]).await;
        // Each would come a thousand times a second.
        assert!(flood.rejected < 1.25 * 90.0 * callers as f64, "{flood:?}");
        assert!(flood.served > 0.98 * 90.0 * PER_SECOND, "{flood:?}");
        // It is remembered for half a minute.
        assert!(after.delayed < 0.4 * after.rejected, "{after:?}");
    }
}
