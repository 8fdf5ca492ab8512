//! Numbers, with units and without.

use super::Delay;

pub(super) const SECONDS: &[Delay] = &[
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

pub(super) const UNITS: &[Delay] = &[
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
    retry_after!("1 minute, 30 seconds", "90 s", "–", "", "words for people"),
    retry_after!("1 minute and 30 seconds", "90 s", "–", "", "words for people"),
    retry_after!("30 seconds, 10 seconds", "30 s", "–", "", "a list"),
    retry_after!("P0Y0M0DT0H0M30S", "30 s", "–", "", "`javax.xml.datatype.Duration`"),
    retry_after!("P1M", "too long", "–", "", "ISO 8601: a month"),
    retry_after!("P1Y", "too long", "–", "", "ISO 8601: a year"),
    retry_after!("PT30,5S", "30.5 s", "–", "", "ISO 8601: a decimal comma"),
    retry_after!("P1DT2H", "too long", "–", "", "ISO 8601"),
    retry_after!("PT", "1 s", "–", "", "ISO 8601 needs a number"),
    retry_after!("1 month", "too long", "–", "", ""),
    retry_after!("1,200", "200 s", "–", "", "a list: RFC 9110, 5.6.1, and no thousands separator"),
    retry_after!("1,5,60", "60 s", "–", "", "a list"),
    retry_after!("250us", "0.00025 s", "–", "", "`Duration.String()` of Go"),
    retry_after!("500ns", "0.0000005 s", "–", "", "`Duration.String()` of Go"),
    retry_after!("30; comment=\"quota\"", "30 s", "–", "", "RFC 9651: an item with parameters"),
    retry_after!("30;", "30 s", "–", "", ""),
    retry_after!("120 (seconds)", "120 s", "–", "", "a comment"),
    retry_after!("1h 5m", "too long", "–", "", ""),
    retry_after!("1.5m", "90 s", "–", "", ""),
    retry_after!("30 S", "30 s", "–", "", ""),
    retry_after!("90000ms", "90 s", "–", "", ""),
];
