//! The files of a control group and of those around it, of version 2 or 1.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The control group of a process.
#[derive(Clone, Debug)]
pub(in crate::limiter) struct Cgroup {
    /// The group, and those around it, whose bounds hold for it as well. The innermost is the first.
    groups: Vec<Group>,
}

/// Where one control group has its files.
#[derive(Clone, Debug)]
struct Group {
    folder: PathBuf,
}

/// Periods of the CPU quota so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Throttling {
    periods: u64,
    throttled: u64,
}

/// Longer than any file that is read here; what comes behind it is not looked at.
const MAX_BYTES: u64 = 16 * 1024;
/// Version 1 writes a number near 2⁶³ where there is no bound.
const UNBOUNDED: u64 = 1 << 60;

impl Cgroup {
    /// One group alone.
    pub(super) fn at(folder: PathBuf) -> Self {
        Self { groups: vec![Group { folder }] }
    }

    /// The group of this process: the root of what a container sees, or the folder that the kernel names, with all
    /// between it and the root.
    pub(in crate::limiter) fn of_this_process() -> Self {
        let root = Path::new("/sys/fs/cgroup");
        let named = read(Path::new("/proc/self/cgroup")).and_then(|text| {
            let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?.to_owned();
            let folder = root.join(&path);
            (!path.contains("..") && folder.is_dir()).then_some(folder)
        });
        Self::within(root, &named.unwrap_or_else(|| root.to_owned()))
    }

    fn within(root: &Path, folder: &Path) -> Self {
        let folders = folder.ancestors().take_while(|it| it.starts_with(root));
        Self { groups: folders.map(|it| Group { folder: it.to_owned() }).collect() }
    }

    /// How many CPUs the group may keep busy; `None`: there is no quota.
    pub(in crate::limiter) fn cpu_quota(&self) -> Option<f64> {
        self.groups.iter().filter_map(Group::cpu_quota).min_by(f64::total_cmp)
    }

    /// Of the group with the smallest quota, which is the one that throttles.
    pub(super) fn throttling(&self) -> Option<Throttling> {
        let quota = |group: &&Group| group.cpu_quota().unwrap_or(f64::INFINITY);
        let smallest = self.groups.iter().min_by(|one, other| quota(one).total_cmp(&quota(other)));
        smallest?.throttling()
    }

    /// The working set over its bound, of the group that is nearest to its own; `None`: there is no bound.
    pub(super) fn memory_share(&self) -> Option<f64> {
        self.groups.iter().filter_map(Group::memory_share).max_by(f64::total_cmp)
    }

    /// The share of the last ten seconds in which some task stalled for memory; `None` where the kernel does not tell.
    pub(super) fn memory_stalls(&self) -> Option<f64> {
        self.groups.first()?.memory_stalls()
    }
}

impl Group {
    fn cpu_quota(&self) -> Option<f64> {
        if let Some(text) = self.read("cpu.max") {
            let (quota, period) = text.trim().split_once(' ')?;
            return cpus(quota.parse().ok()?, period.trim().parse().ok()?);
        }
        cpus(self.number("cpu/cpu.cfs_quota_us")?, self.number("cpu/cpu.cfs_period_us")?)
    }

    fn throttling(&self) -> Option<Throttling> {
        let text = self.read("cpu.stat").or_else(|| self.read("cpu/cpu.stat"))?;
        let (periods, throttled) = (field(&text, "nr_periods")?, field(&text, "nr_throttled")?);
        Some(Throttling { periods, throttled })
    }

    fn memory_share(&self) -> Option<f64> {
        let (max, used, caches) = match self.number("memory.max") {
            Some(max) => {
                (max, self.number("memory.current")?, self.caches("memory.stat", "inactive_file"))
            }
            None => (
                self.number("memory/memory.limit_in_bytes")?,
                self.number("memory/memory.usage_in_bytes")?,
                self.caches("memory/memory.stat", "total_inactive_file"),
            ),
        };
        let is_bounded = max > 0 && max < UNBOUNDED;
        is_bounded.then(|| used.saturating_sub(caches) as f64 / max as f64)
    }

    fn memory_stalls(&self) -> Option<f64> {
        let text = self.read("memory.pressure")?;
        let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
        let value = some.split(' ').find_map(|part| part.strip_prefix("avg10="))?;
        let percent: f64 = value.parse().ok()?;
        (0.0..=100.0).contains(&percent).then(|| percent / 100.0)
    }

    fn caches(&self, file: &str, name: &str) -> u64 {
        self.read(file).and_then(|text| field(&text, name)).unwrap_or(0)
    }

    fn number(&self, file: &str) -> Option<u64> {
        self.read(file)?.trim().parse().ok()
    }

    fn read(&self, file: &str) -> Option<String> {
        read(&self.folder.join(file))
    }
}

impl Throttling {
    /// The share of the periods since then that were throttled; `None`: there was no period.
    pub(super) fn share_since(self, before: Self) -> Option<f64> {
        let periods = self.periods.checked_sub(before.periods).filter(|&periods| periods > 0)?;
        let throttled = self.throttled.checked_sub(before.throttled)?.min(periods);
        Some(throttled as f64 / periods as f64)
    }
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

fn cpus(quota: u64, period: u64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// The number in the line `name number`.
fn field(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.trim().parse().ok()
}

#[cfg(all(test, not(limiter_loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::fs;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A folder with these files, until dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn with(files: &[(&str, &[u8])]) -> Self {
            static NUMBER: AtomicU32 = AtomicU32::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("cgroup-{}-{number}", std::process::id()));
            for (name, content) in files {
                let file = path.join(name);
                fs::create_dir_all(file.parent().expect("in the folder")).expect("a folder");
                fs::write(file, content).expect("a file");
            }
            Self(path)
        }

        fn group(&self) -> Cgroup {
            Cgroup::at(self.0.clone())
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn both_versions_are_read() {
        let second = Folder::with(&[
            ("cpu.max", b"150000 100000\n"),
            ("cpu.stat", b"usage_usec 9\nnr_periods 40\nnr_throttled 10\n"),
            ("memory.max", b"1000\n"),
            ("memory.current", b"960\n"),
            ("memory.stat", b"anon 1\ninactive_file 60\n"),
            ("memory.pressure", b"some avg10=2.50 avg60=0.00 total=1\nfull avg10=1.00\n"),
        ]);
        let first = Folder::with(&[
            ("cpu/cpu.cfs_quota_us", b"150000\n"),
            ("cpu/cpu.cfs_period_us", b"100000\n"),
            ("cpu/cpu.stat", b"nr_periods 40\nnr_throttled 10\nthrottled_time 5\n"),
            ("memory/memory.limit_in_bytes", b"1000\n"),
            ("memory/memory.usage_in_bytes", b"960\n"),
            ("memory/memory.stat", b"inactive_file 7\ntotal_inactive_file 60\n"),
        ]);
        for group in [second.group(), first.group()] {
            assert_eq!(group.cpu_quota(), Some(1.5));
            assert_eq!(group.throttling(), Some(Throttling { periods: 40, throttled: 10 }));
            assert_eq!(group.memory_share(), Some(0.9));
        }
        assert_eq!(second.group().memory_stalls(), Some(0.025));
        assert_eq!(first.group().memory_stalls(), None);
    }

    #[test]
    fn the_bounds_of_the_groups_around_hold_as_well() {
        let root = Folder::with(&[
            ("cpu.stat", b"nr_periods 1\nnr_throttled 1\n"),
            ("slice/cpu.max", b"200000 100000\n"),
            ("slice/cpu.stat", b"nr_periods 40\nnr_throttled 10\n"),
            ("slice/memory.max", b"1000\n"),
            ("slice/memory.current", b"900\n"),
            ("slice/service/cpu.max", b"max 100000\n"),
            ("slice/service/cpu.stat", b"nr_periods 0\nnr_throttled 0\n"),
            ("slice/service/memory.max", b"4000\n"),
            ("slice/service/memory.current", b"800\n"),
            ("slice/service/memory.pressure", b"some avg10=2.50 avg60=0.00 total=1\n"),
        ]);
        let group = Cgroup::within(&root.0, &root.0.join("slice/service"));
        assert_eq!(group.cpu_quota(), Some(2.0));
        assert_eq!(group.throttling(), Some(Throttling { periods: 40, throttled: 10 }));
        assert_eq!(group.memory_share(), Some(0.9));
        assert_eq!(group.memory_stalls(), Some(0.025));
        assert_eq!(group.groups.len(), 3, "none outside of the root");
        let slice = Cgroup::within(&root.0, &root.0.join("slice"));
        assert_eq!((slice.cpu_quota(), slice.memory_stalls()), (Some(2.0), None));
    }

    #[test]
    fn no_bound_and_no_file_are_no_signal() {
        let unbounded = Folder::with(&[
            ("cpu.max", b"max 100000\n"),
            ("memory.max", b"max\n"),
            ("memory.current", b"960\n"),
        ]);
        let first = Folder::with(&[
            ("cpu/cpu.cfs_quota_us", b"-1\n"),
            ("cpu/cpu.cfs_period_us", b"100000\n"),
            ("memory/memory.limit_in_bytes", b"9223372036854771712\n"),
            ("memory/memory.usage_in_bytes", b"960\n"),
        ]);
        for group in [unbounded.group(), first.group(), Cgroup::at("/no/such/folder".into())] {
            assert_eq!((group.cpu_quota(), group.memory_share()), (None, None), "{group:?}");
        }
    }

    #[test]
    fn throttling_is_a_share_of_the_periods_and_survives_counters_that_go_back() {
        let at = |periods, throttled| Throttling { periods, throttled };
        assert_eq!(at(14, 7).share_since(at(10, 5)), Some(0.5));
        for (now, before) in [(at(10, 5), at(10, 5)), (at(9, 9), at(10, 5)), (at(11, 4), at(10, 5))]
        {
            assert_eq!(now.share_since(before), None);
        }
        assert_eq!(at(11, 99).share_since(at(10, 5)), Some(1.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn garbage_in_the_files_is_no_signal(garbage in proptest::collection::vec(any::<u8>(), 0..200)) {
            // The `x` keeps random bytes from being a number by chance.
            let content = [b"x".as_slice(), &garbage].concat();
            let names = ["cpu.max", "cpu.stat", "memory.max", "memory.current", "memory.stat", "memory.pressure"];
            let files: Vec<_> = names.iter().map(|&name| (name, &*content)).collect();
            let folder = Folder::with(&files);
            let group = folder.group();
            prop_assert_eq!(group.cpu_quota(), None);
            prop_assert_eq!(group.memory_share(), None);
        }
    }

    #[test]
    fn a_file_without_end_is_read_up_to_a_bound() {
        let endless = Group { folder: "/dev".into() };
        assert_eq!(endless.number("zero"), None);
        assert_eq!(endless.read("zero").map(|text| text.len() as u64), Some(MAX_BYTES));
    }
}
