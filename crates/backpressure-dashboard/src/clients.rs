//! The pages that are open: a bounded number, of which those that read nothing give way.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::time::Instant;

/// The places for open pages.
#[derive(Debug)]
pub(crate) struct Clients {
    max: usize,
    epoch: Instant,
    places: Mutex<Vec<Weak<Place>>>,
}

/// The place of one page, until it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    /// Milliseconds from the epoch to the last time the page was ready for more; [`REVOKED`]: the place is taken.
    last_read: AtomicU64,
    epoch: Instant,
}

const REVOKED: u64 = u64::MAX;
/// A page that reads gets something each second. One that has not for ten has hung, or its network has.
const SILENCE: Duration = Duration::from_secs(10);

impl Clients {
    pub(crate) fn new(max: usize) -> Self {
        Self { max, epoch: Instant::now(), places: Mutex::default() }
    }

    pub(crate) const fn max(&self) -> usize {
        self.max
    }

    /// How many pages are open.
    pub(crate) fn count(&self) -> usize {
        self.lock().iter().filter(|place| place.strong_count() > 0).count()
    }

    /// A place for one more; `None`: all are in use.
    pub(crate) fn enter(&self) -> Option<Arc<Place>> {
        let place = Arc::new(Place { last_read: AtomicU64::new(0), epoch: self.epoch });
        place.read();
        let mut places = self.lock();
        places.retain(|place| place.strong_count() > 0);
        if places.len() >= self.max {
            let silent = places
                .iter()
                .position(|place| place.upgrade().is_none_or(|place| place.silence() >= SILENCE))?;
            if let Some(silent) = places.swap_remove(silent).upgrade() {
                silent.last_read.store(REVOKED, Ordering::Relaxed);
            }
        }
        places.push(Arc::downgrade(&place));
        Some(place)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Place>>> {
        // Nothing panics under this lock.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The page is ready for more; false when its place is taken.
    pub(crate) fn read(&self) -> bool {
        let now = self.epoch.elapsed().as_millis() as u64;
        let read = |last| (last != REVOKED).then_some(now);
        self.last_read.fetch_update(Ordering::Relaxed, Ordering::Relaxed, read).is_ok()
    }

    fn silence(&self) -> Duration {
        let last = Duration::from_millis(self.last_read.load(Ordering::Relaxed));
        self.epoch.elapsed().saturating_sub(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_more_page_takes_the_place_of_one_that_has_hung_and_of_no_other() {
        let clients = Clients::new(2);
        let (hung, reading) = (clients.enter().expect("room"), clients.enter().expect("room"));
        assert!(clients.enter().is_none());
        tokio::time::advance(SILENCE).await;
        assert!(reading.read());
        let third = clients.enter().expect("the place of the one that hangs");
        assert!(!hung.read(), "it has lost its place");
        assert!(clients.enter().is_none());
        drop(reading);
        assert!(clients.enter().is_some());
        assert!(third.read());
    }
}
