//! Rejections that gRPC clients understand.

use std::time::Duration;

use backpressure_core::Shed;
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};

/// Whether this is a gRPC call. gRPC-Web, which carries its status in the body, is not.
pub(super) fn speaks<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let rest = kind.and_then(|kind| kind.strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| rest.first().is_none_or(|&next| next == b'+' || next == b';'))
}

/// Trailers only, UNAVAILABLE, and when to come back; gRPC's proposal A6 counts in milliseconds.
pub(super) fn rejection(shed: Shed) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from_static("14"));
    headers.insert("grpc-message", HeaderValue::from_static("overloaded"));
    headers.insert("grpc-retry-pushback-ms", HeaderValue::from(millis(shed.retry_after)));
    response
}

/// Rounded up, at least a second as `Retry-After` is, within the range of an `i32`.
fn millis(wait: Duration) -> u32 {
    let millis = wait.as_nanos().div_ceil(1_000_000);
    u32::try_from(millis).unwrap_or(u32::MAX).clamp(1_000, i32::MAX.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speaks_with(kind: &str) -> bool {
        speaks(&Request::builder().header("content-type", kind).body(()).expect("a request"))
    }

    #[test]
    fn grpc_is_told_from_grpc_web() {
        assert!(speaks_with("application/grpc"));
        assert!(speaks_with("application/grpc+proto"));
        assert!(!speaks_with("application/grpc-web"));
        assert!(!speaks_with("application/json"));
    }

    #[test]
    fn pushback_never_overflows_into_do_not_retry() {
        assert_eq!(millis(Duration::MAX), i32::MAX.unsigned_abs());
        assert_eq!(millis(Duration::from_micros(2_000_001)), 2_001);
    }

    #[test]
    fn pushback_is_never_shorter_than_the_least_retry_after() {
        assert_eq!(millis(Duration::from_micros(1)), 1_000);
    }
}
