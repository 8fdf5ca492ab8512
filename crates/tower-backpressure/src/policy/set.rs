//! The policies in force, and how others take their place.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use http::Request;

use super::canary::{Canary, CanaryOptions, CanaryStatus};
use super::error::PolicyError;
use super::event::PolicyEvent;
use super::explain::Explanation;
use super::file::File;
use super::hooks::Hooks;
use super::listing::changes;
use super::loader::PolicyLoader;
use super::scale::Scale;
use super::version::{Snapshot, Version, digest};
use super::{schema, source};
use crate::{ClientStack, ThrottleLayer};

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
/// | a client | the layers that were made before: make the client anew |
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
    hooks: Hooks,
    /// The file; `None`: the policies came as text.
    pub(super) path: Option<PathBuf>,
    /// Held while other policies take their place, and by no request.
    replacing: Mutex<()>,
    last_error: Mutex<Option<Arc<PolicyError>>>,
}

impl PolicySet {
    /// The policies of a file, which [`reload`](Self::reload) and [`watch`](Self::watch) read again.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong, or when the file cannot be read.
    pub fn load(path: impl Into<PathBuf>) -> Result<Self, PolicyError> {
        PolicyLoader::new().load(path)
    }

    /// The policies of a text.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        PolicyLoader::new().parse(text)
    }

    pub(super) fn start(
        hooks: Hooks,
        path: Option<PathBuf>,
        text: &str,
    ) -> Result<Self, PolicyError> {
        let file = File::parse(&source::name(path.as_deref()), text)?;
        let changes = changes(None, &file).into();
        let stable = Arc::new(Version::build(file, text, None, &hooks, Scale::Whole));
        let current = ArcSwap::from_pointee(Snapshot { stable, canary: None });
        let (replacing, last_error) = (Mutex::default(), Mutex::default());
        let set = Self { shared: Arc::new(Shared { current, hooks, path, replacing, last_error }) };
        set.report(&PolicyEvent::InForce { changes });
        Ok(set)
    }

    /// Reads the file again. If it is wrong, what is in force stays. It reads from the disk: in an async program, call
    /// it by `spawn_blocking`.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong, or when the file cannot be read, or there is none.
    pub fn reload(&self) -> Result<(), PolicyError> {
        let replacing = lock(&self.shared.replacing);
        let text = source::read(self.shared.path.as_deref());
        self.put_in_force(text, &replacing)
    }

    /// Puts another text in place of what is in force, as a reload does.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong.
    pub fn replace(&self, text: &str) -> Result<(), PolicyError> {
        self.put_read(Ok(text.to_owned()))
    }

    /// Puts what was read from the file in force.
    pub(super) fn put_read(&self, text: Result<String, PolicyError>) -> Result<(), PolicyError> {
        let replacing = lock(&self.shared.replacing);
        self.put_in_force(text, &replacing)
    }

    fn put_in_force(
        &self,
        text: Result<String, PolicyError>,
        _replacing: &MutexGuard<'_, ()>,
    ) -> Result<(), PolicyError> {
        let name = source::name(self.shared.path.as_deref());
        let parsed = text.and_then(|text| Ok((File::parse(&name, &text)?, text)));
        let (file, text) = match parsed {
            Ok(parsed) => parsed,
            Err(error) => {
                self.refuse(&error);
                return Err(error);
            }
        };
        *lock(&self.shared.last_error) = None;
        let current = self.shared.current.load_full();
        let running = current.canary.as_ref();
        if running.is_some_and(|canary| canary.version.digest == digest(&text)) {
            return Ok(());
        }
        if let Some(canary) = running.filter(|canary| canary.end()) {
            self.shared.current.store(current.without_canary());
            let reason = format!(
                "another file has taken its place after {} requests",
                canary.status().requests
            );
            self.report(&PolicyEvent::RolledBack { reason });
        }
        if current.stable.digest == digest(&text) {
            return Ok(());
        }
        let changes = changes(Some(&current.stable.file), &file).into();
        match CanaryOptions::of(&file) {
            Some(options) => {
                let share = options.share;
                let (scale, hooks) = (Scale::Canary(share), &self.shared.hooks);
                let version = Version::build(file, &text, Some(&current.stable), hooks, scale);
                let canary = Some(Arc::new(Canary::new(version, options)));
                let stable = Arc::clone(&current.stable);
                self.shared.current.store(Arc::new(Snapshot { stable, canary }));
                self.report(&PolicyEvent::CanaryStarted { share, changes });
            }
            None => {
                self.change_to(&current.stable, file, digest(&text));
                self.report(&PolicyEvent::InForce { changes });
            }
        }
        Ok(())
    }

    /// Changes what runs to what a file says, for all requests.
    fn change_to(&self, stable: &Version, file: File, digest: u64) {
        let version = Version::build(file, "", Some(stable), &self.shared.hooks, Scale::Whole);
        let stable = Arc::new(Version { digest, ..version });
        self.shared.current.store(Arc::new(Snapshot { stable, canary: None }));
    }

    /// Ends a canary that was judged.
    pub(super) fn end_canary(&self, canary: &Arc<Canary>, verdict: Result<(), String>) {
        // A request must not wait for a reload, which ends the canary as well.
        let Ok(_replacing) = self.shared.replacing.try_lock() else { return };
        self.end_canary_now(canary, verdict);
    }

    fn end_canary_now(&self, canary: &Arc<Canary>, verdict: Result<(), String>) -> bool {
        let current = self.shared.current.load_full();
        let is_running = current.canary.as_ref().is_some_and(|it| Arc::ptr_eq(it, canary));
        if !is_running || !canary.end() {
            return false;
        }
        match verdict {
            Ok(()) => {
                let changes = changes(Some(&current.stable.file), &canary.version.file).into();
                let Version { file, digest, .. } = &canary.version;
                self.change_to(&current.stable, file.clone(), *digest);
                self.report(&PolicyEvent::Promoted { changes });
            }
            Err(reason) => {
                self.shared.current.store(current.without_canary());
                self.report(&PolicyEvent::RolledBack { reason });
            }
        }
        true
    }

    /// How the canary stands; `None`: there is none.
    #[must_use]
    pub fn canary(&self) -> Option<CanaryStatus> {
        self.shared.current.load().canary.as_ref().map(|canary| canary.status())
    }

    /// Puts the canary in force for all requests at once; false: there is none.
    pub fn promote(&self) -> bool {
        self.decide(Ok(()))
    }

    /// Ends the canary; false: there is none.
    pub fn roll_back(&self) -> bool {
        self.decide(Err("an operator has ended it".to_owned()))
    }

    fn decide(&self, verdict: Result<(), String>) -> bool {
        let _replacing = lock(&self.shared.replacing);
        let canary = self.shared.current.load().canary.clone();
        canary.is_some_and(|canary| self.end_canary_now(&canary, verdict))
    }

    /// Why the last reload has changed nothing; `None`: it was good.
    #[must_use]
    pub fn last_error(&self) -> Option<Arc<PolicyError>> {
        lock(&self.shared.last_error).clone()
    }

    /// The layers of the client with this name, in force now. Make the client once: clones share all state. After a
    /// reload that changes them, this returns new layers.
    ///
    /// ```
    /// use tower_backpressure::policy::PolicySet;
    ///
    /// let policies = PolicySet::parse("[client.payments]\nretry = { max_attempts = 2 }\n")?;
    /// let stack = policies.client("payments").expect("the file names it");
    /// # let _ = stack;
    /// # Ok::<(), tower_backpressure::policy::PolicyError>(())
    /// ```
    #[must_use]
    pub fn client(&self, name: &str) -> Option<ClientStack> {
        let current = self.shared.current.load();
        current.stable.layers.client.get(name).map(|(stack, _)| stack.clone())
    }

    /// The throttle of the client with this name, where the file has one. It belongs between retries and the client.
    #[must_use]
    pub fn throttle(&self, name: &str) -> Option<ThrottleLayer> {
        let current = self.shared.current.load();
        current.stable.layers.client.get(name)?.1.clone()
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

    fn refuse(&self, error: &PolicyError) {
        let error = Arc::new(error.clone());
        *lock(&self.shared.last_error) = Some(Arc::clone(&error));
        self.report(&PolicyEvent::Refused { error });
    }

    pub(super) fn report(&self, event: &PolicyEvent) {
        event.report();
        if let Some(audit) = &self.shared.hooks.audit {
            audit(event);
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind these locks is whole at any time.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
