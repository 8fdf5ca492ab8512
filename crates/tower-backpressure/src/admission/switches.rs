//! What an operator can switch off: the limit for all requests (dry run) or for some (exempt).

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
    /// Requests in flight that hold no permit.
    uncounted: Arc<AtomicUsize>,
}

type Predicate = dyn Fn(&Parts) -> bool + Send + Sync;

/// A request in flight that holds no permit.
#[derive(Debug)]
pub(crate) struct Uncounted(Arc<AtomicUsize>);

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
    pub(crate) fn check_exempt<B>(&self, request: Request<B>) -> (Request<B>, bool) {
        let Some(predicate) = &self.exempt else { return (request, false) };
        let (parts, body) = request.into_parts();
        let exempt = predicate(&parts);
        (Request::from_parts(parts, body), exempt)
    }

    /// Counts a request that the limiter does not count.
    pub(crate) fn uncounted(&self) -> Uncounted {
        self.uncounted.fetch_add(1, Ordering::Relaxed);
        Uncounted(Arc::clone(&self.uncounted))
    }

    /// Such requests in flight.
    pub(crate) fn count(&self) -> usize {
        self.uncounted.load(Ordering::Relaxed)
    }
}

impl Drop for Uncounted {
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
            .field("uncounted", &self.count())
            .finish()
    }
}
