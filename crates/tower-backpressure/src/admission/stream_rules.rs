//! Which requests a layer takes for streams, and what limits those.

use std::fmt;
use std::sync::Arc;

use http::Request;
use http::request::Parts;

/// What limits a response that is a stream: events, a watch, an upgraded connection.
///
/// | response | is a stream |
/// |---|---|
/// | `101 Switching Protocols`, success of a `CONNECT` | always |
/// | `text/event-stream`, `application/x-ndjson`, `application/jsonl`, `application/json-seq`, `multipart/x-mixed-replace` | always |
/// | a success otherwise, as of a gRPC method that streams | if `stream_if` says so of its request |
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

impl StreamRules {
    pub(super) fn applies_to<B>(&self, request: &mut Request<B>) -> bool {
        self.is_stream.as_ref().is_some_and(|rule| with_parts(request, &**rule))
    }
}

/// Applies a rule to the head of a request. `Parts` cannot borrow, so the head moves out and back.
fn with_parts<B>(request: &mut Request<B>, rule: &Predicate) -> bool {
    let (mut head, ()) = Request::new(()).into_parts();
    head.version = request.version();
    std::mem::swap(&mut head.method, request.method_mut());
    std::mem::swap(&mut head.uri, request.uri_mut());
    std::mem::swap(&mut head.headers, request.headers_mut());
    std::mem::swap(&mut head.extensions, request.extensions_mut());
    let answer = rule(&head);
    *request.method_mut() = head.method;
    *request.uri_mut() = head.uri;
    *request.headers_mut() = head.headers;
    *request.extensions_mut() = head.extensions;
    answer
}

impl fmt::Debug for StreamRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamRules").field("policy", &self.policy).finish_non_exhaustive()
    }
}
