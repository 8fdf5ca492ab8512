//! The scoreboard as Markdown, between marks of a hand-written document.

mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use super::scoreboard::Scoreboard;

/// A document with a place for every table: `<!-- begin NAME -->` to `<!-- end NAME -->`.
#[derive(Debug)]
pub(super) struct Document {
    path: PathBuf,
    text: String,
}

type Part = fn(&Scoreboard<'_>) -> String;

const PARTS: [(&str, Part); 4] = [
    ("extent", tables::extent),
    ("controllers", tables::controllers),
    ("losses", tables::losses),
    ("scenarios", tables::scenarios),
];

impl Document {
    /// Reads the document before anything is run, so that a missing mark is reported at once.
    ///
    /// # Errors
    /// That it cannot be read, or a mark is missing.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let fault = |fault: String| format!("{}: {fault}", path.display());
        let text = fs::read_to_string(path).map_err(|error| fault(error.to_string()))?;
        for (name, _) in PARTS {
            place(&text, name).map_err(fault)?;
        }
        Ok(Self { path: path.to_owned(), text })
    }

    /// # Errors
    /// That it cannot be written.
    pub(super) fn write(self, scoreboard: &Scoreboard<'_>) -> Result<(), String> {
        let text = filled(self.text, scoreboard)?;
        fs::write(&self.path, text).map_err(|error| format!("{}: {error}", self.path.display()))
    }
}

fn filled(mut text: String, scoreboard: &Scoreboard<'_>) -> Result<String, String> {
    for (name, part) in PARTS {
        let place = place(&text, name)?;
        text.replace_range(place, &format!("\n\n{}\n", part(scoreboard).trim_end()));
    }
    Ok(text)
}

/// The range between the marks of that name.
fn place(text: &str, name: &str) -> Result<std::ops::Range<usize>, String> {
    let (begin, end) = (format!("<!-- begin {name} -->"), format!("<!-- end {name} -->"));
    let find = |mark: &str| text.find(mark).ok_or_else(|| format!("there is no {mark}"));
    let (from, to) = (find(&begin)? + begin.len(), find(&end)?);
    if from > to { Err(format!("{end} stands before {begin}")) } else { Ok(from..to) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Run, Score};

    const FRAME: &str = "# Frame\n<!-- begin extent -->\nold\n<!-- end extent -->\nby hand
<!-- begin controllers --><!-- end controllers -->
<!-- begin losses -->\n<!-- end losses -->\n<!-- begin scenarios --><!-- end scenarios -->\nthe end\n";

    #[test]
    fn hand_written_text_stays_and_generated_text_is_replaced() {
        let score = Score { goodput_over_ceiling: 0.5, ..Score::default() };
        let (scenario, controller) = ("calm".into(), "ours".into());
        let runs = [Run { scenario, controller, seed: 1, score }];
        let scoreboard = Scoreboard::of(&runs);
        let once = filled(FRAME.into(), &scoreboard).unwrap();
        assert!(once.starts_with("# Frame\n") && once.ends_with("\nthe end\n"), "{once}");
        assert!(once.contains("\nby hand\n") && !once.contains("old"), "{once}");
        assert_eq!(filled(once.clone(), &scoreboard).unwrap(), once);
    }

    #[test]
    fn a_missing_mark_is_reported_before_anything_is_run() {
        assert!(place("<!-- begin losses -->", "losses").is_err());
        assert!(place("<!-- end losses --> <!-- begin losses -->", "losses").is_err());
    }

    #[test]
    fn the_comparison_has_marks_for_every_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/comparison.md");
        Document::open(Path::new(path)).unwrap();
    }
}
