//! Whatever becomes of a request, its place comes back: ten thousand of each, in memory.
//!
//! `nothing_is_lost_on_sockets.rs` does the same through hyper.

use std::future::{Future, pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use backpressure_tests::script::{Broken, End, Script};
use backpressure_tests::seed::seeded;
use fastrand::Rng;
use http::{Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use tower::{Layer, Service, service_fn};
use tower_backpressure::{
    AdmissionLayer, OriginLimitLayer, PermitScope, QueueBounds, SHED_REASON, Snapshot,
};

const EACH: usize = 10_000;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Answered, and read to the end.
    Whole,
    /// Answered with a body of known length, read to its last byte and no further.
    OfKnownLength,
    /// Answered with trailers.
    Trailers,
    /// Answered without a body.
    Empty,
    NoContent,
    NotModified,
    Head,
    Upgrade,
    /// Answered, and the body dropped unread.
    Unread,
    /// Answered with a body that never ends, dropped after a while.
    Abandoned,
    /// Answered with a body that breaks.
    BrokenBody,
    /// Not answered: the future is dropped after some polls, or none.
    Cancelled,
    /// Not answered: the handler panics while it is called.
    PanicInCall,
    /// Not answered: the handler panics while it runs.
    Panic,
    /// Not answered: the service fails.
    Error,
}

const FATES: [Fate; 15] = [
    Fate::Whole,
    Fate::OfKnownLength,
    Fate::Trailers,
    Fate::Empty,
    Fate::NoContent,
    Fate::NotModified,
    Fate::Head,
    Fate::Upgrade,
    Fate::Unread,
    Fate::Abandoned,
    Fate::BrokenBody,
    Fate::Cancelled,
    Fate::PanicInCall,
    Fate::Panic,
    Fate::Error,
];

impl Fate {
    fn request(self, rng: &mut Rng) -> Request<(Self, Rng)> {
        let method = if self == Self::Head { Method::HEAD } else { Method::GET };
        let request = Request::builder().method(method);
        request.body((self, rng.fork())).expect("a request")
    }

    fn answer(self, rng: &mut Rng) -> Response<Script> {
        let body = Script::pieces(rng.usize(1..5), rng.usize(1..2_000));
        let status = match self {
            Self::NoContent => StatusCode::NO_CONTENT,
            Self::NotModified => StatusCode::NOT_MODIFIED,
            Self::Upgrade => StatusCode::SWITCHING_PROTOCOLS,
            _ => StatusCode::OK,
        };
        let length = match self {
            Self::OfKnownLength | Self::Head => Some(body.left()),
            Self::Empty => Some(0),
            _ => None,
        };
        let body = match self {
            Self::Empty | Self::Head => Script::default(),
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

    /// Whether the place comes back while somebody still holds the body.
    fn ends_by_itself(self) -> bool {
        !matches!(self, Self::Unread | Self::Abandoned)
    }
}

/// The handler: takes some turns, then does what fate says.
fn handle(
    request: Request<(Fate, Rng)>,
) -> impl Future<Output = Result<Response<Script>, Broken>> + Send {
    let (fate, mut rng) = request.into_body();
    if fate == Fate::PanicInCall {
        // Unwinds without the hook, which would print each of them.
        resume_unwind(Box::new("as ordered"));
    }
    async move {
        for _ in 0..rng.u8(0..3) {
            tokio::task::yield_now().await;
        }
        match fate {
            Fate::Cancelled => pending().await,
            Fate::Panic => resume_unwind(Box::new("as ordered")),
            Fate::Error => Err(Broken),
            _ => Ok(fate.answer(&mut rng)),
        }
    }
}

/// Turns a panic into `None`, as whoever runs tasks does.
async fn survive<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

async fn polls<F: Future>(mut future: Pin<&mut F>, times: usize) {
    for _ in 0..times {
        let once = poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready()));
        if once.await {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// One request from its call to its end; false when it was turned away. `check` is called as soon
/// as the place must have come back.
async fn live<S, B>(service: &mut S, fate: Fate, rng: &mut Rng, check: impl Fn()) -> bool
where
    S: Service<Request<(Fate, Rng)>, Response = Response<B>, Error = Broken>,
    B: http_body::Body<Data = bytes::Bytes, Error = Broken> + Unpin,
{
    let called = catch_unwind(AssertUnwindSafe(|| service.call(fate.request(rng))));
    let Ok(future) = called else {
        check();
        return true;
    };
    if fate == Fate::Cancelled {
        let mut future = Box::pin(future);
        polls(future.as_mut(), rng.usize(0..6)).await;
        drop(future);
        check();
        return true;
    }
    let Some(Ok(response)) = survive(future).await else {
        assert!(matches!(fate, Fate::PanicInCall | Fate::Panic | Fate::Error), "{fate:?}");
        check();
        return true;
    };
    let admitted = !response.headers().contains_key(SHED_REASON);
    let length = response.headers().get(header::CONTENT_LENGTH);
    let length = length.map(|length| length.to_str().expect("text").parse().expect("a number"));
    let mut body = response.into_body();
    if admitted {
        read(&mut body, length, fate, rng).await;
    }
    if admitted && !fate.ends_by_itself() {
        drop(body);
        check();
    } else {
        check();
        drop(body);
    }
    admitted
}

/// Reads as much of a body as a server or client would.
async fn read<B>(body: &mut B, length: Option<u64>, fate: Fate, rng: &mut Rng)
where
    B: http_body::Body<Data = bytes::Bytes, Error = Broken> + Unpin,
{
    match fate {
        Fate::Whole | Fate::Trailers => while let Some(Ok(_)) = body.frame().await {},
        Fate::BrokenBody => {
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    return;
                }
            }
            panic!("the error did not come through");
        }
        // hyper stops here on HTTP/1: the end itself is never asked for.
        Fate::OfKnownLength => {
            let mut left = length.expect("a known length");
            while left > 0 {
                let frame = body.frame().await.expect("not all yet").expect("not broken");
                left -= frame.data_ref().map_or(0, |data| data.len() as u64);
            }
        }
        Fate::Abandoned => {
            for _ in 0..rng.usize(0..2) {
                body.frame().await;
            }
        }
        _ => {}
    }
}

/// Each of them refuses, or is seen not to be empty, if but one place is lost.
fn layers() -> [AdmissionLayer; 4] {
    [
        AdmissionLayer::fixed("one at a time", 1).queue(QueueBounds::NONE),
        AdmissionLayer::fixed("to the head", 1).queue(QueueBounds::NONE).scope(PermitScope::Head),
        AdmissionLayer::adaptive("adaptive"),
        AdmissionLayer::adaptive("adaptive, to the head").scope(PermitScope::Head),
    ]
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_of_each_end_give_each_place_back_at_once() {
    for layer in layers() {
        all_ends(layer.layer(service_fn(handle)), || Some(layer.snapshot())).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_clients_places_come_back_as_a_servers_do() {
    for scope in [PermitScope::Head, PermitScope::Body] {
        let layer = OriginLimitLayer::new("search").scope(scope);
        let origin = Uri::from_static("/");
        let look = || layer.limiter(&origin).map(|limiter| limiter.snapshot());
        all_ends(layer.layer(service_fn(handle)), look).await;
    }
}

/// Each end, one after the other; nobody is left behind in what `look` sees.
async fn all_ends<S, B>(mut service: S, look: impl Fn() -> Option<Snapshot>)
where
    S: Service<Request<(Fate, Rng)>, Response = Response<B>, Error = Broken>,
    B: http_body::Body<Data = bytes::Bytes, Error = Broken> + Unpin,
{
    let (seed, mut rng) = seeded();
    for fate in FATES {
        for turn in 0..EACH {
            let check = || {
                let now = look().expect("a limiter that somebody has gone through");
                let at = format!("{fate:?}, turn {turn}, seed {seed}: {now:?}");
                assert_eq!((now.in_flight, now.queued), (0, 0), "{at}");
            };
            assert!(live(&mut service, fate, &mut rng, check).await, "{fate:?}, seed {seed}");
        }
    }
}

/// So many at once; more than may run and wait.
const TASKS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mix_of_all_ends_that_waits_and_is_turned_away_loses_no_place() {
    let (seed, mut rng) = seeded();
    let bounds = QueueBounds::new(16, Duration::from_millis(1));
    for layer in [AdmissionLayer::fixed("fixed", 7), AdmissionLayer::adaptive("adaptive")] {
        let layer = layer.queue(bounds);
        let mut tasks = JoinSet::new();
        for _ in 0..TASKS {
            let (layer, mut rng) = (layer.clone(), rng.fork());
            tasks.spawn(async move {
                let mut service = layer.layer(service_fn(handle));
                let mut admitted = 0;
                for _ in 0..FATES.len() * EACH / 4 / TASKS {
                    let fate = rng.choice(FATES).expect("there are some");
                    admitted += usize::from(live(&mut service, fate, &mut rng, || ()).await);
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
