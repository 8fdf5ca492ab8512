//! Whose line is whose.

/// Every name of ours begins with this.
const OURS: &str = "ours";
/// The honest baseline: twice the cores, by hand.
const BASELINE: &str = "static-2c";

/// The CSS classes of a controller's lines and cells: its own, and that of its kind.
pub(super) fn class(rank: usize, controller: &str) -> String {
    match place(controller) {
        2 => format!("k{rank} ours"),
        1 => format!("k{rank} base"),
        _ => format!("k{rank}"),
    }
}

/// The higher, the nearer to the eye.
pub(super) fn place(controller: &str) -> u8 {
    if controller.starts_with(OURS) { 2 } else { u8::from(controller == BASELINE) }
}

/// How bad a share of what is possible is: 0 for nothing lost, up to [`WORST`].
pub(super) fn shade(goodput: f64) -> usize {
    STEPS.iter().position(|&least| goodput >= least).unwrap_or(WORST)
}

/// The least goodput of each shade.
pub(super) const STEPS: [f64; 7] = [0.99, 0.97, 0.95, 0.9, 0.75, 0.5, 0.25];
pub(super) const WORST: usize = STEPS.len();

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shades_run_from_nothing_lost_to_nothing_left() {
        assert_eq!([1.02, 0.99, 0.98, 0.6, 0.0, f64::NAN].map(shade), [0, 0, 1, 5, 7, 7]);
    }

    #[test]
    fn ours_is_drawn_over_the_baseline_and_that_over_the_rest() {
        assert_eq!(["vegas", "static-2c", "ours"].map(place), [0, 1, 2]);
    }
}
