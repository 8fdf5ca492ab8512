//! Draws lines over time as SVG.

use std::fmt::Write;

use super::scale::Scale;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 56.0;
/// Room for the names of the lines.
const RIGHT: f64 = 190.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 44.0;
/// Distance between the baselines of two names.
const NAME_GAP: f64 = 17.0;

/// Text and lines keep a contrast of 4.5 to the ground in both schemes. Lines differ in their dashes too.
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#3b4351}.ground{fill:#fff}.grid{stroke:#e3e6eb}\
.floor{stroke:#8a93a3}.band{fill:#f3efe4}.y{text-anchor:end}.x,.band-name{text-anchor:middle}.what{font-weight:600}\
polyline{fill:none;stroke-width:2;stroke-linejoin:round}\
.a{stroke:#0b5fc0}.b{stroke:#b4470c;stroke-dasharray:7 3}.c{stroke:#7a3fb0;stroke-dasharray:2 3}\
.reference{stroke:#69717e;stroke-width:1.5;stroke-dasharray:12 4}\
text.a,text.b,text.c,text.reference{stroke:none}text.a{fill:#0b5fc0}text.b{fill:#b4470c}text.c{fill:#7a3fb0}\
@media(prefers-color-scheme:dark){text{fill:#d6dbe3}.ground{fill:#14181f}.grid{stroke:#2a303a}.floor{stroke:#77808e}\
.band{fill:#262318}.a{stroke:#6fb1ff}.b{stroke:#ff9c61}.c{stroke:#c9a4ff}.reference{stroke:#9aa3b1}\
text.a{fill:#6fb1ff}text.b{fill:#ff9c61}text.c{fill:#c9a4ff}}";

/// A chart of lines over seconds.
#[derive(Debug)]
pub(super) struct Figure {
    /// What is seen, for readers that see no picture.
    pub(super) says: String,
    /// What the vertical axis counts, with its unit.
    pub(super) y_name: &'static str,
    pub(super) seconds: f64,
    pub(super) y: Scale,
    pub(super) bands: Vec<Band>,
    pub(super) lines: Vec<Line>,
}

/// A marked time.
#[derive(Debug)]
pub(super) struct Band {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) name: &'static str,
}

#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) class: Class,
    /// Seconds, and a value.
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Class {
    First,
    Second,
    Third,
    /// What is known to the simulation alone.
    Reference,
}

impl Class {
    const fn css(self) -> &'static str {
        match self {
            Self::First => "a",
            Self::Second => "b",
            Self::Third => "c",
            Self::Reference => "reference",
        }
    }
}

impl Figure {
    pub(super) fn svg(&self) -> String {
        let mut svg = String::new();
        self.draw(&mut svg).expect("writing to a string does not fail");
        svg
    }

    fn draw(&self, svg: &mut String) -> std::fmt::Result {
        let says = &self.says;
        writeln!(
            svg,
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{says}">"#
        )?;
        writeln!(svg, "<style>{STYLE}</style>")?;
        writeln!(svg, r#"<rect class="ground" width="{WIDTH}" height="{HEIGHT}" rx="6"/>"#)?;
        self.bands.iter().try_for_each(|band| self.draw_band(svg, band))?;
        self.draw_axes(svg)?;
        self.lines.iter().try_for_each(|line| self.draw_line(svg, line))?;
        self.draw_names(svg)?;
        writeln!(svg, "</svg>")
    }

    fn x(&self, seconds: f64) -> f64 {
        LEFT + Scale::Linear(0.0, self.seconds).place(seconds) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - self.y.place(value) * (HEIGHT - BOTTOM - TOP)
    }

    fn draw_band(&self, svg: &mut String, band: &Band) -> std::fmt::Result {
        let (from, to) = (self.x(band.from), self.x(band.to));
        let (width, height) = (to - from, HEIGHT - BOTTOM - TOP);
        writeln!(
            svg,
            r#"<rect class="band" x="{from:.1}" y="{TOP}" width="{width:.1}" height="{height}"/>"#
        )?;
        let (middle, y, name) = (f64::midpoint(from, to), TOP + 16.0, band.name);
        writeln!(svg, r#"<text class="band-name" x="{middle:.1}" y="{y}">{name}</text>"#)
    }

    fn draw_axes(&self, svg: &mut String) -> std::fmt::Result {
        let (left, right, floor) = (LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM);
        for value in self.y.ticks() {
            let (y, base) = (self.y(value), self.y(value) + 4.0);
            writeln!(
                svg,
                r#"<path class="grid" d="M{left} {y:.1}H{right}"/><text class="y" x="{:.1}" y="{base:.1}">{}</text>"#,
                left - 8.0,
                (value * 1e6).round() / 1e6
            )?;
        }
        for seconds in Scale::Linear(0.0, self.seconds).ticks() {
            let (x, y) = (self.x(seconds), floor + 17.0);
            writeln!(svg, r#"<text class="x" x="{x:.1}" y="{y}">{seconds}</text>"#)?;
        }
        let (middle, under, name) = (f64::midpoint(left, right), floor + 36.0, self.y_name);
        writeln!(svg, r#"<path class="floor" d="M{left} {floor}H{right}"/>"#)?;
        writeln!(svg, r#"<text class="x" x="{middle}" y="{under}">seconds</text>"#)?;
        writeln!(svg, r#"<text class="what" x="8" y="20">{name}</text>"#)
    }

    fn draw_line(&self, svg: &mut String, line: &Line) -> std::fmt::Result {
        let points = line.points.iter().filter(|(_, value)| value.is_finite());
        let points: Vec<String> = points
            .map(|&(seconds, value)| format!("{:.1},{:.1}", self.x(seconds), self.y(value)))
            .collect();
        let (class, points) = (line.class.css(), points.join(" "));
        writeln!(svg, r#"<polyline class="{class}" points="{points}"/>"#)
    }

    /// The name of each line at its end, moved apart where ends are close.
    fn draw_names(&self, svg: &mut String) -> std::fmt::Result {
        let end = |line: &Line| line.points.last().map_or(0.0, |&(_, value)| self.y(value));
        let mut lines: Vec<(f64, &Line)> =
            self.lines.iter().map(|line| (end(line), line)).collect();
        lines.sort_by(|a, b| a.0.total_cmp(&b.0));
        let wanted: Vec<f64> = lines.iter().map(|&(y, _)| y).collect();
        for (y, (_, line)) in spread(&wanted, HEIGHT - BOTTOM).into_iter().zip(lines) {
            let (class, x, base, name) =
                (line.class.css(), WIDTH - RIGHT + 10.0, y + 4.0, line.name);
            writeln!(svg, r#"<text class="{class}" x="{x}" y="{base:.1}">{name}</text>"#)?;
        }
        Ok(())
    }
}

/// Ascending places at least [`NAME_GAP`] apart and none beyond `most`, each near the wanted one.
fn spread(wanted: &[f64], most: f64) -> Vec<f64> {
    let mut places = wanted.to_vec();
    for at in 1..places.len() {
        places[at] = places[at].max(places[at - 1] + NAME_GAP);
    }
    let mut roof = most;
    for place in places.iter_mut().rev() {
        *place = place.min(roof);
        roof = *place - NAME_GAP;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_overlap_are_moved_apart() {
        assert_eq!(spread(&[10.0, 10.0, 60.0], 100.0), [10.0, 27.0, 60.0]);
        assert_eq!(spread(&[99.0, 100.0], 100.0), [83.0, 100.0]);
    }

    #[test]
    fn each_line_is_drawn_with_its_name_and_without_what_is_infinite() {
        let points = vec![(0.0, f64::INFINITY), (1.0, 1.0)];
        let line = |name, class| Line { name, class, points: points.clone() };
        let figure = Figure {
            says: "two".into(),
            y_name: "requests",
            seconds: 1.0,
            y: Scale::Linear(0.0, 2.0),
            bands: vec![Band { from: 0.0, to: 0.5, name: "slow" }],
            lines: vec![line("one", Class::First), line("other", Class::Reference)],
        };
        let svg = figure.svg();
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains(">one</text>") && svg.contains(">slow</text>"));
        assert!(!svg.contains("inf") && !svg.contains("NaN"));
    }
}
