//! Flows in an order that is brought up to date where it is read.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use crate::flow::Flow;

/// Flows by a key, the highest first. Entries may be out of date.
///
/// A flow that moves up gets a new entry; one that moves down, or leaves, keeps its own until that comes to the top.
/// Most changes of a flow then cost nothing here, where an exact order would be searched twice for each.
#[derive(Debug)]
pub(super) struct Ranking<K> {
    heap: BinaryHeap<(K, Flow)>,
}

/// Entries that are kept at least before they are looked through for those out of date.
const MIN_ENTRIES: usize = 64;

impl<K: Ord> Default for Ranking<K> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new() }
    }
}

impl<K: Ord + Copy> Ranking<K> {
    pub(super) fn push(&mut self, key: K, flow: Flow) {
        self.heap.push((key, flow));
    }

    /// The flow at the top, whose entry may be out of date.
    pub(super) fn top(&self) -> Option<(K, Flow)> {
        self.heap.peek().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }

    pub(super) fn pop(&mut self) {
        self.heap.pop();
    }

    /// Brings the entries at the top up to date, until one is or `max` of them have moved.
    ///
    /// `key_of` tells the key of a flow from the key of its entry; `None`: the entry is to be forgotten.
    pub(super) fn settle(&mut self, max: usize, mut key_of: impl FnMut(K, Flow) -> Option<K>) {
        let mut moved = 0;
        while moved < max {
            let Some(mut top) = self.heap.peek_mut() else { return };
            let (key, flow) = *top;
            match key_of(key, flow) {
                Some(same) if same == key => return,
                Some(other) => {
                    top.0 = other;
                    moved += 1;
                }
                None => drop(PeekMut::pop(top)),
            }
        }
    }

    /// Forgets what is out of date once that is more than half.
    pub(super) fn compact(&mut self, flows: usize, mut key_of: impl FnMut(K, Flow) -> Option<K>) {
        if self.heap.len() <= 2 * flows + MIN_ENTRIES {
            return;
        }
        let entries = std::mem::take(&mut self.heap).into_vec().into_iter();
        let current = |(key, flow)| key_of(key, flow).map(|key| (key, flow));
        let mut current: Vec<_> = entries.filter_map(current).collect();
        // A flow that was forgotten and came again may have two entries that are equal.
        current.sort_unstable();
        current.dedup();
        self.heap = current.into();
    }
}

#[cfg(test)]
impl<K> Ranking<K> {
    pub(super) fn assert_bounded(&self, flows: usize) {
        assert!(self.heap.len() <= 2 * flows + MIN_ENTRIES, "{} of {flows}", self.heap.len());
    }
}
