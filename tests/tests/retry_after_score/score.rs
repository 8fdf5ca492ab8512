//! What a run says about the times that it told.

use std::time::Duration;

/// The shortest time that the header can tell.
const MIN_TOLD_SECS: f64 = 1.0;
/// Length of the bins in which spare capacity is counted, a second: the resolution of the header.
const BIN: Duration = Duration::from_secs(1);

/// One rejection of a client that comes back when told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// When it was rejected, since the start.
    pub(crate) at: Duration,
    /// What the header said.
    pub(crate) wait: Duration,
}

/// What a run recorded.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// Rejections of clients that come back.
    pub(crate) told: Vec<Told>,
    /// Whether each return was admitted.
    pub(crate) returns: Vec<bool>,
    /// When each request was served that had not been told to come, since the start.
    pub(crate) new_served: Vec<Duration>,
    /// How long requests occupied slots, and how many did.
    pub(crate) in_slots: Duration,
    pub(crate) slot_uses: u32,
}

/// How true the told times of a run were.
#[derive(Debug)]
pub(crate) struct Score {
    pub(crate) returned: usize,
    admitted: usize,
    told_secs: Vec<f64>,
    /// Told time for necessary time, sorted.
    times_longer: Vec<f64>,
}

impl Score {
    /// Compares what was told with what a perfect schedule would have told that knows beforehand which clients
    /// come back and what new requests leave of what the slots can do: first come, first served.
    pub(crate) fn of(trace: &Trace, slots: usize) -> Self {
        let mean = trace.in_slots.as_secs_f64() / f64::from(trace.slot_uses);
        let mut spare = Spare::new(trace, slots as f64 / mean);
        let mut told = trace.told.clone();
        // In the order in which they are due: a rejection may have been delayed.
        told.sort_by_key(|told| told.at + told.wait);
        let ratio = |told: &Told| {
            let needed = spare.take_one(told.at).saturating_sub(told.at);
            told.wait.as_secs_f64() / needed.as_secs_f64().ceil().max(MIN_TOLD_SECS)
        };
        let mut times_longer: Vec<f64> = told.iter().map(ratio).collect();
        let mut told_secs: Vec<f64> = told.iter().map(|told| told.wait.as_secs_f64()).collect();
        times_longer.sort_by(f64::total_cmp);
        told_secs.sort_by(f64::total_cmp);
        let admitted = trace.returns.iter().filter(|&&admitted| admitted).count();
        Self { returned: trace.returns.len(), admitted, told_secs, times_longer }
    }

    pub(crate) fn admitted_share(&self) -> f64 {
        self.admitted as f64 / self.returned as f64
    }

    pub(crate) fn median_told(&self) -> f64 {
        quantile(&self.told_secs, 0.5)
    }

    pub(crate) fn times_longer(&self, share: f64) -> f64 {
        quantile(&self.times_longer, share)
    }
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    let index = (share * sorted.len() as f64) as usize;
    sorted.get(index.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

/// Capacity that new requests leave, by bins of time; the last bin repeats for ever.
struct Spare {
    left: Vec<f64>,
    full: f64,
    /// The bin from which on something is left.
    first: usize,
}

impl Spare {
    fn new(trace: &Trace, capacity: f64) -> Self {
        let full = capacity * BIN.as_secs_f64();
        let mut left = Vec::new();
        for &at in &trace.new_served {
            let bin = bin_of(at);
            if left.len() <= bin {
                left.resize(bin + 1, full);
            }
            left[bin] -= 1.0;
        }
        Self { left, full, first: 0 }
    }

    /// Takes the capacity for one request at or after `at`; returns when it is there.
    fn take_one(&mut self, at: Duration) -> Duration {
        let mut needed: f64 = 1.0;
        let mut bin = self.first.max(bin_of(at));
        self.first = bin;
        loop {
            if self.left.len() <= bin {
                self.left.resize(bin + 1, self.full);
            }
            let taken = needed.min(self.left[bin].max(0.0));
            self.left[bin] -= taken;
            needed -= taken;
            if needed <= 1e-9 {
                let used = 1.0 - self.left[bin] / self.full;
                return at.max(
                    BIN * u32::try_from(bin).expect("a short run")
                        + BIN.mul_f64(used.clamp(0.0, 1.0)),
                );
            }
            bin += 1;
        }
    }
}

fn bin_of(at: Duration) -> usize {
    usize::try_from(at.as_secs() / BIN.as_secs()).expect("a short run")
}
