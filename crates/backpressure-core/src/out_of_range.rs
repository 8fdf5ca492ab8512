//! The error of an option that is given a number outside its range.

use std::fmt;

/// A number outside the range of an option: the error of the `try_` constructors where the others panic.
///
/// ```
/// use backpressure_core::Fixed;
///
/// let error = Fixed::try_new(0).expect_err("no request could run");
/// assert_eq!(error.to_string(), "limit must be in 1..=1000000");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutOfRange {
    /// The name of the option.
    pub option: &'static str,
    /// The lowest number allowed.
    pub min: usize,
    /// The highest number allowed.
    pub max: usize,
}

impl OutOfRange {
    /// Checks a number for the option of this name.
    ///
    /// # Errors
    /// [`OutOfRange`] when `number` is not in `min..=max`.
    pub const fn check(
        option: &'static str,
        number: usize,
        min: usize,
        max: usize,
    ) -> Result<(), Self> {
        if number >= min && number <= max { Ok(()) } else { Err(Self { option, min, max }) }
    }
}

impl fmt::Display for OutOfRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { option, min, max } = self;
        write!(f, "{option} must be in {min}..={max}")
    }
}

impl std::error::Error for OutOfRange {}
