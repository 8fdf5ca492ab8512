//! What a gRPC call says of itself: how its caller reads a status, and how long it waits.

#[cfg(any(feature = "server", feature = "client"))]
use std::time::Duration;

#[cfg(any(feature = "server", feature = "client"))]
use http::HeaderName;
use http::{HeaderMap, HeaderValue, header};

#[cfg(any(feature = "server", feature = "client"))]
use super::number;

#[cfg(any(feature = "server", feature = "client"))]
pub(crate) static GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How a caller reads the status of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Http,
    /// In the head, where there is no message.
    Grpc,
    /// gRPC-Web: in a last frame of the body.
    Web,
    /// gRPC-Web in base64, for browsers that cannot read binary bodies.
    WebText,
}

impl Dialect {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let kind = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
        let Some(rest) = kind.and_then(|kind| kind.strip_prefix(b"application/grpc")) else {
            return Self::Http;
        };
        let is = |name: &[u8]| {
            let rest = rest.strip_prefix(name)?;
            rest.first().is_none_or(|&next| next == b'+' || next == b';').then_some(())
        };
        match (is(b""), is(b"-web"), is(b"-web-text")) {
            (Some(()), _, _) => Self::Grpc,
            (_, Some(()), _) => Self::Web,
            (_, _, Some(())) => Self::WebText,
            _ => Self::Http,
        }
    }

    /// Whether the messages of a call are JSON. Clients in JSON take a response of another type for a broken one.
    pub(crate) fn is_json(headers: &HeaderMap) -> bool {
        let kind = headers.get(header::CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
        let name = kind.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii_end();
        name.starts_with(b"application/grpc") && name.ends_with(b"+json")
    }
}

/// gRPC over HTTP/2: up to eight digits and a unit. Clients send 0 for a deadline that has passed.
#[cfg(any(feature = "server", feature = "client"))]
pub(crate) fn timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let number = number(digits, 8)?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3_600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dialect(kind: &str) -> Dialect {
        let kind = HeaderValue::from_str(kind).expect("a value");
        Dialect::of(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]))
    }

    #[test]
    fn a_caller_is_answered_in_its_own_dialect() {
        for kind in ["application/grpc", "application/grpc+proto", "application/grpc;charset=x"] {
            assert_eq!(dialect(kind), Dialect::Grpc, "{kind}");
        }
        for kind in ["application/grpc-web", "application/grpc-web+proto"] {
            assert_eq!(dialect(kind), Dialect::Web, "{kind}");
        }
        for kind in ["application/grpc-web-text", "application/grpc-web-text+proto"] {
            assert_eq!(dialect(kind), Dialect::WebText, "{kind}");
        }
        let is_json = |kind: &'static str| {
            let kind = HeaderValue::from_static(kind);
            Dialect::is_json(&HeaderMap::from_iter([(header::CONTENT_TYPE, kind)]))
        };
        assert!(
            is_json("application/grpc+json") && is_json("application/grpc-web+json; charset=x")
        );
        assert!(!is_json("application/grpc") && !is_json("application/problem+json"));
        for kind in ["application/json", "application/grpcx", "application/grpc-webx", ""] {
            assert_eq!(dialect(kind), Dialect::Http, "{kind}");
        }
    }
}
