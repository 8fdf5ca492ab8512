//! `OriginLimitLayer`: a limit for each origin, on the paused clock.

mod adaptation;
mod origin_identity;
mod queueing_and_rejection;
mod unread_bodies;

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use backpressure_tests::scripted_body::ScriptedBody;
use http::{Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{Limiter, OriginLimitLayer, Shed};

const SECOND: Duration = Duration::from_secs(1);
/// The limit of an origin before it adapts.
const INITIAL_LIMIT: usize = 100;
const ORIGIN: &str = "http://here/";

fn get(uri: &str) -> Request<()> {
    Request::get(uri).body(()).expect("a request")
}

fn limiter(layer: &OriginLimitLayer, origin: &str) -> Limiter {
    layer.limiter(&origin.parse().expect("a URI")).expect("a known origin")
}

/// Whether the layer made the response, and not the server.
fn is_local<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Shed>().is_some()
}

/// A server with slots behind an await, each occupied by a request for `work`.
#[derive(Clone, Debug)]
struct Server {
    slots: Arc<Semaphore>,
    work: Duration,
    /// Requests in flight at which the server rejects a new one, after a millisecond.
    max_in_flight: Arc<AtomicUsize>,
    in_flight: Arc<AtomicUsize>,
    served: Arc<AtomicUsize>,
    rejected: Arc<AtomicUsize>,
}

impl Server {
    fn new(slots: usize, work: Duration) -> Self {
        let (slots, max_in_flight) = (Arc::new(Semaphore::new(slots)), Arc::new(usize::MAX.into()));
        let [in_flight, served, rejected] = Default::default();
        Self { slots, work, max_in_flight, in_flight, served, rejected }
    }

    async fn reject(self) -> Result<Response<ScriptedBody>, Infallible> {
        self.rejected.fetch_add(1, SeqCst);
        sleep(SECOND / 1_000).await;
        let mut response = Response::new(ScriptedBody::default());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        Ok(response)
    }

    async fn respond(self) -> Result<Response<ScriptedBody>, Infallible> {
        if self.in_flight.load(SeqCst) >= self.max_in_flight.load(SeqCst) {
            return self.reject().await;
        }
        self.in_flight.fetch_add(1, SeqCst);
        let slot = self.slots.acquire().await.expect("the semaphore is never closed");
        sleep(self.work).await;
        drop(slot);
        self.in_flight.fetch_sub(1, SeqCst);
        self.served.fetch_add(1, SeqCst);
        Ok(Response::new(ScriptedBody::default()))
    }

    fn behind(
        &self,
        layer: &OriginLimitLayer,
    ) -> impl Service<
        Request<()>,
        Response = Response<LimitedBody>,
        Error = Infallible,
        Future: Send,
    > + Clone
    + Send
    + use<> {
        let server = self.clone();
        layer.layer(service_fn(move |_: Request<()>| server.clone().respond()))
    }
}

type LimitedBody = tower_backpressure::ResponseBody<ScriptedBody>;

/// Starts `count` calls in tasks of their own; each drops its response.
fn spawn_calls<S>(client: &S, uri: &str, count: usize) -> Vec<JoinHandle<()>>
where
    S: Service<Request<()>, Future: Send> + Clone + Send + 'static,
{
    let call = || {
        let (client, request) = (client.clone(), get(uri));
        tokio::spawn(async move { drop(client.oneshot(request).await) })
    };
    (0..count).map(|_| call()).collect()
}

/// Sends a request and drops the response, because an unread body would keep its permit.
async fn status<S>(client: S, uri: &str) -> StatusCode
where
    S: Service<Request<()>, Response = Response<LimitedBody>, Error = Infallible>,
{
    client.oneshot(get(uri)).await.expect("infallible").status()
}

/// A server that never responds.
async fn never(_: Request<()>) -> Result<Response<ScriptedBody>, Infallible> {
    pending().await
}
