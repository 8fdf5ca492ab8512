//! Piecewise linear functions of time, with their integral and its inverse.

/// A non-negative piecewise linear function of time in seconds; the last piece has no end.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Piecewise {
    knots: Vec<Knot>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Knot {
    at: f64,
    value: f64,
    /// Change per second until the next knot.
    slope: f64,
    /// The integral from the start to here.
    sum: f64,
}

impl Piecewise {
    pub(crate) fn constant(value: f64) -> Self {
        Self::steps(value, &[])
    }

    /// `initial` from the start, and each value from its moment on. Moments ascend.
    pub(crate) fn steps(initial: f64, steps: &[(f64, f64)]) -> Self {
        let mut curve = Self { knots: Vec::new() };
        curve.push(0.0, initial, 0.0);
        for &(at, value) in steps {
            curve.push(at, value, 0.0);
        }
        curve
    }

    /// Straight lines between the points. Moments ascend; before the first point and after the last the value
    /// is constant.
    pub(crate) fn ramps(points: &[(f64, f64)]) -> Self {
        let first = points.first().map_or(0.0, |&(_, value)| value);
        let mut curve = Self { knots: Vec::new() };
        curve.push(0.0, first, 0.0);
        for (n, &(at, value)) in points.iter().enumerate() {
            let slope = points.get(n + 1).map_or(0.0, |&(next, to)| (to - value) / (next - at));
            curve.push(at, value, slope);
        }
        curve
    }

    fn push(&mut self, at: f64, value: f64, slope: f64) {
        let sum = if self.knots.is_empty() { 0.0 } else { self.integral(at) };
        if self.knots.last().is_some_and(|last| last.at >= at) {
            self.knots.pop();
        }
        self.knots.push(Knot { at, value, slope, sum });
    }

    /// The moments at which the value or the slope may change.
    pub(crate) fn moments(&self) -> impl Iterator<Item = f64> {
        self.knots.iter().skip(1).map(|knot| knot.at)
    }

    pub(crate) fn at(&self, time: f64) -> f64 {
        let knot = self.knots[self.index(time)];
        (knot.value + knot.slope * (time - knot.at)).max(0.0)
    }

    /// The integral from the start to `time`.
    pub(crate) fn integral(&self, time: f64) -> f64 {
        let knot = self.knots[self.index(time)];
        let span = time - knot.at;
        knot.sum + span * (knot.value + 0.5 * knot.slope * span)
    }

    /// When the integral from `start` on reaches `amount`; `None`: never.
    pub(crate) fn reach(&self, start: f64, amount: f64) -> Option<f64> {
        if let [only] = self.knots[..] {
            return (only.value > 0.0).then(|| start + amount / only.value);
        }
        let mut left = amount;
        let mut from = start;
        for index in self.index(start).. {
            let knot = self.knots[index];
            let value = (knot.value + knot.slope * (from - knot.at)).max(0.0);
            let end = self.knots.get(index + 1).map(|next| next.at);
            let whole = end.map_or(f64::INFINITY, |end| {
                (end - from) * (value + 0.5 * knot.slope * (end - from))
            });
            if left <= whole {
                return solve(value, knot.slope, left).map(|span| from + span);
            }
            left -= whole;
            from = end?;
        }
        None
    }

    /// The product of both; `other` consists of steps.
    pub(crate) fn times(&self, other: &Self) -> Self {
        let mut moments: Vec<f64> = self.moments().chain(other.moments()).collect();
        moments.sort_by(f64::total_cmp);
        moments.dedup();
        let mut product = Self { knots: Vec::new() };
        for at in std::iter::once(0.0).chain(moments) {
            let (knot, factor) = (self.knots[self.index(at)], other.at(at));
            let value = knot.value + knot.slope * (at - knot.at);
            product.push(at, value * factor, knot.slope * factor);
        }
        product
    }

    /// Steps through `combine` of a moment, at every moment at which one of the functions changes.
    pub(crate) fn combined(all: &[&Self], combine: impl Fn(f64) -> f64) -> Self {
        let mut moments: Vec<f64> = all.iter().flat_map(|curve| curve.moments()).collect();
        moments.sort_by(f64::total_cmp);
        moments.dedup();
        let steps: Vec<(f64, f64)> = moments.iter().map(|&at| (at, combine(at))).collect();
        Self::steps(combine(0.0), &steps)
    }

    fn index(&self, time: f64) -> usize {
        if self.knots.len() == 1 {
            return 0;
        }
        self.knots.partition_point(|knot| knot.at <= time).saturating_sub(1)
    }
}

/// The time after which the integral of `value + slope · x` is `amount`.
fn solve(value: f64, slope: f64, amount: f64) -> Option<f64> {
    if amount <= 0.0 {
        return Some(0.0);
    }
    let root = (value * value + 2.0 * slope * amount).max(0.0).sqrt();
    (value + root > 0.0).then(|| 2.0 * amount / (value + root))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reach_is_the_inverse_of_the_integral() {
        let curves = [
            Piecewise::constant(2.0),
            Piecewise::steps(1.0, &[(2.0, 0.0), (4.0, 3.0), (4.5, 0.5)]),
            Piecewise::ramps(&[(1.0, 0.0), (3.0, 8.0), (6.0, 1.0)]),
        ];
        for curve in curves {
            for start in [0.0, 0.5, 1.0, 2.5, 4.2, 7.0] {
                for amount in [0.001, 0.3, 1.0, 5.0, 20.0] {
                    let end = curve.reach(start, amount).unwrap();
                    let walked = curve.integral(end) - curve.integral(start);
                    assert!((walked - amount).abs() < 1e-9, "{curve:?}: {start} + {amount}");
                }
            }
        }
    }

    #[test]
    fn what_stays_at_zero_never_reaches_more() {
        let curve = Piecewise::steps(1.0, &[(2.0, 0.0)]);
        assert_eq!(curve.reach(1.5, 1.0), None);
        assert_eq!(curve.reach(1.5, 0.5), Some(2.0));
    }

    #[test]
    fn a_step_holds_from_its_moment_on() {
        let curve = Piecewise::steps(1.0, &[(2.0, 5.0)]);
        assert_eq!((curve.at(1.999), curve.at(2.0)), (1.0, 5.0));
        assert_eq!(curve.integral(3.0), 7.0);
    }

    #[test]
    fn a_product_is_the_product() {
        let ramp = Piecewise::ramps(&[(0.0, 0.0), (10.0, 10.0)]);
        let square = Piecewise::steps(1.0, &[(2.0, 0.0), (4.0, 2.0)]);
        let product = ramp.times(&square);
        for time in [0.5, 1.9, 2.0, 3.0, 4.0, 9.0] {
            assert!((product.at(time) - ramp.at(time) * square.at(time)).abs() < 1e-12, "{time}");
        }
    }
}
