//! A class of traffic.

use std::time::Duration;

use http::StatusCode;
use tower_backpressure::Priority;

/// Requests that are alike: how they arrive, what the handler does with them, and how their callers
/// read the answer.
#[derive(Clone, Debug)]
pub struct Class {
    pub(crate) name: &'static str,
    pub(crate) arrivals: Arrivals,
    pub(crate) from: Duration,
    pub(crate) until: Duration,
    pub(crate) priority: Priority,
    pub(crate) failing: Option<(f64, Answer)>,
    pub(crate) fails_after: Duration,
    pub(crate) delay: Duration,
    pub(crate) work: Work,
    pub(crate) tail: Duration,
    pub(crate) content: Content,
    pub(crate) content_type: &'static str,
    pub(crate) reader: Reader,
    pub(crate) leaves_after: Option<Duration>,
    pub(crate) late_after: Duration,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Arrivals {
    /// Independent, so many a second.
    Poisson(f64),
    /// One every so often.
    Every(Duration),
    /// A count of requests spread evenly over a time, and no more.
    Crowd(usize, Duration),
    /// A count of callers; each asks again at once after an answer, and a second after a refusal.
    Closed(usize),
    /// So many at once, every so often.
    Bursts(usize, Duration),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Nothing scarce is used.
    None,
    /// One turn at the bottleneck.
    Turn,
    /// The handler keeps the only worker for so long.
    Compute(Duration),
    /// The handler never returns.
    Hangs,
}

/// How the handler fails, before the bottleneck.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    /// With a status.
    Status(StatusCode),
    /// As gRPC does: with 200 and this `grpc-status`.
    Grpc(u8),
    /// With an error in place of a response.
    Error,
    /// With a head, and a body that breaks off.
    Reset,
    /// As gRPC does after a message: with 200, a frame, and this `grpc-status` in the trailers.
    Trailers(u8),
}

/// The body of an answer.
#[derive(Clone, Copy, Debug)]
pub enum Content {
    /// So many frames of 16 kB, all there at once.
    Frames(usize),
    /// One frame, and then nothing for ever: a watch.
    Idle,
    /// So many frames, each of which takes a turn at the bottleneck when it is asked for.
    Turns(usize),
}

/// How a caller reads.
#[derive(Clone, Copy, Debug)]
pub enum Reader {
    /// All of it, as fast as it comes.
    Eager,
    /// One frame, and then nothing, but it stays.
    Stalls,
    /// One frame every so often.
    Slow(Duration),
    /// One frame, then nothing for so long, and then the rest.
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
            leaves_after: None,
            late_after: Duration::from_secs(2),
        }
    }

    /// Poisson arrivals, `rate` a second on average.
    #[must_use]
    pub fn poisson(name: &'static str, rate: f64) -> Self {
        Self::new(name, Arrivals::Poisson(rate))
    }

    /// One arrival every `period`.
    #[must_use]
    pub fn every(name: &'static str, period: Duration) -> Self {
        Self::new(name, Arrivals::Every(period))
    }

    /// `count` arrivals spread evenly over a time, and no more.
    #[must_use]
    pub fn crowd(name: &'static str, count: usize, over: Duration) -> Self {
        Self::new(name, Arrivals::Crowd(count, over))
    }

    /// Callers that ask again when they are answered, and a second after a refusal.
    #[must_use]
    pub fn closed(name: &'static str, callers: usize) -> Self {
        Self::new(name, Arrivals::Closed(callers))
    }

    /// `count` arrivals at one moment, every `period`.
    #[must_use]
    pub fn bursts(name: &'static str, count: usize, period: Duration) -> Self {
        Self::new(name, Arrivals::Bursts(count, period))
    }

    /// Arrives only between two times.
    #[must_use]
    pub fn between(mut self, from: Duration, until: Duration) -> Self {
        (self.from, self.until) = (from, until);
        self
    }

    /// Its priority.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// A share of it fails like this.
    #[must_use]
    pub fn failing(mut self, share: f64, answer: Answer) -> Self {
        self.failing = Some((share, answer));
        self
    }

    /// The time in which the handler fails; a millisecond by default.
    #[must_use]
    pub fn fails_after(mut self, time: Duration) -> Self {
        self.fails_after = time;
        self
    }

    /// The handler waits for something that is not scarce after its work: for the end of an upload, say.
    #[must_use]
    pub fn tail(mut self, tail: Duration) -> Self {
        self.tail = tail;
        self
    }

    /// The handler keeps the only worker for so long.
    #[must_use]
    pub fn compute(mut self, time: Duration) -> Self {
        self.work = Work::Compute(time);
        self
    }

    /// The handler first waits for something that is not scarce.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// The handler takes a turn at the bottleneck before it answers.
    #[must_use]
    pub fn work(mut self) -> Self {
        self.work = Work::Turn;
        self
    }

    /// The handler never returns.
    #[must_use]
    pub fn hangs(mut self) -> Self {
        self.work = Work::Hangs;
        self
    }

    /// What the answer's body is.
    #[must_use]
    pub fn content(mut self, content: Content) -> Self {
        self.content = content;
        self
    }

    /// The answer's `content-type`.
    #[must_use]
    pub fn content_type(mut self, content_type: &'static str) -> Self {
        self.content_type = content_type;
        self
    }

    /// How callers read the body.
    #[must_use]
    pub fn reader(mut self, reader: Reader) -> Self {
        self.reader = reader;
        self
    }

    /// Callers leave after this time if the whole answer is not there.
    #[must_use]
    pub fn leaves_after(mut self, patience: Duration) -> Self {
        self.leaves_after = Some(patience);
        self
    }

    /// A whole answer later than this is of no use; two seconds if not said.
    #[must_use]
    pub fn late_after(mut self, late_after: Duration) -> Self {
        self.late_after = late_after;
        self
    }

    /// Whether a request counts as served with the head: its body never ends.
    pub(crate) const fn counts_at_head(&self) -> bool {
        matches!(self.content, Content::Idle) || matches!(self.reader, Reader::Stalls)
    }
}
