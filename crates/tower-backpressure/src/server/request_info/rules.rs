//! What a request info layer was told, and what it makes of headers.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backpressure_core::Priority;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use tokio::time::Instant;

use super::ExtractInfo;
use super::proxy_clock::ProxyClock;
use crate::headers::criticality::criticality;
use crate::headers::priority::urgency;
use crate::headers::request_start::queue_time;
use crate::headers::timeout::timeout;

/// What the layer was told.
#[derive(Clone)]
pub(super) struct Rules {
    pub(super) base: Option<Arc<dyn ExtractInfo>>,
    pub(super) reads_headers: bool,
    pub(super) trusts: Option<Arc<Predicate>>,
    pub(super) criticality: HeaderName,
    pub(super) timeout: Option<Duration>,
    pub(super) proxy_clock: Arc<ProxyClock>,
}

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

impl Rules {
    pub(super) fn claimed_priority(&self, headers: &HeaderMap) -> Option<Priority> {
        let by_name = criticality(headers, &self.criticality);
        by_name.or_else(|| urgency(headers).map(priority_of_urgency))
    }

    /// The shorter of the caller's time and the service's own, from the time at which a proxy received the
    /// request.
    pub(super) fn claimed_deadline(
        &self,
        headers: &HeaderMap,
        arrived: Instant,
        queued: Duration,
    ) -> Option<Instant> {
        let shortest = [timeout(headers), self.timeout].into_iter().flatten().min()?;
        arrived.checked_add(shortest.saturating_sub(queued))
    }

    /// How long a request was in the queue of the proxy that sent it.
    pub(super) fn queued_before(&self, headers: &HeaderMap, arrived: Instant) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let on_its_way = queue_time(headers, now);
        on_its_way.map(|time| self.proxy_clock.queued(time, arrived)).unwrap_or_default()
    }
}

/// RFC 9218, section 4.1: 3 is the default, 7 is for background work, such as delivery of updates.
const fn priority_of_urgency(urgency: u8) -> Priority {
    match urgency {
        0 => Priority::Critical,
        1..=3 => Priority::Normal,
        4..=6 => Priority::Deferrable,
        _ => Priority::Sheddable,
    }
}
