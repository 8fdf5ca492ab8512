//! Published limits with every option they have, for whoever wants to set them well.
//!
//! The core's own, which are the published ones with options. `Vegas` of the core lets no failure
//! become the no-load latency, unlike the original; its thresholds are no options.

use std::time::Duration;

use backpressure_core::{Aimd, Fixed, Gradient2, Vegas, Windowed};

use crate::controller::door::{Door, Published};
use crate::controller::{Controller, Site};

/// Limits that differ in nothing but their options.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    pub(crate) knobs: &'static [Knob],
    /// With a value for each knob.
    pub(crate) make: fn(&[f64], &Site) -> Box<dyn Controller>,
}

/// An option: its range, and what it is when nobody sets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knob {
    pub(crate) name: &'static str,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) default: f64,
    /// Whether it counts something.
    pub(crate) whole: bool,
}

pub(crate) const ALL: &[Family] = &[
    Family { name: "static", knobs: &[TIMES_THE_KNEE], make: fixed },
    Family { name: "aimd", knobs: &[MIN, MAX, BACKOFF, TIMEOUT], make: aimd },
    Family { name: "vegas", knobs: &[VEGAS_MAX, VEGAS_SMOOTHING, PROBE], make: vegas },
    Family {
        name: "gradient2",
        knobs: &[MIN, MAX, QUEUE, TOLERANCE, SMOOTHING, LONG],
        make: gradient2,
    },
    Family {
        name: "gradient2-1s",
        knobs: &[MIN, MAX, QUEUE, TOLERANCE, SMOOTHING, LONG, WINDOW],
        make: windowed,
    },
];

/// Clairvoyant, as the knee is: for scale.
const TIMES_THE_KNEE: Knob = of("times the knee", 0.5, 8.0, 2.0);
const MIN: Knob = count("min", 1.0, 50.0, 20.0);
const MAX: Knob = count("max", 50.0, 5_000.0, 200.0);
const BACKOFF: Knob = of("backoff", 0.5, 0.99, 0.9);
/// Seconds.
const TIMEOUT: Knob = of("timeout", 0.02, 5.0, 5.0);
const SMOOTHING: Knob = of("smoothing", 0.01, 1.0, 0.2);
const VEGAS_MAX: Knob = Knob { default: 1_000.0, ..MAX };
const VEGAS_SMOOTHING: Knob = Knob { default: 1.0, ..SMOOTHING };
const PROBE: Knob = count("probe_multiplier", 3.0, 300.0, 30.0);
const QUEUE: Knob = count("queue", 1.0, 64.0, 4.0);
const TOLERANCE: Knob = of("tolerance", 1.0, 4.0, 1.5);
const LONG: Knob = count("long_window", 20.0, 5_000.0, 600.0);
/// Seconds.
const WINDOW: Knob = of("window", 0.1, 2.0, 1.0);

const fn of(name: &'static str, least: f64, most: f64, default: f64) -> Knob {
    Knob { name, least, most, default, whole: false }
}

const fn count(name: &'static str, least: f64, most: f64, default: f64) -> Knob {
    Knob { whole: true, ..of(name, least, most, default) }
}

fn fixed(values: &[f64], site: &Site) -> Box<dyn Controller> {
    Door::of(Published(Fixed::new(whole(values[0] * site.knee))))
}

fn aimd(values: &[f64], _site: &Site) -> Box<dyn Controller> {
    let limit = Aimd::new().min(whole(values[0])).max(whole(values[1]));
    Door::of(Published(limit.backoff(values[2]).timeout(Duration::from_secs_f64(values[3]))))
}

fn vegas(values: &[f64], site: &Site) -> Box<dyn Controller> {
    let limit = Vegas::new().seed(site.seed).max(whole(values[0]));
    Door::of(Published(limit.smoothing(values[1]).probe_multiplier(whole(values[2]) as u32)))
}

fn gradient2(values: &[f64], _site: &Site) -> Box<dyn Controller> {
    Door::of(Published(gradient(values)))
}

fn windowed(values: &[f64], _site: &Site) -> Box<dyn Controller> {
    let window = Duration::from_secs_f64(values[6]);
    Door::of(Published(Windowed::new(gradient(values)).window(window)))
}

/// The bounds first: a minimum is never above the default maximum.
fn gradient(values: &[f64]) -> Gradient2 {
    let limit = Gradient2::new().min(whole(values[0])).max(whole(values[1]));
    let limit = limit.queue(whole(values[2])).tolerance(values[3]);
    limit.smoothing(values[4]).long_window(whole(values[5]) as u32)
}

fn whole(value: f64) -> usize {
    (value.round() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::steps::SITE;

    #[test]
    fn every_family_can_be_made_at_both_ends_of_its_knobs_and_as_it_comes() {
        let ends: [fn(&Knob) -> f64; 3] =
            [|knob| knob.least, |knob| knob.most, |knob| knob.default];
        for family in ALL {
            for end in ends {
                let values: Vec<f64> = family.knobs.iter().map(end).collect();
                assert!((family.make)(&values, &SITE).limit() >= 1.0, "{}", family.name);
            }
        }
    }

    #[test]
    fn a_family_as_it_comes_starts_where_the_catalogue_has_it() {
        let limits = ALL.iter().map(|family| {
            let values: Vec<f64> = family.knobs.iter().map(|knob| knob.default).collect();
            (family.make)(&values, &SITE).limit()
        });
        assert_eq!(limits.collect::<Vec<_>>(), [16.0, 20.0, 20.0, 20.0, 20.0]);
    }
}
