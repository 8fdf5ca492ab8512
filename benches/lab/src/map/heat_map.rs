//! Draws a heat map as SVG: rows, columns, and a class for every tile.

use std::fmt::Write;

const LEFT: f64 = 66.0;
const BOTTOM: f64 = 20.0;
const TILE: (f64, f64) = (27.0, 16.0);
/// Space between two tiles.
const GAP: f64 = 1.0;

/// A heat map. Its colours are CSS classes of the page.
#[derive(Debug)]
pub(crate) struct HeatMap {
    /// Description for screen readers.
    pub(crate) title: String,
    /// From left to right.
    pub(crate) columns: Vec<String>,
    /// From top to bottom.
    pub(crate) rows: Vec<String>,
    /// Row by row.
    pub(crate) tiles: Vec<Tile>,
}

#[derive(Debug)]
pub(crate) struct Tile {
    pub(crate) class: &'static str,
    /// Its tooltip.
    pub(crate) text: String,
}

impl HeatMap {
    pub(crate) fn svg(&self) -> String {
        let floor = self.rows.len() as f64 * TILE.1;
        let width = LEFT + self.columns.len() as f64 * TILE.0;
        let mut svg = format!(
            r#"<svg viewBox="0 0 {width} {}" role="img" aria-label="{}">"#,
            floor + BOTTOM,
            self.title
        );
        for (row, name) in self.rows.iter().enumerate() {
            let y = (row as f64 + 0.5) * TILE.1 + 3.5;
            label(&mut svg, "y", (LEFT - 6.0, y), name);
        }
        for (column, name) in self.columns.iter().enumerate() {
            let x = LEFT + (column as f64 + 0.5) * TILE.0;
            label(&mut svg, "x", (x, floor + 14.0), name);
        }
        for (at, tile) in self.tiles.iter().enumerate() {
            let (row, column) = (at / self.columns.len(), at % self.columns.len());
            draw(&mut svg, tile, (LEFT + column as f64 * TILE.0, row as f64 * TILE.1));
        }
        svg.push_str("</svg>");
        svg
    }
}

fn label(svg: &mut String, class: &str, (x, y): (f64, f64), text: &str) {
    write!(svg, r#"<text class="{class}" x="{x}" y="{y}">{text}</text>"#)
        .expect("writing to a string does not fail");
}

fn draw(svg: &mut String, tile: &Tile, (x, y): (f64, f64)) {
    let (class, text) = (tile.class, &tile.text);
    let (width, height) = (TILE.0 - GAP, TILE.1 - GAP);
    write!(
        svg,
        r#"<rect class="{class}" x="{x}" y="{y}" width="{width}" height="{height}" rx="2"><title>{text}</title></rect>"#
    )
    .expect("writing to a string does not fail");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tile_is_drawn_with_its_text() {
        let tile = |text: &str| Tile { class: "r0", text: text.into() };
        let heat = HeatMap {
            title: "t".into(),
            columns: vec!["a".into(), "b".into()],
            rows: vec!["c".into()],
            tiles: vec![tile("one"), tile("two")],
        };
        let svg = heat.svg();
        assert_eq!(svg.matches("<rect").count(), 2);
        assert!(svg.contains("two"));
    }
}
