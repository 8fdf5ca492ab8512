//! What all services of one layer share: its options, and a state for each origin.

use std::fmt;
use std::mem::discriminant;
use std::sync::{Arc, Weak};
use std::time::Duration;

use backpressure_core::{Outcome, Pass, Priority, Reason, Shed, Timestamp};
use http::request::Parts;
use http::{HeaderMap, Request, StatusCode, Uri, response};
use tokio::time::Instant;

use super::held::{Held, Hold};
use super::telemetry::Telemetry;
use crate::admission::classify::{Classifier, Side};
use crate::admission::rejection::Rejection;
use crate::client::origin_key::OriginKey;
use crate::client::origin_map::OriginMap;
use crate::keyed_map::Idle;
use crate::observe::{Kind, PartReport, Registry, next_id};

/// What one of the layers decides by, for one origin.
///
/// Sealed: it cannot be named outside this crate.
pub trait Supervision: Idle + fmt::Debug + Send + Sync + Sized + 'static {
    /// The options of the layer.
    type Options: Clone + fmt::Debug + Send + Sync;

    /// The reason of its rejections.
    const REASON: Reason;

    /// What the registry calls it.
    const KIND: Kind;

    /// The state of an origin of which nothing is known.
    fn new(options: &Self::Options) -> Self;

    /// Decides on an attempt.
    fn decide(
        &self,
        options: &Self::Options,
        priority: Priority,
        now: Timestamp,
    ) -> (Verdict, Transition);

    /// An attempt is sent, and will end: its number among those sent, where it matters.
    fn sent(&self) -> usize {
        0
    }

    /// Learns from an attempt that has ended. The clock is read only if the time matters.
    fn ended(
        &self,
        options: &Self::Options,
        ended: &Ended<'_>,
        now: impl FnOnce() -> Timestamp,
    ) -> Transition;

    /// Whether attempts are sent without a decision at present.
    fn is_open(&self) -> bool {
        false
    }

    /// When the next attempt is sent, while none is.
    fn resumes_at(&self) -> Option<Timestamp> {
        None
    }

    /// Whether the origin, asked again when it had said, has said again when to come back.
    fn has_told_again(&self) -> bool {
        false
    }

    /// Whether it matters how long attempts take.
    fn is_timed(_options: &Self::Options) -> bool {
        false
    }

    /// The attempts that are held, for a layer that holds any.
    fn held(&self) -> Option<&Arc<Held>> {
        None
    }

    /// Writes its state into a report.
    fn fill(&self, part: &mut PartReport, now: Timestamp);
}

/// What happens to an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send(Pass),
    /// It waits for this moment, if `is_fixed`, or for other attempts to end.
    Wait { until: Timestamp, ask_at: Timestamp, is_fixed: bool },
    /// It is rejected, and told to come back after this time.
    Reject(Duration),
}

/// The name of the state that a decision or a response has led to, if it is another one.
pub(crate) type Transition = Option<&'static str>;

/// The name of the state after a decision, if the state before was another one.
pub(in crate::client) fn transition<S>(before: &S, after: &S, name: &'static str) -> Transition {
    (discriminant(before) != discriminant(after)).then_some(name)
}

/// An attempt that has ended.
#[derive(Debug)]
pub struct Ended<'a> {
    pub(in crate::client) pass: Pass,
    pub(in crate::client) number: usize,
    pub(in crate::client) priority: Priority,
    /// From the sending to the head of the response; zero where it does not matter.
    pub(in crate::client) latency: Duration,
    pub(in crate::client) how: How<'a>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(in crate::client) enum How<'a> {
    /// With this head of a response.
    Response { outcome: Outcome, status: StatusCode, headers: &'a HeaderMap },
    /// With a redirection to another origin, whose response failed.
    Redirected,
    /// With an error.
    Error,
    /// The caller left.
    Cancelled,
}

/// What all services of one layer share.
pub(crate) struct Shared<T: Supervision> {
    pub(in crate::client) options: T::Options,
    pub(in crate::client) common: Common,
    pub(in crate::client) states: OriginMap<Origin<T>>,
    epoch: Instant,
    pub(super) id: u64,
}

/// The options that the layers have in common.
#[derive(Clone, Debug)]
pub(in crate::client) struct Common {
    pub(in crate::client) key: Key,
    pub(in crate::client) dry_run: bool,
    pub(in crate::client) classifier: Classifier,
    pub(in crate::client) hold: Hold,
    pub(super) rejection: Rejection,
    pub(super) telemetry: Telemetry,
}

/// What has a state of its own.
#[derive(Clone, Default)]
pub(in crate::client) enum Key {
    #[default]
    Origin,
    Rule(Arc<Rule>),
}

/// A user's rule. `None` leaves the request to its origin.
type Rule = dyn Fn(&Parts) -> Option<String> + Send + Sync;

/// The state of one origin, or of one key of the user's.
#[derive(Debug)]
pub(crate) struct Origin<T> {
    pub(in crate::client) state: T,
    pub(super) name: Arc<str>,
}

impl<T: Idle> Idle for Origin<T> {
    fn is_idle(&self) -> bool {
        self.state.is_idle()
    }
}

impl<T: Supervision> Shared<T> {
    pub(in crate::client) fn new(name: &str, options: T::Options, hold: Hold) -> Arc<Self> {
        let common = Common {
            key: Key::default(),
            dry_run: false,
            classifier: Classifier::new(Side::Client),
            hold,
            rejection: Rejection::new(StatusCode::SERVICE_UNAVAILABLE).at_client(),
            telemetry: Telemetry::new(name, T::REASON),
        };
        Self::of(options, common)
    }

    /// The same layer with other options, and without the states.
    pub(in crate::client) fn with(
        &self,
        edit: impl FnOnce(&mut T::Options, &mut Common),
    ) -> Arc<Self> {
        let (mut options, mut common) = (self.options.clone(), self.common.clone());
        edit(&mut options, &mut common);
        Self::of(options, common)
    }

    /// The same layer with a rule for what has a state of its own.
    pub(in crate::client) fn with_key(
        &self,
        rule: impl Fn(&Parts) -> Option<String> + Send + Sync + 'static,
    ) -> Arc<Self> {
        self.with(|_, common| common.key = Key::Rule(Arc::new(rule)))
    }

    /// The same layer with a rule for what a response says.
    pub(in crate::client) fn with_classifier(
        &self,
        rule: impl Fn(&response::Parts) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Arc<Self> {
        self.with(|_, common| common.classifier = common.classifier.with_rule(rule))
    }

    /// The same layer, which only decides and counts if `dry_run`.
    pub(in crate::client) fn with_dry_run(&self, dry_run: bool) -> Arc<Self> {
        self.with(|_, common| common.dry_run = dry_run)
    }

    fn of(options: T::Options, common: Common) -> Arc<Self> {
        let (states, epoch, id) = (OriginMap::new(), Instant::now(), next_id());
        let shared = Arc::new(Self { options, common, states, epoch, id });
        let part: Weak<Self> = Arc::downgrade(&shared);
        Registry::global().add(id, part);
        shared
    }

    /// The request, and the state that it is decided by. `Parts` cannot borrow, so the head moves out and
    /// back where a rule reads it.
    pub(super) fn state_of_request<B>(&self, request: Request<B>) -> (Request<B>, Arc<Origin<T>>) {
        let Key::Rule(rule) = &self.common.key else {
            let state = self.state(OriginKey::of(&request));
            return (request, state);
        };
        let (parts, body) = request.into_parts();
        let key = rule(&parts);
        let request = Request::from_parts(parts, body);
        let state = match &key {
            Some(key) => self.state(OriginKey::Key(key)),
            None => self.state(OriginKey::of(&request)),
        };
        (request, state)
    }

    pub(in crate::client) fn state(&self, origin: OriginKey<'_>) -> Arc<Origin<T>> {
        let make = |name: &str| Origin { state: T::new(&self.options), name: name.into() };
        self.states.get_or_insert(origin, make)
    }

    /// The state of an origin, if it was used lately.
    pub(in crate::client) fn known(&self, origin: &Uri) -> Option<Arc<Origin<T>>> {
        self.states.get(OriginKey::of_uri(origin))
    }

    /// The state of a key that the user's rule returned, if it was used lately.
    pub(in crate::client) fn known_key(&self, key: &str) -> Option<Arc<Origin<T>>> {
        self.states.get(OriginKey::Key(key))
    }

    /// The state of the origin with this name, if it was used lately.
    pub(in crate::client) fn known_name(&self, name: &str) -> Option<Arc<Origin<T>>> {
        self.states.get(OriginKey::Name(name))
    }

    pub(in crate::client) fn now(&self) -> Timestamp {
        self.timestamp(Instant::now())
    }

    pub(super) fn timestamp(&self, at: Instant) -> Timestamp {
        Timestamp::ZERO + at.saturating_duration_since(self.epoch)
    }

    pub(super) fn instant(&self, at: Timestamp) -> Instant {
        self.epoch + at.since(Timestamp::ZERO)
    }

    /// Whether an attempt that has to wait for this long would be held for it.
    pub(in crate::client) fn would_hold(&self, wait: Duration, deadline: Option<Instant>) -> bool {
        let Hold { max_held, max_wait } = self.common.hold;
        let is_in_time = deadline.is_none_or(|at| Instant::now() + wait <= at);
        wait <= max_wait && is_in_time && self.common.telemetry.count_held() < max_held
    }

    /// The rejection of a request before its attempt comes to this layer, unless the layer only counts.
    pub(in crate::client) fn reject_early(&self, retry_after: Duration) -> Option<Shed> {
        if self.common.dry_run {
            self.common.telemetry.would_reject();
            return None;
        }
        self.common.telemetry.rejected(retry_after);
        Some(Shed::new(T::REASON, retry_after))
    }

    pub(in crate::client) fn report(&self, origin: &Origin<T>, transition: Transition) {
        if let Some(to) = transition {
            self.common.telemetry.changed(&origin.name, to);
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if matches!(self, Self::Origin) { "Origin" } else { "Rule" })
    }
}

impl<T: Supervision> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("options", &self.options)
            .field("common", &self.common)
            .finish_non_exhaustive()
    }
}
