//! What the rest of the machine did meanwhile: CPU time of other processes, and time that a hypervisor took away.

use std::time::Duration;

/// CPU time on some CPUs up to a moment, as the kernel accounts for it: in ticks of ten milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct MachineTime {
    busy: Duration,
    stolen: Duration,
}

/// What others took between two moments, in CPUs: 0.5 is half of one CPU all the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub(crate) struct Disturbance {
    /// By other processes.
    pub(crate) others: f64,
    /// By the hypervisor.
    pub(crate) stolen: f64,
}

/// Share of the CPUs above which figures move by more than they do from run to run. On two CPUs it is a tenth of
/// one, which costs a service that needs all of it a tenth of its goodput.
const DISTURBING_SHARE: f64 = 0.05;

impl Disturbance {
    pub(crate) fn total(self) -> f64 {
        self.others + self.stolen
    }

    /// Whether figures measured meanwhile on so many CPUs are in doubt.
    pub(crate) fn is_disturbing(self, cpus: usize) -> bool {
        self.total() > DISTURBING_SHARE * cpus.max(1) as f64
    }
}

impl MachineTime {
    /// Time on these CPUs; on all of them if none are given. `None` where the system does not say.
    pub(crate) fn now(cpus: &[usize]) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        Self::parse(&std::fs::read_to_string("/proc/stat").ok()?, cpus)
    }

    fn parse(text: &str, cpus: &[usize]) -> Option<Self> {
        let mut sum = Self::default();
        let mut found = false;
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let Some(name) = fields.next() else { continue };
            if !is_one_of(name, cpus) {
                continue;
            }
            // user, nice, system, idle, iowait, irq, softirq, steal. Interrupts are mostly those of our own sockets.
            let ticks: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
            let (&[user, nice, system], steal) =
                (ticks.get(..3)?.first_chunk()?, ticks.get(7).copied().unwrap_or(0));
            sum.busy += of_ticks(user + nice + system);
            sum.stolen += of_ticks(steal);
            found = true;
        }
        found.then_some(sum)
    }

    /// What others took since `earlier`, over `elapsed`, when our own processes used `own`.
    pub(crate) fn disturbance(
        self,
        earlier: Self,
        own: Duration,
        elapsed: Duration,
    ) -> Disturbance {
        let over = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64().max(f64::EPSILON);
        Disturbance {
            others: over(self.busy.saturating_sub(earlier.busy).saturating_sub(own)),
            stolen: over(self.stolen.saturating_sub(earlier.stolen)),
        }
    }
}

/// A tick of /proc is 1/100 s on every architecture that Linux runs Rust on.
const TICK: Duration = Duration::from_millis(10);

pub(crate) fn of_ticks(ticks: u64) -> Duration {
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

fn is_one_of(name: &str, cpus: &[usize]) -> bool {
    if cpus.is_empty() {
        return name == "cpu";
    }
    name.strip_prefix("cpu")
        .and_then(|number| number.parse().ok())
        .is_some_and(|cpu| cpus.contains(&cpu))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "cpu  300 0 100 900 0 5 5 0 0 0\ncpu0 100 0 50 500 0 5 5 0 0 0\ncpu1 200 0 50 400 0 0 0 0 0 0\nintr 7\n";
    const AFTER: &str = "cpu  500 0 200 1000 0 9 9 20 0 0\ncpu0 150 0 100 550 0 9 9 20 0 0\ncpu1 350 0 100 450 0 0 0 0 0 0\nintr 9\n";

    fn between(cpus: &[usize], own: u64) -> Disturbance {
        let parse = |text| MachineTime::parse(text, cpus).expect("figures");
        parse(AFTER).disturbance(parse(BEFORE), Duration::from_millis(own), Duration::from_secs(2))
    }

    #[test]
    fn cpu_time_that_is_not_ours_is_that_of_other_processes_or_stolen() {
        assert_eq!(between(&[], 1000), Disturbance { others: 1.0, stolen: 0.1 });
        assert_eq!(between(&[0], 1000), Disturbance { others: 0.0, stolen: 0.1 });
        assert_eq!(between(&[1], 500), Disturbance { others: 0.75, stolen: 0.0 });
        assert!(!between(&[0], 1000).is_disturbing(2) && between(&[1], 500).is_disturbing(2));
    }

    #[test]
    fn a_text_without_figures_is_not_a_quiet_machine() {
        for text in ["", "cpu", "cpu x y z", "cpu0 1 2", "intr 5"] {
            assert!(MachineTime::parse(text, &[]).is_none(), "{text}");
        }
    }
}
