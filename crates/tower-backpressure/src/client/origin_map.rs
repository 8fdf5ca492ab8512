//! The states of the origins that a client has used recently, one for each origin.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::origin_key::OriginKey;
use crate::keyed_map::{Idle, KeyedMap, Named};

/// A state for each recently used origin.
#[derive(Debug)]
pub(crate) struct OriginMap<T>(Mutex<State<T>>);

#[derive(Debug)]
struct State<T> {
    map: KeyedMap<T>,
    /// The name of the origin that was looked up last, kept so that a look-up of a known origin allocates
    /// nothing.
    name: String,
    last: Option<Last<T>>,
}

/// The origin of the last request, as the request spelled it. Most clients talk to one origin, and find it again without
/// writing and hashing its name.
#[derive(Debug)]
struct Last<T> {
    scheme: String,
    authority: String,
    /// It is the most recently used one, and not forgotten while it is here.
    state: Arc<T>,
}

/// Longer spellings are looked up each time, as requests choose them.
const MAX_SPELLING_BYTES: usize = 256;

/// More would take more than 2 MiB, at about 2 KiB each. Fewer would make a service with many dependencies
/// lose what it has learned. A crawler visits more origins; those it returns to start anew.
pub(crate) const MAX_IDLE_ORIGINS: usize = 1_024;

impl<T: Idle> OriginMap<T> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State {
            map: KeyedMap::new(MAX_IDLE_ORIGINS),
            name: String::new(),
            last: None,
        }))
    }

    /// The state of this origin; `make` makes a new one. An origin is not forgotten while its state is in
    /// use.
    pub(crate) fn get_or_insert(
        &self,
        origin: OriginKey<'_>,
        make: impl FnOnce(&str) -> T,
    ) -> Arc<T> {
        let mut state = self.lock();
        let State { map, name, last } = &mut *state;
        if let Some(last) = last.as_ref().filter(|last| last.is(origin)) {
            return Arc::clone(&last.state);
        }
        origin.write_to(name);
        let (value, forgotten) = map.get_or_insert(name, || make(name));
        let before = Last::remember(last, origin, &value);
        // The lock is released before what was forgotten is dropped.
        drop(state);
        drop((forgotten, before));
        value
    }

    /// The origins that were used last with their names, at most `max`, and how many there are.
    pub(crate) fn recent(&self, max: usize) -> (Vec<Named<T>>, usize) {
        let state = self.lock();
        (state.map.recent(max), state.map.len())
    }

    /// The state of this origin, if there is one.
    pub(crate) fn get(&self, origin: OriginKey<'_>) -> Option<Arc<T>> {
        let mut state = self.lock();
        let State { map, name, .. } = &mut *state;
        origin.write_to(name);
        map.get(name).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Last<T> {
    fn is(&self, origin: OriginKey<'_>) -> bool {
        let OriginKey::Origin { scheme, authority } = origin else { return false };
        self.authority == authority && self.scheme == scheme
    }

    /// Takes the place of the one before, and returns its state.
    fn remember(last: &mut Option<Self>, origin: OriginKey<'_>, state: &Arc<T>) -> Option<Arc<T>> {
        let (scheme, authority) = match origin {
            OriginKey::Origin { scheme, authority }
                if scheme.len() + authority.len() <= MAX_SPELLING_BYTES =>
            {
                (scheme, authority)
            }
            _ => return last.take().map(|last| last.state),
        };
        let state = Arc::clone(state);
        let Some(last) = last else {
            *last =
                Some(Self { scheme: scheme.to_owned(), authority: authority.to_owned(), state });
            return None;
        };
        last.scheme.clear();
        last.scheme.push_str(scheme);
        last.authority.clear();
        last.authority.push_str(authority);
        Some(std::mem::replace(&mut last.state, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Idler(String);

    impl Idle for Idler {
        fn is_idle(&self) -> bool {
            true
        }
    }

    #[test]
    fn origins_that_take_turns_keep_their_states_however_they_are_spelled() {
        let map = OriginMap::new();
        let state = |scheme, authority| {
            map.get_or_insert(OriginKey::new(scheme, authority), |name| Idler(name.to_owned()))
        };
        let long = "x".repeat(300);
        let (a, b, none) = (state("http", "a"), state("http", "b"), state("http", &long));
        for _ in 0..3 {
            for spelling in ["a", "A", "a:80", "me@a", "a"] {
                assert!(Arc::ptr_eq(&a, &state("http", spelling)), "{spelling}");
            }
            assert!(Arc::ptr_eq(&b, &state("http", "b")));
            assert!(Arc::ptr_eq(&none, &state("http", &long)));
            assert_eq!(state("https", "a").0, "https://a");
            assert_eq!(state("http", "a:443").0, "http://a:443");
        }
    }
}
