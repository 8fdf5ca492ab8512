//! A class of traffic.

use std::time::Duration;

use http::StatusCode;
use tower_backpressure::Priority;

/// Requests that arrive, are handled and are read in the same way.
#[derive(Clone, Debug)]
pub struct Class {
    pub(crate) name: &'static str,
    pub(crate) arrivals: Arrivals,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    pub(crate) priority: Priority,
    pub(crate) failing: Option<(f64, Failure)>,
    pub(crate) fails_after: Duration,
    pub(crate) delay: Duration,
    pub(crate) work: Work,
    pub(crate) tail: Duration,
    pub(crate) content: Content,
    pub(crate) content_type: &'static str,
    pub(crate) reader: Reader,
    pub(crate) cancels_after: Option<Duration>,
    pub(crate) retries: usize,
    pub(crate) late_after: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrivals {
    /// Poisson arrivals with this rate per second.
    Poisson(f64),
    /// One request every period.
    Every(Duration),
    /// A number of requests spread evenly over a time.
    Spread(usize, Duration),
    /// A number of callers that send the next request at once after a response, and a second after a
    /// rejection.
    Closed(usize),
    /// A number of requests at one moment, every period.
    Bursts(usize, Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The handler uses no bottleneck.
    None,
    /// The handler occupies a slot of the bottleneck once.
    Turn,
    /// The handler occupies the only worker thread for this time.
    Compute(Duration),
    /// The handler never returns.
    Hangs,
}

/// How the handler fails. It does so before it reaches the bottleneck.
#[derive(Clone, Copy, Debug)]
pub enum Failure {
    /// With a status.
    Status(StatusCode),
    /// As gRPC does: with 200 and this `grpc-status`.
    Grpc(u8),
    /// With an error instead of a response.
    Error,
    /// With a successful head and a body that ends with an error.
    Reset,
    /// As gRPC does after a message: with 200, a frame, and this `grpc-status` in the trailers.
    Trailers(u8),
}

/// The body of a response.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// This many frames of 16 kB, all ready at once.
    Frames(usize),
    /// One frame, after which the body stays pending: an idle stream.
    Idle,
    /// This many frames, each of which occupies a slot of the bottleneck when it is polled.
    Turns(usize),
    /// One small frame every period, for ever: a stream of events with heartbeats.
    Heartbeats(Duration),
}

/// How a caller reads the body.
#[derive(Clone, Copy, Debug)]
pub enum Reader {
    /// Reads the whole body without a pause.
    Eager,
    /// Reads one frame, then stops and keeps the connection open.
    Stalls,
    /// Pauses for this time after each frame.
    Slow(Duration),
    /// Pauses for this time after the first frame, then reads the rest.
    Pauses(Duration),
}

impl Class {
    fn new(name: &'static str, arrivals: Arrivals) -> Self {
        Self {
            name,
            arrivals,
            from: Duration::ZERO,
            until: Duration::MAX,
            priority: Priority::default(),
            failing: None,
            fails_after: Duration::from_millis(1),
            delay: Duration::ZERO,
            work: Work::None,
            tail: Duration::ZERO,
            content: Content::Frames(1),
            content_type: "application/json",
            reader: Reader::Eager,
            cancels_after: None,
            retries: 0,
            late_after: Duration::from_secs(2),
        }
    }

    /// Poisson arrivals, `rate` a second on average.
    #[must_use]
    pub fn poisson(name: &'static str, rate: f64) -> Self {
        Self::new(name, Arrivals::Poisson(rate))
    }

    /// One request every `period`.
    #[must_use]
    pub fn every(name: &'static str, period: Duration) -> Self {
        Self::new(name, Arrivals::Every(period))
    }

    /// `count` arrivals spread evenly over a time.
    #[must_use]
    pub fn spread(name: &'static str, count: usize, over: Duration) -> Self {
        Self::new(name, Arrivals::Spread(count, over))
    }

    /// Callers that send the next request after a response, or a second after a rejection or failure.
    #[must_use]
    pub fn closed(name: &'static str, callers: usize) -> Self {
        Self::new(name, Arrivals::Closed(callers))
    }

    /// `count` arrivals at one moment, every `period`.
    #[must_use]
    pub fn bursts(name: &'static str, count: usize, period: Duration) -> Self {
        Self::new(name, Arrivals::Bursts(count, period))
    }

    /// Restricts arrivals to the time between two times.
    #[must_use]
    pub fn between(mut self, from: Duration, until: Duration) -> Self {
        (self.from, self.until) = (from, until);
        self
    }

    /// Sets the priority of the requests.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Makes a share of the requests fail.
    #[must_use]
    pub fn failing(mut self, share: f64, failure: Failure) -> Self {
        self.failing = Some((share, failure));
        self
    }

    /// Sets the time after which the handler fails; the default is a millisecond.
    #[must_use]
    pub fn fails_after(mut self, time: Duration) -> Self {
        self.fails_after = time;
        self
    }

    /// Makes the handler wait after its work for something that is not a bottleneck, such as the end of
    /// an upload.
    #[must_use]
    pub fn tail(mut self, tail: Duration) -> Self {
        self.tail = tail;
        self
    }

    /// The handler occupies the only worker thread for this time.
    #[must_use]
    pub fn compute(mut self, time: Duration) -> Self {
        self.work = Work::Compute(time);
        self
    }

    /// Makes the handler wait before its work for something that is not a bottleneck.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Makes the handler occupy a slot of the bottleneck before it responds.
    #[must_use]
    pub fn work(mut self) -> Self {
        self.work = Work::Turn;
        self
    }

    /// Makes the handler never return.
    #[must_use]
    pub fn hangs(mut self) -> Self {
        self.work = Work::Hangs;
        self
    }

    /// Sets the body of the responses.
    #[must_use]
    pub fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// Sets the `content-type` of the responses.
    #[must_use]
    pub fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// Sets how callers read the body.
    #[must_use]
    pub fn reader(mut self, reader: Reader) -> Self {
        self.reader = reader;
        self
    }

    /// Makes callers cancel a request whose response is not complete after this time.
    #[must_use]
    pub fn cancels_after(mut self, patience: Duration) -> Self {
        self.cancels_after = Some(patience);
        self
    }

    /// Makes callers repeat a request at once that was rejected or failed, so many times.
    #[must_use]
    pub fn retries_at_once(mut self, retries: usize) -> Self {
        self.retries = retries;
        self
    }

    /// Sets the time after which a complete response is too late; the default is two seconds.
    #[must_use]
    pub fn late_after(mut self, late_after: Duration) -> Self {
        self.late_after = late_after;
        self
    }

    /// Whether a request counts as served at the head, because its body is never read to the end.
    pub(crate) const fn is_served_at_head(&self) -> bool {
        matches!(self.content, Content::Idle | Content::Heartbeats(_))
            || matches!(self.reader, Reader::Stalls)
    }
}
