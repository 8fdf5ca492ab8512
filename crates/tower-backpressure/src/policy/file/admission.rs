//! `[admission.NAME]`: a limit for all requests of its policies.

use backpressure_core::limit::MAX;
use backpressure_core::{OutOfRange, Priority, QueueBounds};

use super::QueueSection;
use crate::StreamPolicy;
use crate::admission::PermitScope;
use crate::limiter::MAX_SHARE;
use crate::policy::format::amounts::Share;
use crate::policy::format::choice::{Choice, Word, WordOr};
use crate::policy::format::reading::Reading;
use crate::policy::format::{Fields, Section, Setting, Table};

/// A limit that finds itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) struct Adapts;

impl Choice for Adapts {
    const WORDS: &'static [(&'static str, Self)] = &[("adaptive", Self)];
}

impl Choice for PermitScope {
    const WORDS: &'static [(&'static str, Self)] = &[("head", Self::Head), ("body", Self::Body)];
}

impl Choice for Priority {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("sheddable", Self::Sheddable),
        ("deferrable", Self::Deferrable),
        ("normal", Self::Normal),
        ("critical", Self::Critical),
    ];
}

/// What streams are, where no number caps them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::policy) enum StreamWord {
    Work,
    Head,
}

impl Choice for StreamWord {
    const WORDS: &'static [(&'static str, Self)] = &[("work", Self::Work), ("head", Self::Head)];
}

/// What limits streams: a word, or how many there may be.
pub(in crate::policy) type Streams = WordOr<StreamWord, usize>;

impl From<Streams> for StreamPolicy {
    fn from(streams: Streams) -> Self {
        match streams {
            WordOr::Word(StreamWord::Work) => Self::Work,
            WordOr::Word(StreamWord::Head) => Self::Head,
            WordOr::Number(max) => Self::Watch(max),
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct AdmissionSection {
    pub(in crate::policy) limit: Setting<WordOr<Adapts, usize>>,
    pub(in crate::policy) min: Setting<usize>,
    pub(in crate::policy) max: Setting<usize>,
    pub(in crate::policy) initial: Setting<usize>,
    pub(in crate::policy) queue: Table<QueueSection>,
    pub(in crate::policy) reserve: Table<Reserves>,
    pub(in crate::policy) status: Setting<u16>,
    pub(in crate::policy) delay_rejections: Setting<usize>,
    pub(in crate::policy) reveal_reason: Setting<bool>,
    pub(in crate::policy) expose_pressure: Setting<bool>,
    pub(in crate::policy) common: Common,
}

/// What admission, bulkheads and compartments have in common.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Common {
    pub(in crate::policy) scope: Setting<Word<PermitScope>>,
    pub(in crate::policy) streams: Setting<Streams>,
    pub(in crate::policy) expose_permit: Setting<bool>,
    pub(in crate::policy) dry_run: Setting<bool>,
}

/// What lower priorities are owed.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Reserves {
    sheddable: Setting<Share>,
    deferrable: Setting<Share>,
    normal: Setting<Share>,
}

impl Common {
    pub(super) fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "scope",
            "Until when a request counts as in flight. Default: \"body\".",
            &mut self.scope,
        );
        to.field("streams", "What limits responses that are streams: \"work\" as other bodies, \"head\" not at all, or how many there may be at once. Default: \"work\".", &mut self.streams);
        to.field(
            "expose_permit",
            "Whether handlers can release or hold their permit. Default: false.",
            &mut self.expose_permit,
        );
        to.field(
            "dry_run",
            "Whether it decides and counts, and runs every request. Default: false.",
            &mut self.dry_run,
        );
    }
}

impl Section for AdmissionSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "limit",
            "Requests at once: a number, or \"adaptive\" to measure it. Default: \"adaptive\".",
            &mut self.limit,
        );
        to.field("min", "The lowest limit. Default: 1.", &mut self.min);
        to.field("max", "The highest limit. Default: 1000000.", &mut self.max);
        to.field("initial", "Where an adaptive limit starts. It has no effect on one that runs. Default: the algorithm's own.", &mut self.initial);
        to.field("queue", "The queue. Default: 16384 requests, \"1s\", of which as many as run in that time, or 1024.", &mut self.queue);
        to.field(
            "reserve",
            "Shares of the capacity that lower priorities get in any case. Default: none.",
            &mut self.reserve,
        );
        to.field(
            "status",
            "The status of a rejection: 503 or 429. Default: 503.",
            &mut self.status,
        );
        to.field("delay_rejections", "Rejections that are delayed at once, each by the fraction of a second that Retry-After cannot say. Default: 1024 in a flood, none otherwise.", &mut self.delay_rejections);
        to.field(
            "reveal_reason",
            "Whether a rejection tells its reason. Default: true.",
            &mut self.reveal_reason,
        );
        to.field(
            "expose_pressure",
            "Whether handlers are told how near the limit is. Default: false.",
            &mut self.expose_pressure,
        );
        self.common.fields(to);
    }
}

impl Section for Reserves {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "sheddable",
            "The share of sheddable requests, up to \"50%\". Default: \"0%\".",
            &mut self.sheddable,
        );
        to.field(
            "deferrable",
            "The share of deferrable requests, up to \"50%\". Default: \"0%\".",
            &mut self.deferrable,
        );
        to.field(
            "normal",
            "The share of normal requests, up to \"50%\". Default: \"0%\".",
            &mut self.normal,
        );
    }
}

impl Reserves {
    const ALL: [Priority; 3] = [Priority::Sheddable, Priority::Deferrable, Priority::Normal];

    fn settings(&self) -> [&Setting<Share>; 3] {
        [&self.sheddable, &self.deferrable, &self.normal]
    }
}

/// A whole number of per cent within a range.
pub(super) fn check_percent(option: &'static str, share: Share, max: usize) -> Result<(), String> {
    let percent =
        share.whole_percent().ok_or(format!("{option} must be a whole number of per cent"))?;
    OutOfRange::check(option, percent, 0, max).map_err(|error| format!("{error} per cent"))
}

impl AdmissionSection {
    pub(super) fn check(&self, path: &str, reading: &mut Reading<'_>) {
        self.limit.check(path, reading, |limit| match limit {
            WordOr::Number(limit) => OutOfRange::check("limit", limit, 1, MAX),
            WordOr::Word(Adapts) => Ok(()),
        });
        let (min, max) = self.bounds();
        self.max.check(path, reading, |max| OutOfRange::check("max", max, 1, MAX));
        self.min.check(path, reading, |min| OutOfRange::check("min", min, 1, max.clamp(1, MAX)));
        self.initial
            .check(path, reading, |initial| OutOfRange::check("initial", initial, min, max));
        self.status.check(path, reading, |status| {
            [503, 429].contains(&status).then_some(()).ok_or("status must be 503 or 429")
        });
        for setting in self.reserve.value.iter().flat_map(Reserves::settings) {
            setting.check(path, reading, |share| check_percent("reserve", share, MAX_SHARE));
        }
    }

    /// The lowest and the highest limit.
    pub(in crate::policy) fn bounds(&self) -> (usize, usize) {
        (self.min.get().unwrap_or(1), self.max.get().unwrap_or(MAX))
    }

    /// `None`: it adapts.
    pub(in crate::policy) fn fixed(&self) -> Option<usize> {
        match self.limit.get()? {
            WordOr::Number(limit) => Some(limit),
            WordOr::Word(Adapts) => None,
        }
    }

    pub(in crate::policy) fn bounds_of_queue(&self) -> QueueBounds {
        self.queue.value.as_ref().map(QueueSection::bounds).unwrap_or_default()
    }

    /// The share of each priority in per cent.
    pub(in crate::policy) fn reserves(&self) -> [(Priority, usize); 3] {
        let reserves = self.reserve.value.clone().unwrap_or_default();
        let settings = reserves.settings();
        let percent =
            |index: usize| settings[index].get().and_then(Share::whole_percent).unwrap_or(0);
        std::array::from_fn(|index| (Reserves::ALL[index], percent(index)))
    }
}
