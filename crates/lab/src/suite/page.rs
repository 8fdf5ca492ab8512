//! The suite as a page: who stands where, and the course of every scenario.

mod multiples;
mod palette;
mod scoreboard;
mod standing;

use crate::report;
use crate::run::Run;
use crate::scenario::Scenario;
use crate::text::escaped;
use multiples::multiples;
use palette::class;
use scoreboard::share;
use standing::Standing;

const BODY: &str = include_str!("page/page.html");

/// The page, in one piece that needs no other.
pub(crate) fn page(known: &[Scenario], runs: &[Run]) -> String {
    let standing = Standing::of(runs);
    (report::HEAD.to_owned() + BODY)
        .replace("{{headline}}", &escaped(&headline(&standing)))
        .replace("{{extent}}", &extent(runs, &standing))
        .replace("{{ranking}}", &scoreboard::ranking(&standing))
        .replace("{{scale}}", &scoreboard::scale())
        .replace("{{heads}}", &scoreboard::heads(&standing))
        .replace("{{rows}}", &scoreboard::rows(&standing))
        .replace("{{chips}}", &chips(&standing))
        .replace("{{scenarios}}", &scenarios(known, &standing))
}

/// The first two, in one sentence.
fn headline(standing: &Standing<'_>) -> String {
    match standing.ranking.as_slice() {
        [] => "Nothing ran".into(),
        [only] => {
            format!("{} keeps {} of what is possible", only.controller, share(only.score))
        }
        [first, second, ..] => format!(
            "Of what is possible, in its worst scenario: {} keeps {}, the next best, {}, {}",
            first.controller,
            share(first.score),
            second.controller,
            share(second.score)
        ),
    }
}

fn extent(runs: &[Run], standing: &Standing<'_>) -> String {
    let count = |many: usize, one: &str| match many {
        1 => format!("1 {one}"),
        many => format!("{many} {one}s"),
    };
    format!(
        "{} in {}, {} each",
        count(standing.ranking.len(), "controller"),
        count(standing.scenarios.len(), "scenario"),
        count(Standing::seeds(runs), "seed")
    )
}

/// The legend, each name a switch.
fn chips(standing: &Standing<'_>) -> String {
    let chip = |(rank, controller): (usize, &str)| {
        format!(
            "<button class=\"chip {}\" data-k=\"k{rank}\" aria-pressed=\"false\"><i></i>{}</button>",
            class(rank, controller),
            escaped(controller)
        )
    };
    standing.ranking.iter().map(|rank| rank.controller).enumerate().map(chip).collect()
}

fn scenarios(known: &[Scenario], standing: &Standing<'_>) -> String {
    let section = |(at, scenario): (usize, &&str)| {
        let charts: String = multiples(standing, scenario)
            .into_iter()
            .map(|(heading, chart)| {
                format!("<figure><figcaption>{heading}</figcaption>{}</figure>", chart.svg())
            })
            .collect();
        format!(
            "<section class=\"scenario\" id=\"s{at}\"><h3>{}</h3><p>{} {}</p><div class=\"four\">{charts}</div></section>\n",
            escaped(scenario),
            escaped(says(known, scenario)),
            escaped(&remark(standing, scenario))
        )
    };
    standing.scenarios.iter().enumerate().map(section).collect()
}

fn says<'a>(known: &'a [Scenario], scenario: &str) -> &'a str {
    known.iter().find(|known| known.name == scenario).map_or("", |known| &known.says)
}

/// The best and the worst in a scenario.
fn remark(standing: &Standing<'_>, scenario: &str) -> String {
    let mut order: Vec<(&str, f64)> = standing
        .ranking
        .iter()
        .filter_map(|rank| {
            let shown = standing.cell(scenario, rank.controller)?.shown;
            Some((rank.controller, shown.score.goodput_over_ceiling))
        })
        .collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    match order.as_slice() {
        [] => String::new(),
        [only] => format!("{} keeps {}.", only.0, share(only.1)),
        [best, .., worst] => format!(
            "Of what is possible {} keeps most, {}; {} least, {}.",
            best.0,
            share(best.1),
            worst.0,
            share(worst.1)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Moment, Score};

    /// A course that looks like one: waves around a level, all of them different.
    fn course(of: usize, points: u32) -> Vec<Moment> {
        let level = 1.0 - of as f64 * 0.04;
        let wave =
            |at: f64| (at * (0.01 + of as f64 * 0.002)).sin() * 0.08 + (at * 0.05).cos() * 0.04;
        (0..points)
            .map(f64::from)
            .map(|at| Moment {
                at,
                offered: 2.0,
                goodput: (level + wave(at)).max(0.0),
                ceiling: 0.98,
                limit: if of == 7 { f64::INFINITY } else { 16.0 * (1.2 + level * wave(at)) },
                in_flight: 14.0 * (1.1 + level * wave(at)),
                queued: 1.0,
                p99: if of == 7 && at > 20.0 { 0.0 } else { 0.05 * (1.0 + of as f64 + wave(at)) },
            })
            .collect()
    }

    fn runs(controllers: usize, scenarios: usize, seeds: u64, points: u32) -> Vec<Run> {
        let name = |of: usize| match of {
            0 => "ours".to_owned(),
            1 => "static-2c".to_owned(),
            of => format!("rival-{of}"),
        };
        let mut runs = Vec::new();
        for (scenario, of) in (0..scenarios).flat_map(|s| (0..controllers).map(move |of| (s, of))) {
            for seed in 0..seeds {
                let lost = of as f64 * 0.04 * (1.0 + (scenario % 5) as f64 * 0.4);
                let score = Score {
                    goodput_over_ceiling: (1.0 - lost - seed as f64 * 0.004).max(0.0),
                    p99_over_uncontended: 1.05 + lost * 9.0,
                    ..Score::default()
                };
                let (scenario, controller) = (format!("scenario-{scenario}"), name(of));
                runs.push(Run { scenario, controller, seed, score, course: course(of, points) });
            }
        }
        runs
    }

    #[test]
    fn the_page_needs_nothing_else_and_says_everything() {
        let page = page(&[], &runs(5, 3, 2, 50));
        assert!(!page.contains("{{"), "a place was left open");
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="));
        for name in ["ours", "static-2c", "rival-4", "scenario-2", "Goodput, over capacity"] {
            assert!(page.contains(name), "{name}");
        }
        assert_eq!(page.matches("<svg").count(), 3 * 4);
    }

    #[test]
    fn twenty_controllers_in_forty_scenarios_stay_below_ten_megabytes() {
        let length = page(&[], &runs(20, 40, 1, 1_000)).len();
        assert!(length < 10_000_000, "{length}");
    }

    #[test]
    fn names_cannot_write_markup() {
        let mut runs = runs(2, 1, 1, 10);
        runs[0].controller = "<b>".into();
        runs[1].scenario = "<i>x</i>".into();
        let page = page(&[], &runs);
        assert!(!page.contains("<b>") && !page.contains("<i>x"));
    }

    #[test]
    fn no_runs_make_a_page_too() {
        assert!(page(&[], &[]).contains("Nothing ran"));
    }
}
