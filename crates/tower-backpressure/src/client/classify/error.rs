//! What an error says about its request: never sent, not processed by the peer, rejected for load, or unknown.
//!
//! The proof lies in the chain of sources, whose types belong to the client. `io::Error` is always known;
//! the types of hyper and h2 with the feature `hyper`, and those of reqwest with the feature `reqwest`.

use std::any::Any;
use std::error::Error;
use std::io;
use std::iter::successors;

mod permanent;

pub(super) use self::permanent::is_permanent;

type BoxError = Box<dyn Error + Send + Sync>;

/// Looks at a value as an error of one type.
type View = for<'a> fn(&'a dyn Any) -> Option<&'a (dyn Error + 'static)>;

/// The types of errors that can be looked into. An error type is a parameter of the service inside, and
/// not every such type is an [`Error`]: `BoxError` is none.
///
/// The types in [`KNOWN_TYPES`], and these.
#[derive(Clone, Debug, Default)]
pub(crate) struct ErrorTypes(Vec<View>);

const KNOWN_TYPES: &[View] = &[
    boxed_view,
    view::<io::Error>,
    #[cfg(feature = "hyper")]
    view::<hyper_util::client::legacy::Error>,
    #[cfg(feature = "hyper")]
    view::<hyper::Error>,
    #[cfg(feature = "reqwest")]
    view::<reqwest::Error>,
];

impl ErrorTypes {
    pub(crate) fn add<E: Error + 'static>(&mut self) {
        self.0.push(view::<E>);
    }

    pub(crate) fn as_error<'a>(&self, error: &'a dyn Any) -> Option<&'a (dyn Error + 'static)> {
        KNOWN_TYPES.iter().chain(&self.0).find_map(|view| view(error))
    }
}

fn view<E: Error + 'static>(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    error.downcast_ref::<E>().map(|error| error as _)
}

fn boxed_view(error: &dyn Any) -> Option<&(dyn Error + 'static)> {
    error.downcast_ref::<BoxError>().map(|error| &**error as _)
}

/// The error and its sources, the outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // A cycle would need a hostile implementation of `source`.
    successors(Some(error), |&error| match error.downcast_ref::<io::Error>() {
        // Its `source` is that of the error inside, and leaves that one out.
        Some(io) => io.get_ref().map(|inner| inner as _),
        None => error.source(),
    })
    .take(MAX_SOURCES)
}

/// Far more than the layers of any client.
const MAX_SOURCES: usize = 64;

/// Whether no byte of the request left this client.
pub(super) fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| is_refused_connection(cause) || is_failed_connection(cause))
}

/// Whether nothing listens where the request was to be sent. The peer has had no work.
pub(super) fn is_refused(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(is_refused_connection)
}

/// `connect` alone fails with this kind on TCP.
fn is_refused_connection(cause: &(dyn Error + 'static)) -> bool {
    let cause = cause.downcast_ref::<io::Error>();
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::ConnectionRefused)
}

/// The client says that it could not connect (which includes DNS and TLS), or that the connection was closed
/// before it took the request.
#[cfg(feature = "hyper")]
fn is_failed_connection(cause: &(dyn Error + 'static)) -> bool {
    let hyper_util = cause.downcast_ref::<hyper_util::client::legacy::Error>();
    let hyper = cause.downcast_ref::<hyper::Error>();
    hyper_util.is_some_and(hyper_util::client::legacy::Error::is_connect)
        || hyper.is_some_and(hyper::Error::is_canceled)
        || is_failed_connection_of_reqwest(cause)
}

#[cfg(not(feature = "hyper"))]
fn is_failed_connection(_cause: &(dyn Error + 'static)) -> bool {
    false
}

#[cfg(feature = "reqwest")]
fn is_failed_connection_of_reqwest(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_connect)
}

#[cfg(all(feature = "hyper", not(feature = "reqwest")))]
fn is_failed_connection_of_reqwest(_cause: &(dyn Error + 'static)) -> bool {
    false
}

/// Whether the peer says that it did not process the request: RFC 9113, section 8.7, a stream reset with
/// `REFUSED_STREAM`, or one above the last stream of a `GOAWAY`. h2 fails no other stream with the peer's
/// `GOAWAY`: it completes those that the peer has taken.
#[cfg(feature = "hyper")]
pub(super) fn is_not_processed(error: &(dyn Error + 'static)) -> bool {
    chain(error).filter_map(|cause| cause.downcast_ref::<h2::Error>()).any(|cause| {
        let is_refused = cause.is_reset() && cause.reason() == Some(h2::Reason::REFUSED_STREAM);
        cause.is_remote() && (is_refused || cause.is_go_away())
    })
}

#[cfg(not(feature = "hyper"))]
pub(super) fn is_not_processed(_error: &(dyn Error + 'static)) -> bool {
    false
}

/// Whether the peer says that it is sent too much: RFC 9113, section 7, `ENHANCE_YOUR_CALM`, in a `GOAWAY` or for
/// one stream.
#[cfg(feature = "hyper")]
pub(super) fn is_rejection(error: &(dyn Error + 'static)) -> bool {
    chain(error)
        .filter_map(|cause| cause.downcast_ref::<h2::Error>())
        .any(|cause| cause.is_remote() && cause.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM))
}

#[cfg(not(feature = "hyper"))]
pub(super) fn is_rejection(_error: &(dyn Error + 'static)) -> bool {
    false
}

/// Whether the connection could not be made, or broke: the peer neither rejected the request nor let it wait.
pub(super) fn is_lost_connection(error: &(dyn Error + 'static)) -> bool {
    !(is_not_processed(error) || is_rejection(error) || is_timeout(error))
}

/// Whether the attempt took too long.
pub(super) fn is_timeout(error: &(dyn Error + 'static)) -> bool {
    chain(error).any(|cause| {
        let io = cause.downcast_ref::<io::Error>();
        io.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
            || cause.is::<tokio::time::error::Elapsed>()
            || is_timeout_of_reqwest(cause)
    })
}

#[cfg(feature = "reqwest")]
fn is_timeout_of_reqwest(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<reqwest::Error>().is_some_and(reqwest::Error::is_timeout)
}

#[cfg(not(feature = "reqwest"))]
fn is_timeout_of_reqwest(_cause: &(dyn Error + 'static)) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Outer(BoxError);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an attempt failed")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&*self.0)
        }
    }

    fn io(kind: io::ErrorKind) -> io::Error {
        io::Error::from(kind)
    }

    #[test]
    fn a_refused_connection_is_found_among_the_sources() {
        let error = Outer(Box::new(Outer(Box::new(io(io::ErrorKind::ConnectionRefused)))));
        assert!(is_unsent(&error));
        for kind in [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe] {
            assert!(!is_unsent(&Outer(Box::new(io(kind)))), "{kind}");
        }
    }

    #[test]
    fn an_error_of_an_unknown_type_is_not_looked_into_until_its_type_is_added() {
        let error = Outer(Box::new(io(io::ErrorKind::ConnectionRefused)));
        let mut types = ErrorTypes::default();
        assert!(types.as_error(&error).is_none());
        types.add::<Outer>();
        assert!(types.as_error(&error).is_some_and(is_unsent));
        let boxed: BoxError = Box::new(error);
        assert!(types.as_error(&boxed).is_some_and(is_unsent));
    }
}
