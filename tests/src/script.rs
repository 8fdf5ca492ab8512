//! A body that does as it is told.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// A body that plays frames and then ends, breaks or hangs.
#[derive(Debug, Default)]
pub struct Script {
    frames: VecDeque<Frame<Bytes>>,
    end: End,
    /// The length it promises; none: it does not know.
    length: Option<u64>,
}

/// What follows the last frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    /// Nothing.
    #[default]
    Done,
    /// An error.
    Broken,
    /// Nothing ever again, not even the end.
    Hangs,
}

/// What went wrong, as ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broken;

impl Script {
    /// So many pieces of so many bytes, and an end.
    #[must_use]
    pub fn pieces(count: usize, size: usize) -> Self {
        let piece = Bytes::from(vec![b'x'; size]);
        let frames = (0..count).map(|_| Frame::data(piece.clone())).collect();
        Self { frames, ..Self::default() }
    }

    /// The same with another end.
    #[must_use]
    pub fn end(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// The same with its length known beforehand.
    #[must_use]
    pub fn sized(mut self) -> Self {
        self.length = Some(self.left());
        self
    }

    /// The same with trailers at the end.
    #[must_use]
    pub fn trailers(mut self) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", http::HeaderValue::from_static("1"));
        self.frames.push_back(Frame::trailers(trailers));
        self
    }

    /// The same with the trailers of a gRPC call.
    #[must_use]
    pub fn grpc_status(mut self, code: u8) -> Self {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", u16::from(code).into());
        self.frames.push_back(Frame::trailers(trailers));
        self
    }

    /// Bytes to come.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.frames.iter().filter_map(Frame::data_ref).map(|data| data.len() as u64).sum()
    }
}

impl Body for Script {
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
        self.length.map_or_else(SizeHint::default, |_| SizeHint::with_exact(self.left()))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken as ordered")
    }
}

impl std::error::Error for Broken {}
