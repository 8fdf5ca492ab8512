//! One HTTP request through a limiter: admission, queue, rejection, and the permit in the response body.
//!
//! Both ends use it: the layers of [`server`](crate::server) and the limit per origin of
//! [`client`](crate::client).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::Shed;
use http::{Request, Version};
use http_body::Body;
use tokio::time::Instant;

use crate::headers::content_length::content_length;
use crate::headers::grpc::Dialect;
use crate::keyed_map::Idle;
use crate::limiter::Limiter;
use crate::observe::Telemetry;
use crate::request_info::RequestInfo;

pub(crate) mod body;
pub(crate) mod classify;
pub(crate) mod delayed_rejection;
pub(crate) mod drain;
mod dry_run;
mod future;
pub(crate) mod guard;
pub(crate) mod permit_handle;
pub(crate) mod rejection;
pub(crate) mod response_policy;
pub(crate) mod return_ticket;
mod service;
pub(crate) mod stream_rules;
pub(crate) mod streams;
pub(crate) mod switches;

#[cfg(feature = "reqwest")]
pub(crate) use self::future::Deliver;
pub use self::future::ResponseFuture;
pub use self::response_policy::PermitScope;
pub use self::service::Limited;
#[cfg(feature = "client")]
pub(crate) use self::service::SelectPolicy;

use self::delayed_rejection::DelayedRejection;
use self::drain::Drains;
use self::rejection::Rejection;
use self::response_policy::ResponsePolicy;
use self::return_ticket::ReturnTickets;
use self::switches::Switches;

/// What all services of one layer share. An origin of a client has one of its own.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) limiter: Limiter,
    pub(crate) rejection: Rejection,
    pub(crate) telemetry: Telemetry,
    pub(crate) switches: Switches,
    pub(crate) response: ResponsePolicy,
    pub(crate) delayed: DelayedRejection,
    /// Reads the bodies of rejected requests; `None` at a client, whose bodies are in this process.
    pub(crate) drains: Option<Drains>,
    /// `None`: requests that come back have no precedence.
    pub(crate) tickets: Option<ReturnTickets>,
    /// Asked about a request that leaves the queue with a permit: why it must not be sent after all.
    pub(crate) recheck: Option<Recheck>,
}

/// A last check before a request that has waited is sent.
#[derive(Clone)]
pub(crate) struct Recheck(pub(crate) Arc<dyn Fn() -> Option<Shed> + Send + Sync>);

impl fmt::Debug for Recheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recheck")
    }
}

impl Policy {
    /// What the limiter needs to know of a request. Uses up the request's return ticket.
    ///
    /// `R`: the type of the response's body.
    fn info<B: 'static, R: Body + Send + 'static>(
        &self,
        request: &Request<B>,
        now: Instant,
    ) -> RequestInfo {
        let tickets = self.tickets.as_ref();
        let is_returning = tickets.is_some_and(|tickets| tickets.take(request.headers(), now));
        let info = RequestInfo::of(request.extensions()).returning(is_returning);
        if self.fills_window::<B, R>(request) {
            info.not_after(Some(now + MAX_WAIT_OF_UPLOAD))
        } else {
            info
        }
    }

    /// Whether the body of a request over HTTP/2 may be a large one. A gRPC call does not say its length, and is
    /// small as a rule.
    fn fills_window<B: 'static, R: Body + Send + 'static>(&self, request: &Request<B>) -> bool {
        if request.version() != Version::HTTP_2 {
            return false;
        }
        match content_length(request.headers()) {
            Some(length) => length > MAX_SMALL_UPLOAD,
            None if Dialect::of(request.headers()) != Dialect::Http => false,
            None => self.drains.as_ref().is_some_and(|it| it.is_unread::<_, R>(request.body())),
        }
    }
}

/// How long a large upload over HTTP/2 may wait in the queue. Its body is not read meanwhile, and what has come of
/// it uses up the window of the connection, so that no other upload on it goes on, those in flight included.
const MAX_WAIT_OF_UPLOAD: Duration = Duration::from_secs(1);
/// Uploads up to this size leave room for others: HTTP/2 starts with a window of this size.
const MAX_SMALL_UPLOAD: u64 = 64 * 1024;

/// A request that is being admitted or in the queue refers to the policy, and makes it not idle.
impl Idle for Policy {
    fn is_idle(&self) -> bool {
        self.limiter.in_flight() == 0
    }
}
