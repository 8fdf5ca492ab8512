//! The answer of a service whose dependency has rejected a call.

use std::time::Duration;

use backpressure_core::{Outcome, Reason, Shed};
use http::{HeaderValue, Response, StatusCode, header};
use tokio::time::Instant;

use crate::admission::rejection::whole_seconds;
use crate::client::classify::is_rejection;
use crate::client::replay::ResponseHead;
use crate::client::supervised::told_wait;
use crate::headers::retry_after_scope::{RETRY_AFTER_SCOPE_FIELD, THIS_REQUEST, is_of_one_request};
use crate::headers::shed_reason::Rejected;

/// A dependency, or a layer of the client in front of it, has rejected a call, and the handler cannot do without
/// it. [`into_response`](Self::into_response) is the answer to the caller.
///
/// ```
/// use http::{Request, Response};
/// use tower::{Service, ServiceExt};
/// use tower_backpressure::client::{BackpressureClient, Unavailable};
/// # use http_body_util::Full;
/// # use bytes::Bytes;
///
/// async fn checkout<C, B>(
///     payments: C,
///     request: Request<Full<Bytes>>,
/// ) -> Result<Response<String>, C::Error>
/// where
///     C: Service<Request<Full<Bytes>>, Response = Response<B>>,
///     B: http_body::Body,
/// {
///     let response = payments.oneshot(request).await?;
///     if let Some(unavailable) = Unavailable::of(&response) {
///         return Ok(unavailable.into_response());
///     }
///     Ok(Response::new("paid".to_owned()))
/// }
/// ```
///
/// # What the answer says
///
/// - 503, whatever the dependency's status: a 429 was about this service, and not about its caller.
/// - `Retry-After`, where the dependency has said when to come back, or a layer of the client knows: what is left
///   of that time, rounded up. It is never made up. A time that is for this request alone is marked so, by
///   [`RETRY_AFTER_SCOPE`](crate::client::RETRY_AFTER_SCOPE): servers of this crate schedule each request by itself, and a
///   caller that took the time for all requests would send none.
/// - To an [`AdmissionLayer`](crate::AdmissionLayer) outside, in the extensions: [`Outcome::Ignore`]. An overloaded
///   dependency lowers no limit of routes that do without it.
///
/// It does not promise that the request was not begun, since the handler has run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unavailable {
    /// When the dependency may be asked again, if that is known.
    at: Option<Instant>,
    /// Whether that is for this request alone.
    is_of_one_request: bool,
    /// The layer of the client that has rejected the call, if one has.
    by: Option<Rejected>,
}

impl Unavailable {
    /// Reads the response of a client; `None` where the call was not rejected: 429, 503, 529, or gRPC status 8
    /// or 14 in the head, from the dependency or a layer of the client.
    #[must_use]
    pub fn of<R: ResponseHead>(response: &R) -> Option<Self> {
        let by = Rejected::at_client(response.extensions());
        if by.is_none() && !is_rejection(response.status(), response.headers()) {
            return None;
        }
        let local = response.extensions().get::<Shed>();
        let wait = local.map(|shed| shed.retry_after).or_else(|| told_wait(response.headers()));
        let is_of_one_request = match local {
            // These hold for all calls.
            Some(shed) => !matches!(shed.reason, Reason::Cooldown | Reason::Breaker),
            None => is_of_one_request(response.headers()),
        };
        let at = wait.and_then(|wait| Instant::now().checked_add(wait));
        Some(Self { at, is_of_one_request, by })
    }

    /// How long it is until the dependency may be asked again; `None` where nothing has said so.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.at.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// What a caller is told whose request needs both calls: the later time, as an earlier one would be in vain.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let later = if self.at >= other.at { self } else { other };
        Self { by: self.by.or(other.by), ..later }
    }

    /// The answer to the caller, with an empty body. A handler of gRPC calls makes a status of its own from
    /// [`retry_after`](Self::retry_after).
    #[must_use]
    pub fn into_response<B: Default>(self) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(left) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, whole_seconds(left));
            if self.is_of_one_request {
                headers.insert(&RETRY_AFTER_SCOPE_FIELD, THIS_REQUEST);
            }
        }
        response.extensions_mut().insert(Outcome::Ignore);
        if let Some(rejected) = self.by {
            response.extensions_mut().insert(rejected);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn response(status: u16, headers: &[(&str, &str)]) -> Response<String> {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(String::new()).expect("a response")
    }

    #[tokio::test(start_paused = true)]
    async fn the_caller_is_told_what_is_left_of_the_time_of_the_dependency() {
        let told = Unavailable::of(&response(429, &[("retry-after", "5")])).expect("rejected");
        tokio::time::sleep(2 * SECOND).await;
        assert_eq!(told.retry_after(), Some(3 * SECOND));
        let answer: Response<String> = told.into_response();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &"3".parse().expect("a value"))
        );
        assert_eq!(answer.extensions().get(), Some(&Outcome::Ignore));
        assert!(Rejected::of(&answer).is_none());
        assert!(
            !answer.headers().contains_key(&RETRY_AFTER_SCOPE_FIELD),
            "a quota of all requests"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_time_that_is_for_one_request_alone_stays_so_through_all_services() {
        let by_server = response(503, &[("retry-after", "5"), ("x-shed-reason", "limit")]);
        let mut answer: Response<String> =
            Unavailable::of(&by_server).expect("rejected").into_response();
        for _ in 0..3 {
            assert_eq!(answer.headers()[&RETRY_AFTER_SCOPE_FIELD], "request");
            assert!(!answer.headers().contains_key("x-shed-reason"), "a handler has run");
            answer = Unavailable::of(&answer).expect("rejected").into_response();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_layer_of_the_client_is_exact_and_no_time_is_made_up() {
        let mut local = response(503, &[("retry-after", "1")]);
        local.extensions_mut().insert(Shed::new(Reason::Breaker, SECOND / 4));
        let local = Unavailable::of(&local).expect("rejected");
        assert_eq!(local.retry_after(), Some(SECOND / 4));
        let silent = Unavailable::of(&response(503, &[])).expect("rejected");
        assert_eq!(silent.retry_after(), None);
        assert!(!silent.into_response::<String>().headers().contains_key("retry-after"));
        assert_eq!(silent.and(local).retry_after(), Some(SECOND / 4));
        let answer = local.and(silent).into_response::<String>();
        assert_eq!(Rejected::of(&answer), Some(Rejected(Reason::Breaker)));
    }

    #[tokio::test(start_paused = true)]
    async fn only_rejections_count() {
        for status in [200, 400, 404, 500, 502, 504] {
            assert_eq!(
                Unavailable::of(&response(status, &[("retry-after", "5")])),
                None,
                "{status}"
            );
        }
        assert!(Unavailable::of(&response(529, &[])).is_some());
        assert!(Unavailable::of(&response(200, &[("grpc-status", "14")])).is_some());
    }
}
