//! Other policies take the place of those in force: a reload, a canary, and the way back.

use std::sync::{Arc, MutexGuard, TryLockError};

use super::canary::{Canary, CanaryOptions};
use super::error::PolicyError;
use super::event::PolicyEvent;
use super::file::File;
use super::listing::changes;
use super::scale::Scale;
use super::set::{PolicySet, lock};
use super::snapshot::Snapshot;
use super::source;
use super::version::{Version, digest};

/// Proof that nothing else takes the place of policies meanwhile.
type Replacing<'a> = MutexGuard<'a, ()>;

impl PolicySet {
    /// Reads the file again. If it is wrong, what is in force stays. It reads from the disk: in an async program, call
    /// it by `spawn_blocking`.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong, or when the file cannot be read, or there is none.
    pub fn reload(&self) -> Result<(), PolicyError> {
        self.put_in_force(|| source::read(self.shared.path.as_deref()))
    }

    /// Puts another text in place of what is in force, as a reload does.
    ///
    /// # Errors
    /// [`PolicyError`] with all that is wrong.
    pub fn replace(&self, text: &str) -> Result<(), PolicyError> {
        self.put_in_force(|| Ok(text.to_owned()))
    }

    /// Puts the canary in force for all requests at once; false: there is none.
    pub fn promote(&self) -> bool {
        self.decide(Ok(()))
    }

    /// Ends the canary; false: there is none.
    pub fn roll_back(&self) -> bool {
        self.decide(Err("an operator has ended it".to_owned()))
    }

    /// Puts a text in force that is read while nothing else is put in force: a later text is never replaced by an
    /// earlier one.
    pub(super) fn put_in_force(
        &self,
        read: impl FnOnce() -> Result<String, PolicyError>,
    ) -> Result<(), PolicyError> {
        let replacing = lock(&self.shared.replacing);
        let name = source::name(self.shared.path.as_deref());
        let parsed = read().and_then(|text| Ok((File::parse(&name, &text)?, digest(&text))));
        let result = match parsed {
            Ok((file, digest)) => {
                *lock(&self.shared.last_error) = None;
                self.put_file_in_force(file, digest, &replacing);
                Ok(())
            }
            Err(error) => {
                let shared = Arc::new(error.clone());
                *lock(&self.shared.last_error) = Some(Arc::clone(&shared));
                self.shared.outbox.add(PolicyEvent::Refused { error: shared });
                Err(error)
            }
        };
        drop(replacing);
        self.send_events();
        result
    }

    fn put_file_in_force(&self, file: File, digest: u64, _replacing: &Replacing<'_>) {
        let current = self.shared.current.load_full();
        if let Some(canary) = &current.canary {
            if canary.version.digest == digest {
                return;
            }
            canary.end();
            self.shared.current.store(current.without_canary());
            let requests = canary.status().requests;
            let reason = format!("another file has taken its place after {requests} requests");
            self.shared.outbox.add(PolicyEvent::RolledBack { reason });
        }
        let stable = &current.stable;
        if stable.digest == digest {
            return;
        }
        let changes = changes(Some(&stable.file), &file).into();
        let hooks = &self.shared.hooks;
        match CanaryOptions::of(&file) {
            Some(options) => {
                let share = options.share;
                let scale = Scale::Canary(share);
                let version = Version::build(file, digest, Some(stable), hooks, scale);
                let canary = Some(Arc::new(Canary::new(version, options)));
                let stable = Arc::clone(stable);
                self.shared.current.store(Arc::new(Snapshot { stable, canary }));
                self.shared.outbox.add(PolicyEvent::CanaryStarted { share, changes });
            }
            None => {
                self.change_to(stable, file, digest);
                self.shared.outbox.add(PolicyEvent::InForce { changes });
            }
        }
    }

    /// Changes what runs to what a file says, for all requests.
    fn change_to(&self, stable: &Version, file: File, digest: u64) {
        let hooks = &self.shared.hooks;
        let stable = Arc::new(Version::build(file, digest, Some(stable), hooks, Scale::Whole));
        self.shared.current.store(Arc::new(Snapshot { stable, canary: None }));
    }

    /// Ends a canary that was judged.
    pub(super) fn end_canary(&self, canary: &Arc<Canary>, verdict: Result<(), String>) {
        let replacing = match self.shared.replacing.try_lock() {
            Ok(replacing) => replacing,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // A request must not wait for a reload, which ends the canary as well.
            Err(TryLockError::WouldBlock) => return,
        };
        self.end_canary_now(canary, verdict, &replacing);
        drop(replacing);
        self.send_events();
    }

    fn end_canary_now(
        &self,
        canary: &Arc<Canary>,
        verdict: Result<(), String>,
        _replacing: &Replacing<'_>,
    ) -> bool {
        let current = self.shared.current.load_full();
        if current.canary.as_ref().is_none_or(|running| !Arc::ptr_eq(running, canary)) {
            return false;
        }
        let event = match verdict {
            Ok(()) => {
                let Version { file, digest, .. } = &canary.version;
                let changes = changes(Some(&current.stable.file), file).into();
                self.change_to(&current.stable, file.clone(), *digest);
                PolicyEvent::Promoted { changes }
            }
            Err(reason) => {
                self.shared.current.store(current.without_canary());
                PolicyEvent::RolledBack { reason }
            }
        };
        canary.end();
        self.shared.outbox.add(event);
        true
    }

    fn decide(&self, verdict: Result<(), String>) -> bool {
        let replacing = lock(&self.shared.replacing);
        let canary = self.shared.current.load().canary.clone();
        let is_decided =
            canary.is_some_and(|canary| self.end_canary_now(&canary, verdict, &replacing));
        drop(replacing);
        self.send_events();
        is_decided
    }

    /// Tells of an event.
    pub(super) fn report(&self, event: PolicyEvent) {
        self.shared.outbox.add(event);
        self.send_events();
    }

    /// Tells of all events, after the locks are released: a rule of the program may reload.
    fn send_events(&self) {
        self.shared.outbox.send(|event| {
            event.report();
            if let Some(audit) = &self.shared.hooks.audit {
                audit(event);
            }
        });
    }
}
