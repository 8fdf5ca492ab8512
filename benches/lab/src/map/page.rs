//! The map as a page: a heat map for every kind of client at every load, with and without layers.

use crate::map::grid::{Grid, Layers, Policy};
use crate::map::heat_map::{HeatMap, Tile};
use crate::map::result::{Cell, Tally, tallies};
use crate::map::scenario::Setting;
use crate::text::seconds;

const TEMPLATE: &str = include_str!("page.html");

/// Recoveries up to this many seconds share a shade; longer ones have the last.
const SHADES: [(f64, &str); 5] =
    [(0.0, "r0"), (1.0, "r1"), (3.0, "r2"), (10.0, "r3"), (f64::INFINITY, "r4")];
/// Not recovered.
const LOST: &str = "lost";

/// The page, self-contained.
pub(crate) fn page(grid: &Grid, setting: Setting, cells: &[Cell]) -> String {
    let tallies = tallies(cells);
    let sections: String =
        Layers::ALL.into_iter().map(|layers| section(grid, layers, cells)).collect();
    TEMPLATE
        .replace("{{headline}}", &headline(&tallies))
        .replace("{{scale}}", &scale())
        .replace("{{sections}}", &sections)
        .replace("{{notes}}", &notes(setting, cells.len()))
}

fn headline(tallies: &[Tally]) -> String {
    let share = |layers: Layers| {
        let tally = tallies.iter().find(|tally| tally.layers == layers);
        tally.map_or_else(|| "–".into(), |tally| format!("{} of {}", tally.metastable, tally.cells))
    };
    format!(
        "Without the layers the service stays down after {} triggers; with both, after {}",
        share(Layers::Neither),
        share(Layers::Both)
    )
}

fn scale() -> String {
    let shade = |&(most, class): &(f64, &str)| {
        let text = match most {
            0.0 => "at once".into(),
            most if most.is_finite() => format!("within {}", seconds(most)),
            _ => "later".into(),
        };
        format!("<li><i class=\"{class}\"></i>{text}</li>")
    };
    let shades: String = SHADES.iter().map(shade).collect();
    format!("{shades}<li><i class=\"{LOST}\"></i>not recovered after 20 s</li>")
}

fn notes(setting: Setting, cells: usize) -> String {
    let bottleneck = if setting.opaque {
        "The bottleneck is behind an await: only latency shows that it is busy."
    } else {
        "The bottleneck is the process itself: it can measure how long its tasks wait for a worker."
    };
    let notes = [
        "Four workers and 40 ms of work per request, exponential: 100 a second. A rejection costs a four-hundredth of a request.",
        "Clients give up an attempt after a second; the work on it goes on. A request that is not answered within ten seconds, retries included, is not answered at all.",
        "There are ten client processes. Each has a retry budget of its own, if there is one.",
        "A service has recovered at the end of the last half second in which less than .9 of the requests that arrived were answered in the end.",
        bottleneck,
        &format!(
            "{cells} runs, seed {}, the same arrivals and demands for every set of layers.",
            setting.seed
        ),
    ];
    notes.iter().map(|note| format!("<li>{}</li>", note)).collect()
}

fn section(grid: &Grid, layers: Layers, cells: &[Cell]) -> String {
    let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.place.layers == layers).collect();
    let policies = Policy::ALL
        .into_iter()
        .filter(|policy| cells.iter().any(|cell| cell.place.policy == *policy));
    let blocks: String = policies.map(|policy| block(grid, policy, &cells)).collect();
    let class = if matches!(layers, Layers::Neither | Layers::Both) { "key" } else { "more" };
    format!("<section class=\"{class}\"><h2>{}</h2>{blocks}</section>\n", heading(layers))
}

fn heading(layers: Layers) -> String {
    match layers {
        Layers::Neither => "No layer".into(),
        Layers::Client => "RetryLayer at the clients, nothing at the server".into(),
        Layers::Server => "AdmissionLayer at the server, any clients".into(),
        Layers::Both => "Both: AdmissionLayer at the server, RetryLayer at the clients".into(),
    }
}

fn block(grid: &Grid, policy: Policy, cells: &[&Cell]) -> String {
    let figures: String =
        grid.loads.iter().map(|&load| figure(grid, policy, load, cells)).collect();
    // Shown in the picture of the page, `map.html#picture`.
    let class = if matches!(policy, Policy::Naive3 | Policy::Ours) { "key" } else { "more" };
    format!(
        "<div class=\"{class}\"><h3>{}</h3><div class=\"row\">{figures}</div></div>",
        policy.label()
    )
}

fn figure(grid: &Grid, policy: Policy, load: f64, cells: &[&Cell]) -> String {
    let cells = cells.iter().filter(|cell| cell.place.policy == policy && cell.place.load == load);
    let heat = HeatMap {
        title: format!("Recovery after a trigger at load {load}, {}", policy.label()),
        columns: grid.seconds.iter().map(|length| format!("{length}")).collect(),
        rows: grid.triggers.iter().map(ToString::to_string).collect(),
        tiles: cells.map(|cell| tile(cell)).collect(),
    };
    format!("<figure><figcaption>load {load}, by seconds</figcaption>{}</figure>", heat.svg())
}

fn tile(cell: &Cell) -> Tile {
    let class = match cell.recovery_s {
        _ if cell.metastable => LOST,
        None => SHADES[SHADES.len() - 1].1,
        Some(took) => SHADES.iter().find(|(most, _)| took <= *most).map_or(LOST, |shade| shade.1),
    };
    let outcome = match cell.recovery_s {
        Some(took) => format!("recovered after {}", seconds(took)),
        None => "not recovered".into(),
    };
    let (trigger, length) = (cell.place.trigger, seconds(cell.place.trigger_s));
    let text = format!(
        "{trigger} for {length}: {outcome}; goodput {:.2}, {:.1} attempts a request",
        cell.goodput, cell.attempts
    );
    Tile { class, text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_is_on_the_page_and_those_that_stay_down_are_counted() {
        let grid = Grid::of(true);
        let cells: Vec<Cell> = grid
            .places()
            .into_iter()
            .map(|place| {
                let lost = place.layers == Layers::Neither && place.trigger_s > 2.0;
                let recovery_s = (!lost).then_some(place.trigger_s / 4.0);
                Cell { place, goodput: 0.5, metastable: lost, recovery_s, attempts: 1.5 }
            })
            .collect();
        let page = page(&grid, Setting { seed: 1, opaque: false }, &cells);
        assert_eq!(page.matches("<rect").count(), cells.len());
        let lost = cells.iter().filter(|cell| cell.metastable).count();
        assert_eq!(page.matches("<rect class=\"lost\"").count(), lost);
        assert!(!page.contains("{{") && !page.contains("http://") && !page.contains("https://"));
    }
}
