//! The request body that can be sent twice.
//!
//! [`ReplayBody`] wraps the caller's body. The first attempt sends it; when the upstream rejects
//! the credential, the response future asks for the second attempt's body and gets either exactly
//! the same frames, trailers included, or nothing at all: a replay is never sent with an empty or
//! truncated body.
//!
//! # What is kept
//!
//! | body | first attempt | replay | costs |
//! |---|---|---|---|
//! | already over | empty | empty | nothing |
//! | yields every frame without waiting, within the limit | polled before it is sent | from what is kept | a handle per frame; none of the bytes is copied, no lock |
//! | arrives over time | as it comes, and recorded | the record, then the rest of the upload | one short lock and a handle per frame |
//! | longer than the limit, by its own size hint | as it comes | none | nothing |
//! | longer than the limit, as it turns out | as it comes | none | the record until then, freed at once |
//! | fails | the frames before the error, then the error | none | |
//!
//! The limit counts the bytes of data and of the names and values of trailers. A body of more than
//! 1024 frames isn't kept either, so that endless tiny or empty frames take no memory. A kept frame
//! is a handle on the buffer that the caller's body gave out, however little of that buffer it
//! shows; data of another type than [`Bytes`](bytes::Bytes) is copied once, as it is sent.
//!
//! A body is polled early, outside its task, only where polling is no promise: not with
//! `Expect: 100-continue`.
//!
//! # Rejected while uploading
//!
//! The replay takes the source over: it sends what was recorded and goes on from there. The first
//! attempt's copy then ends with an error, never with a clean end, so that no upstream takes a part
//! for the whole.
//!
//! # Framing
//!
//! Both attempts give the size hint of the caller's body, less what they have sent themselves. A
//! hint that wasn't exact never becomes exact, not even for a body that is kept whole: it would add
//! a `content-length` to the request.

mod body;
pub(crate) mod drain;
mod early;
mod error;
mod framing;
mod handle;
pub(crate) mod head;
mod hint;
mod kept;
mod record;
mod shared;
mod slot;
mod source;
mod streaming;

pub use body::ReplayBody;
pub(crate) use handle::Replay;

#[cfg(test)]
mod tests;
