//! The response in place of one that has not come in time.

use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, Response, StatusCode};

/// A 504 like that of a gateway, or gRPC's own status: the request may have been carried out.
pub(super) fn with_body<B>(is_grpc: bool, body: B) -> Response<B> {
    let mut response = Response::new(body);
    if is_grpc {
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, DEADLINE_EXCEEDED);
        headers.insert(GRPC_MESSAGE, HeaderValue::from_static("deadline exceeded"));
    } else {
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    }
    response
}

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// The status of gRPC for a call that was not completed in time.
const DEADLINE_EXCEEDED: HeaderValue = HeaderValue::from_static("4");
