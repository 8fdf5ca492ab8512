//! Which responses are streams, and what becomes of those.

use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Reason, Shed};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::Policy;
use super::guard::Guard;
use super::rejection::Caller;
use super::stream_rules::StreamPolicy;

/// What decides on the response to one request, when its head is there.
#[derive(Clone, Debug)]
pub(crate) struct StreamCheck {
    policy: Arc<Policy>,
    caller: Caller,
    is_connect: bool,
    /// Whether the user's rule says so.
    is_ruled: bool,
}

/// When to come back to a service that has as many streams as it may: streams last for minutes, and there are
/// many, so that one of them ends every few seconds.
const STREAM_RETRY_AFTER: Duration = Duration::from_secs(5);

impl StreamCheck {
    fn is_stream<B>(&self, response: &Response<B>) -> bool {
        // A gRPC call that fails before its first message has its status in the head.
        let is_success =
            response.status().is_success() && !response.headers().contains_key("grpc-status");
        let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_known = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || kind.is_some_and(is_stream_type);
        is_known || is_success && (self.is_connect || self.is_ruled)
    }
}

fn is_stream_type(kind: &[u8]) -> bool {
    const TYPES: [&[u8]; 6] = [
        b"text/event-stream",
        b"application/x-ndjson",
        b"application/ndjson",
        b"application/jsonl",
        b"application/json-seq",
        b"multipart/x-mixed-replace",
    ];
    let name = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    TYPES.iter().any(|known| name.eq_ignore_ascii_case(known))
}

impl StreamCheck {
    /// `None` where streams are limited as other responses are.
    #[inline]
    pub(crate) fn of<B>(policy: &Arc<Policy>, request: &mut Request<B>) -> Option<Box<Self>> {
        let rules = policy.switches.streams.as_ref()?;
        let is_ruled = rules.applies_to(request);
        let is_connect = request.method() == Method::CONNECT;
        let policy = (rules.policy != StreamPolicy::Work).then(|| Arc::clone(policy))?;
        Some(Box::new(Self { policy, caller: Caller::of(request), is_connect, is_ruled }))
    }

    /// If this response is a stream, its permit is released, and it is counted as a stream. Where there are as
    /// many streams as there may be, returns the response to send instead.
    pub(crate) fn admit<B>(
        &self,
        response: &Response<B>,
        guard: &mut Guard,
    ) -> Option<Response<Bytes>> {
        let switches = &self.policy.switches;
        let rules = switches.streams.as_ref()?;
        if !self.is_stream(response) {
            return None;
        }
        let max = match rules.policy {
            StreamPolicy::Work => return None,
            StreamPolicy::Watch(max) => max,
            StreamPolicy::Head => usize::MAX,
        };
        match switches.stream(max) {
            Some(stream) => guard.becomes_stream((stream, self.policy.telemetry.stream())),
            None if switches.is_dry_run() => {}
            None => return Some(self.reject()),
        }
        None
    }

    #[cold]
    fn reject(&self) -> Response<Bytes> {
        let shed = Shed::new(Reason::Streams, STREAM_RETRY_AFTER);
        let now = tokio::time::Instant::now();
        self.policy.telemetry.rejected(shed, &self.policy.limiter, now, Duration::ZERO);
        self.policy.rejection.respond_begun(shed, self.caller)
    }
}

#[cfg(all(test, feature = "server"))]
mod tests {
    use super::*;
    use crate::AdmissionLayer;

    fn check(mut request: Request<()>) -> StreamCheck {
        let layer = AdmissionLayer::fixed("api", 1)
            .streams(StreamPolicy::Head)
            .stream_if(|head| head.uri.path() == "/watch");
        let check = StreamCheck::of(layer.policy(), &mut request).expect("streams have a policy");
        assert!(request.headers().contains_key("kept"), "the head is put back");
        *check
    }

    fn request(method: &str, path: &str) -> Request<()> {
        let request = Request::builder().method(method).uri(path).header("kept", "1");
        request.body(()).expect("a request")
    }

    #[test]
    fn streams_are_told_by_status_type_and_rule() {
        let is_stream = |check: &StreamCheck, response: http::response::Builder| {
            check.is_stream(&response.body(()).expect("a response"))
        };
        let typed = |kind: &str| Response::builder().header("content-type", kind);
        let plain = check(request("GET", "/"));
        for kind in [
            "text/event-stream",
            "Text/Event-Stream; charset=utf-8",
            "application/x-ndjson",
            "multipart/x-mixed-replace;boundary=x",
        ] {
            assert!(is_stream(&plain, typed(kind)), "{kind}");
        }
        for kind in ["text/html", "application/json", "application/grpc", ""] {
            assert!(!is_stream(&plain, typed(kind)), "{kind}");
        }
        assert!(is_stream(&plain, Response::builder().status(101)));
        for of_kind in [check(request("CONNECT", "host:443")), check(request("POST", "/watch"))] {
            assert!(is_stream(&of_kind, typed("application/grpc")));
            assert!(!is_stream(&of_kind, Response::builder().status(403)));
            assert!(!is_stream(&of_kind, typed("application/grpc").header("grpc-status", "5")));
        }
    }
}
