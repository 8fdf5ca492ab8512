//! The traits of the retry layer for reqwest's types.

use http::Extensions;
use http::header::HeaderMap;
use http::method::Method;
use http::status::StatusCode;

use super::{Replay, ResponseHead};

impl Replay for reqwest::Request {
    fn method(&self) -> &Method {
        self.method()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }

    fn replay(&self) -> Option<Self> {
        self.try_clone()
    }
}

impl ResponseHead for reqwest::Response {
    fn status(&self) -> StatusCode {
        self.status()
    }

    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    fn extensions_mut(&mut self) -> &mut Extensions {
        self.extensions_mut()
    }
}
