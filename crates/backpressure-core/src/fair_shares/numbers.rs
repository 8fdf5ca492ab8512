//! A set of numbers that only grows, and is looked up with one read of memory.

use std::hash::BuildHasher;

use super::seeded::Seeded;

/// A set of numbers that are hashes already: open addressing with linear probing, eight numbers in a cache line.
///
/// The standard library's set reads two places of memory for each look-up, which are as many cache misses where there
/// are a million numbers.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// As many as a power of two, or none. 0: free.
    slots: Box<[u64]>,
    len: usize,
    /// The number 0, for which there is no slot.
    has_zero: bool,
    hash: Seeded,
}

const FREE: u64 = 0;
const MIN_SLOTS: usize = 16;

impl Numbers {
    pub(super) fn contains(&self, number: u64) -> bool {
        match number {
            FREE => self.has_zero,
            _ => !self.slots.is_empty() && self.slots[self.place(number)] == number,
        }
    }

    /// False when it was in the set before.
    pub(super) fn insert(&mut self, number: u64) -> bool {
        if self.contains(number) {
            return false;
        }
        if number == FREE {
            self.has_zero = true;
            return true;
        }
        // Up to three quarters full: beyond, a look-up passes many others.
        if (self.len + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let place = self.place(number);
        self.slots[place] = number;
        self.len += 1;
        true
    }

    /// Where a number is, or the free slot that it would take. There is always a free one.
    fn place(&self, number: u64) -> usize {
        let last = self.slots.len() - 1;
        let mut place = self.hash.hash_one(number) as usize & last;
        while self.slots[place] != FREE && self.slots[place] != number {
            place = (place + 1) & last;
        }
        place
    }

    fn grow(&mut self) {
        let length = (self.slots.len() * 2).max(MIN_SLOTS);
        let old = std::mem::replace(&mut self.slots, vec![FREE; length].into());
        for number in old.into_iter().filter(|&number| number != FREE) {
            let place = self.place(number);
            self.slots[place] = number;
        }
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.slots.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_found_and_no_other() {
        let mut numbers = Numbers::default();
        for step in [1_u64, 1 << 40, 0x9E37_79B9_7F4A_7C15] {
            let of = |number: u64| number.wrapping_mul(step) ^ step;
            for number in 0..1_000 {
                assert!(!numbers.contains(of(2 * number)), "{step} {number}");
                assert!(numbers.insert(of(2 * number)) && !numbers.insert(of(2 * number)));
            }
            for number in 0..1_000 {
                assert!(numbers.contains(of(2 * number)) && !numbers.contains(of(2 * number + 1)));
            }
            numbers = Numbers::default();
        }
    }
}
