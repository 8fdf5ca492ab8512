//! The action that reads the policies again, away from the threads that serve requests.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// What a reload calls. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Reload {
    call: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Held by the reload that runs.
    running: Arc<Mutex<()>>,
}

/// An operator hears after this time that a reload has hung: a file on a network that is gone is read for minutes.
const LONGEST_RELOAD: Duration = Duration::from_secs(30);

impl Reload {
    pub(crate) fn new<E: ToString>(
        reload: impl Fn() -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        let call = move || reload().map_err(|error| error.to_string());
        Self { call: Arc::new(call), running: Arc::default() }
    }

    /// Calls it on a thread that may block, one at a time.
    pub(crate) async fn run(&self) -> Result<(), String> {
        let running = Arc::clone(&self.running).try_lock_owned();
        let running = running.map_err(|_| "a reload is under way")?;
        let call = Arc::clone(&self.call);
        let reloaded = spawn_blocking(move || {
            let _running = running;
            call()
        });
        match timeout(LONGEST_RELOAD, reloaded).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("the reload has panicked".to_owned()),
            Err(_) => Err(format!("it has not ended after {LONGEST_RELOAD:?}, and goes on")),
        }
    }
}

impl fmt::Debug for Reload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}
