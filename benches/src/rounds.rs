//! Measures contenders in turns.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::contenders::{BARE, Contender, Session};

/// How long a contender runs before the next one. Shorter than a time slice of the scheduler, so that an
/// interrupted turn is an outlier. A much shorter turn would measure cold caches.
const TURN: Duration = Duration::from_millis(2);

/// Stack depths at which a contender runs in turn. The position of its stack frame changes a request by up
/// to 20 ns, which is as much as the differences to be measured.
const STACK_DEPTHS: usize = 16;

/// Rounds for each table. Odd, so that the median is one of them.
const ROUNDS: usize = 301;

/// Measures the contenders in turns, and prints a table of the time each adds to the bare service, also as
/// a multiple of what `peer` adds.
///
/// # Panics
/// When `peer` or the bare service is not among the contenders.
pub fn report(title: &str, contenders: &mut [Contender], threads: usize, peer: &str) {
    let measured = alternate(contenders, threads, ROUNDS);
    let of = |name: &str| {
        let at = contenders.iter().position(|it| it.name == name).expect("a contender");
        &measured[at]
    };
    // The median of the differences within each round, since a disturbance affects both of a round.
    let added = |rounds: &[f64]| median(rounds.iter().zip(of(BARE)).map(|(it, bare)| it - bare));
    let peer_added = added(of(peer));
    println!("\n{title} ({ROUNDS} rounds)\n");
    println!("| | × {peer} | added ns | ns |\n|---|---|---|---|");
    for (contender, rounds) in contenders.iter().zip(&measured) {
        let own = added(rounds);
        let total = median(rounds.iter().copied());
        println!("| {} | {:.2} | {own:.1} | {total:.1} |", contender.name, own / peer_added);
    }
}

/// Nanoseconds per request for each contender and round, contenders in the given order.
///
/// Every round runs each contender once, and begins with a different one.
pub fn alternate(contenders: &mut [Contender], threads: usize, rounds: usize) -> Vec<Vec<f64>> {
    let counts: Vec<u32> = contenders.iter_mut().map(|it| calibrate(&mut it.sessions[0])).collect();
    let mut measured = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let sessions = &mut contenders[at].sessions[..threads];
            measured[at].push(run_turn(sessions, counts[at], round % STACK_DEPTHS));
        }
    }
    measured
}

/// The median; of an even number of values, the upper of the two in the middle.
///
/// # Panics
/// When there are no values.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The number of requests that take about one turn.
fn calibrate(session: &mut Session) -> u32 {
    const PROBE_REQUESTS: u32 = 20_000;
    session(PROBE_REQUESTS);
    let each = session(PROBE_REQUESTS).as_secs_f64() / f64::from(PROBE_REQUESTS);
    (TURN.as_secs_f64() / each).clamp(1_000.0, 1e6) as u32
}

/// Runs one turn; returns nanoseconds per request, as a mean over the threads.
fn run_turn(sessions: &mut [Session], count: u32, depth: usize) -> f64 {
    let each = |spent: Duration| spent.as_secs_f64() * 1e9 / f64::from(count);
    if let [session] = sessions {
        return each(at_depth(depth, session, count));
    }
    let start = Barrier::new(sessions.len());
    let spent: Vec<Duration> = thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .iter_mut()
            .map(|session| {
                scope.spawn(|| {
                    start.wait();
                    at_depth(depth, session, count)
                })
            })
            .collect();
        threads.into_iter().map(|it| it.join().expect("a session does not panic")).collect()
    });
    spent.iter().copied().map(each).sum::<f64>() / spent.len() as f64
}

#[inline(never)]
fn at_depth(depth: usize, session: &mut Session, count: u32) -> Duration {
    // With the rest of the frame, not a multiple of a cache line.
    let pad = black_box([0_u8; 200]);
    let spent = if depth == 0 { session(count) } else { at_depth(depth - 1, session, count) };
    black_box(pad);
    spent
}
