//! A bounded map from hashes to values, which can name a value to forget in constant time.

use super::index::Index;

/// Values by the hash of their key.
#[derive(Debug)]
pub(super) struct Keyed<T> {
    index: Index,
    entries: Vec<(u64, T)>,
    /// Where the search for a value to forget goes on.
    hand: usize,
}

/// How many values are looked at for one to forget.
const EXAMINED: usize = 8;

impl<T> Keyed<T> {
    pub(super) fn new() -> Self {
        Self { index: Index::default(), entries: Vec::new(), hand: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn get_mut(&mut self, hash: u64) -> Option<&mut T> {
        let position = self.find(hash)?;
        Some(&mut self.entries[position].1)
    }

    /// Adds a value under a hash that is not there.
    pub(super) fn insert(&mut self, hash: u64, value: T) -> &mut T {
        let position = self.entries.len();
        self.entries.push((hash, value));
        let entries = &self.entries;
        self.index.insert(hash, position as u32, |position| entries[position as usize].0);
        &mut self.entries[position].1
    }

    pub(super) fn remove(&mut self, hash: u64) -> Option<T> {
        let position = self.find(hash)?;
        let entries = &self.entries;
        self.index.remove(hash, |position| entries[position as usize].0);
        let last = self.entries.len() - 1;
        if position != last {
            self.index.moved(self.entries[last].0, last as u32, position as u32);
        }
        Some(self.entries.swap_remove(position).1)
    }

    /// Removes the value with the lowest rank of a few; one without a rank stays.
    pub(super) fn remove_lowest<R: Ord>(&mut self, rank: impl Fn(&T) -> Option<R>) -> Option<T> {
        let mut lowest = None;
        for _ in 0..self.entries.len().min(EXAMINED) {
            self.hand = (self.hand + 1) % self.entries.len();
            let (hash, value) = &self.entries[self.hand];
            let Some(rank) = rank(value) else { continue };
            if lowest.as_ref().is_none_or(|(known, _)| rank < *known) {
                lowest = Some((rank, *hash));
            }
        }
        lowest.and_then(|(_, hash)| self.remove(hash))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (u64, &mut T)> {
        self.entries.iter_mut().map(|(hash, value)| (*hash, value))
    }

    /// Up to this many values, beginning at a place that moves on with each call, in a circle.
    pub(super) fn some_mut(&mut self, count: usize) -> impl Iterator<Item = (u64, &mut T)> {
        if self.hand >= self.entries.len() {
            self.hand = 0;
        }
        let begin = self.hand;
        self.hand += count;
        let some = self.entries.iter_mut().skip(begin).take(count);
        some.map(|(hash, value)| (*hash, value))
    }

    fn find(&self, hash: u64) -> Option<usize> {
        let found = self.index.find(hash, |position| self.entries[position as usize].0);
        found.map(|position| position as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_until_they_are_removed() {
        let mut keyed = Keyed::new();
        for number in 0..100 {
            keyed.insert(number, number);
        }
        (0..100).step_by(3).for_each(|number| assert_eq!(keyed.remove(number), Some(number)));
        for number in 0..100 {
            assert_eq!(keyed.get_mut(number).is_some(), number % 3 != 0, "{number}");
        }
        assert_eq!(keyed.len(), 66);
        let seen: Vec<_> = (0..7)
            .flat_map(|_| keyed.some_mut(10).map(|(hash, _)| hash).collect::<Vec<_>>())
            .collect();
        assert_eq!(seen.len(), 66, "each once in a round");
        // Odd numbers have no rank and are not removed.
        while keyed.remove_lowest(|number| (number % 2 == 0).then_some(*number)).is_some() {}
        assert!(keyed.iter_mut().filter(|(_, number)| **number % 2 == 1).count() == 33);
    }
}
