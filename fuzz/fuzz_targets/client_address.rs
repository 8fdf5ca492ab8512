//! Whatever a client claims in `X-Forwarded-For` or `Forwarded`, the entries of trusted proxies name it.
#![no_main]

use http::{HeaderValue, Request};
use libfuzzer_sys::fuzz_target;
use tower_backpressure::server::ClientAddress;

const CLIENT: [u8; 4] = [192, 0, 2, 7];

fuzz_target!(|claim: &[u8]| {
    let forms = [
        ("x-forwarded-for", "192.0.2.7, 10.0.0.1", ClientAddress::x_forwarded_for(2)),
        ("forwarded", "for=192.0.2.7;proto=https, for=\"10.0.0.1:4711\"", ClientAddress::forwarded(2)),
    ];
    for (name, trusted, by) in forms {
        // In the same line, in a line of its own, and alone.
        let Ok(line) = HeaderValue::from_bytes(claim) else { return };
        let Ok(joined) = HeaderValue::from_bytes(&[claim, b", ", trusted.as_bytes()].concat()) else { return };
        let one = Request::builder().header(name, joined);
        let two = Request::builder().header(name, &line).header(name, trusted);
        for request in [one, two] {
            let head = request.body(()).expect("valid fields").into_parts().0;
            assert_eq!(by.of(&head), Some(CLIENT.into()));
        }
        let alone = Request::builder().header(name, line).body(()).expect("a valid field");
        let _ = by.of(&alone.into_parts().0);
    }
});
