//! The entries of a shard: a hash table with linear probing, of which the entries are in the order of their hashes.
//!
//! The slot of an entry is that of its hash, scaled to the number of slots, or the next that is free. As entries are in
//! order, a look-up ends at the first higher hash (Amble and Knuth, *Ordered hash tables*, 1974): it reads one place in
//! memory, whether the key is there or not.

use backpressure_core::{MAX_WINDOWS, QuotaUsage};

/// The entries of a shard.
#[derive(Debug)]
pub(super) struct Slots {
    /// The words of all entries; those of a free slot are zeros. The last slot is always free, so that each search ends.
    words: Vec<u64>,
    /// Slots that hashes are scaled to. A few more follow them.
    homes: usize,
    layout: Layout,
    len: usize,
}

/// The words of an entry: its hash, then perhaps its [`Meta`], then two for each window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) has_meta: bool,
    pub(super) windows: usize,
}

/// What is known of a key beside its usage. Where there is one plan, which does not count requests in flight, it is
/// zero, and no entry keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) plan: u32,
    pub(super) in_flight: u32,
}

/// What one key has used, of which the last windows may be of no plan.
pub(super) type Usage = [QuotaUsage; MAX_WINDOWS];

/// No entry has this hash.
const FREE: u64 = 0;
/// Room for the first entries.
const MIN_SLOTS: usize = 16;
/// Slots behind those that hashes are scaled to, for the entries that do not fit before. More are added when they are
/// taken.
const TAIL: usize = 16;
/// How full a table may be: four fifths. A look-up then passes two other entries in the mean. At seven eighths it passes
/// four, which are in the next cache line, and takes 30 ns more at a million keys; at three quarters a key of two windows
/// takes 64 bytes.
const MAX_FULL: (usize, usize) = (4, 5);
/// A table that is full grows by this part of it. With an eighth, a key of two windows takes up to 56 bytes in it instead
/// of 53; with a thirty-second, each key is moved thirty times while a table fills.
const GROWTH: usize = 16;

impl Layout {
    /// The layout that has room for what both have room for.
    pub(super) fn with(self, other: Self) -> Self {
        let has_meta = self.has_meta || other.has_meta;
        Self { has_meta, windows: self.windows.max(other.windows) }
    }

    /// Words of an entry.
    const fn stride(self) -> usize {
        self.first_window() + 2 * self.windows
    }

    const fn first_window(self) -> usize {
        1 + self.has_meta as usize
    }
}

impl Meta {
    const fn of_word(word: u64) -> Self {
        Self { plan: (word >> 32) as u32, in_flight: word as u32 }
    }

    const fn to_word(self) -> u64 {
        (self.plan as u64) << 32 | self.in_flight as u64
    }
}

impl Slots {
    pub(super) const fn new(layout: Layout) -> Self {
        Self { words: Vec::new(), homes: 0, layout, len: 0 }
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn meta(&self, slot: usize) -> Meta {
        if self.layout.has_meta { Meta::of_word(self.entry(slot)[1]) } else { Meta::default() }
    }

    /// What is not zero needs a layout that has room for it.
    pub(super) fn set_meta(&mut self, slot: usize, meta: Meta) {
        if self.layout.has_meta {
            self.entry_mut(slot)[1] = meta.to_word();
        }
    }

    #[inline]
    pub(super) fn usage(&self, slot: usize) -> Usage {
        let mut usage = Usage::default();
        let words = self.entry(slot)[self.layout.first_window()..].chunks_exact(2);
        for (usage, word) in usage.iter_mut().zip(words) {
            *usage = QuotaUsage::from_bits(u128::from(word[0]) | u128::from(word[1]) << 64);
        }
        usage
    }

    #[inline]
    pub(super) fn set_usage(&mut self, slot: usize, usage: &Usage) {
        let first = self.layout.first_window();
        for (word, usage) in self.entry_mut(slot)[first..].chunks_exact_mut(2).zip(usage) {
            let bits = usage.to_bits();
            (word[0], word[1]) = (bits as u64, (bits >> 64) as u64);
        }
    }

    /// The slot of the entry with this hash.
    #[inline]
    pub(super) fn find(&self, hash: u64) -> Option<usize> {
        if self.len == 0 {
            return None;
        }
        let slot = self.place(hash);
        (self.hash(slot) == hash).then_some(slot)
    }

    /// Adds an entry, all zeros but for its hash, that is not there; its slot. Others may be in other slots after it.
    pub(super) fn insert(&mut self, hash: u64) -> usize {
        if (self.len + 1) * MAX_FULL.1 > self.homes * MAX_FULL.0 {
            self.resize(self.homes + (self.homes / GROWTH).max(MIN_SLOTS), self.layout);
        }
        let slot = self.place(hash);
        let free = self.free_from(slot);
        self.keep_end_free(free);
        let stride = self.layout.stride();
        self.words.copy_within(slot * stride..free * stride, (slot + 1) * stride);
        self.entry_mut(slot).fill(0);
        self.entry_mut(slot)[0] = hash;
        self.len += 1;
        slot
    }

    /// Removes the entry in this slot. Those behind it that are not in the first slot of theirs move up.
    pub(super) fn remove(&mut self, slot: usize) {
        let mut end = slot + 1;
        while self.hash(end) != FREE && self.home(self.hash(end)) < end {
            end += 1;
        }
        let stride = self.layout.stride();
        self.words.copy_within((slot + 1) * stride..end * stride, slot * stride);
        self.entry_mut(end - 1).fill(0);
        self.len -= 1;
    }

    /// Gives each entry these words.
    pub(super) fn lay_out(&mut self, layout: Layout) {
        self.resize(self.homes, layout);
    }

    /// The slots with an entry.
    pub(super) fn occupied(&self) -> impl Iterator<Item = usize> {
        (0..self.slots()).filter(|&slot| self.hash(slot) != FREE)
    }

    /// The next slot with an entry after this one, in a circle, if it is one of the next `within`.
    pub(super) fn occupied_after(&self, slot: usize, within: usize) -> Option<usize> {
        let slots = self.slots();
        let mut after = (1..=within.min(slots)).map(|step| (slot + step) % slots);
        after.find(|&slot| self.hash(slot) != FREE)
    }

    /// Moves all entries into a table of this size.
    fn resize(&mut self, homes: usize, layout: Layout) {
        let words = vec![0; (homes + TAIL) * layout.stride()];
        let mut new = Self { words, homes, layout, len: self.len };
        let mut next = 0;
        for old in self.occupied() {
            let slot = next.max(new.home(self.hash(old)));
            new.keep_end_free(slot);
            new.entry_mut(slot)[0] = self.hash(old);
            new.set_meta(slot, self.meta(old));
            new.set_usage(slot, &self.usage(old));
            next = slot + 1;
        }
        *self = new;
    }

    /// Where an entry with this hash is, or would be: the first slot from its home on that is free or has no lower hash.
    #[inline]
    fn place(&self, hash: u64) -> usize {
        let mut slot = self.home(hash);
        loop {
            match self.hash(slot) {
                FREE => return slot,
                known if known >= hash => return slot,
                _ => slot += 1,
            }
        }
    }

    fn free_from(&self, slot: usize) -> usize {
        let mut free = slot;
        while self.hash(free) != FREE {
            free += 1;
        }
        free
    }

    /// Adds slots at the end if this one, which is to be taken, is the last.
    fn keep_end_free(&mut self, taken: usize) {
        if taken + 1 >= self.slots() {
            self.words.resize((taken + 1 + TAIL) * self.layout.stride(), 0);
        }
    }

    #[inline]
    fn entry(&self, slot: usize) -> &[u64] {
        let stride = self.layout.stride();
        &self.words[slot * stride..][..stride]
    }

    #[inline]
    fn entry_mut(&mut self, slot: usize) -> &mut [u64] {
        let stride = self.layout.stride();
        &mut self.words[slot * stride..][..stride]
    }

    #[inline]
    fn hash(&self, slot: usize) -> u64 {
        self.words[slot * self.layout.stride()]
    }

    fn slots(&self) -> usize {
        self.words.len() / self.layout.stride()
    }

    /// The hash, scaled to the number of slots, which need not be a power of two.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.homes as u128) >> 64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const ONE_WINDOW: Layout = Layout { has_meta: false, windows: 1 };

    fn usage_of(key: u64) -> Usage {
        let mut usage = Usage::default();
        usage[0] = QuotaUsage::from_bits(u128::from(key) << 70 | u128::from(key));
        usage
    }

    #[test]
    fn entries_are_found_after_any_order_of_insertions_and_removals() {
        // Hashes that all have the first home, that all have the last, that are near each other, and that are not.
        let hashes: [fn(u64) -> u64; 4] = [
            |key| key + 1,
            |key| u64::MAX - key,
            |key| (key + 1) << 50,
            |key| (key + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        ];
        for (kind, hash) in hashes.into_iter().enumerate() {
            let (mut slots, mut known) = (Slots::new(ONE_WINDOW), BTreeMap::new());
            let mut random = 7_u64;
            for step in 0..6_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let key = (random >> 33) % 600;
                if known.remove(&hash(key)).is_some() {
                    slots.remove(slots.find(hash(key)).expect("it is there"));
                } else {
                    let slot = slots.insert(hash(key));
                    assert_eq!(slots.usage(slot), Usage::default());
                    slots.set_usage(slot, &usage_of(key));
                    known.insert(hash(key), key);
                }
                if step == 3_000 {
                    slots.lay_out(Layout { has_meta: true, windows: 2 });
                }
                if step % 500 == 0 {
                    for key in 0..600 {
                        let found = slots.find(hash(key)).map(|slot| slots.usage(slot));
                        let expected = known.get(&hash(key)).map(|&key| usage_of(key));
                        assert_eq!(found, expected, "kind {kind}, step {step}");
                    }
                }
            }
            let found: Vec<_> = slots.occupied().map(|slot| slots.hash(slot)).collect();
            assert_eq!(found, Vec::from_iter(known.into_keys()), "kind {kind}: in order");
            assert_eq!(slots.len(), found.len());
        }
    }

    #[test]
    fn a_layout_with_more_keeps_what_was_there() {
        let mut slots = Slots::new(ONE_WINDOW);
        for key in 1..=100 {
            let slot = slots.insert(key << 56);
            slots.set_meta(slot, Meta::default());
            slots.set_usage(slot, &usage_of(key));
        }
        slots.lay_out(ONE_WINDOW.with(Layout { has_meta: true, windows: 3 }));
        for key in 1..=100 {
            let slot = slots.find(key << 56).expect("it is there");
            assert_eq!((slots.meta(slot), slots.usage(slot)), (Meta::default(), usage_of(key)));
            let meta = Meta { plan: 7, in_flight: u32::MAX };
            slots.set_meta(slot, meta);
            assert_eq!((slots.meta(slot), slots.usage(slot)), (meta, usage_of(key)));
        }
    }
}
