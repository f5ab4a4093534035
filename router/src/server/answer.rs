//! An answer that holds its request's [`Work`] until its last byte has been taken by the socket.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::connections::Work;

pub struct Answer {
    body: Body,
    work: Arc<Work>,
}

/// Bytes that are the answer's until they are dropped.
struct Part {
    bytes: Bytes,
    _work: Arc<Work>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Answer {
    /// The answer as it is, or where there is no memory for it, what `instead` makes of it.
    pub fn carry(
        response: Response<Body>,
        mut work: Work,
        instead: impl FnOnce(Response<Body>) -> Response<Body>,
    ) -> Response<Answer> {
        let bytes = response.body().size_hint().lower();
        let fits = work.answer(usize::try_from(bytes).unwrap_or(usize::MAX));
        let response = if fits { response } else { instead(response) };
        response.map(|body| Answer { body, work: Arc::new(work) })
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        let part = |bytes| Bytes::from_owner(Part { bytes, _work: Arc::clone(&self.work) });
        frame.map(|frame| frame.map(|frame| frame.map(|frame| frame.map_data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
