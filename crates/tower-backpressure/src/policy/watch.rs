//! Watches the file: a change takes effect by itself, soon after it is written completely.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout_at};

use super::event::PolicyEvent;
use super::set::PolicySet;
use super::source;

/// Watches a policy file until it is dropped: see [`PolicySet::watch`].
#[derive(Debug)]
#[must_use = "dropping it ends the watch"]
pub struct PolicyWatch {
    task: JoinHandle<()>,
}

/// What is known of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    Text(String),
    Error(String),
}

/// How often the file is looked at although no change was reported: network file systems report none, and neither does
/// a system without watches left. An edited file takes effect after this time at most.
const INTERVAL: Duration = Duration::from_secs(5);
/// A file is read when it has not changed for so long: a program that writes it in parts takes less.
const QUIET: Duration = Duration::from_millis(100);
/// A file that changes all the time is read all the same after this time.
const MAX_DELAY: Duration = Duration::from_secs(2);

impl PolicySet {
    /// Reloads the file when it changes, until the returned value is dropped.
    ///
    /// It understands editors that write a new file over the old one, and volumes of Kubernetes, which exchange a
    /// link. The directory need not exist. A file that is wrong, gone or half written leaves what is in force, and is
    /// reported once: see [`last_error`](Self::last_error) and [`PolicyLoader::audit`](super::PolicyLoader::audit).
    /// Where the system reports no changes, the file is looked at every five seconds. Policies that came as text have no
    /// file: nothing is watched.
    ///
    /// ```no_run
    /// # async fn run() -> Result<(), tower_backpressure::policy::PolicyError> {
    /// use tower_backpressure::policy::PolicySet;
    ///
    /// let policies = PolicySet::load("/etc/api/policy.toml")?;
    /// let watch = policies.watch();
    /// # drop(watch);
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled.
    pub fn watch(&self) -> PolicyWatch {
        PolicyWatch { task: tokio::spawn(Task::new(self.clone()).run()) }
    }
}

impl Drop for PolicyWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    set: PolicySet,
    changed: Arc<Notify>,
    watcher: Result<RecommendedWatcher, notify::Error>,
    /// Whether the loss of the watch was reported.
    is_lost: bool,
    seen: Seen,
}

impl Task {
    fn new(set: PolicySet) -> Self {
        let changed = Arc::new(Notify::new());
        let notified = Arc::clone(&changed);
        // Any event is a reason to look: which one it is differs between systems.
        let watcher = notify::recommended_watcher(move |_| notified.notify_one());
        Self { set, changed, watcher, is_lost: false, seen: Seen::Nothing }
    }

    async fn run(mut self) {
        while self.set.shared.path.is_some() {
            self.arm();
            if self.check().await {
                self.wait_for_quiet().await;
                self.reload().await;
            }
            let due = Instant::now() + INTERVAL;
            let _ = timeout_at(due, self.changed.notified()).await;
        }
    }

    /// Watches the directory of the file, and that of the file it links to. A directory that was replaced is another
    /// one, so this is repeated.
    fn arm(&mut self) {
        let Some(path) = self.set.shared.path.clone() else { return };
        let target = path.canonicalize().unwrap_or_else(|_| path.clone());
        let armed = match &mut self.watcher {
            Err(error) => Err(error.to_string()),
            Ok(watcher) => {
                let mut watch =
                    |path: &Path| watcher.watch(&folder(path), RecursiveMode::NonRecursive);
                watch(&path).and_then(|()| watch(&target)).map_err(|error| error.to_string())
            }
        };
        match armed {
            Err(error) if !self.is_lost => {
                self.is_lost = true;
                self.set.report(PolicyEvent::WatchLost { error, interval: INTERVAL });
            }
            Ok(()) if self.is_lost => {
                self.is_lost = false;
                self.set.report(PolicyEvent::WatchRestored);
            }
            _ => {}
        }
    }

    /// Whether the file is another one than was seen last.
    async fn check(&self) -> bool {
        self.read().await != self.seen
    }

    async fn read(&self) -> Seen {
        let path = self.set.shared.path.clone();
        let read = spawn_blocking(move || source::read(path.as_deref())).await;
        match read {
            Ok(Ok(text)) => Seen::Text(text),
            Ok(Err(error)) => Seen::Error(error.to_string()),
            // The runtime is shutting down.
            Err(_) => self.seen.clone(),
        }
    }

    /// Waits until two readings are the same.
    async fn wait_for_quiet(&self) {
        let until = Instant::now() + MAX_DELAY;
        let mut last = self.read().await;
        while Instant::now() < until {
            sleep(QUIET).await;
            let now = self.read().await;
            if now == last {
                return;
            }
            last = now;
        }
    }

    async fn reload(&mut self) {
        let set = self.set.clone();
        let path = set.shared.path.clone();
        let reloaded = spawn_blocking(move || {
            let mut seen = Seen::Nothing;
            // The set reports the error itself.
            let _ = set.put_in_force(|| {
                let text = source::read(path.as_deref());
                seen = match &text {
                    Ok(text) => Seen::Text(text.clone()),
                    Err(error) => Seen::Error(error.to_string()),
                };
                text
            });
            seen
        });
        if let Ok(seen) = reloaded.await {
            self.seen = seen;
        }
    }
}

/// The directory of a file.
fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    }
}
