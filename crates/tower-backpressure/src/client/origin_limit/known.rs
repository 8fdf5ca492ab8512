//! The limit of one origin, as a route knows it that depends on the origin.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::Shed;
use http::Uri;
use tokio::time::Instant;

use super::OriginLimitLayer;
use crate::admission::Policy;
use crate::client::origin_key::OriginKey;
use crate::request_info::RequestInfo;

/// The limit of one origin. It is not forgotten while this is alive.
#[derive(Clone)]
pub(in crate::client) struct KnownLimit(Arc<Policy>);

impl OriginLimitLayer {
    /// The limit of an origin, which is made if there is none yet.
    pub(in crate::client) fn know(&self, origin: &Uri) -> KnownLimit {
        KnownLimit(self.origins.policy(OriginKey::of_uri(origin)))
    }
}

impl KnownLimit {
    /// The rejection of a request whose call would be rejected, which counts as one of this layer. A call that would
    /// wait in the queue passes, and any call that may be exempt.
    pub(in crate::client) fn shed(&self, info: RequestInfo) -> Option<Shed> {
        let Policy { limiter, switches, telemetry, .. } = &*self.0;
        if switches.exempts_some() {
            return None;
        }
        let now = Instant::now();
        let shed = limiter.reject_early(info, now)?;
        if switches.is_dry_run() {
            telemetry.would_reject(shed, limiter, now);
            return None;
        }
        telemetry.rejected(shed, limiter, now, Duration::ZERO);
        Some(shed)
    }
}

impl fmt::Debug for KnownLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KnownLimit").field(&self.0.limiter).finish()
    }
}
