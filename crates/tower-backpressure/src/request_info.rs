//! What a limiter is told about a request.

use std::hash::{DefaultHasher, Hash, Hasher};

use backpressure_core::Priority;
#[cfg(feature = "http")]
use http::Extensions;
use tokio::time::Instant;

#[cfg(feature = "http")]
use crate::deadline::Deadline;
use crate::limiter::Shared;

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// The customer, user or service for which the request is; `None`: unknown.
    pub tenant: Option<Tenant>,
    /// How often its caller has sent it before; `None`: the caller does not say. Limiters ignore it.
    /// A caller that says so repeats the request itself: see [`carry_to`](Self::carry_to).
    pub previous_attempts: Option<u32>,
}

/// A customer, user or service, as a number that is equal for equal identities.
///
/// ```
/// use tower_backpressure::Tenant;
///
/// assert_eq!(Tenant::new("acme"), Tenant::new("acme"));
/// assert_ne!(Tenant::new("acme"), Tenant::new("other"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Tenant(u64);

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

    /// The same request, which its caller has sent this often before and repeats itself.
    #[must_use]
    pub const fn previous_attempts(mut self, previous: u32) -> Self {
        self.previous_attempts = Some(previous);
        self
    }

    /// The same information on the time scale of a limiter.
    pub(crate) fn on_scale_of(self, shared: &Shared) -> backpressure_core::RequestInfo {
        let info = backpressure_core::RequestInfo::default();
        let mut info = info.priority(self.priority).returning(self.returning);
        info.deadline = self.deadline.map(|deadline| shared.timestamp(deadline));
        info.tenant = self.tenant.map(|Tenant(number)| number);
        info
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
}

impl Tenant {
    /// The tenant with this identity: an account number, the name in a certificate, an API key. Take one
    /// that the service has verified: a caller that may choose its tenant has as many as it likes.
    #[must_use]
    pub fn new(identity: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        identity.hash(&mut hasher);
        Self(hasher.finish())
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
