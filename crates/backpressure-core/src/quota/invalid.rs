//! Numbers that make no quota.

use std::fmt;

use super::{MAX_TOKENS, MAX_WINDOWS, Quota, QuotaWindow};

/// Why numbers make no quota: the error of the `try_` constructors where the others panic.
///
/// ```
/// use backpressure_core::{InvalidQuota, Quota, QuotaWindow};
/// use std::time::Duration;
///
/// let window = QuotaWindow::try_new(10, Duration::from_secs(1))?;
/// let quota = Quota::unlimited().try_with(window)?;
/// assert_eq!(quota.try_with(window), Err(InvalidQuota::SamePeriod));
/// # Ok::<(), InvalidQuota>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidQuota {
    /// A number of tokens is outside `min..=MAX_TOKENS`.
    #[non_exhaustive]
    Tokens {
        /// The name of the option.
        option: &'static str,
        /// The lowest number allowed.
        min: u64,
    },
    /// A period is shorter than a microsecond or longer than ten years.
    Period,
    /// Two windows have the same period.
    SamePeriod,
    /// There are more than four windows.
    TooManyWindows,
}

impl Quota {
    /// The same quota with one more window.
    ///
    /// # Errors
    /// When there are four windows already, or one with the same period.
    pub fn try_with(mut self, window: QuotaWindow) -> Result<Self, InvalidQuota> {
        if self.windows().any(|known| known.period() == window.period()) {
            return Err(InvalidQuota::SamePeriod);
        }
        let free = self.windows.iter_mut().find(|slot| slot.is_none());
        *free.ok_or(InvalidQuota::TooManyWindows)? = Some(window);
        Ok(self)
    }
}

impl fmt::Display for InvalidQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tokens { option, min } => write!(f, "{option} must be in {min}..={MAX_TOKENS}"),
            Self::Period => f.write_str("period must be from a microsecond to ten years"),
            Self::SamePeriod => f.write_str("a quota must have one window of a period"),
            Self::TooManyWindows => write!(f, "a quota must have at most {MAX_WINDOWS} windows"),
        }
    }
}

impl std::error::Error for InvalidQuota {}

/// # Panics
/// With the error, if it is one: for numbers that stand in a program.
pub(super) fn valid<T>(result: Result<T, InvalidQuota>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}
