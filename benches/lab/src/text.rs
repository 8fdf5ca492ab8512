//! Text for pages and tables: escaped markup, and durations in a suitable unit.

/// Text for an element or a quoted attribute.
pub(crate) fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, letter| {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
        safe
    })
}

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
    fn markup_becomes_text() {
        assert_eq!(
            escaped(r#"<a href="x">R&D's</a>"#),
            "&lt;a href=&quot;x&quot;&gt;R&amp;D&#39;s&lt;/a&gt;"
        );
    }

    #[test]
    fn durations_are_shown_in_a_suitable_unit() {
        assert_eq!(
            [0.0, 0.00025, 0.05, 2.5, 100.0].map(seconds),
            ["0 s", "250 µs", "50 ms", "2.5 s", "100 s"]
        );
    }
}
