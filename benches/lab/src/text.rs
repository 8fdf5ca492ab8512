//! Durations as text.

/// A duration in its own unit, without a fraction if it has none.
pub(crate) fn seconds(seconds: f64) -> String {
    let (value, unit) = match seconds {
        0.0 => (0.0, "s"),
        of if of < 1e-3 => (of * 1e6, "µs"),
        of if of < 1.0 => (of * 1e3, "ms"),
        of => (of, "s"),
    };
    let text = format!("{value:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_shown_in_a_suitable_unit() {
        assert_eq!(
            [0.0, 0.00025, 0.05, 2.5, 100.0].map(seconds),
            ["0 s", "250 µs", "50 ms", "2.5 s", "100 s"]
        );
    }
}
