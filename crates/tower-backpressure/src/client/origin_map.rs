//! The states of the origins that a client has used recently, one for each origin.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::origin_key::OriginKey;
use crate::keyed_map::{Idle, KeyedMap};

/// A state for each recently used origin.
#[derive(Debug)]
pub(crate) struct OriginMap<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    map: KeyedMap<T>,
    /// The name of the origin that was looked up last, kept so that a look-up of a known origin allocates
    /// nothing.
    name: String,
}

/// More would take more than 2 MiB, at about 2 KiB each. Fewer would make a service with many dependencies
/// lose what it has learned. A crawler visits more origins; those it returns to start anew.
pub(crate) const MAX_IDLE_ORIGINS: usize = 1_024;

impl<T: Idle> OriginMap<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State { map: KeyedMap::new(MAX_IDLE_ORIGINS), name: String::new() }))
    }

    /// The state of this origin; `make` makes a new one. An origin is not forgotten while its state is in
    /// use.
    pub(crate) fn get_or_insert(
        &self,
        origin: OriginKey<'_>,
        make: impl FnOnce(&str) -> T,
    ) -> Arc<T> {
        let mut state = self.lock();
        let State { map, name } = &mut *state;
        origin.write_to(name);
        let (value, forgotten) = map.get_or_insert(name, || make(name));
        // The lock is released before what was forgotten is dropped.
        drop(state);
        drop(forgotten);
        value
    }

    /// The state of this origin, if there is one.
    pub(crate) fn get(&self, origin: OriginKey<'_>) -> Option<Arc<T>> {
        let mut state = self.lock();
        let State { map, name } = &mut *state;
        origin.write_to(name);
        map.get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
