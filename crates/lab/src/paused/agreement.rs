//! Whether the two drivers agree.

use crate::controller::catalogue::find;
use crate::scenario::library;
use crate::world;
use crate::world::journal::{Ended, How, Journal};
use crate::world::plan::Plan;

use super::simulate;

fn both(name: &str, seed: u64) -> (Journal, Journal) {
    let all = library::all().unwrap();
    let scenario = all.iter().find(|scenario| scenario.name == name).unwrap();
    let plan = Plan::of(scenario);
    let ours = find("ours").unwrap();
    (world::simulate(&plan, ours, seed), simulate(&plan, seed))
}

fn counts(journal: &Journal) -> [usize; 5] {
    [How::Answered, How::Left, How::Refused, How::Overloaded, How::Failed]
        .map(|how| journal.ended.iter().filter(|ended| ended.how == how).count())
}

#[test]
fn explore() {
    let name = std::env::var("SCENARIO").unwrap();
    let (world, tower) = both(&name, 1);
    println!("{:?} {:?}", counts(&world), counts(&tower));
    println!(
        "asked {} {} same {}",
        world.asked.len(),
        tower.asked.len(),
        world.asked == tower.asked
    );
    println!("entered/left {} {} {} {}", world.entered, world.left, tower.entered, tower.left);
    println!("work {} {}", world.work_done, tower.work_done);
    let mut shown = 0;
    let mut sorted: [Vec<Ended>; 2] = [world.ended.clone(), tower.ended.clone()];
    for list in &mut sorted {
        list.sort_by_key(|e| (e.at, e.request));
    }
    for (n, (a, b)) in sorted[0].iter().zip(&sorted[1]).enumerate() {
        if a != b && shown < 6 {
            shown += 1;
            println!("{n}: {a:?}\n   {b:?}");
        }
    }
    for (a, b) in world.levels.iter().zip(&tower.levels) {
        if a != b {
            println!("{a:?} {b:?}");
            break;
        }
    }
    let mut first = vec![None; world.asked.len()];
    for e in &world.ended {
        first[e.request as usize] = Some(e.how);
    }
    let mut other = vec![None; world.asked.len()];
    for e in &tower.ended {
        other[e.request as usize] = Some(e.how);
    }
    println!(
        "differ in how: {}; unended {} {}",
        first.iter().zip(&other).filter(|(a, b)| a != b).count(),
        first.iter().filter(|a| a.is_none()).count(),
        other.iter().filter(|a| a.is_none()).count()
    );
    let lost: Vec<_> = (0..other.len())
        .filter(|n| other[*n].is_none() && first[*n].is_some())
        .map(|n| (n, world.asked[n].at, first[n]))
        .take(5)
        .collect();
    println!("{lost:?}");
}
