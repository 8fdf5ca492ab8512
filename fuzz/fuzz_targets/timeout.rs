//! Fuzzes the fields in which callers say how long they wait:
//! `cargo +nightly fuzz run timeout fuzz/corpus/timeout fuzz/seeds/timeout`
//!
//! Each line of the input is a header value; its first byte selects the field.

#![no_main]

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tokio::time::Instant;
use tower_backpressure::RequestInfoLayer;

const FIELDS: [&str; 4] =
    ["grpc-timeout", "connect-timeout-ms", "x-envoy-expected-rq-timeout-ms", "request-timeout"];

fuzz_target!(|lines: &[u8]| {
    let mut request = http::Request::new(());
    for line in lines.split(|byte| *byte == b'\n') {
        let Some((&selector, value)) = line.split_first() else { continue };
        let field = FIELDS[usize::from(selector) % FIELDS.len()];
        if let Ok(value) = HeaderValue::from_bytes(value) {
            request.headers_mut().append(HeaderName::from_static(field), value);
        }
    }
    let head = request.into_parts().0;
    let untrusted = RequestInfoLayer::from_headers();
    let trusting = untrusted.clone().trust(|_| true);
    let bounded = untrusted.clone().timeout(Duration::from_secs(1));
    let latest = Instant::now() + Duration::from_secs(2);
    assert!(bounded.read(&head).deadline.is_some_and(|at| at <= latest));
    let _ = trusting.read(&head);
});
