//! Several values at once, and values that are absurd or cannot be read.

use super::{Delay, delay};

pub(super) const SEVERAL: &[Delay] = &[
    delay(
        &[("retry-after", "120"), ("retry-after", "60")],
        "120 s",
        "120 s",
        "joined to `120, 60`: urllib3 raises, ky ignores; Node, Go: the first",
        "aaronpowell/httpstatus #153",
    ),
    retry_after!("120, 30", "120 s", "–", "urllib3 raises", "RFC 9110, 5.3"),
    retry_after!("2, 3", "3 s", "–", "", ""),
    retry_after!("1, Sat, 21 Nov 2026 08:00:07 GMT", "7 s", "–", "", ""),
    retry_after!("5, soon", "5 s", "–", "", ""),
    delay(
        &[
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("date", "Sun, 06 Nov 1994 08:49:30 GMT"),
        ],
        "7 s",
        "7 s",
        "all: the local clock, so at once",
        "RFC 9110, 6.6.1",
    ),
    delay(
        &[
            ("retry-after", "Sat, 21 Nov 2026 08:00:40 GMT"),
            ("date", "Sat, 21 Nov 2026 07:59:50 GMT"),
            ("age", "30"),
        ],
        "20 s",
        "20 s",
        "smithy: a `Date` with an `Age` is not used",
        "smithy-lang/smithy-rs #4800",
    ),
    delay(
        &[
            ("retry-after", "Sat, 21 Nov 2026 09:00:07 +0100"),
            ("date", "sat, 21 nov 2026 09:00:00 +0100"),
        ],
        "7 s",
        "–",
        "",
        "a `Date` in another form",
    ),
    delay(
        &[
            ("retry-after", "Sat, 21 Nov 2026 07:59:50 GMT"),
            ("date", "Sat, 21 Nov 2026 07:00:00 GMT"),
            ("age", "3595"),
        ],
        "0 s",
        "0 s",
        "",
        "a time that passed in the cache",
    ),
    delay(
        &[("retry-after", "Sat, 21 Nov 2026 08:00:20 GMT"), ("date", "yesterday")],
        "20 s",
        "20 s",
        "",
        "a `Date` that cannot be read",
    ),
    delay(
        &[
            ("retry-after", "30"),
            ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("age", "99999999999999999999"),
        ],
        "30 s",
        "30 s",
        "",
        "a number of seconds needs no clock",
    ),
    delay(
        &[("retry-after", "-1"), ("x-retry-after", "3")],
        "no retry",
        "–",
        "",
        "no retry goes before a delay",
    ),
    delay(
        &[("retry-after", "soon"), ("retry-after-ms", "2500")],
        "2.5 s",
        "–",
        "",
        "the one that can be read",
    ),
    delay(&[("retry-after", "0"), ("retry-after-ms", "2500")], "2.5 s", "0 s", "", ""),
    retry_after!("5,", "5 s", "–", "", "RFC 9110, 5.6.1: an empty element"),
    delay(
        &[
            ("retry-after", "Sat, 21 Nov 2026 08:00:20 GMT"),
            ("date", "Thu, 01 Jan 1970 00:00:07 GMT"),
        ],
        "20 s",
        "20 s",
        "",
        "a clock that was never set",
    ),
    delay(
        &[
            ("retry-after", "Thu, 01 Jan 1970 00:00:17 GMT"),
            ("date", "Thu, 01 Jan 1970 00:00:07 GMT"),
        ],
        "10 s",
        "10 s",
        "",
        "a clock that was never set",
    ),
    delay(
        &[
            ("retry-after", "Sat, 21 Nov 2026 08:00:20 GMT"),
            ("date", "Sat, 21 Nov 2026 08:00:00 GMT"),
            ("date", "Sat, 21 Nov 2026 07:59:00 GMT"),
        ],
        "20 s",
        "20 s",
        "",
        "two dates: the first",
    ),
    delay(
        &[("ratelimit", "\"default\";r=0;t=30"), ("age", "10, 10")],
        "nothing",
        "–",
        "",
        "RFC 9111, 4.2.1: the first",
    ),
    delay(
        &[("retry-after", "120"), ("retry-after", "120")],
        "120 s",
        "120 s",
        "",
        "added twice, by the server and by a proxy",
    ),
    delay(&[("retry_after", "5")], "5 s", "–", "", "`_` for `-`, as in environment variables"),
];

pub(super) const ODD: &[Delay] = &[
    retry_after!(
        "-1",
        "no retry",
        "–",
        "`ValueError: sleep length must be non-negative`",
        "pydantic/pydantic-ai #7065"
    ),
    retry_after!(
        "-5",
        "no retry",
        "–",
        "V8 reads it as a date; crawlee: no limit at all",
        "apify/crawlee-python #1995"
    ),
    retry_after!(
        "-3",
        "no retry",
        "–",
        "V8 reads it as a year: 31 years, cut to 30 s",
        "mastra-ai/mastra #23778"
    ),
    retry_after!("-43", "no retry", "–", "", "stuartleeks/aoai-simulated-api #57"),
    retry_after!("-1484742195", "no retry", "–", "", "alisaifee/flask-limiter #62"),
    retry_after!(
        "-0.5",
        "no retry",
        "–",
        "`time.sleep`: `ValueError`",
        "planningcenter/developers #606"
    ),
    retry_after!("-0", "0 s", "–", "", ""),
    retry_after!("+5", "1 s", "–", "`headers` 0.4: 5 s", "RFC 9110: no sign"),
    retry_after!("1e3", "1 s", "–", "got: 1000 s", "RFC 9110: digits"),
    retry_after!("0x10", "1 s", "–", "got: 16 s", "RFC 9110: digits"),
    retry_after!("١٢", "1 s", "–", "", "RFC 9110: ASCII digits"),
    retry_after!("", "1 s", "–", "", ""),
    retry_after!(
        "soon",
        "1 s",
        "–",
        "the OTLP exporter: at once",
        "open-telemetry/opentelemetry-js #7010"
    ),
    retry_after!(
        "1000abc",
        "1 s",
        "–",
        "`parseInt`: 1000 s",
        "open-telemetry/opentelemetry-js #7010"
    ),
    retry_after!("120junk", "1 s", "–", "`parseInt`: 120 s", "basecamp/basecamp-sdk #781"),
    retry_after!("inf", "1 s", "–", "`float()`: sleeps for ever", "tavily-ai/tavily-python #166"),
    retry_after!(
        "nan",
        "1 s",
        "–",
        "`float()`: `ValueError` in `time.sleep`",
        "tavily-ai/tavily-python #166"
    ),
    retry_after!("1e10000", "1 s", "–", "`float()`: infinite", "teng-lin/notebooklm-py #1276"),
    retry_after!(
        "Fri, 99 Foo 2026 08:00:00 GMT",
        "1 s",
        "–",
        "NaN, so at once",
        "earendil-works/pi #9724"
    ),
    retry_after!(".5", "1 s", "–", "", ""),
    retry_after!("null", "1 s", "–", "", "a value that was not set"),
    retry_after!("undefined", "1 s", "–", "", "a value that was not set"),
    retry_after!("[object Promise]", "1 s", "–", "", "a value that was not awaited"),
    retry_after!("${retryAfter}", "1 s", "–", "", "a template that was not filled in"),
    retry_after!("1:30", "1 s", "–", "", "minutes or hours first"),
    retry_after!("-30s", "no retry", "–", "", "a duration that has passed"),
    retry_after!("-PT30S", "no retry", "–", "", "ISO 8601"),
    retry_after!("PT-30S", "no retry", "–", "", "`Duration.toString()` of Java"),
    retry_after!("-00:00:30", "no retry", "–", "", "`TimeSpan` of .NET"),
    retry_after!("-1ms", "no retry", "–", "", ""),
    retry_after!("- 1", "no retry", "–", "", ""),
    retry_after!("-", "1 s", "–", "", ""),
    retry_after!("-soon", "1 s", "–", "", ""),
    retry_after!("1e-05", "1 s", "–", "", "`str(1e-05)` of Python"),
    retry_after!("None", "1 s", "–", "", "a value that was not set"),
    retry_after!("NaN", "1 s", "–", "", "earendil-works/pi #9571"),
    retry_after!("Infinity", "1 s", "–", "", ""),
    retry_after!("true", "1 s", "–", "", ""),
    retry_after!("<nil>", "1 s", "–", "", "a value that was not set"),
    retry_after!("{\"seconds\":30}", "1 s", "–", "", ""),
    retry_after!(",", "1 s", "–", "", ""),
    retry_after!("2abc", "1 s", "–", "`parseInt`: 2 s", "garrytan/gstack #1337"),
    retry_after!("30 30", "1 s", "–", "", ""),
];
