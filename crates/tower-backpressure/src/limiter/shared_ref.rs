//! A pointer to what a limiter shares that is not counted up and down for each request.

use std::cell::Cell;
use std::ops::Deref;
use std::sync::Arc;

use super::shared::Shared;

/// The pointer of a permit.
///
/// Counting pointers would be two of the four atomic steps of a request, on a word that all threads write.
/// Therefore each thread keeps the pointer of the permit that it released last, for the next one. A thread keeps
/// what one limiter shares alive at most.
pub(super) struct SharedRef {
    /// Present until the drop.
    shared: Option<Arc<Shared>>,
}

thread_local! {
    static SPARE: Cell<Option<Arc<Shared>>> = const { Cell::new(None) };
}

impl SharedRef {
    #[inline]
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        // A thread that is ending keeps none.
        let spare = SPARE.try_with(Cell::take).ok().flatten();
        let spare = spare.filter(|spare| Arc::ptr_eq(spare, shared));
        Self { shared: Some(spare.unwrap_or_else(|| Arc::clone(shared))) }
    }
}

impl Deref for SharedRef {
    type Target = Shared;

    #[inline]
    fn deref(&self) -> &Shared {
        self.shared.as_ref().expect("present until the drop")
    }
}

impl Drop for SharedRef {
    #[inline]
    fn drop(&mut self) {
        let shared = self.shared.take();
        let _ = SPARE.try_with(|spare| spare.set(shared));
    }
}
