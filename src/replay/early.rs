use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};

use crate::{
    error::BoxError,
    replay::{
        record::Record,
        source::{Step, Tail},
    },
};

/// What a body gave when it was polled before it was sent. No frame is lost, whatever came between.
pub(super) enum Early<B> {
    /// All of it, in one frame of data.
    One(Bytes),
    /// All of it.
    Whole(Record),
    /// This much; for the rest somebody has to wait. The poll that said so registered nobody, so
    /// that the first real one must ask the source again.
    Waits(B, Record),
    /// The frame is the first that the record hasn't got.
    TooLong(Record, Frame<Bytes>, Tail<B>),
    Failed(Record, BoxError),
}

// === impl Early ===

impl<B> Early<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    pub(super) fn poll(mut source: B, mut record: Record) -> Self {
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match Step::poll(&mut source, &mut cx) {
                Poll::Pending => return Early::Waits(source, record),
                Poll::Ready(Step::More(frame)) => {
                    if !record.push(&frame) {
                        return Early::TooLong(record, frame, Tail::Source(source));
                    }
                }
                Poll::Ready(Step::Last(frame)) => {
                    return match record.only(frame) {
                        Ok(data) => Early::One(data),
                        Err(frame) if record.push(&frame) => Early::Whole(record),
                        Err(frame) => Early::TooLong(record, frame, Tail::Over),
                    };
                }
                Poll::Ready(Step::End) => {
                    return match record.into_only() {
                        Ok(data) => Early::One(data),
                        Err(record) => Early::Whole(record),
                    };
                }
                Poll::Ready(Step::Failed(error)) => return Early::Failed(record, error),
            }
        }
    }
}
