//! Removes points of a line that make no visible difference.

/// A line through some of the points that is no farther than `slack` from the others, measured vertically
/// (Ramer, Douglas and Peucker).
pub(super) fn thinned(points: &[(f64, f64)], slack: f64) -> Vec<(f64, f64)> {
    let mut kept = vec![false; points.len()];
    let Some(last) = points.len().checked_sub(1) else { return Vec::new() };
    (kept[0], kept[last]) = (true, true);
    let mut spans = vec![(0, last)];
    while let Some((from, to)) = spans.pop() {
        if let Some(far) = farthest(points, from, to, slack) {
            kept[far] = true;
            spans.extend([(from, far), (far, to)]);
        }
    }
    points.iter().zip(kept).filter(|(_, kept)| *kept).map(|(point, _)| *point).collect()
}

/// The point between two others that is farthest from the straight line between them, if that is
/// farther than `slack`.
fn farthest(points: &[(f64, f64)], from: usize, to: usize, slack: f64) -> Option<usize> {
    let ((x, y), (end_x, end_y)) = (points[from], points[to]);
    let slope = if end_x > x { (end_y - y) / (end_x - x) } else { 0.0 };
    let off = |at: usize| (points[at].1 - y - slope * (points[at].0 - x)).abs();
    let far = (from + 1..to).max_by(|&a, &b| off(a).total_cmp(&off(b)))?;
    (off(far) > slack).then_some(far)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_keeps_its_ends_and_a_corner_stays() {
        let straight: Vec<_> = (0..100).map(|x| (f64::from(x), 2.0 * f64::from(x))).collect();
        assert_eq!(thinned(&straight, 0.1), [(0.0, 0.0), (99.0, 198.0)]);
        let corner: Vec<_> =
            (0_i32..=100).map(|x| (f64::from(x), f64::from((x - 50).abs()))).collect();
        assert_eq!(thinned(&corner, 0.1), [(0.0, 50.0), (50.0, 0.0), (100.0, 50.0)]);
    }

    #[test]
    fn few_points_stay_as_they_are() {
        assert!(thinned(&[], 1.0).is_empty());
        assert_eq!(thinned(&[(1.0, 1.0)], 1.0), [(1.0, 1.0)]);
    }
}
