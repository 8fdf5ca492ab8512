//! Why an attempt had no answer, in words for the user.

use std::error::Error;
use std::fmt;
use std::io;

/// Why an attempt had no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The connection was refused.
    ConnectionRefused,
    /// The connection could not be opened for another reason.
    Unreachable(String),
    /// The handshake of TLS failed.
    Tls(String),
    /// The connection ended before the response did.
    Closed(String),
    /// What came back is not the version of HTTP that was spoken.
    NotHttp(String),
    /// This process has no connection, port or file left: the service is not to blame.
    Local(String),
    /// The connection would have gone to an address that may not be stormed.
    Forbidden(String),
}

impl Failure {
    pub(crate) fn of_connect(error: &io::Error) -> Self {
        match (error.kind(), error.raw_os_error()) {
            (io::ErrorKind::ConnectionRefused, _) => Self::ConnectionRefused,
            (io::ErrorKind::AddrNotAvailable, _) | (_, Some(EMFILE | ENFILE)) => {
                Self::Local(error.to_string())
            }
            _ => Self::Unreachable(error.to_string()),
        }
    }

    /// An error of the HTTP connection.
    pub(crate) fn of_http(error: &hyper::Error) -> Self {
        let text = with_sources(error);
        if error.is_parse() || is_protocol_error(&text) {
            Self::NotHttp(text)
        } else {
            Self::Closed(text)
        }
    }
}

/// "Too many open files" of the process and of the system.
const EMFILE: i32 = 24;
const ENFILE: i32 = 23;

/// What h2 says to a peer that does not speak HTTP/2.
fn is_protocol_error(text: &str) -> bool {
    text.contains("PROTOCOL_ERROR")
        || text.contains("FRAME_SIZE_ERROR")
        || text.contains("frame with invalid size")
}

/// An error and its causes on one line.
pub(crate) fn with_sources(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConnectionRefused => {
                formatter.write_str("the connection was refused: nothing listens there")
            }
            Self::Unreachable(why) => write!(formatter, "no connection: {why}"),
            Self::Tls(why) if why.contains("InvalidContentType") => {
                write!(formatter, "the TLS handshake failed: {why}: does the port speak http://?")
            }
            Self::Tls(why) => write!(formatter, "the TLS handshake failed: {why}"),
            Self::Closed(why) => {
                write!(formatter, "the connection ended before the response did: {why}")
            }
            Self::NotHttp(why) => {
                write!(formatter, "the answer is not the HTTP that was asked for: {why}")
            }
            Self::Local(why) => write!(formatter, "this machine is out of connections: {why}"),
            Self::Forbidden(why) => formatter.write_str(why),
        }
    }
}

impl Error for Failure {}
