//! The connection that an attempt was sent over.

#[cfg(feature = "hyper")]
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};

/// The connection of an attempt, once hyper-util's client has chosen one. Other clients choose none.
#[derive(Debug)]
pub struct Connection {
    #[cfg(feature = "hyper")]
    chosen: CaptureConnection,
}

impl Connection {
    /// The connection that this request will be sent over; a copy of the request has the same one.
    #[cfg(feature = "hyper")]
    pub(super) fn of<B>(request: &mut http::Request<B>) -> Option<Self> {
        Some(Self { chosen: capture_connection(request) })
    }

    #[cfg(not(feature = "hyper"))]
    pub(super) const fn of<B>(_request: &mut http::Request<B>) -> Option<Self> {
        None
    }

    /// Sends no other request over it. Those in flight go on.
    pub(super) fn retire(self) {
        #[cfg(feature = "hyper")]
        if let Some(connection) = &*self.chosen.connection_metadata() {
            connection.poison();
        }
    }
}
