//! Draws one chart as SVG, from lines, areas and bands.

pub(crate) mod outcomes;
pub(crate) mod over_load;
pub(crate) mod scale;
mod thin;

use crate::chart::scale::Axis;
use crate::chart::thin::thinned;
use crate::text::escaped;
use std::borrow::Cow;
use std::fmt::Write;

/// Space for the numbers beside a chart.
pub(crate) const LEFT: f64 = 72.0;
const TOP: f64 = 12.0;
/// Space below the chart: for the numbers, and for the name of the axis if it has one.
const NUMBERS: f64 = 24.0;
const NAME: f64 = 18.0;
/// How far a thinned line may be from its points, in units of the chart.
const SLACK: f64 = 0.3;
/// Distance between the baselines of two labels.
const LABEL_GAP: f64 = 18.0;

/// A chart. Its colours are CSS classes, so that the page decides about light and dark.
#[derive(Debug)]
pub(crate) struct Chart {
    /// Description for screen readers.
    pub(crate) title: String,
    pub(crate) width: f64,
    pub(crate) height: f64,
    /// Space on the left for the numbers.
    pub(crate) left: f64,
    /// Space on the right for the names of the lines.
    pub(crate) right: f64,
    pub(crate) x: Axis,
    /// Name of the x axis; may be empty.
    pub(crate) x_label: String,
    pub(crate) y: Axis,
    pub(crate) bands: Vec<Band>,
    pub(crate) areas: Vec<Area>,
    pub(crate) lines: Vec<Line>,
}

/// A marked section of the x axis.
#[derive(Debug)]
pub(crate) struct Band {
    pub(crate) from: f64,
    pub(crate) to: f64,
    pub(crate) label: String,
}

/// An area between two edges: x, lower, upper.
#[derive(Debug)]
pub(crate) struct Area {
    pub(crate) class: &'static str,
    pub(crate) edges: Vec<(f64, f64, f64)>,
}

/// A line and its name.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) class: Cow<'static, str>,
    pub(crate) label: String,
    pub(crate) points: Vec<Point>,
    /// Whether every point is marked and has a tooltip.
    pub(crate) marked: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct Point {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) text: String,
    /// Nothing was measured here: a cross is drawn at `y`, and the line skips the point.
    pub(crate) missing: bool,
}

impl Point {
    pub(crate) fn plain(x: f64, y: f64) -> Self {
        Self { x, y, text: String::new(), missing: false }
    }
}

impl Chart {
    pub(crate) fn svg(&self) -> String {
        let mut svg = format!(
            r#"<svg viewBox="0 0 {} {}" role="img" aria-label="{}">"#,
            self.width,
            self.height,
            escaped(&self.title)
        );
        self.bands.iter().for_each(|band| self.draw_band(&mut svg, band));
        self.draw_axes(&mut svg);
        self.areas.iter().for_each(|area| self.draw_area(&mut svg, area));
        self.lines.iter().for_each(|line| self.draw_line(&mut svg, line));
        self.draw_labels(&mut svg);
        svg.push_str("</svg>");
        svg
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.x.place(value) * (self.width - self.left - self.right)
    }

    fn y(&self, value: f64) -> f64 {
        self.floor() - self.y.place(value) * (self.floor() - TOP)
    }

    /// y coordinate of the x axis.
    fn floor(&self) -> f64 {
        self.height - NUMBERS - if self.x_label.is_empty() { 0.0 } else { NAME }
    }

    fn draw_band(&self, svg: &mut String, band: &Band) {
        let (left, right) = (self.x(band.from), self.x(band.to));
        let height = self.floor() - TOP;
        put(
            svg,
            format_args!(
                r#"<rect class="band" x="{left:.1}" y="{TOP}" width="{:.1}" height="{height:.1}"/>"#,
                right - left
            ),
        );
        let middle = f64::midpoint(left, right);
        put(
            svg,
            format_args!(
                r#"<text class="band" x="{middle:.1}" y="{:.1}">{}</text>"#,
                TOP + 16.0,
                escaped(&band.label)
            ),
        );
    }

    fn draw_axes(&self, svg: &mut String) {
        let (left, right, floor) = (self.left, self.width - self.right, self.floor());
        for (value, label) in &self.y.ticks {
            let y = self.y(*value);
            put(
                svg,
                format_args!(
                    r#"<line class="grid" x1="{left}" x2="{right}" y1="{y:.1}" y2="{y:.1}"/>"#
                ),
            );
            put(
                svg,
                format_args!(
                    r#"<text class="y" x="{:.1}" y="{:.1}">{}</text>"#,
                    left - 8.0,
                    y + 4.0,
                    escaped(label)
                ),
            );
        }
        for (value, label) in &self.x.ticks {
            put(
                svg,
                format_args!(
                    r#"<text class="x" x="{:.1}" y="{:.1}">{}</text>"#,
                    self.x(*value),
                    floor + 18.0,
                    escaped(label)
                ),
            );
        }
        put(
            svg,
            format_args!(
                r#"<line class="floor" x1="{left}" x2="{right}" y1="{floor}" y2="{floor}"/>"#
            ),
        );
        if !self.x_label.is_empty() {
            let middle = f64::midpoint(left, right);
            let label = escaped(&self.x_label);
            let y = floor + 36.0;
            put(
                svg,
                format_args!(r#"<text class="x name" x="{middle:.1}" y="{y:.1}">{label}</text>"#),
            );
        }
    }

    fn draw_area(&self, svg: &mut String, area: &Area) {
        let upper = area.edges.iter().map(|&(x, _, upper)| (x, upper));
        let lower = area.edges.iter().rev().map(|&(x, lower, _)| (x, lower));
        let outline: Vec<String> =
            upper.chain(lower).map(|(x, y)| format!("{:.1},{:.1}", self.x(x), self.y(y))).collect();
        put(
            svg,
            format_args!(
                r#"<polygon class="area {}" points="{}"/>"#,
                area.class,
                outline.join(" ")
            ),
        );
    }

    fn draw_line(&self, svg: &mut String, line: &Line) {
        let there = line.points.iter().filter(|point| !point.missing);
        let there: Vec<(f64, f64)> =
            there.map(|point| (self.x(point.x), self.y(point.y))).collect();
        let there = if line.marked { there } else { thinned(&there, SLACK) };
        let path: Vec<String> =
            there.into_iter().map(|(x, y)| format!("{},{}", short(x), short(y))).collect();
        put(
            svg,
            format_args!(r#"<polyline class="line {}" points="{}"/>"#, line.class, path.join(" ")),
        );
        if line.marked {
            line.points.iter().for_each(|point| self.draw_mark(svg, &line.class, point));
        }
    }

    fn draw_mark(&self, svg: &mut String, class: &str, point: &Point) {
        let (x, y) = (self.x(point.x), self.y(point.y));
        let text = escaped(&point.text);
        if point.missing {
            let (a, b, c, d) = (x - 4.0, x + 4.0, y - 4.0, y + 4.0);
            let cross = format!("M{a:.1} {c:.1}L{b:.1} {d:.1}M{a:.1} {d:.1}L{b:.1} {c:.1}");
            put(
                svg,
                format_args!(
                    r#"<path class="cross {class}" d="{cross}"><title>{text}</title></path>"#
                ),
            );
        } else {
            put(
                svg,
                format_args!(
                    r#"<circle class="mark {class}" cx="{x:.1}" cy="{y:.1}" r="4"><title>{text}</title></circle>"#
                ),
            );
        }
    }

    /// Draws the name of each line at its end, moved apart if ends are close.
    fn draw_labels(&self, svg: &mut String) {
        let mut labels: Vec<(f64, &Line)> = self
            .lines
            .iter()
            .filter(|line| !line.label.is_empty())
            .filter_map(|line| Some((self.y(line.points.last()?.y), line)))
            .collect();
        labels.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted: Vec<f64> = labels.iter().map(|(y, _)| *y).collect();
        for (y, (_, line)) in spread(&wanted, LABEL_GAP, self.floor()).into_iter().zip(labels) {
            let x = self.width - self.right + 10.0;
            put(
                svg,
                format_args!(
                    r#"<text class="label {}" x="{x:.1}" y="{:.1}">{}</text>"#,
                    line.class,
                    y + 4.0,
                    escaped(&line.label)
                ),
            );
        }
    }
}

/// Ascending positions at least `gap` apart and none beyond `most`, each near the one wanted.
fn spread(wanted: &[f64], gap: f64, most: f64) -> Vec<f64> {
    let mut places = wanted.to_vec();
    for at in 1..places.len() {
        places[at] = places[at].max(places[at - 1] + gap);
    }
    let mut roof = most;
    for place in places.iter_mut().rev() {
        *place = place.min(roof);
        roof = *place - gap;
    }
    places
}

/// A coordinate with one decimal, or none if that is 0.
fn short(place: f64) -> String {
    let text = format!("{place:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

fn put(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_that_would_overlap_are_moved_apart_and_stay_in_the_chart() {
        assert_eq!(spread(&[10.0, 10.0, 50.0], 16.0, 100.0), [10.0, 26.0, 50.0]);
        assert_eq!(spread(&[98.0, 99.0, 100.0], 16.0, 100.0), [68.0, 84.0, 100.0]);
    }

    #[test]
    fn a_chart_escapes_its_labels() {
        let axis = Axis::linear(0.0, 1.0, vec![(0.0, "<".into())]);
        let chart = Chart {
            title: "\"&".into(),
            width: 100.0,
            height: 100.0,
            left: 62.0,
            right: 10.0,
            x: axis.clone(),
            x_label: "<script>".into(),
            y: axis,
            bands: vec![],
            areas: vec![],
            lines: vec![Line {
                class: "bare".into(),
                label: "<b>".into(),
                points: vec![Point::plain(0.0, 0.0)],
                marked: false,
            }],
        };
        let svg = chart.svg();
        assert!(!svg.contains("<script>") && !svg.contains("<b>") && svg.contains("&quot;&amp;"));
    }
}
