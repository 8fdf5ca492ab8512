//! What a limiter is told about a request.

use std::hash::Hash;

use backpressure_core::{Priority, Timestamp};
#[cfg(feature = "http")]
use http::Extensions;
use tokio::time::Instant;

#[cfg(feature = "http")]
use crate::deadline::Deadline;
use crate::stable_hash::hash_of;

/// What a limiter is told about a request: how much it matters, until when it is of use, and the tenant it is for.
///
/// [`Limiter::acquire`](crate::Limiter::acquire) takes one. The layers of this crate read it from the
/// extensions of a request, where `RequestInfoLayer` or code of your own puts it:
///
/// ```
/// use std::time::Duration;
/// use tokio::time::Instant;
/// use tower_backpressure::{Priority, RequestInfo};
///
/// let info = RequestInfo::default()
///     .priority(Priority::Critical)
///     .deadline(Instant::now() + Duration::from_millis(250));
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(info);
/// assert_eq!(RequestInfo::of(request.extensions()), info);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestInfo {
    /// Its priority.
    pub priority: Priority,
    /// The instant after which its response is worthless; `None`: never.
    pub deadline: Option<Instant>,
    /// Whether it was rejected before and comes back when it was told to: it runs before new requests of
    /// its priority. The caller of the limiter has to verify it. The layers do, by a ticket, and ignore
    /// this field.
    pub returning: bool,
    /// The customer or service for which the request is; `None`: unknown. Tenants share the permits fairly.
    pub tenant: Option<Tenant>,
    /// The share of its tenant beside those of others; 1 by default, as is 0. A plan that is worth twice as much may
    /// have 2.
    pub weight: u16,
    /// The user, session or task within the tenant; `None`: unknown. Where a tenant gets less than it asks for, all
    /// requests of one task are served or rejected together for some seconds.
    pub task: Option<Task>,
    /// Units of the limit that the request takes; 1 by default, as is 0. One that costs more than the limit runs
    /// alone.
    pub cost: u32,
    /// How often its caller has sent it before; `None`: the caller does not say. Limiters ignore it.
    /// A caller that says so repeats the request itself: see [`carry_to`](Self::carry_to).
    pub previous_attempts: Option<u32>,
}

impl Default for RequestInfo {
    fn default() -> Self {
        Self {
            priority: Priority::default(),
            deadline: None,
            returning: false,
            tenant: None,
            weight: 1,
            task: None,
            cost: 1,
            previous_attempts: None,
        }
    }
}

/// A customer, user or service, as a number that is equal for equal identities.
///
/// ```
/// use tower_backpressure::Tenant;
///
/// assert_eq!(Tenant::new("batch"), Tenant::new("batch"));
/// assert_ne!(Tenant::new("batch"), Tenant::new("other"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(u64);

/// A user, session or task, as a number that is equal for equal identities: several requests that are of use
/// together.
///
/// ```
/// use tower_backpressure::{RequestInfo, Task, Tenant};
///
/// let info = RequestInfo::default().tenant(Tenant::new("batch")).task(Task::new("session 17"));
/// # let _ = info;
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task(u64);

impl Task {
    /// The task with this identity. It may be one that callers choose: a caller with many gains nothing.
    #[must_use]
    pub fn new(identity: impl Hash) -> Self {
        Self(hash_of(identity))
    }

    #[cfg(feature = "policy")]
    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

impl RequestInfo {
    /// The same request with another priority.
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// The same request with this deadline.
    #[must_use]
    pub const fn deadline(mut self, deadline: Instant) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The same request, as one that comes back when it was told to, or as a new one.
    #[must_use]
    pub const fn returning(mut self, returning: bool) -> Self {
        self.returning = returning;
        self
    }

    /// The same request, for this tenant.
    #[must_use]
    pub const fn tenant(mut self, tenant: Tenant) -> Self {
        self.tenant = Some(tenant);
        self
    }

    /// The same request, of a tenant with this weight.
    #[must_use]
    pub const fn weight(mut self, weight: u16) -> Self {
        self.weight = weight;
        self
    }

    /// The same request, as a part of this task.
    #[must_use]
    pub const fn task(mut self, task: Task) -> Self {
        self.task = Some(task);
        self
    }

    /// The same request, taking this many units of the limit.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), tower_backpressure::Shed> {
    /// use tower_backpressure::{Limiter, QueueBounds, RequestInfo};
    ///
    /// let limiter = Limiter::fixed(8, QueueBounds::NONE);
    /// let _export = limiter.acquire(RequestInfo::default().cost(6)).await?;
    /// assert_eq!(limiter.snapshot().in_flight, 6);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub const fn cost(mut self, units: u32) -> Self {
        self.cost = units;
        self
    }

    /// The same request, which its caller has sent this often before and repeats itself.
    #[must_use]
    pub const fn previous_attempts(mut self, previous: u32) -> Self {
        self.previous_attempts = Some(previous);
        self
    }

    /// The same information on the time scale of a limiter, which `timestamp` tells.
    pub(crate) fn on_scale(
        self,
        timestamp: impl Fn(Instant) -> Timestamp,
    ) -> backpressure_core::RequestInfo {
        let info = backpressure_core::RequestInfo::default();
        let mut info = info.priority(self.priority).returning(self.returning);
        info.deadline = self.deadline.map(timestamp);
        info.tenant = self.tenant.map(|Tenant(number)| number);
        info.task = self.task.map(|Task(number)| number);
        info.weight(self.weight).cost(self.cost)
    }

    /// The same request with this deadline, unless it has an earlier one.
    pub(crate) fn not_after(self, deadline: Option<Instant>) -> Self {
        Self { deadline: earlier(self.deadline, deadline), ..self }
    }
}

#[cfg(feature = "http")]
impl RequestInfo {
    /// What the extensions of a request say of it: the only way in which the layers read it.
    ///
    /// A [`Priority`] or a [`Deadline`] of its own in the extensions is more specific than a
    /// `RequestInfo`, as where one route inserts it: the priority replaces the other, and of two deadlines
    /// the earlier one counts.
    ///
    /// ```
    /// use tower_backpressure::{Priority, RequestInfo};
    ///
    /// let mut request = http::Request::new(());
    /// request.extensions_mut().insert(Priority::Critical);
    /// assert_eq!(RequestInfo::of(request.extensions()).priority, Priority::Critical);
    /// ```
    #[must_use]
    pub fn of(extensions: &Extensions) -> Self {
        let info: Self = extensions.get().copied().unwrap_or_default();
        let priority = extensions.get().copied().unwrap_or(info.priority);
        let deadline = extensions.get().map(|&Deadline(at)| at);
        info.priority(priority).not_after(deadline)
    }

    /// Lowers the priority of a request to this one, unless it is lower.
    #[cfg(feature = "server")]
    pub(crate) fn lower(extensions: &mut Extensions, priority: Priority) {
        let info = Self::of(extensions);
        let priority = info.priority.min(priority);
        if let Some(own) = extensions.get_mut() {
            *own = priority;
        }
        extensions.insert(info.priority(priority));
    }

    /// The deadline alone. Most requests have no extension of these types.
    #[inline(always)]
    pub(crate) fn deadline_of(extensions: &Extensions) -> Option<Instant> {
        let info = extensions.get().and_then(|info: &Self| info.deadline);
        earlier(info, extensions.get().map(|&Deadline(at)| at))
    }

    /// Whether a free permit is all that a request needs: it takes one unit for no tenant, and is not late.
    #[inline(always)]
    pub(crate) fn needs_no_decision(extensions: &Extensions) -> bool {
        let info: Option<&Self> = extensions.get();
        let is_plain = info.is_none_or(|info| info.tenant.is_none() && info.cost <= 1);
        let deadline = info.and_then(|info| info.deadline);
        let deadline = earlier(deadline, extensions.get().map(|&Deadline(at)| at));
        is_plain && deadline.is_none_or(|at| at > Instant::now())
    }
}

impl Tenant {
    /// The tenant with this identity: an account number, the name in a certificate, an API key. Take one
    /// that the service has verified: a caller that may choose its tenant has as many as it likes.
    ///
    /// The number of text, bytes and integers is the same in all processes, so that replicas which share a quota agree
    /// on it.
    #[must_use]
    pub fn new(identity: impl Hash) -> Self {
        Self(hash_of(identity))
    }

    #[cfg(feature = "server")]
    pub(crate) const fn number(self) -> u64 {
        self.0
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(all(test, feature = "http"))]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_priority_replaces_and_a_deadline_shortens_what_an_outer_layer_said() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut extensions = Extensions::new();
        assert_eq!(RequestInfo::of(&extensions), RequestInfo::default());
        let info = RequestInfo::default().priority(Priority::Critical).deadline(now + 2 * second);
        extensions.insert(info);
        assert_eq!(RequestInfo::of(&extensions), info);
        extensions.insert(Priority::Sheddable);
        for (own, deadline) in [(3, 2), (1, 1)] {
            extensions.insert(Deadline(now + own * second));
            let read = RequestInfo::of(&extensions);
            assert_eq!(read, info.priority(Priority::Sheddable).deadline(now + deadline * second));
            assert_eq!(RequestInfo::deadline_of(&extensions), read.deadline);
        }
    }
}
