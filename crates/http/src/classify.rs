//! What a response says about capacity.

use backpressure_gate::{Outcome, Shed};
use http::{HeaderName, Response, StatusCode};

/// Where an answer is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Around the service that gives it.
    Server,
    /// At the other end of the line.
    Client,
}

/// The outcome of an attempt that was answered like this.
///
/// A 503 or 504 says that too much was asked for further down. A 429 says so to the client it was
/// sent to; to a server it says that one caller was greedy. Any other server error says nothing
/// about capacity: it may have failed fast, and fast failures must never look like fast service.
/// What a layer further in turned away was not work at all.
pub(crate) fn classify<B>(response: &Response<B>, side: Side) -> Outcome {
    if response.extensions().get::<Shed>().is_some() {
        return Outcome::Ignore;
    }
    match response.status() {
        StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => Outcome::Overload,
        StatusCode::TOO_MANY_REQUESTS => too_many(side),
        status if status.is_server_error() => Outcome::Ignore,
        _ => classify_grpc(response, side),
    }
}

fn too_many(side: Side) -> Outcome {
    match side {
        Side::Server => Outcome::Ignore,
        Side::Client => Outcome::Overload,
    }
}

static GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// gRPC fails with 200 and a status of its own, in the head when there is no message.
fn classify_grpc<B>(response: &Response<B>, side: Side) -> Outcome {
    let status = response.headers().get(&GRPC_STATUS).map(|status| status.as_bytes());
    match status {
        None | Some(b"0") => Outcome::Success,
        // DEADLINE_EXCEEDED and UNAVAILABLE.
        Some(b"4" | b"14") => Outcome::Overload,
        // RESOURCE_EXHAUSTED.
        Some(b"8") => too_many(side),
        Some(_) => Outcome::Ignore,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backpressure_gate::Reason;
    use std::time::Duration;

    fn outcome(status: u16) -> Outcome {
        heard(Side::Server, status)
    }

    fn heard(side: Side, status: u16) -> Outcome {
        classify(&Response::builder().status(status).body(()).expect("a response"), side)
    }

    #[test]
    fn fast_failures_are_not_fast_service() {
        assert_eq!(outcome(500), Outcome::Ignore);
        assert_eq!(outcome(502), Outcome::Ignore);
        assert_eq!(outcome(429), Outcome::Ignore);
    }

    #[test]
    fn refusals_further_down_are_overload() {
        assert_eq!(outcome(503), Outcome::Overload);
        assert_eq!(outcome(504), Outcome::Overload);
    }

    #[test]
    fn a_client_takes_too_many_requests_to_heart() {
        assert_eq!(heard(Side::Client, 429), Outcome::Overload);
        assert_eq!(heard(Side::Client, 503), Outcome::Overload);
        assert_eq!(heard(Side::Client, 502), Outcome::Ignore);
    }

    #[test]
    fn a_callers_mistake_is_still_work_done() {
        assert_eq!(outcome(200), Outcome::Success);
        assert_eq!(outcome(404), Outcome::Success);
    }

    #[test]
    fn what_a_layer_further_in_shed_is_no_work() {
        let mut response = Response::builder().status(503).body(()).expect("a response");
        let shed = Shed { reason: Reason::Limit, retry_after: Duration::from_secs(1) };
        response.extensions_mut().insert(shed);
        assert_eq!(classify(&response, Side::Server), Outcome::Ignore);
        assert_eq!(classify(&response, Side::Client), Outcome::Ignore);
    }

    #[test]
    fn grpc_says_it_in_its_own_status() {
        let answer = |status: &str, side| {
            let response = Response::builder().header("grpc-status", status).body(());
            classify(&response.expect("a response"), side)
        };
        assert_eq!(answer("0", Side::Server), Outcome::Success);
        assert_eq!(answer("14", Side::Server), Outcome::Overload);
        assert_eq!(answer("5", Side::Server), Outcome::Ignore);
        assert_eq!(answer("8", Side::Server), Outcome::Ignore);
        assert_eq!(answer("8", Side::Client), Outcome::Overload);
    }
}
