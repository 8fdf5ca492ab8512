//! A body with scripted frames and a scripted end.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A body that yields its frames and then ends, fails or stays pending.
#[derive(Debug, Default)]
pub struct ScriptedBody {
    frames: VecDeque<Frame<Bytes>>,
    end: End,
    /// The length in its size hint; `None`: unknown.
    length: Option<u64>,
}

/// What follows the last frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// The end of the body.
    #[default]
    Done,
    /// An error.
    Broken,
    /// The body stays pending for ever.
    Hangs,
}

/// The error of a body that ends with [`End::Broken`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl ScriptedBody {
    /// `count` data frames of `size` bytes, then the end.
    #[must_use]
    pub fn pieces(count: usize, size: usize) -> Self {
        let piece = Bytes::from(vec![b'x'; size]);
        let frames = (0..count).map(|_| Frame::data(piece.clone())).collect();
        Self { frames, ..Self::default() }
    }

    /// Sets what follows the last frame.
    #[must_use]
    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// Announces the length of the body in its size hint.
    #[must_use]
    pub fn sized(mut self) -> Self {
        self.length = Some(self.remaining());
        self
    }

    /// Adds trailers after the data frames.
    #[must_use]
    pub fn trailers(mut self) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("1"));
        self.frames.push_back(Frame::trailers(trailers));
        self
    }

    /// Adds the trailers of a gRPC response.
    #[must_use]
    pub fn grpc_status(mut self, code: u8) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", u16::from(code).into());
        self.frames.push_back(Frame::trailers(trailers));
        self
    }

    /// Bytes of data that have not been yielded yet.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum()
    }
}

impl Body for ScriptedBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match (self.frames.pop_front(), self.end) {
            (Some(frame), _) => Poll::Ready(Some(Ok(frame))),
            (None, End::Done) => Poll::Ready(None),
            (None, End::Broken) => Poll::Ready(Some(Err(Broken))),
            (None, End::Hangs) => Poll::Pending,
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map_or_else(SizeHint::default, |_| SizeHint::with_exact(self.remaining()))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the scripted body failed")
    }
}

impl std::error::Error for Broken {}
