//! From hashes to positions: open addressing with linear probing.

/// Positions of entries by their hash. The entries themselves have the hashes; a place has twelve bits of it, so that a
/// look-up reads the memory of one entry and not of all it passes.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two, or none.
    places: Box<[Place]>,
    len: usize,
}

/// Where an entry is, in the lower bits, and a part of its hash. All ones: free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place(u32);

const FREE: Place = Place(u32::MAX);
const MIN_PLACES: usize = 16;
/// Bits of a position.
const POSITION_BITS: u32 = 20;
/// The most entries that an index can find.
const MAX_ENTRIES: usize = (1 << POSITION_BITS) - 1;

impl Place {
    fn new(hash: u64, position: u32) -> Self {
        debug_assert!((position as usize) < MAX_ENTRIES, "an index has an end");
        Self(Self::tag(hash) | position)
    }

    /// Of a free place, one that no entry has.
    const fn position(self) -> u32 {
        self.0 & ((1 << POSITION_BITS) - 1)
    }

    fn may_be(self, hash: u64) -> bool {
        self.0 & !((1 << POSITION_BITS) - 1) == Self::tag(hash)
    }

    /// Bits that select neither the place nor the shard.
    const fn tag(hash: u64) -> u32 {
        ((hash >> 36) as u32 & 0xFFF) << POSITION_BITS
    }
}

impl Index {
    pub(super) fn find(&self, hash: u64, hash_at: impl Fn(u32) -> u64) -> Option<u32> {
        if self.places.is_empty() {
            return None;
        }
        let mut place = self.home(hash);
        loop {
            match self.places[place] {
                FREE => return None,
                found if found.may_be(hash) && hash_at(found.position()) == hash => {
                    return Some(found.position());
                }
                _ => place = self.next(place),
            }
        }
    }

    /// Adds a hash that is not there.
    pub(super) fn insert(&mut self, hash: u64, position: u32, hash_at: impl Fn(u32) -> u64) {
        // Up to three quarters full: beyond, a look-up passes many others.
        if (self.len + 1) * 4 > self.places.len() * 3 {
            self.grow(hash_at);
        }
        self.place(hash, position);
        self.len += 1;
    }

    /// Removes a hash, if it is there. Those behind it move up, so that no look-up stops short.
    pub(super) fn remove(&mut self, hash: u64, hash_at: impl Fn(u32) -> u64) {
        let Some(mut hole) = self.place_of(hash, &hash_at) else { return };
        let mut place = self.next(hole);
        while self.places[place] != FREE {
            let home = self.home(hash_at(self.places[place].position()));
            let (from_home, from_hole) = (self.distance(home, place), self.distance(hole, place));
            if from_home >= from_hole {
                self.places[hole] = self.places[place];
                hole = place;
            }
            place = self.next(place);
        }
        self.places[hole] = FREE;
        self.len -= 1;
    }

    /// The entry of this hash has moved.
    pub(super) fn moved(&mut self, hash: u64, from: u32, to: u32) {
        let mut place = self.home(hash);
        while self.places[place].position() != from {
            place = self.next(place);
        }
        self.places[place] = Place::new(hash, to);
    }

    fn place_of(&self, hash: u64, hash_at: impl Fn(u32) -> u64) -> Option<usize> {
        let position = self.find(hash, hash_at)?;
        let mut place = self.home(hash);
        while self.places[place].position() != position {
            place = self.next(place);
        }
        Some(place)
    }

    fn grow(&mut self, hash_at: impl Fn(u32) -> u64) {
        let length = (self.places.len() * 2).max(MIN_PLACES);
        let old = std::mem::replace(&mut self.places, vec![FREE; length].into());
        for position in old.iter().filter(|&&place| place != FREE).map(|place| place.position()) {
            self.place(hash_at(position), position);
        }
    }

    fn place(&mut self, hash: u64, position: u32) {
        let mut place = self.home(hash);
        while self.places[place] != FREE {
            place = self.next(place);
        }
        self.places[place] = Place::new(hash, position);
    }

    fn home(&self, hash: u64) -> usize {
        hash as usize & (self.places.len() - 1)
    }

    fn next(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        to.wrapping_sub(from) & (self.places.len() - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_after_any_order_of_insertions_and_removals() {
        // Hashes that collide in all places, and those that do not.
        for spread in [1, 1 << 40, 0x9E37_79B9_7F4A_7C15] {
            let hash_at = |position: u32| u64::from(position % 512).wrapping_mul(spread);
            let (mut index, mut known) = (Index::default(), [false; 512]);
            let mut random = 7_u64;
            for _ in 0..3_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let position = (random >> 33) as u32 % if spread == 1 << 40 { 40 } else { 512 };
                let known_here = &mut known[position as usize];
                if std::mem::replace(known_here, !*known_here) {
                    index.remove(hash_at(position), hash_at);
                } else {
                    index.insert(hash_at(position), position, hash_at);
                }
                assert_eq!(
                    index.find(hash_at(position), hash_at),
                    known[position as usize].then_some(position)
                );
            }
            for position in 0..512 {
                let expected = known[position as usize].then_some(position);
                assert_eq!(index.find(hash_at(position), hash_at), expected);
            }
            assert_eq!(index.len, known.iter().filter(|&&it| it).count());
        }
    }
}
