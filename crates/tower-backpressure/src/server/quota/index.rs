//! From hashes to positions: open addressing with linear probing.

/// Positions of entries by their hash. The entries themselves have the hashes.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two, or none.
    places: Box<[u32]>,
    len: usize,
}

const FREE: u32 = u32::MAX;
const MIN_PLACES: usize = 16;

impl Index {
    pub(super) fn find(&self, hash: u64, hash_at: impl Fn(u32) -> u64) -> Option<u32> {
        if self.places.is_empty() {
            return None;
        }
        let mut place = self.home(hash);
        loop {
            match self.places[place] {
                FREE => return None,
                position if hash_at(position) == hash => return Some(position),
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
            let home = self.home(hash_at(self.places[place]));
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
        while self.places[place] != from {
            place = self.next(place);
        }
        self.places[place] = to;
    }

    fn place_of(&self, hash: u64, hash_at: impl Fn(u32) -> u64) -> Option<usize> {
        let position = self.find(hash, hash_at)?;
        let mut place = self.home(hash);
        while self.places[place] != position {
            place = self.next(place);
        }
        Some(place)
    }

    fn grow(&mut self, hash_at: impl Fn(u32) -> u64) {
        let length = (self.places.len() * 2).max(MIN_PLACES);
        let old = std::mem::replace(&mut self.places, vec![FREE; length].into());
        for &position in old.iter().filter(|&&position| position != FREE) {
            self.place(hash_at(position), position);
        }
    }

    fn place(&mut self, hash: u64, position: u32) {
        let mut place = self.home(hash);
        while self.places[place] != FREE {
            place = self.next(place);
        }
        self.places[place] = position;
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
