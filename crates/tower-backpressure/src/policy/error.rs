//! Why a file is not in force.

use std::fmt;
use std::io;
use std::sync::Arc;

/// Why a policy file is not in force: what is wrong with it and where, or why it could not be read.
///
/// ```
/// use tower_backpressure::policy::PolicySet;
///
/// let error = PolicySet::parse("[admission.api]\nmni = 4\n").expect_err("a typing error");
/// let problem = &error.problems()[0];
/// assert_eq!((problem.line, problem.column), (2, 1));
/// assert!(problem.message.contains("did you mean \"min\"?"));
/// ```
#[derive(Clone, Debug)]
pub struct PolicyError {
    file: Box<str>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Wrong { problems: Vec<Problem>, omitted: usize },
    Unreadable(Arc<io::Error>),
}

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What was found there, and what is allowed.
    pub message: String,
}

impl PolicyError {
    pub(super) fn wrong(file: &str, problems: Vec<Problem>, omitted: usize) -> Self {
        Self { file: file.into(), kind: Kind::Wrong { problems, omitted } }
    }

    pub(super) fn unreadable(file: &str, error: io::Error) -> Self {
        Self { file: file.into(), kind: Kind::Unreadable(Arc::new(error)) }
    }

    /// What is wrong, in the order of the lines; at most twenty. Empty: the file could not be read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match &self.kind {
            Kind::Wrong { problems, .. } => problems,
            Kind::Unreadable(_) => &[],
        }
    }
}

impl fmt::Display for PolicyError {
    /// One line for each problem: `file:line:column: message`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = &self.file;
        match &self.kind {
            Kind::Unreadable(error) => write!(f, "{file}: {error}"),
            Kind::Wrong { problems, omitted } => {
                for (index, Problem { line, column, message }) in problems.iter().enumerate() {
                    let newline = if index == 0 { "" } else { "\n" };
                    write!(f, "{newline}{file}:{line}:{column}: {message}")?;
                }
                match omitted {
                    0 => Ok(()),
                    more => write!(f, "\n{file}: and {more} more"),
                }
            }
        }
    }
}

impl std::error::Error for PolicyError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            Kind::Unreadable(error) => Some(&**error),
            Kind::Wrong { .. } => None,
        }
    }
}
