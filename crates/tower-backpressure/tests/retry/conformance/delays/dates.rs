//! Dates and Unix times.

use super::Delay;

pub(super) const DATES: &[Delay] = &[
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
    retry_after!("Sat,21 Nov 2026 08:00:20 GMT", "20 s", "–", "", ""),
    retry_after!("Sat, 21 Nov 2026 8:00:20 GMT", "20 s", "–", "", ""),
    retry_after!("21 Nov 2026 08:00:20 GMT", "20 s", "–", "", ""),
    retry_after!("Nov 21, 2026 08:00:20 GMT", "20 s", "–", "", ""),
    retry_after!("Sat, 21 Nov 2026 08:00:20 +00:00", "20 s", "–", "", ""),
    retry_after!("Sat Nov 21 08:00:20 +0000 2026", "20 s", "–", "", ""),
    retry_after!("Nov 21, 2026 8:00:20 AM", "20 s", "–", "", "`DateFormat` of Java"),
    retry_after!("Sat Nov 21 08:00:20 AM UTC 2026", "20 s", "–", "", "`date` of coreutils"),
    retry_after!("Nov 21, 2026 12:00:20 AM", "0 s", "–", "", "midnight"),
    retry_after!("Nov 21, 2026 12:00:20 PM", "too long", "–", "", "noon"),
    retry_after!("20261121T080020Z", "20 s", "–", "", "ISO 8601, basic form"),
    retry_after!("2026/11/21 08:00:20", "20 s", "–", "", "`log` of Go"),
    retry_after!("2026-11-20T24:00:00Z", "0 s", "–", "", "ISO 8601: the end of a day"),
    retry_after!("2026-11-21T08:00:20 GMT", "20 s", "–", "", ""),
    retry_after!("2026-11-21T08:00:20.999999999Z", "20.999999999 s", "–", "", ""),
    retry_after!("2026-11-21T08:00:20.9999999999Z", "21 s", "–", "", "rounded up"),
    retry_after!("2026-11-21T03:00:20-05", "20 s", "–", "", ""),
    retry_after!("2026-11-21T24:00:00Z", "too long", "–", "", "ISO 8601: the end of a day"),
    retry_after!("Sat, 31 Nov 2026 08:00:20 GMT", "1 s", "–", "", "no such day"),
    retry_after!("2026-02-30T08:00:20Z", "1 s", "–", "", "no such day"),
    retry_after!("Sat, 21 Nov 10000 08:00:20 GMT", "1 s", "–", "", ""),
];

pub(super) const UNIX_TIMES: &[Delay] = &[
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
    retry_after!("@1795248030", "30 s", "–", "", "RFC 9651: a date"),
    retry_after!("1795248030.25", "30.25 s", "–", "", "`time.time()` of Python"),
    retry_after!("1795248030, 1795248045", "45 s", "–", "", ""),
    retry_after!("1795248030000000", "30 s", "too long", "", "microseconds"),
    retry_after!("639308880300000000", "too long", "too long", "", "`DateTime.Ticks` of .NET"),
];
