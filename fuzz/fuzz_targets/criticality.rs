//! Fuzzes the criticality header:
//! `cargo +nightly fuzz run criticality fuzz/corpus/criticality fuzz/seeds/criticality`
//!
//! Each line of the input is a header value; its first byte selects the field.

#![no_main]

use http::header::{HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tower_backpressure::{Priority, RequestInfoLayer};

const FIELDS: [&str; 1] = ["x-criticality"];

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
    assert!(untrusted.read(&head).priority <= Priority::Normal);
    assert!(trusting.read(&head).priority >= untrusted.read(&head).priority);
});
