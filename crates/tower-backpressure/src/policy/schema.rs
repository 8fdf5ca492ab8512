//! The format as a JSON schema and as a table.

use super::file::File;
use super::format::json::Json;
use super::format::{document_section, section_schema};

/// The JSON schema of the file.
pub(super) fn schema() -> String {
    let dialect = Json::text("http://json-schema.org/draft-07/schema#");
    let title = Json::text("Policies of tower-backpressure");
    let schema = section_schema::<File>().with("$schema", dialect).with("title", title);
    format!("{schema}\n")
}

/// All fields, as a table in Markdown.
pub(super) fn fields() -> String {
    let mut fields = Vec::new();
    document_section::<File>("", &mut fields);
    let mut table = "| field | form | meaning |\n|---|---|---|\n".to_owned();
    for (path, form, about) in fields {
        table.push_str(&format!("| `{path}` | {form} | {about} |\n"));
    }
    table
}
