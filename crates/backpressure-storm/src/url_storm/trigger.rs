//! What is done to the service in a step.

#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(crate) enum Trigger {
    /// Offered load, over capacity.
    Load(f64),
    /// The brown-out, at [`BASE`](crate::scenario::BASE) of the capacity.
    BrownOut,
    /// A short overload by patient clients, and then time for them to come back when told.
    Told,
}

impl Trigger {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Load(load) => format!("{load}x"),
            Self::BrownOut => "brown-out".into(),
            Self::Told => "told".into(),
        }
    }
}
