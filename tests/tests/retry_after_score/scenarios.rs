//! The scenarios of the score.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use tokio::runtime::Builder;
use tower_backpressure::{AdmissionLayer, QueueBounds};

use super::SECOND;
use super::score::Score;
use super::traffic::Manners::{GivesUp, Ignores, Obeys, ObeysBarely};
use super::traffic::{Site, Slots};

const MILLI: Duration = Duration::from_millis(1);

/// A queue that absorbs next to nothing.
const BRIEF_QUEUE: QueueBounds = QueueBounds::new(4, Duration::from_millis(100));

type Clients = Vec<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// A service and its clients.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    slots: Slots,
    is_adaptive: bool,
    queue: Option<QueueBounds>,
    clients: fn(&Site, f64) -> Clients,
}

impl Scenario {
    pub(crate) fn run(&self) -> Score {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().start_paused(true).build().expect("a runtime");
        runtime.block_on(async {
            let layer = match self.is_adaptive {
                true => AdmissionLayer::adaptive("api"),
                false => AdmissionLayer::fixed("api", self.slots.slots),
            };
            let layer = match self.queue {
                Some(queue) => layer.queue(queue),
                None => layer,
            };
            let site = Site::new(&layer, self.slots);
            let capacity = self.slots.per_second();
            let clients = (self.clients)(&site, capacity).into_iter().map(tokio::spawn);
            for client in clients.collect::<Vec<_>>() {
                client.await.expect("no panic");
            }
            Score::of(&site.take_trace(), self.slots.slots)
        })
    }
}

/// A scenario with a limit of all slots.
const fn fixed(
    name: &'static str,
    slots: usize,
    mean: Duration,
    clients: fn(&Site, f64) -> Clients,
) -> Scenario {
    Scenario { name, slots: Slots { slots, mean }, is_adaptive: false, queue: None, clients }
}

macro_rules! clients {
    ($site:ident, $capacity:ident: $($method:ident($($argument:expr),*)),* $(,)?) => {
        |$site, $capacity| {
            let _ = $capacity;
            vec![$(Box::pin($site.clone().$method($($argument),*))),*]
        }
    };
}

const fn adaptive(scenario: Scenario) -> Scenario {
    Scenario { is_adaptive: true, ..scenario }
}

const fn brief(scenario: Scenario) -> Scenario {
    Scenario { queue: Some(BRIEF_QUEUE), ..scenario }
}

/// The scenarios in which the bars are met.
pub(crate) fn kept() -> impl Iterator<Item = Scenario> {
    overload().into_iter().chain(herds()).chain(rude_clients()).chain(slow_work())
}

/// The scenarios in which a bar is missed.
pub(crate) fn known_misses() -> impl Iterator<Item = Scenario> {
    crowds_without_tickets().into_iter().chain(few_permits())
}

/// Overload by clients that obey.
fn overload() -> Vec<Scenario> {
    vec![
        fixed(
            "1.1× for 90 s, all obey",
            16,
            100 * MILLI,
            clients!(site, capacity:
            at_random(Obeys, 1.1 * capacity, 0.0, 90.0, 1)),
        ),
        fixed(
            "1.5× for 60 s, all obey",
            8,
            40 * MILLI,
            clients!(site, capacity:
            at_random(Obeys, 1.5 * capacity, 0.0, 60.0, 1)),
        ),
        fixed(
            "2× for 60 s, one in five obeys",
            16,
            50 * MILLI,
            clients!(site, capacity:
            at_random(Obeys, 0.4 * capacity, 0.0, 60.0, 1),
            at_random(GivesUp, 1.6 * capacity, 0.0, 60.0, 2)),
        ),
        fixed(
            "3× for 20 s, all obey",
            16,
            50 * MILLI,
            clients!(site, capacity:
            at_random(Obeys, 3.0 * capacity, 0.0, 20.0, 1)),
        ),
        adaptive(fixed(
            "adaptive limit, 1.3× for 60 s, all obey",
            16,
            100 * MILLI,
            clients!(site, capacity:
            at_random(Obeys, 1.3 * capacity, 0.0, 60.0, 1)),
        )),
    ]
}

/// Many requests at one moment.
fn herds() -> Vec<Scenario> {
    vec![
        fixed(
            "herd of 2 000 at .5×",
            16,
            10 * MILLI,
            clients!(site, capacity:
            at_random(GivesUp, 0.5 * capacity, 0.0, 90.0, 1),
            at_once(Obeys, 2_000, 60.0, 2)),
        ),
        fixed(
            "herd of 10 000 at .5×",
            16,
            10 * MILLI,
            clients!(site, capacity:
            at_random(GivesUp, 0.5 * capacity, 0.0, 90.0, 1),
            at_once(Obeys, 10_000, 60.0, 2)),
        ),
        adaptive(fixed(
            "adaptive limit, herd of 2 000 at .5×",
            16,
            10 * MILLI,
            clients!(site, capacity:
            at_random(GivesUp, 0.5 * capacity, 0.0, 90.0, 1),
            at_once(Obeys, 2_000, 60.0, 2)),
        )),
        fixed(
            "herd of 300 at a cold start",
            4,
            50 * MILLI,
            clients!(site, capacity:
            at_once(Obeys, 300, 0.0, 2)),
        ),
        fixed(
            "bursts of 200 every 10 s at .3×",
            8,
            50 * MILLI,
            clients!(site, capacity:
            at_random(GivesUp, 0.3 * capacity, 0.0, 60.0, 1),
            at_once(Obeys, 200, 10.0, 2), at_once(Obeys, 200, 20.0, 3),
            at_once(Obeys, 200, 30.0, 4), at_once(Obeys, 200, 40.0, 5)),
        ),
    ]
}

/// Clients that obey beside clients that do not.
fn rude_clients() -> Vec<Scenario> {
    vec![
        brief(fixed(
            "30 rude clients in loops, honest .3×",
            4,
            50 * MILLI,
            clients!(site, capacity:
            in_loops(Ignores(20 * MILLI), 30, 0.0, 60.0, 1),
            at_random(Obeys, 0.3 * capacity, 5.0, 60.0, 2)),
        )),
        brief(fixed(
            "rude flood of 4×, honest .3×",
            16,
            100 * MILLI,
            clients!(site, capacity:
            at_random(Ignores(SECOND), 4.0 * capacity, 0.0, 60.0, 1),
            at_random(Obeys, 0.3 * capacity, 5.0, 60.0, 2)),
        )),
        brief(fixed(
            "200 rude clients on one connection, honest .25×",
            2,
            10 * MILLI,
            clients!(site, capacity:
            in_loops(Ignores(MILLI), 200, 0.0, 60.0, 1),
            at_random(Obeys, 0.25 * capacity, 5.0, 60.0, 2)),
        )),
    ]
}

/// Few slots, each held for longer than a request is queued.
fn slow_work() -> Vec<Scenario> {
    vec![
        brief(fixed(
            "after a storm of rude clients, honest .8×",
            2,
            300 * MILLI,
            clients!(site, capacity:
            in_loops(Ignores(20 * MILLI), 30, 0.0, 20.0, 1),
            at_random(Obeys, 0.8 * capacity, 22.0, 120.0, 2)),
        )),
        brief(fixed(
            "after a storm of 3 s work, honest .5×",
            2,
            3 * SECOND,
            clients!(site, capacity:
            in_loops(Ignores(50 * MILLI), 8, 0.0, 30.0, 1),
            at_random(Obeys, 0.5 * capacity, 33.0, 600.0, 2)),
        )),
        fixed(
            "slow work: 4 slots of 5 s at 1.2×",
            4,
            5 * SECOND,
            clients!(site, capacity:
            at_random(Obeys, 1.2 * capacity, 0.0, 300.0, 1)),
        ),
    ]
}

/// Clients that come back at the same moments.
fn crowds_without_tickets() -> Vec<Scenario> {
    vec![fixed(
        "herd of 500 at .3×, without tickets and jitter",
        4,
        20 * MILLI,
        clients!(site, capacity:
            at_random(GivesUp, 0.3 * capacity, 0.0, 90.0, 1),
            at_once(ObeysBarely, 500, 60.0, 2)),
    )]
}

/// Two permits, each held for seconds: promises are few, and each is as uncertain as the next release.
fn few_permits() -> Vec<Scenario> {
    vec![fixed(
        "slow work: 2 slots of 20 s at .7×",
        2,
        20 * SECOND,
        clients!(site, capacity:
        at_random(Obeys, 0.7 * capacity, 0.0, 3_000.0, 1)),
    )]
}
