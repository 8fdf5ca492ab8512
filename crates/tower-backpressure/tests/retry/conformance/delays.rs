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
        super::delay(&[("retry-after", $value)], $ours, $strict, $others, $source)
    };
}

mod dates;
mod odd;
mod rate_limits;
mod seconds;
mod vendor_limits;
mod vendors;

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
    Section { title: "RFC 9110: a number of seconds", delays: seconds::SECONDS },
    Section { title: "RFC 9110: a date", delays: dates::DATES },
    Section { title: "Several values, and skewed clocks", delays: odd::SEVERAL },
    Section { title: "Decimals, units and quotes", delays: seconds::UNITS },
    Section { title: "Negative, absurd and unreadable values", delays: odd::ODD },
    Section { title: "Unix times", delays: dates::UNIX_TIMES },
    Section { title: "Fields of vendors", delays: vendors::VENDORS },
    Section {
        title: "Rate limits that are used up: IETF drafts",
        delays: rate_limits::RATE_LIMITS,
    },
    Section {
        title: "Rate limits that are used up: vendors",
        delays: vendor_limits::VENDOR_LIMITS,
    },
    Section { title: "gRPC", delays: vendors::GRPC },
];
