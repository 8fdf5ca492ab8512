//! Which responses are streams, and what limits them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use backpressure_core::{Reason, Shed};
use bytes::Bytes;
use http::response::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};

use super::Policy;
use super::classify::with_parts;
use super::guard::Guard;
use super::rejection::Caller;

/// What limits a response that is a stream: events, a watch, an upgraded connection.
///
/// | response | is a stream |
/// |---|---|
/// | `101 Switching Protocols`, success of a `CONNECT` | always |
/// | `text/event-stream`, `application/x-ndjson`, `application/jsonl`, `application/json-seq`, `multipart/x-mixed-replace` | always |
/// | others, as a gRPC method that streams | if `stream_if` says so |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamPolicy {
    /// It is work, as any other body is: it holds its permit while the service produces, and counts apart
    /// while nothing happens. For streams of which each event is computed.
    #[default]
    Work,
    /// It watches: it gives its permit back with its head, and counts under a cap of its own, this many at
    /// once. A stream beyond the cap gets a 503, after its handler has run: it does not say that it was not
    /// begun. A reader that stalls holds memory and a place under the cap.
    Watch(usize),
    /// It gives its permit back with its head, and nothing limits it from then on.
    Head,
}

/// The rules of one layer for streams.
#[derive(Clone, Default)]
pub(crate) struct StreamRules {
    pub(crate) policy: StreamPolicy,
    pub(crate) is_stream: Option<Arc<Predicate>>,
}

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// What decides on the response to one request, when its head is there.
#[derive(Clone, Debug)]
pub(crate) struct StreamCheck {
    policy: Arc<Policy>,
    caller: Caller,
    is_connect: bool,
}

/// When to come back to a service that has as many streams as it may: streams last for minutes, and there are
/// many, so that one of them ends every few seconds.
const STREAM_RETRY_AFTER: Duration = Duration::from_secs(5);

impl StreamRules {
    fn is_stream<B>(&self, response: &mut Response<B>, is_connect: bool) -> bool {
        let is_tunnel = is_connect && response.status().is_success();
        let kind = response.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let is_known = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || is_tunnel
            || kind.is_some_and(is_stream_type);
        is_known || self.is_stream.as_ref().is_some_and(|rule| with_parts(response, &**rule))
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
    pub(crate) fn of<B>(policy: &Arc<Policy>, request: &Request<B>) -> Option<Box<Self>> {
        let rules = policy.switches.streams.as_ref()?;
        let is_connect = request.method() == Method::CONNECT;
        let policy = (rules.policy != StreamPolicy::Work).then(|| Arc::clone(policy))?;
        Some(Box::new(Self { policy, caller: Caller::of(request), is_connect }))
    }

    /// If this response is a stream, its permit is released, and it is counted as a stream. Where there are as
    /// many streams as there may be, returns the response to send instead.
    pub(crate) fn admit<B>(
        &self,
        response: &mut Response<B>,
        guard: &mut Guard,
    ) -> Option<Response<Bytes>> {
        let switches = &self.policy.switches;
        let rules = switches.streams.as_ref()?;
        if !rules.is_stream(response, self.is_connect) {
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
        self.policy.telemetry.rejected(shed, &self.policy.limiter, now);
        self.policy.rejection.respond_begun(shed, self.caller)
    }
}

impl fmt::Debug for StreamRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRules").field("policy", &self.policy).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_stream(rules: &StreamRules, response: http::response::Builder, is_connect: bool) -> bool {
        rules.is_stream(&mut response.body(()).expect("a response"), is_connect)
    }

    #[test]
    fn streams_are_told_by_status_type_and_rule() {
        let known = StreamRules::default();
        for kind in [
            "text/event-stream",
            "Text/Event-Stream; charset=utf-8",
            "application/x-ndjson",
            "multipart/x-mixed-replace;boundary=x",
        ] {
            assert!(
                is_stream(&known, Response::builder().header("content-type", kind), false),
                "{kind}"
            );
        }
        for kind in ["text/html", "application/json", "application/grpc", ""] {
            assert!(
                !is_stream(&known, Response::builder().header("content-type", kind), false),
                "{kind}"
            );
        }
        assert!(is_stream(&known, Response::builder().status(101), false));
        assert!(is_stream(&known, Response::builder(), true));
        assert!(!is_stream(&known, Response::builder().status(403), true));
        let rule = |head: &Parts| head.headers.contains_key("x-watch");
        let ruled = StreamRules { is_stream: Some(Arc::new(rule)), ..known };
        assert!(is_stream(&ruled, Response::builder().header("x-watch", "1"), false));
        assert!(!is_stream(&ruled, Response::builder(), false));
    }
}
