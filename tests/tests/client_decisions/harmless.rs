//! The layers serve no fewer requests than retries alone, whatever a share of the responses says.

use std::convert::Infallible;
use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use tokio::time::sleep;
use tower::{Layer, ServiceBuilder, service_fn};
use tower_backpressure::client::AttemptTimeoutLayer;
use tower_backpressure::{ClientStack, RetryLayer};

use super::{MS, Reply, SECOND, load, ok, reply};

/// What a share of the requests meets.
#[derive(Clone, Copy, Debug)]
enum Fault {
    Status(u16, Option<&'static str>),
    After(Duration, u16),
    Hangs,
    Grpc(&'static str),
}

const FAULTS: [Fault; 11] = [
    Fault::Status(503, None),
    Fault::Status(503, Some("30")),
    Fault::Status(429, Some("30")),
    Fault::Status(429, None),
    Fault::Status(500, None),
    Fault::Status(502, Some("5")),
    Fault::Status(404, None),
    Fault::After(SECOND, 200),
    Fault::After(Duration::from_secs(2), 504),
    Fault::Hangs,
    Fault::Grpc("14"),
];

async fn respond(fault: Option<Fault>) -> Result<Reply, Infallible> {
    sleep(20 * MS).await;
    Ok(match fault {
        None => ok(),
        Some(Fault::Status(status, None)) => reply(status, &[]),
        Some(Fault::Status(status, Some(after))) => reply(status, &[("retry-after", after)]),
        Some(Fault::After(after, status)) => {
            sleep(after).await;
            reply(status, &[])
        }
        Some(Fault::Hangs) => pending().await,
        Some(Fault::Grpc(status)) => {
            reply(200, &[("grpc-status", status), ("grpc-retry-pushback-ms", "5000")])
        }
    })
}

fn served<B>(responses: Vec<Response<B>>) -> usize {
    let is_served = |response: &&Response<B>| {
        let status = response.headers().get("grpc-status");
        response.status() == StatusCode::OK && status.is_none()
    };
    responses.iter().filter(is_served).count()
}

/// With this one, responses with 429 come in a row early on: the adaptive limit of the origin falls from 100 to 1,
/// and the queue of the client is full for a second.
const SEED: u64 = 15_203_410_519_523_951_368;

#[tokio::test(start_paused = true)]
async fn a_share_of_faults_costs_the_stack_no_other_request() {
    let shares = |fault| [(fault, 0.06, 10 * SECOND), (fault, 0.4, 30 * SECOND)];
    for (fault, share, length) in FAULTS.into_iter().flat_map(shares) {
        let server = || {
            let dice = Arc::new(Mutex::new((0, fastrand::Rng::with_seed(SEED))));
            service_fn(move |_: Request<()>| {
                let (count, rng) = &mut *dice.lock().expect("no panic");
                *count += 1;
                // The first response is believed; see `CooldownLayer`.
                respond((*count > 1 && rng.f64() < share).then_some(fault))
            })
        };
        let every = 5 * MS;
        let retries = RetryLayer::new().deadline(5 * SECOND);
        let alone =
            ServiceBuilder::new().layer(retries).layer(AttemptTimeoutLayer::new(5 * SECOND));
        let alone = served(load(&alone.service(server()), every, length).await);
        let stack = ClientStack::new("x").deadline(5 * SECOND).layer(server());
        let stack = served(load(&stack, every, length).await);
        assert!(
            stack as f64 >= 0.95 * alone as f64,
            "{fault:?} {share}: {stack} with all layers, {alone} with retries alone"
        );
    }
}
