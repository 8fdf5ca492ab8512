//! The entries of a shard: a hash table with open addressing, linear probing, and a byte of each hash beside it.
//!
//! A look-up reads bytes that are next to each other, and then one entry. Entries have a constant number of words, of
//! which the lower half of the first is the hash.

/// The entries of a shard.
#[derive(Debug)]
pub(super) struct Slots {
    /// Part of the hash of each entry, or [`FREE`].
    tags: Vec<u8>,
    words: Vec<u128>,
    /// Words of an entry.
    stride: usize,
    len: usize,
}

const FREE: u8 = 0;
/// Room for the first entries.
const MIN_SLOTS: usize = 16;
/// A table that is full grows by this part of it. With an eighth, a key of two windows takes up to 67 bytes instead of
/// 62; with a thirty-second, each key is moved thirty times while a table fills.
const GROWTH: usize = 16;

impl Slots {
    pub(super) const fn new(stride: usize) -> Self {
        Self { tags: Vec::new(), words: Vec::new(), stride, len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn stride(&self) -> usize {
        self.stride
    }

    /// The words of the entry in this slot.
    #[inline]
    pub(super) fn entry(&self, slot: usize) -> &[u128] {
        &self.words[slot * self.stride..][..self.stride]
    }

    #[inline]
    pub(super) fn entry_mut(&mut self, slot: usize) -> &mut [u128] {
        &mut self.words[slot * self.stride..][..self.stride]
    }

    /// The slot of the entry with this hash.
    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let (tag, mut slot) = (tag(hash), self.home(hash));
        loop {
            match self.tags[slot] {
                FREE => return None,
                found if found == tag && self.hash(slot) == hash => return Some(slot),
                _ => slot = self.next(slot),
            }
        }
    }

    /// Adds an entry, all zeros but for its hash, that is not there; its slot. Others may be in other slots after it.
    pub(super) fn insert(&mut self, hash: u64) -> usize {
        // Up to seven eighths full: beyond, a look-up of a key that is not there reads too many bytes.
        if (self.len + 1) * 8 > self.tags.len() * 7 {
            self.resize(self.tags.len() + (self.tags.len() / GROWTH).max(MIN_SLOTS), self.stride);
        }
        self.len += 1;
        let slot = self.place(hash);
        self.entry_mut(slot).fill(0);
        self.entry_mut(slot)[0] = hash.into();
        slot
    }

    /// Removes the entry in this slot. Those behind it move up, so that no look-up stops short.
    pub(super) fn remove(&mut self, mut hole: usize) {
        let mut slot = self.next(hole);
        while self.tags[slot] != FREE {
            let home = self.home(self.hash(slot));
            if self.distance(home, slot) >= self.distance(hole, slot) {
                self.tags[hole] = self.tags[slot];
                let from = slot * self.stride;
                self.words.copy_within(from..from + self.stride, hole * self.stride);
                hole = slot;
            }
            slot = self.next(slot);
        }
        self.tags[hole] = FREE;
        self.len -= 1;
    }

    /// Gives each entry this many words.
    pub(super) fn widen(&mut self, stride: usize) {
        self.resize(self.tags.len(), stride);
    }

    /// The slots with an entry.
    pub(super) fn occupied(&self) -> impl Iterator<Item = usize> {
        let tags = self.tags.iter().enumerate();
        tags.filter(|(_, tag)| **tag != FREE).map(|(slot, _)| slot)
    }

    /// The next slot with an entry after this one, in a circle, if it is one of the next `within`.
    pub(super) fn occupied_after(&self, slot: usize, within: usize) -> Option<usize> {
        let after = (1..=within.min(self.tags.len())).map(|step| (slot + step) % self.tags.len());
        after.into_iter().find(|slot| self.tags[*slot] != FREE)
    }

    /// Moves all entries into a table of this many slots.
    fn resize(&mut self, slots: usize, stride: usize) {
        let mut new =
            Self { tags: vec![FREE; slots], words: vec![0; slots * stride], stride, len: self.len };
        for old in self.occupied() {
            let slot = new.place(self.hash(old));
            new.entry_mut(slot)[..self.stride].copy_from_slice(self.entry(old));
        }
        *self = new;
    }

    /// Takes the next free slot for this hash.
    fn place(&mut self, hash: u64) -> usize {
        let mut slot = self.home(hash);
        while self.tags[slot] != FREE {
            slot = self.next(slot);
        }
        self.tags[slot] = tag(hash);
        slot
    }

    fn hash(&self, slot: usize) -> u64 {
        self.words[slot * self.stride] as u64
    }

    /// The lower half of the hash, scaled to the number of slots, which need not be a power of two.
    fn home(&self, hash: u64) -> usize {
        ((hash & 0xFFFF_FFFF) as usize * self.tags.len()) >> 32
    }

    fn next(&self, slot: usize) -> usize {
        if slot + 1 == self.tags.len() { 0 } else { slot + 1 }
    }

    fn distance(&self, from: usize, to: usize) -> usize {
        if to >= from { to - from } else { to + self.tags.len() - from }
    }
}

/// Eight bits that select neither the slot nor the shard.
const fn tag(hash: u64) -> u8 {
    (hash >> 40) as u8 | 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_after_any_order_of_insertions_and_removals() {
        // Hashes that all have one home, those that are near each other, and those that are not.
        for spread in [1_u64 << 40, 1, 0x9E37_79B9_7F4A_7C15] {
            let keys = if spread == 1 << 40 { 60 } else { 600 };
            let hash = |key: u64| (key + 1).wrapping_mul(spread);
            let (mut slots, mut known) = (Slots::new(2), vec![false; 600]);
            let mut random = 7_u64;
            for step in 0..6_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = (random >> 33) % keys;
                let is_known = &mut known[key as usize];
                if std::mem::replace(is_known, !*is_known) {
                    slots.remove(slots.find(hash(key)).expect("it is there"));
                } else {
                    let slot = slots.insert(hash(key));
                    slots.entry_mut(slot)[1] = key.into();
                }
                if step == 3_000 {
                    slots.widen(3);
                }
                if step % 500 == 0 {
                    for key in 0..keys {
                        let found = slots.find(hash(key)).map(|slot| slots.entry(slot)[1] as u64);
                        assert_eq!(found, known[key as usize].then_some(key), "{spread} {step}");
                    }
                }
            }
            let count = known.iter().filter(|known| **known).count();
            assert_eq!((slots.len(), slots.occupied().count()), (count, count));
        }
    }
}
