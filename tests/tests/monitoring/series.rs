//! Series of metrics in the notation of promtool's tests.

use std::collections::BTreeMap;
use std::fmt::Write;

/// What several scrapes of one process have read, of the metrics that the rules name.
#[derive(Debug, Default)]
pub(crate) struct Series {
    scrapes: usize,
    values: BTreeMap<String, Vec<Option<f64>>>,
}

impl Series {
    /// Adds a scrape in Prometheus' text format.
    pub(crate) fn add(&mut self, scrape: &str) {
        let named = crate::metrics(crate::RULES);
        for line in scrape.lines().filter(|line| !line.starts_with('#')) {
            let Some((series, value)) = line.rsplit_once(' ') else { continue };
            let name = series.split('{').next().unwrap_or(series);
            let is_bucket = name.ends_with("_bucket");
            if !named.contains(name.trim_end_matches("_bucket"))
                || (!is_bucket && name.ends_with("_seconds"))
            {
                continue;
            }
            let value: f64 = value.parse().expect("a number");
            let series = series.replacen('{', "{job=\"api\",instance=\"a\",", 1);
            let values = self.values.entry(series).or_default();
            values.resize(self.scrapes, None);
            // Two decimals are enough for any rule.
            values.push(Some((value * 100.0).round() / 100.0));
        }
        self.scrapes += 1;
    }

    pub(crate) fn yaml(&self) -> String {
        let mut text = String::new();
        // A counter that has counted nothing is as good as none.
        let is_used = |(series, values): &(&String, &Vec<Option<f64>>)| {
            !series.contains("_total{") || values.iter().flatten().any(|value| *value != 0.0)
        };
        for (series, values) in self.values.iter().filter(is_used) {
            let values = notation(values);
            writeln!(text, "      - {{ series: '{series}', values: '{values}' }}")
                .expect("a string");
        }
        text
    }
}

/// `1+2x3` is 1, 3, 5, 7, and `_x2` are two scrapes without a value.
fn notation(values: &[Option<f64>]) -> String {
    let mut parts = Vec::new();
    let mut rest = values;
    while let Some(&first) = rest.first() {
        let Some(start) = first else {
            let missing = rest.iter().take_while(|value| value.is_none()).count();
            parts.push(format!("_x{missing}"));
            rest = &rest[missing..];
            continue;
        };
        let step = rest.get(1).copied().flatten().map_or(0.0, |second| second - start);
        let on_line = |&(at, value): &(usize, &Option<f64>)| {
            value.is_some_and(|value| (value - step.mul_add(at as f64, start)).abs() < 1e-9)
        };
        let length = rest.iter().enumerate().take_while(on_line).count();
        if length > 2 {
            parts.push(format!("{start}{step:+}x{}", length - 1));
            rest = &rest[length..];
        } else {
            parts.push(start.to_string());
            rest = &rest[1..];
        }
    }
    parts.join(" ")
}

#[test]
fn runs_of_equal_steps_are_written_as_one() {
    let values =
        [None, None, Some(1.0), Some(3.0), Some(5.0), Some(2.5), Some(2.5), Some(2.5), None];
    assert_eq!(notation(&values), "_x2 1+2x2 2.5+0x2 _x1");
    assert_eq!(notation(&[Some(1.0), Some(2.0), Some(4.0)]), "1 2 4");
}
