//! What a response says about capacity.

use std::fmt;
use std::sync::Arc;

use backpressure_core::Outcome;
use http::response::Parts;
use http::{HeaderName, Response, StatusCode};

use crate::headers::shed_reason::Rejected;

/// The end of the connection that reads the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Around the service that produces it.
    Server,
    /// In the client that receives it.
    Client,
}

/// Turns a response into an [`Outcome`]: first a user's rule, if there is one, then the defaults.
#[derive(Clone)]
pub(crate) struct Classifier {
    side: Side,
    rule: Option<Arc<Rule>>,
}

/// A user's rule. `None` leaves the response to the defaults.
type Rule = dyn Fn(&Parts) -> Option<Outcome> + Send + Sync;

impl Classifier {
    pub(crate) const fn new(side: Side) -> Self {
        Self { side, rule: None }
    }

    pub(crate) fn with_rule(
        &self,
        rule: impl Fn(&Parts) -> Option<Outcome> + Send + Sync + 'static,
    ) -> Self {
        Self { side: self.side, rule: Some(Arc::new(rule)) }
    }

    pub(crate) const fn side(&self) -> Side {
        self.side
    }

    /// The outcome of an attempt that ended like this.
    ///
    /// An [`Outcome`] in the extensions comes from the code that made the response and takes
    /// precedence. Then the user's rule decides, then the status.
    pub(crate) fn outcome<B, E>(&self, answer: &mut Result<Response<B>, E>) -> Outcome {
        let Ok(response) = answer else {
            return Outcome::Failure;
        };
        if let Some(&stated) = response.extensions().get::<Outcome>() {
            return stated;
        }
        if is_of_another_origin(response) {
            return Outcome::Success;
        }
        let ruled = self.rule.as_ref().and_then(|rule| apply(&**rule, response));
        ruled.unwrap_or_else(|| classify(response, self.side))
    }
}

/// In the extensions of a failed response that another origin has sent: the one that was asked has answered with a
/// redirection.
#[cfg(feature = "reqwest")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct OfAnotherOrigin;

/// Whether a failed response says nothing of the origin that was asked.
#[cfg(feature = "reqwest")]
pub(crate) fn is_of_another_origin<B>(response: &Response<B>) -> bool {
    !response.status().is_success() && response.extensions().get::<OfAnotherOrigin>().is_some()
}

#[cfg(not(feature = "reqwest"))]
pub(crate) const fn is_of_another_origin<B>(_response: &Response<B>) -> bool {
    false
}

/// Applies a rule to the head of a response. `Parts` cannot borrow, so the head moves out and back.
fn apply<B>(rule: &Rule, response: &mut Response<B>) -> Option<Outcome> {
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = response.status();
    parts.version = response.version();
    parts.headers = std::mem::take(response.headers_mut());
    parts.extensions = std::mem::take(response.extensions_mut());
    let outcome = rule(&parts);
    *response.headers_mut() = parts.headers;
    *response.extensions_mut() = parts.extensions;
    outcome
}

/// The defaults.
///
/// At a server no status means that *this* service is overloaded: a 503 of its handler may come from
/// one dead dependency of sixteen, which a lower limit would not mend. At a client 429 and 503 are
/// pushback of the server. A time-out is a failure at both ends; its latency says nothing about work.
/// A rejection by an inner layer of this crate was no work.
fn classify<B>(response: &Response<B>, side: Side) -> Outcome {
    let rejected = match side {
        Side::Server => Rejected::of(response),
        Side::Client => Rejected::at_client(response.extensions()),
    };
    if rejected.is_some() {
        return Outcome::Ignore;
    }
    match response.status() {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => pushback(side),
        StatusCode::REQUEST_TIMEOUT => Outcome::Failure,
        // nginx: the caller closed the connection before the answer.
        status if status.as_u16() == 499 => Outcome::Failure,
        status if status.is_server_error() => Outcome::Failure,
        _ => classify_grpc(response, side),
    }
}

const fn pushback(side: Side) -> Outcome {
    match side {
        Side::Server => Outcome::Failure,
        Side::Client => Outcome::Overload,
    }
}

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// A gRPC failure is a 200 with a status of its own, in the head when there is no message.
fn classify_grpc<B>(response: &Response<B>, side: Side) -> Outcome {
    let status = response.headers().get(&GRPC_STATUS).map(|status| status.as_bytes());
    match status {
        None | Some(b"0") => Outcome::Success,
        // Mistakes of the caller, found by work: INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS,
        // PERMISSION_DENIED, FAILED_PRECONDITION, OUT_OF_RANGE, UNIMPLEMENTED, UNAUTHENTICATED.
        Some(b"3" | b"5" | b"6" | b"7" | b"9" | b"11" | b"12" | b"16") => Outcome::Success,
        // RESOURCE_EXHAUSTED and UNAVAILABLE.
        Some(b"8" | b"14") => pushback(side),
        Some(_) => Outcome::Failure,
    }
}

impl fmt::Debug for Classifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ruled = self.rule.is_some();
        f.debug_struct("Classifier").field("side", &self.side).field("ruled", &ruled).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::headers::shed_reason::{SHED_REASON, own_value};
    use backpressure_core::{Reason, Shed};

    fn head(status: u16) -> Result<Response<()>, ()> {
        Ok(Response::builder().status(status).body(()).expect("a response"))
    }

    fn outcome(side: Side, status: u16) -> Outcome {
        Classifier::new(side).outcome(&mut head(status))
    }

    #[test]
    fn a_status_never_tells_a_server_that_it_is_overloaded() {
        for status in [408, 429, 499, 500, 502, 503, 504] {
            assert_eq!(outcome(Side::Server, status), Outcome::Failure, "{status}");
        }
        assert_eq!(
            Classifier::new(Side::Server).outcome(&mut Err::<Response<()>, _>(())),
            Outcome::Failure
        );
    }

    #[test]
    fn a_client_takes_429_and_503_for_pushback_and_time_outs_for_failures() {
        assert_eq!(outcome(Side::Client, 429), Outcome::Overload);
        assert_eq!(outcome(Side::Client, 503), Outcome::Overload);
        for status in [408, 499, 500, 502, 504] {
            assert_eq!(outcome(Side::Client, status), Outcome::Failure, "{status}");
        }
    }

    #[test]
    fn a_mistake_of_the_caller_is_a_success() {
        for status in [101, 200, 204, 304, 400, 404, 422] {
            assert_eq!(outcome(Side::Server, status), Outcome::Success, "{status}");
            assert_eq!(outcome(Side::Client, status), Outcome::Success, "{status}");
        }
    }

    #[test]
    fn a_rejection_by_an_inner_layer_teaches_nothing() {
        let shed = Shed::new(Reason::Limit, Duration::from_secs(1));
        for side in [Side::Server, Side::Client] {
            let mut refused = head(503);
            refused.as_mut().expect("a response").extensions_mut().insert(shed);
            assert_eq!(Classifier::new(side).outcome(&mut refused), Outcome::Ignore);
        }
        // A server in this process is a server to its clients.
        for (side, expected) in [(Side::Server, Outcome::Ignore), (Side::Client, Outcome::Overload)]
        {
            let mut refused = head(503);
            let headers = refused.as_mut().expect("a response").headers_mut();
            headers.insert(SHED_REASON, own_value(Reason::Limit, true));
            assert_eq!(Classifier::new(side).outcome(&mut refused), expected);
        }
    }

    #[test]
    fn a_grpc_call_is_classified_by_its_grpc_status() {
        let answer = |status: &str, side| {
            let response = Response::builder().header("grpc-status", status).body(());
            Classifier::new(side).outcome(&mut Ok::<_, ()>(response.expect("a response")))
        };
        for side in [Side::Server, Side::Client] {
            for status in ["0", "3", "5", "6", "7", "9", "11", "12", "16"] {
                assert_eq!(answer(status, side), Outcome::Success, "{status}");
            }
            for status in ["1", "2", "4", "10", "13", "15", "nonsense"] {
                assert_eq!(answer(status, side), Outcome::Failure, "{status}");
            }
        }
        for status in ["8", "14"] {
            assert_eq!(answer(status, Side::Server), Outcome::Failure, "{status}");
            assert_eq!(answer(status, Side::Client), Outcome::Overload, "{status}");
        }
    }

    #[test]
    fn a_stated_outcome_beats_a_rule_and_a_rule_beats_the_defaults() {
        let rule = |head: &Parts| (head.status == 500).then_some(Outcome::Overload);
        let classifier = Classifier::new(Side::Server).with_rule(rule);
        assert_eq!(classifier.outcome(&mut head(500)), Outcome::Overload);
        assert_eq!(classifier.outcome(&mut head(503)), Outcome::Failure);
        let mut stated = head(500);
        stated.as_mut().expect("a response").extensions_mut().insert(Outcome::Success);
        assert_eq!(classifier.outcome(&mut stated), Outcome::Success);
    }

    #[test]
    fn a_rule_sees_the_whole_head_and_leaves_it_as_it_was() {
        let rule = |head: &Parts| {
            let cached = head.headers.contains_key("x-cache");
            let marked = head.extensions.get::<u8>() == Some(&7);
            (cached && marked).then_some(Outcome::Ignore)
        };
        let response = Response::builder().status(203).header("x-cache", "hit").extension(7_u8);
        let mut answer = Ok::<_, ()>(response.body("body").expect("a response"));
        let classifier = Classifier::new(Side::Server).with_rule(rule);
        assert_eq!(classifier.outcome(&mut answer), Outcome::Ignore);
        let response = answer.expect("still one");
        assert_eq!((response.status().as_u16(), *response.body()), (203, "body"));
        assert_eq!(response.headers()["x-cache"], "hit");
        assert_eq!(response.extensions().get::<u8>(), Some(&7));
    }
}
