//! Reads the file: bounded, and only if it is a file.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::error::{PolicyError, Problem};
use super::format::reading::position;

/// The largest file. A thousand policies take a tenth of it.
const MAX_BYTES: u64 = 1024 * 1024;

/// What a file is called in messages.
pub(super) fn name(path: Option<&Path>) -> String {
    path.map_or_else(|| "policy".to_owned(), |path| path.display().to_string())
}

/// # Errors
/// When it cannot be read, is too large, or no text.
pub(super) fn read(path: Option<&Path>) -> Result<String, PolicyError> {
    let name = name(path);
    let unreadable = |error| PolicyError::unreadable(&name, error);
    let none =
        || io::Error::new(io::ErrorKind::Unsupported, "the policies came as text, from no file");
    let bytes = path.ok_or_else(none).and_then(bytes_of).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let before = String::from_utf8_lossy(&error.as_bytes()[..at]);
        let (line, column) = position(&before, at);
        let message = "the file must be UTF-8 text, found other bytes".to_owned();
        PolicyError::wrong(&name, vec![Problem { line, column, message }], 0)
    })
}

fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    // Opening a pipe would wait for its other end.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > MAX_BYTES {
        true => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the file is larger than {MAX_BYTES} bytes"),
        )),
        false => Ok(bytes),
    }
}
