//! One HTTP request through a limiter: admission, queue, rejection, and the permit in the response body.
//!
//! Both ends use it: the layers of [`server`](crate::server) and the limit per origin of
//! [`client`](crate::client).

use http::Request;
use tokio::time::Instant;

use crate::limiter::Limiter;
use crate::observe::Telemetry;
use crate::request_info::RequestInfo;

pub(crate) mod body;
pub(crate) mod classify;
pub(crate) mod delayed_rejection;
pub(crate) mod drain;
mod dry_run;
mod future;
mod guard;
pub(crate) mod permit_handle;
pub(crate) mod rejection;
pub(crate) mod response_policy;
pub(crate) mod return_ticket;
mod service;
pub(crate) mod streams;
pub(crate) mod switches;

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
}

impl Policy {
    /// What the limiter needs to know of a request. Uses up the request's return ticket.
    fn info<B>(&self, request: &Request<B>, now: Instant) -> RequestInfo {
        let tickets = self.tickets.as_ref();
        let is_returning = tickets.is_some_and(|tickets| tickets.take(request.headers(), now));
        RequestInfo::of(request.extensions()).returning(is_returning)
    }
}
