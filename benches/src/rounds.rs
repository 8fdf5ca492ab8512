//! Measuring in turns.

use std::hint::black_box;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crate::contenders::{BARE, Contender, Session};

/// How long one contender runs at a stretch: shorter than a time slice, so that a stretch that
/// was interrupted is an outlier and not the rule.
const STRETCH: Duration = Duration::from_millis(2);

/// Stack depths a contender runs at in turn. Where its frame happens to lie is worth 20 ns either
/// way, as much as what is measured here.
const DEPTHS: usize = 16;

/// Rounds of one table.
const ROUNDS: usize = 301;

/// Measures the contenders in turns and prints a table: each beside `peer`, both as what they add to the bare
/// service.
///
/// # Panics
/// When `peer` or the bare service is not among the contenders.
pub fn report(title: &str, contenders: &mut [Contender], threads: usize, peer: &str) {
    let measured = alternate(contenders, threads, ROUNDS);
    let of = |name: &str| {
        let at = contenders.iter().position(|it| it.name == name).expect("it takes part");
        &measured[at]
    };
    // Differences within a round, then the median: what disturbs a round disturbs both.
    let added = |rounds: &[f64]| median(rounds.iter().zip(of(BARE)).map(|(it, bare)| it - bare));
    let theirs = added(of(peer));
    println!("\n{title} ({ROUNDS} rounds)\n");
    println!("| | × {peer} | added ns | ns |\n|---|---|---|---|");
    for (contender, rounds) in contenders.iter().zip(&measured) {
        let own = added(rounds);
        let total = median(rounds.iter().copied());
        println!("| {} | {:.2} | {own:.1} | {total:.1} |", contender.name, own / theirs);
    }
}

/// Nanoseconds a request for each contender and round, contenders in the order given.
///
/// Every round runs each contender once and begins with another one.
pub fn alternate(contenders: &mut [Contender], threads: usize, rounds: usize) -> Vec<Vec<f64>> {
    let counts: Vec<u32> = contenders.iter_mut().map(|it| calibrate(&mut it.sessions[0])).collect();
    let mut measured = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let at = (round + turn) % contenders.len();
            let nanos =
                stretch(&mut contenders[at].sessions[..threads], counts[at], round % DEPTHS);
            measured[at].push(nanos);
        }
    }
    measured
}

/// The middle one; the upper middle of an even number.
///
/// # Panics
/// When there is none.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn calibrate(session: &mut Session) -> u32 {
    const PROBE: u32 = 20_000;
    session(PROBE);
    let each = session(PROBE).as_secs_f64() / f64::from(PROBE);
    (STRETCH.as_secs_f64() / each).clamp(1_000.0, 1e6) as u32
}

/// Nanoseconds a request and thread.
fn stretch(sessions: &mut [Session], count: u32, depth: usize) -> f64 {
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
    // With the frame around it, no multiple of a cache line.
    let pad = black_box([0_u8; 200]);
    let spent = if depth == 0 { session(count) } else { at_depth(depth - 1, session, count) };
    black_box(pad);
    spent
}
