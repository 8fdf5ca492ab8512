//! The documents of the format are those that the program prints.

use std::path::{Path, PathBuf};

use tower_backpressure::policy::PolicySet;

fn docs(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// Compares a document with what it should be, or writes it when `POLICY_BLESS` is set.
fn check(path: &Path, expected: &str) {
    if std::env::var_os("POLICY_BLESS").is_some() {
        std::fs::write(path, expected).expect("a document");
    }
    let found = std::fs::read_to_string(path).expect("a document");
    assert!(found == expected, "{}: repeat with POLICY_BLESS=1", path.display());
}

#[test]
fn the_schema_for_editors_is_that_of_the_program() {
    let schema = PolicySet::schema();
    check(&docs("policy.schema.json"), &schema);
    let parsed: serde_json::Value = serde_json::from_str(&schema).expect("it is JSON");
    assert_eq!(parsed["additionalProperties"], false);
    let limit = &parsed["properties"]["bulkhead"]["additionalProperties"]["required"][0];
    assert_eq!(limit, "limit");
}

#[test]
fn the_table_of_all_fields_is_that_of_the_program() {
    let (begin, end) = ("<!-- fields -->\n", "<!-- end of fields -->\n");
    let path = docs("policy.md");
    let text = std::fs::read_to_string(&path).expect("the document");
    let (before, rest) = text.split_once(begin).expect("where the table begins");
    let (_, after) = rest.split_once(end).expect("where the table ends");
    check(&path, &format!("{before}{begin}{}{end}{after}", PolicySet::fields()));
}
