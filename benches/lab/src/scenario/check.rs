//! Checks a scenario before it is run.

use super::Scenario;
use super::service::{Service, Stage};
use super::stream::{Amount, Process, Retry, Stream};

type Verdict = Result<(), String>;

/// Longest virtual time in seconds, and the most of anything that is counted.
const LONGEST: f64 = 100_000.0;
const MOST: u32 = 1_000_000;
/// Most stages of a service: one bit of a word each.
const MOST_STAGES: usize = 64;

pub(super) fn check(scenario: &Scenario) -> Verdict {
    span("seconds", scenario.seconds)?;
    within("warmup", scenario.warmup, 0.0, 0.95 * scenario.seconds)?;
    if let Some(change) = scenario.change {
        within("change", change, 0.0, scenario.seconds)?;
    }
    demand(!scenario.services.is_empty(), "there is no service")?;
    demand(!scenario.streams.is_empty(), "there is no stream")?;
    let mut stages = scenario.services.iter().flat_map(|service| &service.stages);
    demand(stages.any(Stage::is_station), "there is no station: nothing bounds what can be done")?;
    for (n, service) in scenario.services.iter().enumerate() {
        let below = &scenario.services[n + 1..];
        check_service(service, below)
            .map_err(|fault| format!("service {}: {fault}", service.name))?;
    }
    let stages = scenario.services[0].stages.len();
    for stream in &scenario.streams {
        check_stream(stream, stages)
            .map_err(|fault| format!("stream {}: {fault}", stream.class))?;
    }
    Ok(())
}

fn check_service(service: &Service, below: &[Service]) -> Verdict {
    count("replicas", service.replicas)?;
    count("rounds", service.rounds)?;
    within("refusal", service.refusal, 0.0, 1.0)?;
    demand(!service.stages.is_empty(), "there is no stage")?;
    demand(service.stages.len() <= MOST_STAGES, "there are more than 64 stages")?;
    for (n, stage) in service.stages.iter().enumerate() {
        let at = |fault| format!("stage {}: {fault}", n + 1);
        check_stage(stage, below).map_err(at)?;
        check_changes(stage, service.replicas).map_err(at)?;
        let body = |stage: &Stage| matches!(stage, Stage::Body { .. });
        let last = service.rounds == 1 && service.stages[n..].iter().all(body);
        demand(!body(stage) || last, "nothing but bodies follows a body").map_err(at)?;
    }
    Ok(())
}

fn check_stage(stage: &Stage, below: &[Service]) -> Verdict {
    if let Some(fault) = stage.time().and_then(|law| law.fault()) {
        return Err(format!("time: {fault}"));
    }
    match stage {
        Stage::Fifo { cores, .. } | Stage::Ps { cores, .. } => count("cores", *cores),
        Stage::Slots { slots, .. } => count("slots", *slots),
        Stage::Usl { sigma, kappa, .. } => {
            within("sigma", *sigma, 0.0, 1.0)?;
            within("kappa", *kappa, 1e-9, 1.0)
        }
        Stage::Call { service, attempts, after } => {
            count("attempts", *attempts)?;
            within("after", *after, 0.0, LONGEST)?;
            let known = below.iter().any(|other| other.name == *service);
            demand(known, &format!("calls {service}, which is not among the services below it"))
        }
        Stage::Fail { share, .. } => within("share", *share, 0.0, 0.999),
        Stage::Delay { .. } | Stage::Body { .. } => Ok(()),
    }
}

fn check_changes(stage: &Stage, replicas: u32) -> Verdict {
    let varying = stage.varying();
    let mut before = 0.0;
    for change in varying.changes {
        within("changes.at", change.at, before, LONGEST)?;
        before = change.at;
        within("changes.speed", change.speed.unwrap_or(1.0), 0.0, 1_000.0)?;
        within("changes.time", change.time.unwrap_or(1.0), 1e-6, 1e6)?;
        within("changes.cores", change.cores.unwrap_or(1).into(), 0.0, MOST.into())?;
        within("changes.share", change.share.unwrap_or(0.0), 0.0, 0.999)?;
        let known = change.replica.is_none_or(|replica| replica < replicas);
        demand(known, "changes.replica: there is no such replica")?;
    }
    for stall in varying.stalls {
        within("stalls.at", stall.at, 0.0, LONGEST)?;
        span("stalls.for", stall.span)?;
        within("stalls.every", stall.every.unwrap_or(LONGEST), stall.span, LONGEST)?;
    }
    if let Some(wave) = varying.wave {
        span("wave.period", wave.period)?;
        within("wave.depth", wave.depth, 0.0, 0.99)?;
    }
    Ok(())
}

fn check_stream(stream: &Stream, stages: usize) -> Verdict {
    for &stage in stream.stages.iter().flatten() {
        within("stages", stage.into(), 1.0, stages as f64)?;
    }
    let sources = [
        stream.load.is_some(),
        stream.rate.is_some(),
        stream.burst.is_some(),
        stream.closed.is_some(),
    ];
    let one = sources.iter().filter(|given| **given).count() == 1;
    demand(one, "exactly one of load, rate, burst and closed must be given")?;
    for amount in [&stream.load, &stream.rate].into_iter().flatten() {
        check_amount(amount)?;
    }
    if let Some(burst) = stream.burst {
        count("burst.size", burst.size)?;
        within("burst.first", burst.first, 0.0, LONGEST)?;
        span("burst.every", burst.every.unwrap_or(1.0))?;
    }
    if let Some(closed) = stream.closed {
        count("closed.clients", closed.clients)?;
        demand(closed.think.fault().is_none(), "closed.think: spans must be above 0")?;
    }
    count("tenants.count", stream.tenants.count)?;
    within("tenants.zipf", stream.tenants.zipf, 0.0, 10.0)?;
    count("users", stream.users)?;
    count("fleets", stream.fleets)?;
    span("user_life", stream.user_life.unwrap_or(1.0))?;
    within("demand", stream.demand, 1e-6, 1e6)?;
    span("patience", stream.patience.unwrap_or(1.0))?;
    span("deadline", stream.deadline.unwrap_or(1.0))?;
    check_process(stream.process)?;
    check_retry(stream.retry)
}

fn check_amount(amount: &Amount) -> Verdict {
    match amount {
        Amount::Constant(value) => within("load or rate", *value, 0.0, 1e9),
        Amount::Points(points) => {
            demand(!points.is_empty(), "load or rate has no points")?;
            let mut before = -1.0;
            for &(at, value) in points {
                demand(at > before, "the moments of load or rate must ascend from 0")?;
                within("load or rate", value, 0.0, 1e9)?;
                before = at;
            }
            demand(points[0].0 == 0.0, "the first moment of load or rate must be 0")
        }
    }
}

fn check_process(process: Process) -> Verdict {
    match process {
        Process::Poisson | Process::Even => Ok(()),
        Process::Mmpp { low, high, low_for, high_for } => {
            within("mmpp.low", low, 0.0, 1e6)?;
            within("mmpp.high", high, low, 1e6)?;
            span("mmpp.low_for", low_for)?;
            span("mmpp.high_for", high_for)
        }
        Process::Square { period, low, high } => {
            within("square.low", low, 0.0, 1e6)?;
            within("square.high", high, low, 1e6)?;
            within("square.period", period, 1e-3, LONGEST)
        }
    }
}

fn check_retry(retry: Retry) -> Verdict {
    within("retry.attempts", f64::from(retry.attempts()), 1.0, 1_000.0)?;
    match retry {
        Retry::None | Retry::Obedient { .. } | Retry::Ours { .. } => Ok(()),
        Retry::Naive { after, .. } => within("retry.after", after, 0.0, LONGEST),
        Retry::Jittered { base, cap, .. } => pauses(base, cap),
        Retry::Budget { ratio, base, cap, .. } => {
            within("retry.ratio", ratio, 0.0, 1.0)?;
            pauses(base, cap)
        }
    }
}

fn pauses(base: f64, cap: f64) -> Verdict {
    span("retry.base", base)?;
    within("retry.cap", cap, base, LONGEST)
}

fn span(what: &str, value: f64) -> Verdict {
    demand(
        value > 0.0 && value <= LONGEST,
        &format!("{what} must be above 0 and at most {LONGEST}, is {value}"),
    )
}

fn count(what: &str, value: u32) -> Verdict {
    demand((1..=MOST).contains(&value), &format!("{what} must be in 1..={MOST}, is {value}"))
}

/// Both ends are included; NaN is not within.
fn within(what: &str, value: f64, least: f64, most: f64) -> Verdict {
    demand(
        value >= least && value <= most,
        &format!("{what} must be in {least}..={most}, is {value}"),
    )
}

fn demand(holds: bool, fault: &str) -> Verdict {
    if holds { Ok(()) } else { Err(fault.to_owned()) }
}

#[cfg(test)]
mod tests {
    use crate::scenario::Scenario;

    const SOUND: &str = "
name = 'test'
says = 'a test'
kind = 'test'
seconds = 10
[[service]]
name = 'api'
[[service.stage]]
kind = 'fifo'
cores = 4
time = { exp = 0.01 }
[[stream]]
load = 2
";

    fn fault(old: &str, new: &str) -> String {
        assert!(SOUND.contains(old), "{old}");
        Scenario::parse(&SOUND.replace(old, new)).unwrap_err()
    }

    #[test]
    fn a_valid_scenario_is_accepted() {
        Scenario::parse(SOUND).unwrap();
    }

    #[test]
    fn invalid_numbers_are_named() {
        for (old, new, said) in [
            ("seconds = 10", "seconds = nan", "seconds must be above 0"),
            ("seconds = 10", "seconds = 0", "seconds must be above 0"),
            ("seconds = 10", "seconds = -3", "seconds must be above 0"),
            ("seconds = 10", "seconds = 10\nwarmup = 10", "warmup must be in"),
            ("cores = 4", "cores = 0", "cores must be in 1..="),
            ("exp = 0.01", "exp = -0.01", "stage 1: time: spans must be above 0"),
            ("exp = 0.01", "exp = inf", "stage 1: time: spans must be above 0"),
            ("load = 2", "load = nan", "load or rate must be in"),
            ("load = 2", "load = [[0, 1], [5, 2], [4, 1]]", "must ascend"),
            ("load = 2", "load = [[1, 1]]", "the first moment"),
            ("load = 2", "load = 2\nrate = 3", "exactly one of load, rate"),
            ("load = 2", "load = 2\npatience = 0", "patience must be above 0"),
            (
                "load = 2",
                "load = 2\nretry = { naive = { attempts = 0, after = 1 } }",
                "retry.attempts",
            ),
        ] {
            let fault = fault(old, new);
            assert!(fault.contains(said), "{new}: {fault}");
        }
    }

    #[test]
    fn unknown_fields_are_rejected() {
        assert!(fault("cores = 4", "cores = 4\nspeed = 2").contains("speed"));
        assert!(fault("load = 2", "load = 2\npatients = 1").contains("patients"));
        assert!(fault("kind = 'fifo'", "kind = 'lifo'").contains("lifo"));
    }

    #[test]
    fn a_scenario_without_a_station_is_rejected() {
        let fault = fault("kind = 'fifo'\ncores = 4", "kind = 'delay'");
        assert!(fault.contains("there is no station"), "{fault}");
    }

    #[test]
    fn calls_only_go_to_services_below() {
        let call = "time = { exp = 0.01 }\n[[service.stage]]\nkind = 'call'\nservice = ";
        for called in ["'api'", "'nowhere'"] {
            let fault = fault("time = { exp = 0.01 }", &format!("{call}{called}"));
            assert!(fault.contains("not among the services below it"), "{fault}");
        }
    }
}
