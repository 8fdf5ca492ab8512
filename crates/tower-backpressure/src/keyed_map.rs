//! A bounded map from names to shared states, which forgets the least recently used idle one in constant
//! time.

use std::collections::HashMap;
use std::sync::Arc;

/// States of keys that requests name: origins, or what a user's rule returns.
///
/// At most `max_idle` states are kept, and more only while more are in use at once. A look-up and an
/// insertion take constant time, however many states there are and however many are in use, because
/// requests choose the keys.
#[derive(Debug)]
pub(crate) struct KeyedMap<T> {
    /// The position of each name in `entries`.
    positions: HashMap<Arc<str>, usize>,
    entries: Vec<Entry<T>>,
    /// Most recently used, and least recently used.
    ends: [usize; 2],
    max_idle: usize,
}

#[derive(Debug)]
struct Entry<T> {
    name: Arc<str>,
    state: Arc<T>,
    /// The neighbours that were used later, and earlier.
    neighbours: [usize; 2],
}

/// What a key stands for.
#[cfg_attr(
    not(feature = "client"),
    expect(unreachable_pub, reason = "layers for clients name it in a bound of a public trait")
)]
pub trait Idle {
    /// Whether nothing is lost when a state that no request refers to is made anew.
    fn is_idle(&self) -> bool;
}

/// A state with its name.
pub(crate) type Named<T> = (Arc<str>, Arc<T>);

/// States forgotten by one insertion. They are dropped by the caller, after it has released its lock.
pub(crate) type Forgotten<T> = [Option<Arc<T>>; MAX_EXAMINED];

/// How many of the least recently used states one insertion examines. With one, a map that has grown while
/// all were in use would never shrink; each further one is work for every new key.
const MAX_EXAMINED: usize = 4;

const NEWER: usize = 0;
const OLDER: usize = 1;
/// Position of no entry.
const NONE: usize = usize::MAX;

impl<T: Idle> KeyedMap<T> {
    pub(crate) fn new(max_idle: usize) -> Self {
        Self { positions: HashMap::new(), entries: Vec::new(), ends: [NONE; 2], max_idle }
    }

    /// The state of this key, if there is one: from now on the most recently used one.
    pub(crate) fn find(&mut self, name: &str) -> Option<Arc<T>> {
        let &position = self.positions.get(name)?;
        self.touch(position);
        Some(Arc::clone(&self.entries[position].state))
    }

    /// The state of this key, from now on the most recently used one. `make` makes a new one.
    pub(crate) fn get_or_insert(
        &mut self,
        name: &str,
        make: impl FnOnce() -> T,
    ) -> (Arc<T>, Forgotten<T>) {
        let mut forgotten = Forgotten::default();
        if let Some(state) = self.find(name) {
            return (state, forgotten);
        }
        for forgotten in &mut forgotten {
            if self.entries.len() < self.max_idle {
                break;
            }
            *forgotten = self.forget_oldest();
        }
        let (name, state): (Arc<str>, _) = (name.into(), Arc::new(make()));
        let position = self.entries.len();
        self.positions.insert(Arc::clone(&name), position);
        self.entries.push(Entry { name, state: Arc::clone(&state), neighbours: [NONE; 2] });
        self.link(position);
        (state, forgotten)
    }

    /// How many states there are.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The states that were used last with their names, at most `max`. They do not count as used.
    pub(crate) fn recent(&self, max: usize) -> Vec<Named<T>> {
        let mut position = self.ends[NEWER];
        let next = std::iter::from_fn(|| {
            let entry = self.entries.get(position)?;
            position = entry.neighbours[OLDER];
            Some((Arc::clone(&entry.name), Arc::clone(&entry.state)))
        });
        next.take(max).collect()
    }

    /// The state of this key, if there is one. It does not count as used.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<T>> {
        self.positions.get(name).map(|&position| &self.entries[position].state)
    }

    /// Forgets the least recently used state, or counts it as used now if it is in use.
    ///
    /// States in use stay, whatever their number. Forgetting one would lose what its requests hold, and
    /// each belongs to a request that takes far more memory than the state.
    fn forget_oldest(&mut self) -> Option<Arc<T>> {
        let oldest = self.ends[OLDER];
        let state = Arc::get_mut(&mut self.entries[oldest].state);
        if state.is_none_or(|state| !state.is_idle()) {
            self.touch(oldest);
            return None;
        }
        self.unlink(oldest);
        let Entry { name, state, .. } = self.entries.swap_remove(oldest);
        self.positions.remove(&name);
        self.moved_to(oldest);
        Some(state)
    }

    /// Corrects what refers to the entry that `swap_remove` has moved to this position, if it has moved one.
    fn moved_to(&mut self, to: usize) {
        let Some(entry) = self.entries.get(to) else { return };
        let neighbours = entry.neighbours;
        if let Some(position) = self.positions.get_mut(&entry.name) {
            *position = to;
        }
        *self.link_to(neighbours[NEWER], OLDER) = to;
        *self.link_to(neighbours[OLDER], NEWER) = to;
    }

    fn touch(&mut self, position: usize) {
        if self.ends[NEWER] != position {
            self.unlink(position);
            self.link(position);
        }
    }

    fn unlink(&mut self, position: usize) {
        let [newer, older] = self.entries[position].neighbours;
        *self.link_to(newer, OLDER) = older;
        *self.link_to(older, NEWER) = newer;
    }

    /// Links an entry as the most recently used one.
    fn link(&mut self, position: usize) {
        let before = self.ends[NEWER];
        self.entries[position].neighbours = [NONE, before];
        *self.link_to(before, NEWER) = position;
        self.ends[NEWER] = position;
    }

    /// The link of an entry on one side; of no entry, the end that it would be next to.
    fn link_to(&mut self, position: usize, side: usize) -> &mut usize {
        match position {
            NONE => &mut self.ends[1 - side],
            _ => &mut self.entries[position].neighbours[side],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    #[derive(Debug)]
    struct State(bool);

    impl Idle for State {
        fn is_idle(&self) -> bool {
            self.0
        }
    }

    fn use_key(map: &mut KeyedMap<State>, name: &str) -> Arc<State> {
        map.get_or_insert(name, || State(true)).0
    }

    #[test]
    fn the_least_recently_used_idle_state_is_forgotten_first() {
        let mut map = KeyedMap::new(3);
        for name in ["a", "b", "c", "a", "d"] {
            use_key(&mut map, name);
        }
        let recent = map.recent(2);
        assert!(recent.iter().map(|(name, _)| &**name).eq(["d", "a"]));
        assert_eq!(map.recent(usize::MAX).len(), map.len());
        let known = ["a", "b", "c", "d"].map(|name| map.get(name).is_some());
        assert_eq!(known, [true, false, true, true]);
    }

    #[test]
    fn states_in_use_stay_and_the_map_shrinks_when_they_are_idle_again() {
        let mut map = KeyedMap::new(10);
        let names: Vec<String> = (0..100).map(|n| format!("busy-{n}")).collect();
        let held: Vec<_> = names.iter().map(|name| use_key(&mut map, name)).collect();
        assert!(names.iter().all(|name| map.get(name).is_some()));
        drop(held);
        for n in 0..40 {
            use_key(&mut map, &format!("new-{n}"));
        }
        assert_eq!(map.entries.len(), 10);
        let (busy, _) = map.get_or_insert("quiet", || State(false));
        drop(busy);
        for n in 0..40 {
            use_key(&mut map, &format!("newer-{n}"));
        }
        assert!(map.get("quiet").is_some(), "a state that is not idle is not forgotten");
    }

    /// Compared with a list in the order of use.
    #[test]
    fn any_order_of_use_forgets_what_a_plain_list_would() {
        let seed = fastrand::u64(..);
        let (mut rng, mut map, mut list) = (Rng::with_seed(seed), KeyedMap::new(16), Vec::new());
        for _ in 0..20_000 {
            let name = rng.u8(..40).to_string();
            use_key(&mut map, &name);
            list.retain(|known| *known != name);
            list.push(name);
            if list.len() > 16 {
                list.remove(0);
            }
            assert_eq!(map.entries.len(), list.len(), "seed {seed}");
            assert!(list.iter().all(|name| map.get(name).is_some()), "seed {seed}");
        }
    }
}
