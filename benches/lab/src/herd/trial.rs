//! Runs one herd.

use crate::controller::baseline;
use crate::controller::catalogue::{self, Entry};
use crate::herd::outcome::HerdOutcome;
use crate::herd::scenario::{BURST, HERD, IDEAL, NEVER, scenario};
use crate::herd::servers;
use crate::world;
use crate::world::journal::{AttemptOutcome, Journal};
use crate::world::plan::Plan;

/// A kind of server, and a kind of client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pairing {
    server: Server,
    client: Client,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Silent,
    OneSecond,
    Ours,
    Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// Backs off with full jitter, ignoring what it is told.
    Jittered,
    /// Waits for the seconds of the header.
    WholeSeconds,
    /// Waits for the scheduled time to the nanosecond.
    Exact,
    /// RetryLayer: three attempts in thirty seconds.
    RetryLayer,
}

/// All pairings; the last is what the library does on both sides.
pub(crate) fn pairings() -> Vec<Pairing> {
    use Client::{Exact, Jittered, RetryLayer, WholeSeconds};
    use Server::{Held, OneSecond, Ours, Silent};
    [
        (OneSecond, WholeSeconds),
        (Silent, Jittered),
        (Ours, WholeSeconds),
        (Held, WholeSeconds),
        (Held, RetryLayer),
        (Ours, Exact),
        (Ours, RetryLayer),
    ]
    .map(|(server, client)| Pairing { server, client })
    .to_vec()
}

impl Server {
    const fn label(self) -> &'static str {
        match self {
            Self::Silent => "nothing",
            Self::OneSecond => "Retry-After: 1",
            Self::Ours => "a scheduled time (ours)",
            Self::Held => "a scheduled time, held",
        }
    }

    fn entry(self) -> Option<Entry> {
        match self {
            Self::Silent => catalogue::find("static-2c").copied(),
            Self::OneSecond => Some(Entry {
                name: "one-second",
                says: "twice the knee, and Retry-After: 1",
                make: baseline::one_second,
            }),
            Self::Ours => catalogue::find("ours").copied(),
            Self::Held => Some(Entry {
                name: "held",
                says: "ours, with rejections held for the fraction of a second",
                make: servers::held,
            }),
        }
    }
}

impl Client {
    const fn label(self) -> &'static str {
        match self {
            Self::Jittered => "full jitter, .05 to 5 s",
            Self::WholeSeconds => "whole seconds, to the letter",
            Self::Exact => "to the nanosecond",
            Self::RetryLayer => "RetryLayer, 3 attempts",
        }
    }

    const fn retry(self) -> &'static str {
        match self {
            Self::Jittered => "{ jittered = { attempts = 1000, base = 0.05, cap = 5.0 } }",
            Self::WholeSeconds => "{ obedient = { attempts = 1000, whole_seconds = true } }",
            Self::Exact => "{ obedient = { attempts = 1000, whole_seconds = false } }",
            Self::RetryLayer => "{ ours = { attempts = 3 } }",
        }
    }

    const fn deadline(self) -> f64 {
        if matches!(self, Self::RetryLayer) { 30.0 } else { NEVER }
    }
}

/// Runs a pairing.
pub(crate) fn trial(pairing: &Pairing, seed: u64) -> Result<HerdOutcome, String> {
    let Pairing { server, client } = *pairing;
    let herd = run(pairing, seed)?;
    Ok(HerdOutcome {
        server: server.label(),
        client: client.label(),
        drain_s: herd.drained(),
        drain_over_ideal: herd.drained() / IDEAL,
        attempts: f64::from(herd.attempts) / f64::from(HERD),
        first_retry: f64::from(herd.first_let_in) / f64::from(herd.first_retries.max(1)),
        lost: 1.0 - herd.served.len() as f64 / f64::from(HERD),
        others_refused: herd.others_refused(),
    })
}

fn run(&Pairing { server, client }: &Pairing, seed: u64) -> Result<Herd, String> {
    let entry = server.entry().ok_or("the controller is missing")?;
    let plan = Plan::of(&scenario(client.retry(), client.deadline())?);
    Ok(Herd::of(&world::simulate(&plan, &entry.make, seed)))
}

/// When each request of the herd was served, in seconds since the burst. The clients wait for whole seconds, as the
/// schedule of ours tells each of them.
pub(crate) fn served_by_schedule(seed: u64) -> Result<Vec<f64>, String> {
    Ok(run(&Pairing { server: Server::Ours, client: Client::WholeSeconds }, seed)?.served)
}

/// The same where every client is told one second.
pub(crate) fn served_after_a_second(seed: u64) -> Result<Vec<f64>, String> {
    Ok(run(&Pairing { server: Server::OneSecond, client: Client::WholeSeconds }, seed)?.served)
}

/// The herd in a journal.
#[derive(Debug, Default)]
struct Herd {
    attempts: u32,
    first_retries: u32,
    first_let_in: u32,
    /// When each was served, in seconds since the burst, ascending.
    served: Vec<f64>,
    /// When each other request since then was answered or rejected, and whether it was rejected.
    others: Vec<(f64, bool)>,
}

impl Herd {
    fn of(journal: &Journal) -> Self {
        let mut herd = Self::default();
        let mut tries = vec![0_u32; journal.asked.len()];
        for ended in &journal.ended {
            let request = ended.request as usize;
            let since = ended.at as f64 * 1e-9 - BURST;
            let let_in = ended.outcome == AttemptOutcome::Answered;
            if journal.asked[request].stream == 0 {
                herd.others.push((since, !let_in));
                continue;
            }
            tries[request] += 1;
            herd.attempts += 1;
            if tries[request] == 2 {
                herd.first_retries += 1;
                herd.first_let_in += u32::from(let_in);
            }
            if let_in {
                herd.served.push(since);
            }
        }
        herd
    }

    fn drained(&self) -> f64 {
        self.served.last().copied().unwrap_or(f64::INFINITY)
    }

    /// Share of the other requests rejected before the herd was served.
    fn others_refused(&self) -> f64 {
        let during = 0.0..=self.drained();
        let others = self.others.iter().filter(|(since, _)| during.contains(since));
        let (all, refused) =
            others.fold((0, 0), |(all, no), (_, refused)| (all + 1, no + i32::from(*refused)));
        f64::from(refused) / f64::from(all.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::journal::{AttemptRecord, RequestRecord};

    #[test]
    fn the_herd_is_told_from_other_requests_and_a_first_retry_from_a_second() {
        let asked = |stream: u32| RequestRecord {
            at: 0,
            uncontended: 0,
            elsewhere: 0,
            work: 0.0,
            stream,
            tenant: 0,
        };
        let ended = |seconds: f64, request: u32, outcome: AttemptOutcome| AttemptRecord {
            at: ((BURST + seconds) * 1e9) as u64,
            latency: 0,
            request,
            outcome,
        };
        let journal = Journal {
            asked: vec![asked(0), asked(1), asked(1)],
            ended: vec![
                ended(0.0, 1, AttemptOutcome::Refused),
                ended(0.0, 2, AttemptOutcome::Refused),
                ended(0.5, 0, AttemptOutcome::Refused),
                ended(1.0, 1, AttemptOutcome::Answered),
                ended(1.0, 2, AttemptOutcome::Refused),
                ended(2.0, 2, AttemptOutcome::Answered),
            ],
            ..Journal::default()
        };
        let herd = Herd::of(&journal);
        assert_eq!((herd.attempts, herd.first_retries, herd.first_let_in), (5, 2, 1));
        assert_eq!(
            (herd.served.len(), herd.drained().round(), herd.others_refused()),
            (2, 2.0, 1.0)
        );
    }
}
