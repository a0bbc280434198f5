//! The request body that can be sent twice.
//!
//! [`ReplayBody`] wraps the caller's body. The first attempt sends it. If the upstream rejects the
//! credential, the response future asks for the body of a second attempt. That body yields exactly
//! the same frames, trailers included. If they are not available, there is no second attempt: a
//! replay is never sent with an empty or truncated body.
//!
//! # How bodies are kept
//!
//! | caller's body | first attempt | replay | cost |
//! |---|---|---|---|
//! | has ended | empty | empty | none |
//! | yields one frame without waiting | read before it is sent | the same bytes | a handle on the frame, no copy |
//! | yields several frames without waiting | read before it is sent | the buffered frames | a buffer, no lock |
//! | arrives over time | sent as it arrives, and recorded | the buffered frames, then the rest of the upload | a buffer, one short lock per frame |
//! | exceeds the limit by its own size hint | sent as it arrives | none | none |
//! | exceeds the limit as it arrives | sent as it arrives | none | the buffer, freed at once |
//! | fails | the frames before the error, then the error | none | the buffer |
//!
//! # Memory
//!
//! The replay limit counts the bytes of data and of the names and values of trailers. It bounds the
//! memory that a buffer holds, apart from some bookkeeping: a few per cent of the data, and a few
//! bytes for each of at most 1024 frames.
//!
//! Frames that arrive from the network are slices of read buffers: a frame of one byte may keep 16
//! KiB alive. So a buffer copies frames, except for those of 4 KiB and more that own their memory.
//! A body that consists of a single frame is never copied: it keeps the handle that the caller's
//! body gave out, and so at most one foreign buffer.
//!
//! # Expect: 100-continue
//!
//! Polling a body may be a promise to the peer that sends it: a server answers `100 Continue` when
//! its handler polls the request body. So the body of a request with `Expect: 100-continue` is not
//! read before the inner service polls it.
//!
//! # Rejected while uploading
//!
//! The replay takes the caller's body over: it sends the recorded frames and continues with the
//! source. The body of the first attempt then ends with an error. It never ends cleanly, so no
//! upstream takes a part for the whole.
//!
//! # Framing
//!
//! Both attempts give the size hint of the caller's body, less the data that they have sent. A hint
//! that is not exact never becomes exact, even if the body was read whole: an exact hint adds a
//! `content-length` to the request.

mod body;
mod buffer;
pub(crate) mod drain;
mod error;
mod handle;
pub(crate) mod head;
mod hint;
mod prefetch;
mod queue;
mod shared;
mod source;
mod streaming;
mod upload;

pub use body::ReplayBody;
pub(crate) use handle::Replay;

#[cfg(test)]
mod tests;
