//! What a sweep prints.

use std::collections::BTreeMap;

use super::Outcome;
use super::traffic::{Before, run};
use super::world::World;

/// Worlds that are printed one by one.
const WORST: usize = 40;
/// Rows of a timeline.
const ROWS: usize = 40;
/// A share of the others' useful work below which a world is worse off.
const SHARES: [f64; 3] = [0.99, 0.95, 0.8];

/// The worst worlds, and how many worlds with each part are worse off.
pub(crate) fn print(outcomes: &[Outcome]) {
    println!("share | ours | bare | tower | rejected | world");
    for outcome in outcomes.iter().take(WORST) {
        print_row(outcome);
    }
    println!("rejections at half load:");
    for outcome in outcomes.iter().filter(|it| it.rejected > 0 && it.world.is_at_half_load()) {
        print_row(outcome);
    }
    let below = |outcomes: &[&Outcome]| {
        SHARES.map(|share| outcomes.iter().filter(|it| it.share() < share).count())
    };
    let mean = |outcomes: &[&Outcome]| {
        outcomes.iter().map(|it| it.share().min(1.0)).sum::<f64>() / outcomes.len() as f64
    };
    let all: Vec<_> = outcomes.iter().collect();
    println!("part | worlds | below {SHARES:?} | mean share, at most 1");
    println!("all | {} | {:?} | {:.4}", all.len(), below(&all), mean(&all));
    let mut parts: BTreeMap<String, Vec<&Outcome>> = BTreeMap::new();
    for outcome in outcomes {
        for part in outcome.world.parts() {
            parts.entry(part).or_default().push(outcome);
        }
    }
    for (part, outcomes) in parts {
        println!("{part} | {} | {:?} | {:.4}", outcomes.len(), below(&outcomes), mean(&outcomes));
    }
}

fn print_row(outcome: &Outcome) {
    let Outcome { world, bare, tower, ours, rejected } = outcome;
    let (share, seed) = (outcome.share(), world.seed);
    println!("{share:.3} | {ours} | {bare} | {tower} | {rejected} | WORLD={seed} {world}");
}

pub(crate) fn print_timeline(world: World) {
    println!("{world}, {:.1}/s, tuned {}", world.rate(), world.tuned());
    for before in [Before::Nothing, Before::TowerLimit, Before::Ours] {
        println!("{before:?}: second | offered | served | rejected | late | left | limit");
        let seconds = run(world, before);
        let step = seconds.len().div_ceil(ROWS);
        for (row, ends) in seconds.chunks(step).enumerate() {
            let sum = |count: fn(&super::Ends) -> usize| ends.iter().map(count).sum::<usize>();
            println!(
                "{} | {} | {} | {} | {} | {} | {}",
                row * step,
                sum(|it| it.offered),
                sum(|it| it.served),
                sum(|it| it.rejected),
                sum(|it| it.late),
                sum(|it| it.left),
                ends.last().map_or(0, |it| it.limit),
            );
        }
    }
}
