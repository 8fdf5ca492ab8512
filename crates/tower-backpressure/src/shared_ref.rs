//! A pointer to shared state that is not counted up and down for each request.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;
use std::thread::LocalKey;

/// The pointer of a request to what its layer shares.
///
/// Counting pointers would be two atomic steps of a request, on a word that all threads write. Therefore each thread
/// keeps the pointer that was dropped last, for the next request. A thread keeps one value of each type alive at most.
pub(crate) struct SharedRef<T: Spare> {
    /// Present until the drop.
    shared: Option<Arc<T>>,
}

/// What has a place for a spare pointer in each thread.
pub(crate) trait Spare: Sized + 'static {
    fn spare() -> &'static LocalKey<Cell<Option<Arc<Self>>>>;
}

impl<T: Spare> SharedRef<T> {
    #[inline]
    pub(crate) fn new(shared: &Arc<T>) -> Self {
        // A thread that is ending has no thread-local reference any more.
        let spare = T::spare().try_with(Cell::take).ok().flatten();
        let spare = spare.filter(|spare| Arc::ptr_eq(spare, shared));
        Self { shared: Some(spare.unwrap_or_else(|| Arc::clone(shared))) }
    }
}

impl<T: Spare> Deref for SharedRef<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.shared.as_ref().expect("present until the drop")
    }
}

impl<T: Spare> Drop for SharedRef<T> {
    #[inline]
    fn drop(&mut self) {
        let shared = self.shared.take();
        let _ = T::spare().try_with(|spare| spare.set(shared));
    }
}
