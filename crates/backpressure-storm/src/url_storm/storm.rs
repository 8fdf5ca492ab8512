//! A storm of a user's service from its beginning to its verdict.

use crate::Outcome;
use crate::progress::Progress;
use crate::score::rounded;
use crate::url_storm::attempts::ClientKind;
use crate::url_storm::baseline::baseline;
use crate::url_storm::capacity::{Found, Rung, search};
use crate::url_storm::dial::Dialer;
use crate::url_storm::measure::Lab;
use crate::url_storm::options::UrlOptions;
use crate::url_storm::rest::{Rest, rest};
use crate::url_storm::service_process::ServiceProcesses;
use crate::url_storm::steps::{StepResult, Stepper};
use crate::url_storm::target::Target;
use crate::url_storm::trigger::Trigger;
use crate::{cpu, text};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

/// What a storm found, as in the report.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Storm {
    pub(crate) url: String,
    pub(crate) method: String,
    pub(crate) http2: bool,
    pub(crate) deadline_ms: f64,
    pub(crate) quick: bool,
    pub(crate) seed: u64,
    pub(crate) uncontended_p50_ms: f64,
    pub(crate) uncontended_p99_ms: f64,
    /// A cache said that it had answered.
    pub(crate) cached: bool,
    /// Requests a second; a lower bound if it was not reached.
    pub(crate) capacity: f64,
    pub(crate) not_reached: Option<String>,
    pub(crate) search: Vec<Rung>,
    /// The state of the service after the search.
    #[serde(skip)]
    pub(crate) rest: Rest,
    pub(crate) steps: Vec<StepResult>,
    /// What was left out, and why.
    pub(crate) left_out: Vec<String>,
    pub(crate) interrupted: bool,
    /// `--time-limit` was reached.
    pub(crate) out_of_time: bool,
}

impl Storm {
    /// A storm of which nothing is known yet.
    pub(crate) fn new(options: &UrlOptions, target: &Target) -> Self {
        Self {
            url: options.url.clone(),
            method: target.method.to_string(),
            http2: options.http2,
            deadline_ms: options.deadline.as_secs_f64() * 1e3,
            quick: options.quick,
            seed: options.seed,
            uncontended_p50_ms: 0.0,
            uncontended_p99_ms: 0.0,
            cached: false,
            capacity: 0.0,
            not_reached: None,
            search: vec![],
            rest: Rest::Idle,
            steps: vec![],
            left_out: vec![],
            interrupted: false,
            out_of_time: false,
        }
    }

    /// The states of the service after the search and after each step.
    pub(crate) fn rests(&self) -> impl Iterator<Item = &Rest> {
        std::iter::once(&self.rest).chain(self.steps.iter().map(|step| &step.rest))
    }

    /// Runs the storm. What it has found so far stays if it is dropped.
    pub(crate) async fn run(&mut self, options: &UrlOptions, target: Target) -> Outcome<()> {
        let lab = lab(options, target).await?;
        let mut progress = Progress::start(ABOUT);
        progress.stage("latency without load", Duration::from_secs(2));
        let baseline = baseline(&lab).await?;
        let ms = |time: Duration| rounded(time.as_secs_f64() * 1e3);
        (self.uncontended_p50_ms, self.uncontended_p99_ms) = (ms(baseline.p50), ms(baseline.p99));
        self.cached = baseline.cached;
        progress.say(&format!(
            "{}: one at a time takes {}",
            self.url,
            text::milliseconds(self.uncontended_p50_ms)
        ));
        progress.stage("search of the capacity", ABOUT / 4);
        let found = match options.capacity {
            Some(rate) => Found { rate, not_reached: None, rungs: vec![], rest: Rest::Idle },
            None => search(&lab, &baseline, &|line| progress.say(line)).await?,
        };
        (self.capacity, self.not_reached, self.search) =
            (rounded(found.rate), found.not_reached, found.rungs);
        if self.capacity <= 0.0 {
            return Err(
                "the service answered without load, and nothing in the search of its capacity"
                    .into(),
            );
        }
        progress.say(&format!("  capacity: {:.1}/s", self.capacity));
        // What the search left in queues would count against the first step.
        self.rest = if found.rest.is_up() { rest(&lab, &baseline).await } else { found.rest };
        if let Some(why) = goes_on(&self.rest) {
            self.left_out.push(why);
            return Ok(());
        }
        let mut stepper = Stepper::new(&lab, &baseline, self.capacity);
        for (trigger, kind) in self.plan(options) {
            progress.stage(&format!("{} {}", trigger.name(), kind.name()), stepper.lasts(trigger));
            let step = stepper.step(trigger, kind).await?;
            progress.say(&step.line());
            let rest = step.rest.clone();
            self.steps.push(step);
            if let Some(why) = goes_on(&rest) {
                self.left_out.push(why);
                break;
            }
        }
        Ok(())
    }

    /// The steps: the gentle ones first, since a service may not come back. Loads that cannot be offered are left out.
    fn plan(&mut self, options: &UrlOptions) -> Vec<(Trigger, ClientKind)> {
        let mut triggers = Vec::new();
        let bound = options.max_rate / self.capacity;
        for &load in options.loads() {
            if self.not_reached.is_some() && load > 1.0 {
                self.left_out.push(format!("{load}x: the capacity is not known"));
            } else if load <= bound {
                triggers.push(Trigger::Load(load));
            } else if triggers.last().is_none_or(|&last| last < Trigger::Load(bound)) && bound > 1.5
            {
                let bound = (bound * 10.0).floor() / 10.0;
                self.left_out.push(format!("{load}x: --max-rate allows {bound}x"));
                triggers.push(Trigger::Load(bound));
            } else {
                self.left_out.push(format!(
                    "{load}x: --max-rate is {:.0} requests a second",
                    options.max_rate
                ));
            }
        }
        if options.brown_out_start.is_some() {
            triggers.push(Trigger::BrownOut);
        }
        let told = (self.not_reached.is_none() && bound > 2.0)
            .then_some((Trigger::Told, ClientKind::Patient));
        let both = triggers.iter().flat_map(|&trigger| ClientKind::ALL.map(|kind| (trigger, kind)));
        both.chain(told).collect()
    }
}

/// Why no further step can be measured, if so.
fn goes_on(rest: &Rest) -> Option<String> {
    match rest {
        Rest::Idle | Rest::Slow => None,
        Rest::Down(instead) => Some(format!(
            "later steps: 30 s after the last load, one request at a time got {instead}"
        )),
        Rest::Dead => Some("later steps: the service listens no more".into()),
    }
}

/// For the bar only.
const ABOUT: Duration = Duration::from_secs(120);

async fn lab(options: &UrlOptions, target: Target) -> Result<Lab, String> {
    let dialer = Dialer::set_up(&target, options).await?;
    let processes = ServiceProcesses::listening_on(dialer.address());
    Ok(Lab {
        options: options.clone(),
        target: Arc::new(target),
        processes,
        connections: options.connections.min(cpu::raise_open_files()),
        dialer,
        number: Arc::default(),
    })
}
