//! Calls to controllers at the times that they ask for, with what the server measures about itself.

use std::time::Duration;

use crate::controller::Instruments;

use super::World;
use super::event_queue::Event;
use super::station::Station;

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
            let instruments = self.instruments(index);
            self.servers[index as usize].controller.tick(&instruments, now);
        }
        self.unsettle(index);
    }

    fn instruments(&mut self, index: u32) -> Instruments {
        let server = self.plan.servers[index as usize];
        let service = &self.plan.services[server.service as usize];
        let Some(local) = service.shows else { return Instruments::default() };
        let station = service.station(server.replica, local);
        let cores = f64::from(self.cores(station));
        let now = self.now;
        let attempts = &self.attempts;
        match &mut self.stations[station] {
            Station::Fifo(fifo) => {
                let oldest = fifo.queue.iter().find(|(id, _)| attempts.get(*id).is_some());
                let run_queue = oldest.map_or(0, |(_, since)| now - since);
                let run_queue = Duration::from_nanos(run_queue);
                Instruments { busy: fifo.busy(now), cores, run_queue }
            }
            Station::Shared(_) => Instruments { cores, ..Instruments::default() },
        }
    }
}
