//! Fuzzes the fields in which proxies say when they received a request:
//! `cargo +nightly fuzz run request_start fuzz/corpus/request_start fuzz/seeds/request_start`
//!
//! Each line of the input is a header value; its first byte selects the field.

#![no_main]

use std::time::Duration;

use http::header::{HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tokio::time::Instant;
use tower_backpressure::RequestInfoLayer;

const FIELDS: [&str; 2] = ["x-request-start", "x-queue-start"];

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
    let latest = Instant::now() + Duration::from_secs(2);
    for layer in [untrusted, trusting] {
        let bounded = layer.timeout(Duration::from_secs(1));
        assert!(bounded.read(&head).deadline.is_some_and(|at| at <= latest));
    }
});
