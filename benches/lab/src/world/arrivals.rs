//! Arrivals of requests.

use super::World;
use super::callers::Request;
use super::event_queue::Event;
use super::slab::Id;
use super::source::{Source, think_time};

impl World<'_> {
    pub(super) fn open_sources(&mut self) {
        for index in 0..self.plan.streams.len() as u32 {
            let mut source = Source::new(self.plan, index, self.seed);
            for at in source.first(&self.plan.streams[index as usize].stream) {
                self.events.push(at, Event::Arrives(index));
            }
            self.sources.push(source);
        }
    }

    pub(super) fn arrives(&mut self, index: u32) {
        let stream = &self.plan.streams[index as usize].stream;
        let source = &mut self.sources[index as usize];
        if let Some(at) = source.follow(stream, self.now) {
            self.events.push(at, Event::Arrives(index));
        }
        for _ in 0..stream.size() {
            let request = self.new_request(index);
            self.sends(request);
        }
    }

    fn new_request(&mut self, index: u32) -> Id {
        let (asked, spec) = self.sources[index as usize].new_request(self.plan, self.now);
        let number = self.journal.asked.len() as u32;
        self.journal.asked.push(asked);
        self.requests.insert(Request::new(number, spec))
    }

    /// A request of a closed loop is over: its client pauses and then sends the next one.
    pub(super) fn schedule_next(&mut self, index: u32, key: u64) {
        if let Some(pause) = think_time(&self.plan.streams[index as usize].stream, key) {
            self.events.push(self.now + pause, Event::Arrives(index));
        }
    }
}
