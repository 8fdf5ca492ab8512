//! The outcome of an attempt.

use crate::url_storm::connections::Answer;
use crate::url_storm::failure::Failure;
use std::time::Duration;

#[derive(Debug)]
pub(crate) enum Outcome {
    Good(Answer),
    /// 503, 429 or 529, and when to come back.
    Refused(Answer, Option<Duration>),
    /// Another status, or not the text that is expected.
    Useless(Answer),
    Late,
    Failed(Failure),
}
