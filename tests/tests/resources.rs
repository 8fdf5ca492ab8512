//! A limit while the memory of a container or the workers of the runtime are short.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{advance, sleep};
use tower_backpressure::{AdmissionLayer, Limiter, QueueBounds, ResourceWatch};

const SECOND: Duration = Duration::from_secs(1);

/// A control group of which a test writes the files.
struct Group(PathBuf);

impl Group {
    fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("resources-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        Self(folder)
    }

    fn write(&self, file: &str, text: &str) {
        fs::write(self.0.join(file), text).expect("a file");
    }

    fn memory(&self, used: u32, stalls: &str) {
        self.write("memory.max", "1000\n");
        self.write("memory.current", &format!("{used}\n"));
        self.write("memory.pressure", &format!("some avg10={stalls} avg60=0.00\n"));
    }

    fn watch(&self) -> ResourceWatch {
        ResourceWatch::new().cgroup(&self.0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn limiter() -> Limiter {
    Limiter::fixed(100, QueueBounds::NONE)
}

fn limit(limiter: &Limiter) -> usize {
    limiter.snapshot().limit
}

#[tokio::test(start_paused = true)]
async fn a_limit_falls_while_memory_is_short_and_is_back_when_it_is_not() {
    let (group, limiter) = (Group::new("memory"), limiter());
    group.memory(950, "5.00");
    let watching = group.watch().memory(0.9).start(&limiter);
    sleep(10 * SECOND).await;
    assert_eq!(limit(&limiter), 25);
    assert_eq!(limiter.limit_bounds(), (1, 1_000_000), "what an operator asked for stays");
    group.memory(500, "0.00");
    sleep(10 * SECOND).await;
    assert_eq!(limit(&limiter), 100);
    drop(watching);
}

#[tokio::test(start_paused = true)]
async fn caches_that_fill_the_memory_are_no_shortage() {
    let (group, limiter) = (Group::new("caches"), limiter());
    let _watching = group.watch().memory(0.9).start(&limiter);
    group.memory(999, "0.00");
    sleep(10 * SECOND).await;
    assert_eq!(limit(&limiter), 100, "no task stalls");
    group.memory(999, "5.00");
    group.write("memory.stat", "anon 100\ninactive_file 800\n");
    sleep(10 * SECOND).await;
    assert_eq!(limit(&limiter), 100, "the kernel can reclaim them");
}

#[tokio::test(start_paused = true)]
async fn memory_that_leaks_takes_no_capacity_for_good() {
    let (group, limiter) = (Group::new("leak"), limiter());
    group.memory(990, "20.00");
    let _watching = group.watch().memory(0.9).start(&limiter);
    sleep(30 * SECOND).await;
    assert_eq!(limit(&limiter), 25);
    sleep(60 * SECOND).await;
    assert_eq!(limit(&limiter), 100);
    sleep(3_600 * SECOND).await;
    assert_eq!(limit(&limiter), 100);
}

#[tokio::test(start_paused = true)]
async fn a_throttled_cpu_lowers_the_limit_and_a_busy_one_does_not() {
    for (throttled_in_ten, expected) in [(4, 100), (8, 25)] {
        let (group, limiter) = (Group::new(&format!("cpu-{throttled_in_ten}")), limiter());
        let _watching = group.watch().cpu_throttling().start(&limiter);
        for turn in 0..100 {
            let (periods, throttled) = (10 * turn, throttled_in_ten * turn);
            group.write("cpu.stat", &format!("nr_periods {periods}\nnr_throttled {throttled}\n"));
            sleep(SECOND / 4).await;
        }
        // One look in two may find no new period, as both write and look four times a second.
        let found = limit(&limiter);
        assert_eq!(found, expected, "{throttled_in_ten} of ten periods");
    }
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_late_lowers_the_limit_and_a_pause_of_the_process_does_not() {
    let limiter = limiter();
    let _watching = ResourceWatch::new().runtime_lag(SECOND / 10).start(&limiter);
    sleep(SECOND).await;
    // The process is suspended, twice.
    for _ in 0..2 {
        advance(3_600 * SECOND).await;
        sleep(SECOND).await;
        assert_eq!(limit(&limiter), 100);
    }
    // Each timer fires late.
    for _ in 0..40 {
        advance(SECOND / 2).await;
        tokio::task::yield_now().await;
    }
    assert!(limit(&limiter) < 50, "{}", limit(&limiter));
    sleep(10 * SECOND).await;
    assert_eq!(limit(&limiter), 100);
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_watch_is_the_end_of_its_ceiling_and_a_minimum_holds_before() {
    let group = Group::new("ends");
    let layer = AdmissionLayer::fixed("api", 100).min(60);
    let handle = layer.handle();
    group.memory(990, "5.00");
    let watching = group.watch().memory(0.9).start(handle.limiter());
    sleep(20 * SECOND).await;
    assert_eq!(handle.snapshot().limit, 60);
    handle.set_max(80);
    assert_eq!(handle.snapshot().limit, 60);
    drop(watching);
    assert_eq!(handle.snapshot().limit, 80);
}

#[tokio::test(start_paused = true)]
async fn garbage_in_the_files_never_lowers_a_limit() {
    let (group, limiter) = (Group::new("garbage"), limiter());
    let _watching = group.watch().cpu_throttling().memory(0.1).start(&limiter);
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..400 {
        let names = ["memory.max", "memory.current", "memory.stat", "memory.pressure", "cpu.stat"];
        let garbage: String = (0..rng.usize(0..60)).map(|_| rng.char('!'..'~')).collect();
        group.write(rng.choice(names).expect("five"), &format!("{garbage} {}", rng.u64(..)));
        sleep(SECOND / 4).await;
        assert_eq!(limit(&limiter), 100);
    }
}
