//! What an operator can switch off: enforcement for all requests, or the limit for some.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::Request;
use http::request::Parts;

/// The switches of one layer.
#[derive(Clone, Default)]
pub(crate) struct Switches {
    pub(crate) dry_run: bool,
    exempt: Option<Arc<Predicate>>,
    /// Requests that run without a place of the gate's.
    free: Arc<AtomicUsize>,
}

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// A request that runs without a place of the gate's, until dropped.
#[derive(Debug)]
pub(crate) struct Free(Arc<AtomicUsize>);

impl Switches {
    pub(crate) fn exempting(
        self,
        predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { exempt: Some(Arc::new(predicate)), ..self }
    }

    /// Whether any request may be exempt.
    #[cfg(feature = "reqwest")]
    pub(crate) const fn exempts_some(&self) -> bool {
        self.exempt.is_some()
    }

    /// The request, and whether it is exempt. `Parts` cannot borrow, so the head moves out and back.
    #[inline]
    pub(crate) fn look<B>(&self, request: Request<B>) -> (Request<B>, bool) {
        let Some(predicate) = &self.exempt else { return (request, false) };
        let (parts, body) = request.into_parts();
        let exempt = predicate(&parts);
        (Request::from_parts(parts, body), exempt)
    }

    /// Counts a request that the gate does not count.
    pub(crate) fn free(&self) -> Free {
        self.free.fetch_add(1, Ordering::Relaxed);
        Free(Arc::clone(&self.free))
    }

    /// How many such requests are in flight.
    pub(crate) fn count(&self) -> usize {
        self.free.load(Ordering::Relaxed)
    }
}

impl Drop for Free {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exempts = self.exempt.is_some();
        f.debug_struct("Switches")
            .field("dry_run", &self.dry_run)
            .field("exempts", &exempts)
            .field("free", &self.count())
            .finish()
    }
}
