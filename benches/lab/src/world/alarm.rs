//! Controllers that want to be woken, and what they are shown then.

use std::time::Duration;

use crate::controller::Instruments;

use super::World;
use super::agenda::Event;
use super::station::Station;

/// An alarm rings again no sooner than this.
const SHORTEST: u64 = 1_000;

impl World<'_> {
    pub(super) fn set_alarm(&mut self, index: u32) {
        let post = &mut self.posts[index as usize];
        let Some(wanted) = post.controller.alarm() else { return };
        let wanted = wanted.as_nanos().max(self.now + SHORTEST);
        if post.alarm.is_none_or(|set| wanted < set) {
            post.alarm = Some(wanted);
            self.agenda.push(wanted, Event::Alarm(index));
        }
    }

    pub(super) fn alarm(&mut self, index: u32) {
        let now = self.time();
        let post = &mut self.posts[index as usize];
        if post.alarm != Some(self.now) {
            return;
        }
        post.alarm = None;
        if post.controller.alarm().is_some_and(|wanted| wanted <= now) {
            let instruments = self.instruments(index);
            self.posts[index as usize].controller.tick(&instruments, now);
        }
        self.unsettle(index);
    }

    fn instruments(&mut self, index: u32) -> Instruments {
        let post = self.plan.posts[index as usize];
        let service = &self.plan.services[post.service as usize];
        let Some(local) = service.shows else { return Instruments::default() };
        let station = service.station(post.replica, local);
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
