//! Literals by which servers ask for a delay.

use super::Fields;

/// Literals with one origin.
pub(super) struct Section {
    pub(super) title: &'static str,
    pub(super) delays: &'static [Delay],
}

/// A response, what is read of it, and what others do.
pub(super) struct Delay {
    pub(super) fields: Fields,
    pub(super) ours: &'static str,
    pub(super) strict: &'static str,
    pub(super) others: &'static str,
    pub(super) source: &'static str,
}

/// A `Retry-After` field.
macro_rules! retry_after {
    ($value:expr, $ours:expr, $strict:expr, $others:expr, $source:expr) => {
        delay(&[("retry-after", $value)], $ours, $strict, $others, $source)
    };
}

const fn delay(
    fields: Fields,
    ours: &'static str,
    strict: &'static str,
    others: &'static str,
    source: &'static str,
) -> Delay {
    Delay { fields, ours, strict, others, source }
}

pub(super) const DELAYS: &[Section] = &[
    Section { title: "RFC 9110: a number of seconds", delays: SECONDS },
    Section { title: "RFC 9110: a date", delays: DATES },
    Section { title: "Several values, and skewed clocks", delays: SEVERAL },
    Section { title: "Decimals, units and quotes", delays: UNITS },
    Section { title: "Negative, absurd and unreadable values", delays: ODD },
    Section { title: "Unix times", delays: UNIX_TIMES },
    Section { title: "Fields of vendors", delays: VENDORS },
    Section { title: "Rate limits that are used up", delays: RATE_LIMITS },
    Section { title: "gRPC", delays: GRPC },
];

const SECONDS: &[Delay] = &[
    retry_after!("120", "120 s", "120 s", "all", "RFC 9110, 10.2.3"),
    retry_after!(
        "0",
        "0 s",
        "0 s",
        "urllib3, got: as if absent; the others: at once",
        "RFC 9110, 10.2.3"
    ),
    retry_after!("007", "7 s", "7 s", "", "RFC 9110, 10.2.3"),
    retry_after!("600", "600 s", "600 s", "", ""),
    retry_after!("601", "too long", "too long", "ky, go-retryablehttp: slept through", ""),
    retry_after!(
        "3600",
        "too long",
        "too long",
        "sleeps for an hour, past `RetryWaitMax`",
        "hashicorp/go-retryablehttp #283"
    ),
    retry_after!("86400", "too long", "too long", "sleeps for a day", "adamayoung/TMDb #324"),
    retry_after!(
        "999999",
        "too long",
        "too long",
        "sleeps for 11 days",
        "shashankswe2020-ux/whoop-mcp #17"
    ),
    retry_after!(
        "9999999999",
        "too long",
        "too long",
        "`OverflowError` in `time.sleep`",
        "urllib3/urllib3 #3743"
    ),
    retry_after!(
        "9223372037",
        "too long",
        "too long",
        "int64 overflow: retries at once",
        "hashicorp/go-retryablehttp `client.go`"
    ),
    retry_after!(
        "18446744073709551615",
        "too long",
        "too long",
        "`headers` 0.4: a `Duration` whose addition panics",
        "headers 0.4.2"
    ),
    retry_after!(
        "99999999999999999999",
        "too long",
        "too long",
        "many: as if absent, retried soon",
        ""
    ),
    retry_after!("59", "59 s", "59 s", "Claude Code sleeps 59 s", "dhkts1/teamclaude-rs #319"),
    retry_after!(
        "61",
        "61 s",
        "61 s",
        "Claude Code gives up at once; so does `RetryLayer` by default",
        "dhkts1/teamclaude-rs #319"
    ),
];

const DATES: &[Delay] = &[
    retry_after!(
        "Sat, 21 Nov 2026 08:00:20 GMT",
        "20 s",
        "20 s",
        "failsafe-go, Envoy, gRPC, client-go: as if absent",
        "RFC 9110, 5.6.7"
    ),
    retry_after!(
        "Saturday, 21-Nov-26 08:00:20 GMT",
        "20 s",
        "20 s",
        "go-retryablehttp: as if absent",
        "RFC 9110, 5.6.7"
    ),
    retry_after!(
        "Sat Nov 21 08:00:20 2026",
        "20 s",
        "20 s",
        "go-retryablehttp: as if absent",
        "RFC 9110, 5.6.7"
    ),
    retry_after!(
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "0 s",
        "0 s",
        "got: 1 ms; opencodex: falls back to 100 ms",
        "lidge-jun/opencodex #4046"
    ),
    retry_after!(
        "Sat, 31 Dec 2016 23:59:60 GMT",
        "0 s",
        "0 s",
        "httpdate: an error",
        "RFC 9110, 5.6.7"
    ),
    retry_after!(
        "Sat, 21 Nov 2026 08:00:60 GMT",
        "60 s",
        "60 s",
        "httpdate: an error",
        "RFC 9110, 5.6.7"
    ),
    retry_after!(
        "Fri, 21 Nov 2026 08:00:20 GMT",
        "20 s",
        "–",
        "httpdate: an error",
        "a wrong weekday"
    ),
    retry_after!(
        "Wednesday, 01-Jan-75 00:00:00 GMT",
        "too long",
        "too long",
        "httpdate: 1975",
        "RFC 9110, 5.6.7: fifty years"
    ),
    retry_after!(
        "Wed, 21 Oct 2026 07:28:00 GMT",
        "0 s",
        "0 s",
        "`parseInt`: NaN, so at once",
        "elizaOS/eliza #22162"
    ),
    retry_after!(
        "Sat, 21 Nov 2026 08:02:00 GMT",
        "120 s",
        "120 s",
        "`parseInt`: about a second of backoff",
        "wisecom-oy/atlas #229"
    ),
    retry_after!(
        "Sun, 22 Nov 2026 08:00:00 GMT",
        "too long",
        "too long",
        "slept through",
        "openclaw/graincrawl #87"
    ),
    retry_after!("sat, 21 nov 2026 08:00:20 gmt", "20 s", "–", "", ""),
    retry_after!(
        "Sat, 21 Nov 2026 08:00:20 UTC",
        "20 s",
        "–",
        "RFC 822 knows GMT and UT",
        "bodar/totallylazy #14"
    ),
    retry_after!("Sat, 21 Nov 2026 08:00:20 UT", "20 s", "–", "", "curl/curl #2401"),
    retry_after!(
        "Sat, 21 Nov 2026 08:00:20 -0000",
        "20 s",
        "–",
        "an error; Rack sends it",
        "sandstorm-io/sandstorm #164"
    ),
    retry_after!(
        "Sat, 21 Nov 2026 10:00:20 +0200",
        "20 s",
        "–",
        "read as local time where the zone is dropped",
        "urllib3/urllib3 #1896"
    ),
    retry_after!(
        "Sat, 21 Nov 2026 08:00:20",
        "20 s",
        "–",
        "read as local time",
        "urllib3/urllib3 #1896"
    ),
    retry_after!("2026-11-21T08:00:20Z", "20 s", "–", "", ""),
    retry_after!(
        "2026-11-21T08:00:20.125Z",
        "20.125 s",
        "–",
        "cut to the second: early",
        "basecamp/hey-sdk #151"
    ),
    retry_after!("2026-11-21T09:00:20+01:00", "20 s", "–", "", ""),
    retry_after!("2026-11-21 08:00:20", "20 s", "–", "", ""),
    retry_after!(
        "Sat Nov 21 2026 08:00:20 GMT+0000 (Coordinated Universal Time)",
        "20 s",
        "–",
        "",
        "`Date.toString()` of JavaScript"
    ),
    retry_after!(
        "Sat Nov 21 2026 09:00:20 GMT+0100 (Central European Standard Time)",
        "20 s",
        "–",
        "",
        "`Date.toString()` of JavaScript"
    ),
    retry_after!("Sat Nov 21 08:00:20 UTC 2026", "20 s", "–", "", "`Date.toString()` of Java"),
    retry_after!(
        "2026-11-21T08:00:20Z[UTC]",
        "20 s",
        "–",
        "",
        "`ZonedDateTime.toString()` of Java"
    ),
    retry_after!("2026-11-21 08:00:20.5 +0000 UTC", "20.5 s", "–", "", "`Time.String()` of Go"),
    retry_after!("2026-11-21 08:00:20 +0000", "20 s", "–", "", "`Time#to_s` of Ruby"),
    retry_after!(
        "2026-11-21 08:00:20.000001+00:00",
        "20.000001 s",
        "–",
        "",
        "`str(datetime)` of Python"
    ),
    retry_after!("2026-11-21 08:00:20+00", "20 s", "–", "", "`timestamptz` of PostgreSQL"),
    retry_after!("2026-Nov-21 08:00:20+0000 UTC", "20 s", "–", "", "wso2/carbon-apimgt #7059"),
    retry_after!("Sat, 21 Nov 2026 00:00:20 PST", "20 s", "–", "", "RFC 5322, 4.3"),
    retry_after!("Sat, 21 Nov 2026 03:00:20 EST", "20 s", "–", "", "RFC 5322, 4.3"),
    retry_after!("Sat, 21 Nov 2026 08:00:20 +0000 (UTC)", "20 s", "–", "", "RFC 5322: a comment"),
    retry_after!("Saturday, 21-Nov-2026 08:00:20 GMT", "20 s", "–", "", "`DATE_COOKIE` of PHP"),
    retry_after!("Saturday, 21 November 2026 08:00:20 GMT", "20 s", "–", "", ""),
    retry_after!("2026-11-22", "too long", "–", "", "a day begins at midnight"),
    retry_after!("Sat, 21 Nov 2026 08:00:20 CEST", "1 s", "–", "", "a zone that no standard names"),
    retry_after!("11/21/2026 08:00:20", "1 s", "–", "", "day or month first"),
];

const SEVERAL: &[Delay] = &[
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
];

const UNITS: &[Delay] = &[
    retry_after!(
        "0.493",
        "0.493 s",
        "–",
        "urllib3: `InvalidHeader`",
        "SpaceTradersAPI/api-docs #24"
    ),
    retry_after!("0.503", "0.503 s", "–", "urllib3: `InvalidHeader`", "urllib3/urllib3 #2861"),
    retry_after!(
        "0.5",
        "0.5 s",
        "–",
        "`int()`: an exception that is swallowed",
        "NousResearch/hermes-agent #24705"
    ),
    retry_after!(
        "1.5",
        "1.5 s",
        "–",
        "as if absent; V8 reads it as a year",
        "teng-lin/notebooklm-py #1275"
    ),
    retry_after!("2.0", "2 s", "–", "`int()`: `ValueError`", "Shopify/shopify-app-python #19"),
    retry_after!("2.128", "2.128 s", "–", "", "microsoftgraph/microsoft-graph-docs #17442"),
    retry_after!(
        "292.052427053",
        "292.052427053 s",
        "–",
        ".NET: as if absent",
        "getsentry/sentry #7919"
    ),
    retry_after!("299.997", "299.997 s", "–", "", ""),
    retry_after!("30s", "30 s", "–", "linkinator: as if absent", "JustinBeckwith/linkinator #556"),
    retry_after!("1m0s", "60 s", "–", "urllib3: `InvalidHeader`", "urllib3/urllib3 #1822"),
    retry_after!("1m30s", "90 s", "–", "`parseFloat`: 1 s", "anomalyco/opencode #48185"),
    retry_after!("2m59.56s", "179.56 s", "–", "`parseFloat`: 2 s", "anomalyco/opencode #48185"),
    retry_after!("370ms", "0.37 s", "–", "`parseFloat`: 370 s", "anomalyco/opencode #48185"),
    retry_after!("30 seconds", "30 s", "–", "", ""),
    retry_after!("PT1M30S", "90 s", "–", "", "ISO 8601"),
    retry_after!("\"2\"", "2 s", "–", "", ""),
    retry_after!("'5'", "5 s", "–", "", ""),
    retry_after!("00:01:30", "90 s", "–", "", "`TimeSpan` of .NET"),
    retry_after!("0:00:30", "30 s", "–", "", "`str(timedelta)` of Python"),
    retry_after!("00:00:02.5000000", "2.5 s", "–", "", "`TimeSpan` of .NET"),
    retry_after!("1.00:00:00", "too long", "–", "", "`TimeSpan` of .NET: a day"),
    retry_after!("1 week", "too long", "–", "", ""),
    retry_after!("PT0.5S", "0.5 s", "–", "", "ISO 8601"),
    retry_after!("5.", "5 s", "–", "", ""),
    retry_after!("1,5", "5 s", "–", "", "a list, and never early for a comma as decimal point"),
];

const ODD: &[Delay] = &[
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
];

const UNIX_TIMES: &[Delay] = &[
    retry_after!(
        "1795248030",
        "30 s",
        "too long",
        "a delay of 57 years: \"retrying in 484289h\"",
        "hashicorp/go-retryablehttp #247"
    ),
    retry_after!("1795248045", "45 s", "too long", "a delay of 57 years", "openclaw/clawhub #407"),
    retry_after!("1795248060", "60 s", "too long", "", "edgefirst-dev/worker-kv-rate-limit #14"),
    retry_after!("1795248030000", "30 s", "too long", "", ""),
    retry_after!("1795247000", "0 s", "too long", "", "the time has passed"),
];

const VENDORS: &[Delay] = &[
    delay(
        &[("retry-after-ms", "500")],
        "0.5 s",
        "–",
        "the SDKs of OpenAI and Anthropic read it",
        "productdevbook/misina #61",
    ),
    delay(
        &[("retry-after-ms", "-1")],
        "no retry",
        "–",
        "a negative sleep that fails the request",
        "openai/openai-java #853",
    ),
    delay(
        &[("retry-after", "2"), ("retry-after-ms", "1500")],
        "2 s",
        "2 s",
        "OpenAI: the milliseconds",
        "",
    ),
    delay(&[("x-ms-retry-after-ms", "42")], "0.042 s", "–", "Azure's SDKs", ""),
    delay(&[("x-retry-after", "7")], "7 s", "–", "", ""),
    delay(
        &[("retry-after", "5"), ("x-should-retry", "false")],
        "no retry",
        "5 s",
        "the SDKs of OpenAI and Anthropic",
        "earendil-works/pi #6586",
    ),
    delay(&[("retry-after", "5"), ("x-should-retry", "true")], "5 s", "5 s", "", ""),
    delay(&[("stripe-should-retry", "false")], "no retry", "–", "Stripe's SDKs", ""),
    delay(
        &[("x-amz-retry-after", "1500")],
        "1.5 s",
        "–",
        "the AWS SDKs: milliseconds",
        "aws/aws-sdk-java-v2 #6914",
    ),
    delay(&[("x-rate-limit-retry-after-seconds", "9")], "9 s", "–", "", "Bucket4j's examples"),
    delay(
        &[("x-rate-limit-retry-after-milliseconds", "900")],
        "0.9 s",
        "–",
        "",
        "Bucket4j's examples",
    ),
    delay(&[("beta-retry-after", "4")], "4 s", "–", "", "Atlassian"),
    delay(&[("x-retry-after-scope", "request")], "nothing", "–", "", "names no time"),
    delay(
        &[("retry-after", "5"), ("x-should-retry", "False")],
        "no retry",
        "5 s",
        "",
        "`str(False)` of Python",
    ),
    delay(
        &[("x-should-retry", "true"), ("x-should-retry", "false")],
        "no retry",
        "–",
        "",
        "the more careful of two",
    ),
    delay(
        &[("x-should-retry", "true"), ("retry-after", "-1")],
        "no retry",
        "–",
        "",
        "the more careful of two",
    ),
];

const RATE_LIMITS: &[Delay] = &[
    delay(
        &[("ratelimit", "\"default\";r=0;t=30")],
        "30 s",
        "–",
        "",
        "draft-ietf-httpapi-ratelimit-headers-11",
    ),
    delay(&[("ratelimit", "\"burst\";r=0;t=5, \"daily\";r=0;t=90")], "90 s", "–", "", "draft 11"),
    delay(&[("ratelimit", "\"default\";r=50;t=30")], "nothing", "–", "", "draft 11"),
    delay(&[("ratelimit", "limit=100, remaining=0, reset=50")], "50 s", "–", "ky", "draft 07"),
    delay(
        &[("ratelimit-remaining", "0"), ("ratelimit-reset", "12")],
        "12 s",
        "–",
        "ky",
        "drafts up to 06",
    ),
    delay(
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795248045")],
        "45 s",
        "–",
        "ky",
        "GitHub",
    ),
    delay(
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2513")],
        "too long",
        "–",
        "",
        "zalando/restful-api-guidelines #379",
    ),
    delay(
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1499329365")],
        "nothing",
        "–",
        "300 s in each attempt: the raw number, cut",
        "withcoral/coral #89",
    ),
    delay(
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795248006000")],
        "6 s",
        "–",
        "\"retry in 20470344 days\"",
        "vercel/vercel #14947",
    ),
    delay(
        &[("x-ratelimit-reset", "1795248005706")],
        "5.706 s",
        "–",
        "",
        "RocketChat/docs-old #1358",
    ),
    delay(
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1795248030000000000")],
        "30 s",
        "–",
        "",
        "pubg/api-documentation-content #61",
    ),
    delay(
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset-after", "7.5")],
        "7.5 s",
        "–",
        "Discord's clients",
        "discord/discord-api-docs #1069",
    ),
    delay(
        &[
            ("x-rate-limit-remaining", "0"),
            ("x-rate-limit-reset", "2026-11-21T08:00:30.000Z"),
            ("x-rate-limit-reset-after", "30"),
        ],
        "30 s",
        "–",
        "",
        "uber-go/ratelimit #103",
    ),
    delay(
        &[("x-rate-limit-remaining", "0"), ("x-rate-limit-reset", "1795248060")],
        "60 s",
        "–",
        "exponential backoff, rejected each time",
        "discord/access #11",
    ),
    delay(
        &[("x-rate-limit-remaining", "800"), ("x-rate-limit-reset", "1795248060")],
        "nothing",
        "–",
        "retries at once until nothing remains",
        "elizaOS/agent-twitter-client #68",
    ),
    delay(
        &[("x-ratelimit-remaining-requests", "0"), ("x-ratelimit-reset-requests", "1m30s")],
        "90 s",
        "–",
        "silently ignored",
        "CortexLM/cortex-code #407",
    ),
    delay(
        &[("x-ratelimit-remaining-tokens", "0"), ("x-ratelimit-reset-tokens", "6m0s")],
        "360 s",
        "–",
        "",
        "OpenAI",
    ),
    delay(
        &[
            ("anthropic-ratelimit-requests-remaining", "0"),
            ("anthropic-ratelimit-requests-reset", "2026-11-21T08:00:01Z"),
            ("anthropic-ratelimit-tokens-remaining", "16000"),
            ("anthropic-ratelimit-tokens-reset", "2026-11-21T08:00:59Z"),
        ],
        "1 s",
        "–",
        "not read",
        "anthropics/anthropic-sdk-typescript #357",
    ),
    delay(
        &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "2026-11-21T08:01Z")],
        "60 s",
        "–",
        "",
        "port-labs/ocean #2384",
    ),
    delay(
        &[("retry-after", "1"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "6")],
        "1 s",
        "1 s",
        "the reset, which is later than necessary",
        "throttled/throttled #55",
    ),
    delay(
        &[("x-ratelimit-reset-requests", "-43")],
        "nothing",
        "–",
        "",
        "stuartleeks/aoai-simulated-api #57",
    ),
    delay(
        &[("ratelimit", "\"default\";r=0;t=30"), ("age", "10")],
        "nothing",
        "–",
        "",
        "draft 11: not in cached responses",
    ),
    delay(
        &[("x-ratelimit-remaining", "0.0"), ("x-ratelimit-reset", "7")],
        "7 s",
        "–",
        "integers only: an error",
        "tolik518/factorion-bot #146",
    ),
    delay(
        &[("x-ratelimit-remaining", "0.7"), ("x-ratelimit-reset", "7")],
        "7 s",
        "–",
        "",
        "no whole request remains",
    ),
    delay(
        &[("ratelimit-remaining", "12, 0"), ("ratelimit-reset", "7")],
        "7 s",
        "–",
        "",
        "two limits in a line",
    ),
    delay(
        &[
            ("x-ratelimit-remaining", "12"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "7"),
        ],
        "7 s",
        "–",
        "",
        "two limits in two lines",
    ),
    delay(
        &[("x-ratelimit-remaining", "4000"), ("x-ratelimit-reset-time", "1795251600")],
        "nothing",
        "–",
        "",
        "a reset of another name, and something remains",
    ),
    delay(
        &[
            ("x-ratelimit-remaining-minute", "0"),
            ("x-ratelimit-limit-minute", "5"),
            ("ratelimit-reset", "42"),
        ],
        "42 s",
        "–",
        "",
        "Kong",
    ),
    delay(
        &[("x-ratelimit-requests-remaining", "0"), ("x-ratelimit-requests-reset", "55")],
        "55 s",
        "–",
        "",
        "RapidAPI",
    ),
    delay(
        &[("ratelimit", "\"default\";r=0;t=0")],
        "nothing",
        "–",
        "",
        "draft 11: no time is named",
    ),
    delay(&[("ratelimit", "\"default\"; t=30; r=0")], "30 s", "–", "", "draft 11: in any order"),
    delay(
        &[("ratelimit", "\"a\";r=3;t=5"), ("ratelimit", "\"b\";r=0;t=9")],
        "9 s",
        "–",
        "",
        "draft 11: two lines",
    ),
    delay(
        &[("retry-after", "soon"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "6")],
        "6 s",
        "–",
        "",
        "what can be read",
    ),
    delay(
        &[("x-ratelimit-remaining", "unlimited"), ("x-ratelimit-reset", "60")],
        "nothing",
        "–",
        "",
        "",
    ),
];

const GRPC: &[Delay] = &[
    delay(
        &[("grpc-retry-pushback-ms", "250")],
        "0.25 s",
        "–",
        "gRPC: exactly that",
        "gRPC proposal A6",
    ),
    delay(
        &[("grpc-retry-pushback-ms", "-1")],
        "no retry",
        "–",
        "gRPC: no retry",
        "gRPC proposal A6",
    ),
    delay(
        &[("grpc-retry-pushback-ms", "soon")],
        "no retry",
        "–",
        "gRPC: no retry",
        "gRPC proposal A6",
    ),
    delay(
        &[(
            "grpc-status-details-bin",
            "CA4SCm92ZXJsb2FkZWQaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ==",
        )],
        "2.5 s",
        "–",
        "tonic, grpc-go: not read",
        "open-telemetry/opentelemetry-specification #2480",
    ),
    delay(
        &[("grpc-retry-pushback-ms", "250"), ("grpc-retry-pushback-ms", "300")],
        "no retry",
        "–",
        "grpc-go: no retry",
        "gRPC proposal A6: one value",
    ),
    delay(
        &[("grpc-retry-pushback-ms", "2147483648")],
        "no retry",
        "–",
        "gRPC: no retry",
        "gRPC proposal A6: 32 bits",
    ),
    delay(
        &[("grpc-retry-pushback-ms", "1.5")],
        "no retry",
        "–",
        "gRPC: no retry",
        "gRPC proposal A6: an integer",
    ),
    delay(
        &[("grpc-status-details-bin", "????")],
        "nothing",
        "–",
        "",
        "details that cannot be read name no time",
    ),
];
