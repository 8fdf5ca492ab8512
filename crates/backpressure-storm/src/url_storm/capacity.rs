//! Finds how many requests a second the service can do.
//!
//! The load rises until goodput stops rising: by a factor of four as long as (almost) everything is answered, then of
//! two. The highest goodput is confirmed at the same rate. Clients of the search are patient, so that an answer counts
//! however late it is: a queue does not hide what a service can do.

use crate::arrivals::{Step, poisson};
use crate::event_log::{Counts, Window};
use crate::url_storm::baseline::Baseline;
use crate::url_storm::measure::Lab;
use crate::url_storm::rest::{Rest, rest};
use serde::Serialize;
use std::io;
use std::time::Duration;

/// One load of the search. Rates are per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Rung {
    pub(crate) offered: f64,
    pub(crate) goodput: f64,
    /// The generator could not send more.
    pub(crate) generator_limited: bool,
    pub(crate) disturbed: bool,
    #[serde(skip)]
    rate: f64,
}

/// The result of the search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found {
    /// Requests a second; a lower bound if the service was not overloaded.
    pub(crate) rate: f64,
    /// Why the service could not be overloaded, if so.
    pub(crate) not_reached: Option<String>,
    pub(crate) rungs: Vec<Rung>,
    /// The state of the service before the last rung. If it is down, the search ended there.
    pub(crate) rest: Rest,
}

/// Shortest measurement of a rung, in full and quickly. Half of it settles: a burst that a rate limit allows, and a
/// limit that adapts, need about a second.
const RUNG: Duration = Duration::from_millis(2_500);
const QUICK_RUNG: Duration = Duration::from_millis(1_600);
/// A rung measures at least as many requests; fewer say less than one part in ten.
const MIN_REQUESTS_PER_RUNG: f64 = 60.0;
const MAX_RUNG: Duration = Duration::from_secs(12);
/// Share of the requests that are answered while the service keeps up. Less would not be seen for the noise of
/// [`MIN_REQUESTS_PER_RUNG`].
const KEEPS_UP: f64 = 0.9;
/// Goodput has stopped rising when four or two times the load give less than this.
const RISES: f64 = 1.1;
/// Bounds the search; sixteen doublings are four orders of magnitude.
const MAX_RUNGS: usize = 16;

impl Rung {
    fn keeps_up(&self) -> bool {
        self.goodput >= KEEPS_UP * self.offered
    }
}

/// Searches the capacity.
pub(crate) async fn search(
    lab: &Lab,
    baseline: &Baseline,
    say: &impl Fn(&str),
) -> io::Result<Found> {
    let mut search = Search { lab, baseline, say, rungs: vec![], rest: Rest::Idle };
    let not_reached = search.rise().await?;
    search.refine(not_reached.is_some()).await?;
    let found = conclude(search.rungs, not_reached);
    Ok(Found { rest: search.rest, ..found })
}

/// A search that goes on.
struct Search<'a, S> {
    lab: &'a Lab,
    baseline: &'a Baseline,
    say: &'a S,
    rungs: Vec<Rung>,
    /// The state of the service before the next rung. Once it is down, there are no further ones.
    rest: Rest,
}

impl<S: Fn(&str)> Search<'_, S> {
    /// Raises the load until goodput stops rising, or says why that was not reached.
    async fn rise(&mut self) -> io::Result<Option<String>> {
        let most = self.lab.options.max_rate;
        let mut rate =
            (0.5 / self.baseline.p50.as_secs_f64().max(1e-6)).clamp(1.0, most / 16.0_f64.min(most));
        while self.rungs.len() < MAX_RUNGS {
            let best = best(&self.rungs).map_or(0.0, |best| best.goodput);
            let stops = |rung: &Rung| !rung.keeps_up() && rung.goodput < best * RISES;
            let Some(mut rung) = self.climb(rate).await? else { return Ok(None) };
            if stops(&rung) && self.rungs.last().is_some_and(Rung::keeps_up) {
                // One more look: a pause of the service or of the machine is no capacity.
                let again = self.climb(rate).await?;
                rung = again.filter(|again| again.goodput > rung.goodput).unwrap_or(rung);
            }
            self.add(rung);
            if rung.generator_limited {
                return Ok(Some(format!(
                    "this generator sends no more than about {:.0} requests a second",
                    rung.offered
                )));
            }
            if stops(&rung) {
                return Ok(None);
            }
            if rate >= most {
                let bound = format!("--max-rate is {most:.0} requests a second");
                return Ok(rung.keeps_up().then_some(bound));
            }
            rate = (rate * if rung.keeps_up() { 4.0 } else { 2.0 }).min(most);
        }
        Ok(None)
    }

    /// Looks between the rungs around the highest goodput, and measures the best rate again.
    async fn refine(&mut self, bounded: bool) -> io::Result<()> {
        let Some(peak) = best(&self.rungs) else { return Ok(()) };
        let mut rates = Vec::new();
        if !bounded || self.rungs.iter().any(|rung| !rung.keeps_up() && !rung.generator_limited) {
            rates.extend([peak.rate / 1.5, peak.rate]);
        } else if let Some(limited) = self.rungs.iter().find(|rung| rung.generator_limited) {
            // The service may be full below what the generator can do.
            rates.push(limited.rate / 2.0);
        }
        if !self.lab.options.quick && !bounded {
            rates.push(peak.rate);
        }
        for rate in rates {
            let Some(rung) = self.climb(rate).await? else { return Ok(()) };
            self.add(rung);
        }
        Ok(())
    }

    fn add(&mut self, rung: Rung) {
        (self.say)(&format!("  {:>8.1}/s offered, {:>8.1}/s answered", rung.offered, rung.goodput));
        self.rungs.push(rung);
    }

    /// Measures one rate, from a service at rest; `None` if the service is down.
    async fn climb(&mut self, rate: f64) -> io::Result<Option<Rung>> {
        if self.rest.is_up() {
            self.rest = rest(self.lab, self.baseline).await;
        }
        if !self.rest.is_up() {
            return Ok(None);
        }
        let options = &self.lab.options;
        let shortest = if options.quick { QUICK_RUNG } else { RUNG };
        let enough =
            Duration::from_secs_f64(MIN_REQUESTS_PER_RUNG * 2.0 / rate).max(self.baseline.p50 * 6);
        let lasts = shortest.max(enough).min(MAX_RUNG);
        let arrivals = poisson(options.seed + self.rungs.len() as u64, &[Step { rate, lasts }]);
        let patience = options.deadline.max(lasts);
        let observed = self.lab.measure(None, patience, &arrivals, lasts).await?;
        let window = Window { from: lasts / 2, to: lasts };
        let counts = Counts::within(&observed.events, window);
        Ok(Some(Rung {
            offered: f64::from(counts.offered) / window.seconds(),
            goodput: f64::from(counts.answered) / window.seconds(),
            generator_limited: observed.generator_limited(options.deadline),
            disturbed: observed.is_disturbed(),
            rate,
        }))
    }
}

fn best(rungs: &[Rung]) -> Option<Rung> {
    rungs
        .iter()
        .filter(|rung| !rung.generator_limited)
        .max_by(|a, b| a.goodput.total_cmp(&b.goodput))
        .copied()
}

/// The median of the goodput at the best rate; where the service kept up with everything, a lower bound.
fn conclude(rungs: Vec<Rung>, not_reached: Option<String>) -> Found {
    let usable = |rung: &&Rung| !rung.generator_limited;
    let overloaded = rungs.iter().filter(usable).any(|rung| !rung.keeps_up());
    let best = best(&rungs);
    let same: Vec<f64> = best.map_or_else(Vec::new, |best| {
        rungs
            .iter()
            .filter(usable)
            .filter(|rung| (rung.rate - best.rate).abs() < 1e-6)
            .map(|rung| rung.goodput)
            .collect()
    });
    let kept = rungs
        .iter()
        .filter(usable)
        .filter(|rung| rung.keeps_up())
        .map(|rung| rung.goodput)
        .fold(0.0, f64::max);
    let rate = median(same).max(kept);
    let rate =
        if rate > 0.0 { rate } else { rungs.iter().map(|rung| rung.goodput).fold(0.0, f64::max) };
    Found { rate, not_reached: not_reached.filter(|_| !overloaded), rungs, rest: Rest::Idle }
}

/// The lower median.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(rate: f64, goodput: f64) -> Rung {
        Rung { offered: rate, goodput, generator_limited: false, disturbed: false, rate }
    }

    #[test]
    fn the_capacity_is_the_median_of_the_best_rate() {
        let rungs = vec![
            rung(50.0, 50.0),
            rung(200.0, 130.0),
            rung(400.0, 90.0),
            rung(200.0, 100.0),
            rung(200.0, 98.0),
        ];
        let found = conclude(rungs, None);
        assert_eq!((found.rate, found.not_reached), (100.0, None));
    }

    #[test]
    fn a_service_that_keeps_up_has_only_a_lower_bound() {
        let limited = Rung { generator_limited: true, ..rung(8000.0, 6000.0) };
        let found =
            conclude(vec![rung(500.0, 499.0), rung(2000.0, 1990.0), limited], Some("why".into()));
        assert_eq!((found.rate, found.not_reached.as_deref()), (1990.0, Some("why")));
    }

    #[test]
    fn a_service_that_is_full_below_the_bound_of_the_generator_has_a_capacity() {
        let limited = Rung { generator_limited: true, ..rung(8000.0, 900.0) };
        let found =
            conclude(vec![rung(500.0, 499.0), limited, rung(4000.0, 950.0)], Some("why".into()));
        assert_eq!((found.rate, found.not_reached), (950.0, None));
    }

    #[test]
    fn a_search_without_rungs_finds_nothing() {
        assert_eq!(conclude(vec![], None).rate, 0.0);
    }
}
