//! Charts of clients and of a quota: the core's decisions about evenly spaced calls.

use std::collections::VecDeque;
use std::time::Duration;

use backpressure_core::{
    Breaker, BreakerDecision, BreakerSettings, CallEnding, Cooldown, CooldownDecision, Ending,
    Others, Pass, Priority, Quota, QuotaDecision, QuotaUsage, Throttle, ThrottleSettings,
    Timestamp, Told,
};

use super::figure::{Band, Class, Figure, Line};
use super::scale::Scale;
use super::server::{BIN, binned};

/// Calls a second where nothing else is said.
const CALLS: f64 = 100.0;
/// How long an attempt takes.
const LATENCY: Duration = Duration::from_millis(50);
const SECONDS: f64 = 60.0;
/// When the origin is in trouble.
const TROUBLE: Band = Band { from: 5.0, to: 30.0, name: "trouble" };

/// What decides in a client whether a call is sent.
trait Decides {
    fn decide(&mut self, now: Timestamp) -> Option<Pass>;
    fn ended(&mut self, pass: Pass, is_served: bool, now: Timestamp);
}

/// Sends every call.
struct Always;

impl Decides for Always {
    fn decide(&mut self, _: Timestamp) -> Option<Pass> {
        Some(Pass::UNTRACKED)
    }

    fn ended(&mut self, _: Pass, _: bool, _: Timestamp) {}
}

impl Decides for Cooldown {
    fn decide(&mut self, now: Timestamp) -> Option<Pass> {
        match Self::decide(self, now) {
            CooldownDecision::Send(pass) => Some(pass),
            _ => None,
        }
    }

    fn ended(&mut self, pass: Pass, is_served: bool, now: Timestamp) {
        let told = Ending::Told(Told::Quota(Duration::from_secs(2)));
        Self::ended(
            self,
            pass,
            if is_served { Ending::Answered } else { told },
            Others::default(),
            now,
        );
    }
}

impl Decides for Breaker {
    fn decide(&mut self, now: Timestamp) -> Option<Pass> {
        match Self::decide(self, now) {
            BreakerDecision::Send(pass) => Some(pass),
            _ => None,
        }
    }

    fn ended(&mut self, pass: Pass, is_served: bool, now: Timestamp) {
        let failed = CallEnding::Failed { retry_after: None };
        Self::ended(self, pass, if is_served { CallEnding::Succeeded } else { failed }, now);
    }
}

/// A throttle and its random numbers.
struct Dice(Throttle, fastrand::Rng);

impl Decides for Dice {
    fn decide(&mut self, now: Timestamp) -> Option<Pass> {
        self.0.admits(Priority::Normal, self.1.f64(), now).then_some(Pass::UNTRACKED)
    }

    fn ended(&mut self, _: Pass, is_served: bool, now: Timestamp) {
        self.0.ended(Priority::Normal, is_served, now);
    }
}

/// The calls that were sent: when, and whether they were served.
fn sent(
    decides: &mut dyn Decides,
    calls_a_second: impl Fn(f64) -> f64,
    mut serves: impl FnMut(f64) -> bool,
) -> Vec<(f64, bool)> {
    let (mut sent, mut in_flight) = (Vec::new(), VecDeque::new());
    let mut at = 0.0;
    while at < SECONDS {
        let now = Timestamp::ZERO + Duration::from_secs_f64(at);
        while let Some(&(ends, pass, is_served)) = in_flight.front() {
            if ends > now {
                break;
            }
            decides.ended(pass, is_served, ends);
            in_flight.pop_front();
        }
        if let Some(pass) = decides.decide(now) {
            let is_served = serves(at);
            in_flight.push_back((now + LATENCY, pass, is_served));
            sent.push((at, is_served));
        }
        at += 1.0 / calls_a_second(at);
    }
    sent
}

/// These calls a second, over time.
fn rate(name: &'static str, class: Class, moments: impl Iterator<Item = f64>) -> Line {
    let points = binned(moments, SECONDS).into_iter().map(|(at, count)| (at, count / BIN));
    Line { name, class, points: points.collect() }
}

const fn is_in_trouble(at: f64) -> bool {
    TROUBLE.from <= at && at < TROUBLE.to
}

/// Attempts sent to an origin that serves none during the trouble: without a layer, and with this one.
fn quieted(layer: &'static str, decides: &mut dyn Decides) -> Vec<Line> {
    let sends = |decides: &mut dyn Decides| sent(decides, |_| CALLS, |at| !is_in_trouble(at));
    let line =
        |name, class, sent: Vec<(f64, bool)>| rate(name, class, sent.into_iter().map(|(at, _)| at));
    vec![
        line("without", Class::Second, sends(&mut Always)),
        line(layer, Class::First, sends(decides)),
    ]
}

pub(super) fn cooldown() -> Result<Figure, String> {
    Ok(Figure {
        says: "An origin answers 429 with Retry-After: 2 for 25 seconds. The client sends a few attempts in that time, and all calls soon after.".into(),
        y_name: "attempts a second",
        seconds: SECONDS,
        y: Scale::Linear(0.0, 1.2 * CALLS),
        bands: vec![Band { name: "429, Retry-After: 2", ..TROUBLE }],
        lines: quieted("CooldownLayer", &mut Cooldown::new()),
    })
}

pub(super) fn breaker() -> Result<Figure, String> {
    Ok(Figure {
        says: "An origin fails all calls for 25 seconds. The breaker opens, tries again after growing times, and lets the load rise with each success.".into(),
        y_name: "attempts a second",
        seconds: SECONDS,
        y: Scale::Linear(0.0, 1.2 * CALLS),
        bands: vec![Band { name: "all calls fail", ..TROUBLE }],
        lines: quieted("BreakerLayer", &mut Breaker::new(BreakerSettings::default())),
    })
}

pub(super) fn throttle() -> Result<Figure, String> {
    /// Calls a second that the origin accepts.
    const ACCEPTED: f64 = 100.0;
    let demand = |at: f64| if is_in_trouble(at) { 5.0 * ACCEPTED } else { 0.8 * ACCEPTED };
    let mut free_at = 0.0;
    let accepts = |at: f64| {
        let accepts = at >= free_at;
        if accepts {
            free_at = f64::max(free_at, at - LATENCY.as_secs_f64()) + 1.0 / ACCEPTED;
        }
        accepts
    };
    let throttle = Throttle::new(ThrottleSettings::default());
    let sent_by = sent(&mut Dice(throttle, fastrand::Rng::with_seed(1)), demand, accepts);
    let asked = sent(&mut Always, demand, |_| true);
    Ok(Figure {
        says: "Five times the calls that an origin accepts. The throttle sends about twice what is accepted, and the origin stays busy.".into(),
        y_name: "calls a second",
        seconds: SECONDS,
        y: Scale::Linear(0.0, 5.5 * ACCEPTED),
        bands: vec![Band { name: "5 × what is accepted", ..TROUBLE }],
        lines: vec![
            rate("asked for", Class::Reference, asked.iter().map(|call| call.0)),
            rate("sent", Class::Second, sent_by.iter().map(|call| call.0)),
            rate("accepted", Class::First, sent_by.iter().filter(|call| call.1).map(|call| call.0)),
        ],
    })
}

pub(super) fn quota() -> Result<Figure, String> {
    let quota = Quota::per_second(10).burst(20);
    let mut usage = [QuotaUsage::default()];
    let demand = |at: f64| if is_in_trouble(at) { 30.0 } else { 5.0 };
    let (mut tokens, mut admitted) = (Vec::new(), Vec::new());
    let asked = sent(&mut Always, demand, |_| true);
    for &(at, _) in &asked {
        let now = Timestamp::ZERO + Duration::from_secs_f64(at);
        if quota.decide(&mut usage, 0, 1, now) == QuotaDecision::Admit {
            admitted.push(at);
        }
        tokens.extend(quota.standing(&usage, now).map(|standing| (at, standing.remaining as f64)));
    }
    Ok(Figure {
        says: "Ten tokens a second and a burst of twenty. A tenant that asks for thirty a second gets its burst first and then ten a second.".into(),
        y_name: "requests a second, and tokens",
        seconds: SECONDS,
        y: Scale::Linear(0.0, 35.0),
        bands: vec![Band { name: "30 a second", ..TROUBLE }],
        lines: vec![
            rate("asked for", Class::Reference, asked.iter().map(|call| call.0)),
            rate("admitted", Class::First, admitted.into_iter()),
            Line { name: "tokens left", class: Class::Third, points: tokens },
        ],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_not_sent_is_not_counted_and_a_trouble_ends() {
        let calls =
            sent(&mut Breaker::new(BreakerSettings::default()), |_| CALLS, |at| !is_in_trouble(at));
        let failed = calls.iter().filter(|call| !call.1).count();
        assert!(
            (10..1_100).contains(&failed),
            "{failed} of 2500 were sent to an origin that fails"
        );
        let last = calls.iter().filter(|call| call.0 >= 55.0).count();
        assert!((490..=500).contains(&last), "{last} of 500 were sent when all was well again");
    }
}
