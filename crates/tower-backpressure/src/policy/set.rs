//! The policies in force, and how others take their place.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use http::Request;

use super::canary::CanaryStatus;
use super::error::PolicyError;
use super::event::PolicyEvent;
use super::explain::Explanation;
use super::file::File;
use super::hooks::Hooks;
use super::listing::changes;
use super::outbox::Outbox;
use super::scale::Scale;
use super::snapshot::Snapshot;
use super::version::{Version, digest};
use super::{schema, source};

/// The policies of one file: a layer that gives each request the layers of its policy.
///
/// Clones are the same set. A reload changes what runs in place: a layer whose name stays keeps its learned limit, what
/// tenants have used, and its requests in flight. Where a limit shrinks or a policy is gone, requests in flight are
/// served to their end, and those in the queue keep their place in it.
///
/// ```
/// use tower_backpressure::policy::PolicySet;
///
/// let policies = PolicySet::parse("[admission.api]\nmax = 100\n[default]\nadmission = \"api\"\n")?;
/// policies.replace("[admission.api]\nmax = 50\n[default]\nadmission = \"api\"\n")?;
/// assert!(policies.replace("[admission.api]\nmax = 0\n").is_err(), "the file before stays in force");
/// # Ok::<(), tower_backpressure::policy::PolicyError>(())
/// ```
///
/// | what changes | what stays |
/// |---|---|
/// | any option of an admission, a bulkhead, a quota or a policy | limit, queue, requests in flight, tokens used |
/// | total, maximum, queue and options of a bulkhead set | permits |
/// | guarantee, lending or the compartments of a set | nothing: a new set takes over, and the old one drains |
/// | the key of a quota; a bulkhead with `per` | nothing |
/// | any option of a client | budget, cool-downs, limits and breakers, but for those whose own options change |
///
/// # Cost
/// A request compares the policies in turn. It takes no lock and allocates nothing, beyond what its layers do.
#[derive(Clone, Debug)]
pub struct PolicySet {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) current: ArcSwap<Snapshot>,
    pub(super) hooks: Hooks,
    /// The file; `None`: the policies came as text.
    pub(super) path: Option<PathBuf>,
    /// Held while other policies take their place, and by no request.
    pub(super) replacing: Mutex<()>,
    pub(super) last_error: Mutex<Option<Arc<PolicyError>>>,
    pub(super) outbox: Outbox,
}

impl PolicySet {
    pub(super) fn start(
        hooks: Hooks,
        path: Option<PathBuf>,
        text: &str,
    ) -> Result<Self, PolicyError> {
        let file = File::parse(&source::name(path.as_deref()), text)?;
        let changes = changes(None, &file).into();
        let stable = Arc::new(Version::build(file, digest(text), None, &hooks, Scale::Whole));
        let current = ArcSwap::from_pointee(Snapshot { stable, canary: None });
        let (replacing, last_error) = (Mutex::default(), Mutex::default());
        let outbox = Outbox::default();
        let shared = Shared { current, hooks, path, replacing, last_error, outbox };
        let set = Self { shared: Arc::new(shared) };
        set.report(PolicyEvent::InForce { changes });
        Ok(set)
    }

    /// How the canary stands; `None`: there is none.
    #[must_use]
    pub fn canary(&self) -> Option<CanaryStatus> {
        self.shared.current.load().canary.as_ref().map(|canary| canary.status())
    }

    /// Why the last reload has changed nothing; `None`: it was good.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<PolicyError>> {
        lock(&self.shared.last_error).clone()
    }

    /// What a request would meet, and why: for a tool that checks a file. It admits and counts nothing.
    #[must_use]
    pub fn explain<B>(&self, request: &Request<B>) -> Explanation {
        let current = self.shared.current.load();
        let Version { file, chooser, .. } = &*current.stable;
        let (policy, passed) = chooser.explain(request);
        Explanation::new(file, policy, passed)
    }

    /// The JSON schema of the file, for editors.
    #[must_use]
    pub fn schema() -> String {
        schema::schema()
    }

    /// All fields of the file as a table in Markdown: form, meaning and default of each.
    #[must_use]
    pub fn fields() -> String {
        schema::fields()
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The state under these locks is consistent after each step, so that a panic leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
