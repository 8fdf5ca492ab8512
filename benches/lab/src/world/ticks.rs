//! Calls to controllers at the times that they ask for.

use super::World;
use super::event_queue::Event;

/// Shortest time between two ticks of a controller, in nanoseconds: a controller that always asks for the present
/// moment would stop the clock.
const MIN_TICK_INTERVAL: u64 = 1_000;

impl World<'_> {
    pub(super) fn schedule_tick(&mut self, index: u32) {
        let server = &mut self.servers[index as usize];
        let Some(wanted) = server.controller.next_tick() else { return };
        let wanted = wanted.as_nanos().max(self.now + MIN_TICK_INTERVAL);
        if server.tick_at.is_none_or(|set| wanted < set) {
            server.tick_at = Some(wanted);
            self.events.push(wanted, Event::Tick(index));
        }
    }

    pub(super) fn tick(&mut self, index: u32) {
        let now = self.time();
        let server = &mut self.servers[index as usize];
        if server.tick_at != Some(self.now) {
            return;
        }
        server.tick_at = None;
        if server.controller.next_tick().is_some_and(|wanted| wanted <= now) {
            server.controller.tick(now);
        }
        self.unsettle(index);
    }
}
