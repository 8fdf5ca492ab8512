//! A permit is released however its request ends: ten thousand requests of each kind, in memory.
//!
//! `permits_are_released_on_sockets.rs` does the same through hyper.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use backpressure_tests::scripted_body::{Broken, End, ScriptedBody};
use backpressure_tests::seed::seeded_rng;
use fastrand::Rng;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tower::{Layer, Service, service_fn};
use tower_backpressure::{
    AdmissionLayer, OriginLimitLayer, PermitScope, QueueBounds, SHED_REASON, Snapshot,
};

const REQUESTS_PER_ENDING: usize = 10_000;

/// How a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// The body is read to its end.
    Whole,
    /// The body has a known length and is read to its last byte; the end itself is not polled.
    OfKnownLength,
    /// The body ends with trailers.
    Trailers,
    /// The body is empty.
    Empty,
    NoContent,
    NotModified,
    Head,
    Upgrade,
    /// The body is dropped unread.
    Unread,
    /// The body never ends and is dropped after at most one frame.
    Abandoned,
    /// The body ends with an error.
    BrokenBody,
    /// No response: the future is dropped after a few polls or none.
    Cancelled,
    /// No response: the handler panics in `call`.
    PanicInCall,
    /// No response: the handler panics in `poll`.
    Panic,
    /// No response: the service returns an error.
    Error,
}

const ENDINGS: [Ending; 15] = [
    Ending::Whole,
    Ending::OfKnownLength,
    Ending::Trailers,
    Ending::Empty,
    Ending::NoContent,
    Ending::NotModified,
    Ending::Head,
    Ending::Upgrade,
    Ending::Unread,
    Ending::Abandoned,
    Ending::BrokenBody,
    Ending::Cancelled,
    Ending::PanicInCall,
    Ending::Panic,
    Ending::Error,
];

impl Ending {
    fn request(self, rng: &mut Rng) -> Request<(Self, Rng)> {
        let method = if self == Self::Head { Method::HEAD } else { Method::GET };
        let request = Request::builder().method(method);
        request.body((self, rng.fork())).expect("a request")
    }

    fn response(self, rng: &mut Rng) -> Response<ScriptedBody> {
        let body = ScriptedBody::pieces(rng.usize(1..5), rng.usize(1..2_000));
        let status = match self {
            Self::NoContent => StatusCode::NO_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::Upgrade => StatusCode::SWITCHING_PROTOCOLS,
            _ => StatusCode::OK,
        };
        let length = match self {
            Self::OfKnownLength | Self::Head => Some(body.remaining()),
            Self::Empty => Some(0),
            _ => None,
        };
        let body = match self {
            Self::Empty | Self::Head => ScriptedBody::default(),
            Self::Trailers => body.trailers(),
            Self::Abandoned => body.end(End::Hangs),
            Self::BrokenBody => body.end(End::Broken),
            _ => body,
        };
        let mut response = Response::builder().status(status);
        if let Some(length) = length {
            response = response.header(header::CONTENT_LENGTH, length);
        }
        response.body(body).expect("a response")
    }

    /// Whether the permit is released while the client still holds the body.
    fn ends_before_drop(self) -> bool {
        !matches!(self, Self::Unread | Self::Abandoned)
    }
}

/// Yields up to twice, then ends the request as `ending` says.
fn handle(
    request: Request<(Ending, Rng)>,
) -> impl Future<Output = Result<Response<ScriptedBody>, Broken>> + Send {
    let (ending, mut rng) = request.into_body();
    if ending == Ending::PanicInCall {
        // Unwinds without the panic hook, which would print each panic.
        resume_unwind(Box::new("a deliberate panic"));
    }
    async move {
        for _ in 0..rng.u8(0..3) {
            tokio::task::yield_now().await;
        }
        match ending {
            Ending::Cancelled => pending().await,
            Ending::Panic => resume_unwind(Box::new("a deliberate panic")),
            Ending::Error => Err(Broken),
            _ => Ok(ending.response(&mut rng)),
        }
    }
}

/// Turns a panic into `None`, as a runtime does for its tasks.
async fn catch_panic<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

async fn poll_times<F: Future>(mut future: Pin<&mut F>, times: usize) {
    for _ in 0..times {
        let once = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready()));
        if once.await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// Sends one request and ends it; false when it was rejected. `check` is called as soon as the permit
/// must have been released.
async fn send<S, B>(service: &mut S, ending: Ending, rng: &mut Rng, check: impl Fn()) -> bool
where
    S: Service<Request<(Ending, Rng)>, Response = Response<B>, Error = Broken>,
    B: http_body::Body<Data = bytes::Bytes, Error = Broken> + Unpin,
{
    let called = catch_unwind(AssertUnwindSafe(|| service.call(ending.request(rng))));
    let Ok(future) = called else {
        check();
        return true;
    };
    if ending == Ending::Cancelled {
        let mut future = Box::pin(future);
        poll_times(future.as_mut(), rng.usize(0..6)).await;
        drop(future);
        check();
        return true;
    }
    let Some(Ok(response)) = catch_panic(future).await else {
        assert!(
            matches!(ending, Ending::PanicInCall | Ending::Panic | Ending::Error),
            "{ending:?}"
        );
        check();
        return true;
    };
    let admitted = !response.headers().contains_key(SHED_REASON);
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.map(|length| length.to_str().expect("text").parse().expect("a number"));
    let mut body = response.into_body();
    if admitted {
        read(&mut body, length, ending, rng).await;
    }
    if admitted && !ending.ends_before_drop() {
        drop(body);
        check();
    } else {
        check();
        drop(body);
    }
    admitted
}

/// Reads as much of a body as a server or client reads with this ending.
async fn read<B>(body: &mut B, length: Option<u64>, ending: Ending, rng: &mut Rng)
where
    B: http_body::Body<Data = bytes::Bytes, Error = Broken> + Unpin,
{
    match ending {
        Ending::Whole | Ending::Trailers => while let Some(Ok(_)) = body.frame().await {},
        Ending::BrokenBody => {
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    return;
                }
            }
            panic!("the error of the body was not forwarded");
        }
        // hyper stops here on HTTP/1 and never polls the end itself.
        Ending::OfKnownLength => {
            let mut remaining = length.expect("a known length");
            while remaining > 0 {
                let frame = body.frame().await.expect("more data").expect("the body does not fail");
                remaining -= frame.data_ref().map_or(0, |data| data.len() as u64);
            }
        }
        Ending::Abandoned => {
            for _ in 0..rng.usize(0..2) {
                body.frame().await;
            }
        }
        _ => {}
    }
}

/// One leaked permit makes each of these reject requests or report a request in flight.
fn layers() -> [AdmissionLayer; 4] {
    [
        AdmissionLayer::fixed("body", 1).queue(QueueBounds::NONE),
        AdmissionLayer::fixed("head", 1).queue(QueueBounds::NONE).scope(PermitScope::Head),
        AdmissionLayer::adaptive("adaptive"),
        AdmissionLayer::adaptive("adaptive, head").scope(PermitScope::Head),
    ]
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_of_each_ending_release_their_permits_at_once() {
    for layer in layers() {
        assert_all_endings_release_permits(layer.layer(service_fn(handle)), || {
            Some(layer.snapshot())
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_origin_limit_releases_permits_as_a_server_limit_does() {
    for scope in [PermitScope::Head, PermitScope::Body] {
        let layer = OriginLimitLayer::new("search").scope(scope);
        let origin = Uri::from_static("/");
        let snapshot = || layer.limiter(&origin).map(|limiter| limiter.snapshot());
        assert_all_endings_release_permits(layer.layer(service_fn(handle)), snapshot).await;
    }
}

/// Ends requests in each way, one after the other; afterwards none is in flight or queued.
async fn assert_all_endings_release_permits<S, B>(
    mut service: S,
    snapshot: impl Fn() -> Option<Snapshot>,
) where
    S: Service<Request<(Ending, Rng)>, Response = Response<B>, Error = Broken>,
    B: http_body::Body<Data = bytes::Bytes, Error = Broken> + Unpin,
{
    let (seed, mut rng) = seeded_rng();
    for ending in ENDINGS {
        for request in 0..REQUESTS_PER_ENDING {
            let check = || {
                let now = snapshot().expect("the limiter of a used origin");
                let at = format!("{ending:?}, request {request}, seed {seed}: {now:?}");
                assert_eq!((now.in_flight, now.queued), (0, 0), "{at}");
            };
            assert!(send(&mut service, ending, &mut rng, check).await, "{ending:?}, seed {seed}");
        }
    }
}

/// Requests at once: more than the limit and the queue admit.
const CONCURRENT_REQUESTS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_concurrent_mix_of_endings_with_queueing_and_rejection_leaks_no_permit() {
    let (seed, mut rng) = seeded_rng();
    let bounds = QueueBounds::new(16, Duration::from_millis(1));
    for layer in [AdmissionLayer::fixed("fixed", 7), AdmissionLayer::adaptive("adaptive")] {
        let layer = layer.queue(bounds);
        let mut tasks = JoinSet::new();
        for _ in 0..CONCURRENT_REQUESTS {
            let (layer, mut rng) = (layer.clone(), rng.fork());
            tasks.spawn(async move {
                let mut service = layer.layer(service_fn(handle));
                let mut admitted = 0;
                for _ in 0..ENDINGS.len() * REQUESTS_PER_ENDING / 4 / CONCURRENT_REQUESTS {
                    let ending = rng.choice(ENDINGS).expect("there are endings");
                    admitted += usize::from(send(&mut service, ending, &mut rng, || ()).await);
                }
                admitted
            });
        }
        let admitted: usize = tasks.join_all().await.iter().sum();
        let now = layer.snapshot();
        assert!(admitted > 0, "seed {seed}: {now:?}");
        assert_eq!((now.in_flight, now.queued), (0, 0), "seed {seed}: {now:?}");
    }
}
