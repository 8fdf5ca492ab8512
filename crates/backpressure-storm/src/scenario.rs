//! What happens to the service in a run of the storm.

use clap::ValueEnum;
use clap::builder::PossibleValue;

/// Load of the brown-out, over capacity: high, but below capacity without retries.
pub(crate) const BASE: f64 = 0.8;
/// Factor of the duration of all work during the brown-out.
pub(crate) const SLOWER: u64 = 8;

/// What happens to the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    Half,
    One,
    Two,
    Five,
    Ten,
    BrownOut,
}

impl Scenario {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Half => "0.5x",
            Self::One => "1x",
            Self::Two => "2x",
            Self::Five => "5x",
            Self::Ten => "10x",
            Self::BrownOut => "brown-out",
        }
    }

    /// Offered load, over capacity.
    pub(crate) const fn load(self) -> f64 {
        match self {
            Self::Half => 0.5,
            Self::One => 1.0,
            Self::Two => 2.0,
            Self::Five => 5.0,
            Self::Ten => 10.0,
            Self::BrownOut => BASE,
        }
    }
}

impl ValueEnum for Scenario {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Half, Self::One, Self::Two, Self::Five, Self::Ten, Self::BrownOut]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

/// What a quick storm shows: the loads in between take time, and say the same.
pub(crate) const QUICK_SCENARIOS: [Scenario; 3] =
    [Scenario::Two, Scenario::Ten, Scenario::BrownOut];
