//! What was probably meant by a name that does not exist.

/// `; did you mean "…"?` for the most similar name, or `;` where none is similar.
pub(in crate::policy) fn suggestion<'a>(
    wrong: &str,
    known: impl Iterator<Item = &'a str>,
) -> String {
    // Above it, a name is no typing error of another one, and comparing takes long.
    const MAX_LENGTH: usize = 64;
    if wrong.len() > MAX_LENGTH {
        return ";".to_owned();
    }
    let normal = |name: &str| name.to_ascii_lowercase().replace(['-', ' '], "_");
    let wrong = normal(wrong);
    let allowed = wrong.chars().count().div_ceil(3);
    let nearest = known.map(|name| (distance(&wrong, &normal(name)), name)).min();
    match nearest {
        Some((distance, name)) if distance <= allowed => format!("; did you mean \"{name}\"?"),
        _ => ";".to_owned(),
    }
}

/// Letters that have to be added, removed or replaced, or two neighbours exchanged (optimal string alignment).
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let mut rows = vec![vec![0; other.len() + 1]; one.len() + 1];
    for i in 0..=one.len() {
        for j in 0..=other.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(one[i - 1] != other[j - 1]);
                let is_swap =
                    i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
                let swapped = if is_swap { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                replaced.min(swapped).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[one.len()][other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_suggested_for_a_typing_error_and_not_for_another_word() {
        let known = ["min", "max", "max_wait", "limit"];
        let suggested = |wrong| suggestion(wrong, known.into_iter());
        for (wrong, meant) in
            [("mni", "min"), ("maxwait", "max_wait"), ("max-wait", "max_wait"), ("Limit", "limit")]
        {
            assert_eq!(suggested(wrong), format!("; did you mean \"{meant}\"?"), "{wrong}");
        }
        for other in ["priority", "x", "", &"m".repeat(100_000)] {
            assert_eq!(suggested(other), ";", "{}", other.len());
        }
    }
}
