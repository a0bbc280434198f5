//! The memory that is held for a replay, measured as live heap.

use std::{
    cell::RefCell,
    convert::Infallible,
    mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame};
use proptest::prelude::*;

use crate::replay::{
    ReplayBody,
    tests::script::{Act, Got, Script, data, poll},
};

/// A frame, and the memory that it is a part of.
#[derive(Clone, Copy, Debug)]
struct Slice {
    len: usize,
    before: usize,
    after: usize,
    owner: Owner,
}

#[derive(Clone, Copy, Debug)]
enum Owner {
    /// The frame has the only handle on its memory, which was a vector.
    Vector,
    /// The frame has the only handle on its memory, which was a read buffer.
    ReadBuffer,
    /// The reader still has the rest of its buffer.
    Shared,
}

/// A body that reads each of its frames into memory of its own, as a connection does.
///
/// Its own memory is owned by the test, so that only what a replay holds is counted.
struct Reader {
    slices: Rc<[Slice]>,
    read: usize,
    trailers: Option<usize>,
    /// The number of frames that are there before the reader has to wait for each.
    ready: usize,
    has_waited: bool,
    /// The rest of the buffer of the last frame.
    rest: Rc<RefCell<BytesMut>>,
}

const KIB: usize = 1024;

/// The memory of a body and its replay apart from the frames and their boundaries.
const FIXED: usize = KIB;

/// The memory of the trailers of both attempts apart from their text.
const MAPS: usize = KIB / 2;

/// The only field of the trailers.
const FIELD: (&str, &str) = ("x-checksum", "beef");

// === live heap ===

#[test]
fn tiny_frames_of_large_buffers_hold_no_more_than_the_limit() {
    for (before, after) in [(0, 16 * KIB), (8 * KIB, 8 * KIB), (16 * KIB, 0)] {
        for owner in [Owner::Vector, Owner::ReadBuffer, Owner::Shared] {
            for ready in [0, 1, 500, 1000] {
                let slice = Slice { len: 10, before, after, owner };
                assert_bounded(&[slice; 1000], None, ready, 64 * KIB);
            }
        }
    }
}

#[test]
fn frames_of_every_length_hold_no_more_than_the_limit() {
    for len in [0, 1, 100, KIB, 4 * KIB - 1, 4 * KIB, 4 * KIB + 1, 16 * KIB] {
        for owner in [Owner::Vector, Owner::ReadBuffer, Owner::Shared] {
            for spare in [0, 1, len, 4 * len + 100, 256 * KIB] {
                let slice = Slice { len, before: spare / 2, after: spare - spare / 2, owner };
                // More than the limit, so that nothing is held in the end, and less.
                for count in [2, 3, 200] {
                    assert_bounded(&vec![slice; count], None, 1, 64 * KIB);
                }
            }
        }
    }
}

#[test]
fn trailers_of_large_buffers_hold_no_more_than_the_limit() {
    let slice = Slice { len: 10, before: 0, after: 0, owner: Owner::Vector };
    for ready in [0, 2] {
        assert_bounded(&[slice], Some(256 * KIB), ready, KIB);
    }
}

#[test]
fn trailers_beyond_the_limit_are_not_held_for_the_second_attempt() {
    let slice = Slice { len: 10, before: 0, after: 0, owner: Owner::Vector };
    // Room for the data, for all but one byte of the trailers, and for everything.
    for limit in [20, 33, 34] {
        for ready in [0, 3] {
            assert_bounded(&[slice; 2], Some(256 * KIB), ready, limit);
        }
    }
}

#[test]
fn the_only_frame_of_a_body_is_not_copied_wherever_it_comes_from() {
    for owner in [Owner::Vector, Owner::ReadBuffer, Owner::Shared] {
        for ready in [0, 1] {
            let slice = Slice { len: 100, before: 10, after: 10, owner };
            let (mut first, replay) =
                ReplayBody::recording(Reader::new(&[slice], None, ready), KIB, || true);
            let Got::Data(sent) = poll_frame(&mut first) else { panic!("no data") };
            let mut second = replay.take_over(false).expect("recorded whole");
            let Got::Data(resent) = poll_frame(&mut second) else { panic!("no data") };
            assert_eq!(sent.as_ptr(), resent.as_ptr(), "{owner:?}, ready: {ready}");
        }
    }
}

#[test]
fn a_frame_that_fills_its_own_memory_is_not_copied() {
    for len in [4 * KIB, 16 * KIB] {
        for ready in [0, 1, 3] {
            let slice = Slice { len, before: 0, after: 0, owner: Owner::Vector };
            let reader = Reader::new(&[slice; 3], None, ready);
            let (mut first, replay) = ReplayBody::recording(reader, 64 * KIB, || true);
            let sent: Vec<_> = (0..3).map(|_| poll_frame(&mut first)).collect();
            let mut second = replay.take_over(true).expect("within the limit");
            for sent in sent {
                let (Got::Data(sent), Got::Data(resent)) = (sent, poll_frame(&mut second)) else {
                    panic!("no data")
                };
                assert_eq!(sent.as_ptr(), resent.as_ptr(), "{len} bytes, ready: {ready}");
            }
        }
    }
}

#[test]
fn frames_that_are_being_recorded_hold_no_more_than_the_limit() {
    let lengths: Vec<_> = (0..720).map(|n| 40 + n % 23).collect();
    let limit = lengths.iter().sum();
    let frames: Vec<_> =
        lengths.iter().map(|len| Act::Data(Bytes::from_static(&[b'x'; 64][..*len]))).collect();
    let (mut first, _replay) = ReplayBody::recording(Script::new(frames), limit, || false);
    let mut held = 0;
    for _ in &lengths {
        held += allocation_counter::measure(|| drop(poll(&mut first))).bytes_current;
        assert!(held <= (limit + 16 * lengths.len() + FIXED) as i64, "{held} bytes");
    }
}

#[test]
fn many_short_frames_are_copied_with_few_allocations_far_below_the_limit() {
    let frames = vec![data("0123456789"); 1000];
    let script = Script::new(frames);
    let allocated =
        allocation_counter::measure(|| drop(ReplayBody::recording(script, 1024 * KIB, || true)));
    assert!(allocated.count_total < 50, "{} allocations", allocated.count_total);
    assert!(allocated.bytes_max < 64 * KIB as u64, "{} bytes", allocated.bytes_max);
}

#[test]
fn past_the_limit_the_buffer_is_freed_at_once() {
    let slice = Slice { len: 100, before: 0, after: 0, owner: Owner::Vector };
    let (mut first, replay) =
        ReplayBody::recording(Reader::new(&[slice; 11], None, 0), KIB, || true);
    let mut held = 0;
    for sent in 1..=11 {
        held += allocation_counter::measure(|| drop(poll_frame(&mut first))).bytes_current;
        match sent {
            ..=10 => assert!(held >= 100 * sent, "{held} bytes after {sent} frames"),
            _ => assert!(held <= 0, "{held} bytes are still held"),
        }
    }
    assert!(replay.take_over(true).is_none());
}

#[test]
fn dropping_the_replay_frees_the_frames_that_were_sent_and_no_other() {
    let slice = Slice { len: 4 * KIB, before: 0, after: 0, owner: Owner::Vector };
    let reader = Reader::new(&[slice; 8], None, 6);
    let (mut first, replay) = ReplayBody::recording(reader, 64 * KIB, || true);
    // Four of the six frames that were read early, each of which has its own memory.
    (0..4).for_each(|_| drop(poll_frame(&mut first)));
    let freed = -allocation_counter::measure(|| drop(replay)).bytes_current;
    assert!((16 * KIB as i64..20 * KIB as i64).contains(&freed), "{freed} bytes");
    let rest: Vec<_> = (0..4).map(|_| poll_frame(&mut first)).collect();
    assert!(rest.iter().all(|got| matches!(got, Got::Data(data) if data.len() == 4 * KIB)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_body_holds_more_than_the_limit(
        slices in prop::collection::vec(slice(), 2..40),
        trailers in prop::option::of(0..100 * KIB),
        ready in 0..40_usize,
        limit in 1..64 * KIB,
    ) {
        assert_bounded(&slices, trailers, ready, limit);
    }
}

fn slice() -> impl Strategy<Value = Slice> {
    let len = prop_oneof![3 => 0..100_usize, 2 => 4000..4200_usize, 1 => 0..20 * KIB];
    let spare = || prop_oneof![Just(0), 0..100_usize, 0..5000_usize, 0..100 * KIB];
    let owner = prop_oneof![Just(Owner::Vector), Just(Owner::ReadBuffer), Just(Owner::Shared)];
    (len, spare(), spare(), owner).prop_map(|(len, before, after, owner)| Slice {
        len,
        before,
        after,
        owner,
    })
}

// === helpers ===

/// Sends a body, and checks the memory that is held before, during and after that.
#[track_caller]
fn assert_bounded(slices: &[Slice], trailers: Option<usize>, ready: usize, limit: usize) {
    let maps = trailers.map_or(0, |_| MAPS);
    let bound = limit + limit / 16 + 16 * slices.len() + maps + FIXED;
    let assert_within = |held: i64, when: &str| {
        let first = slices.first();
        assert!(
            held <= bound as i64,
            "{held} bytes {when}, for a limit of {limit}: {first:?}, …, trailers: {trailers:?}, \
             ready: {ready}",
        );
    };
    let mut held = 0;
    let reader = Reader::new(slices, trailers, ready);
    let rest = reader.rest.clone();

    let mut attempts = None;
    let allocated = allocation_counter::measure(|| {
        attempts = Some(ReplayBody::recording(reader, limit, || true));
        rest.take();
    });
    let (mut first, replay) = attempts.expect("just made");
    held += allocated.bytes_current;
    // A frame beyond the limit is held until it is sent, and not for the replay.
    let data: usize = slices.iter().map(|slice| slice.len).sum();
    let (name, value) = FIELD;
    if data + trailers.map_or(0, |_| name.len() + value.len()) <= limit {
        assert_within(held, "before the body is sent");
    }
    let mut sent = 0;
    loop {
        let mut got = Got::Waits;
        let allocated = allocation_counter::measure(|| {
            got = poll_frame(&mut first);
            rest.take();
            match &mut got {
                Got::Data(data) => drop(mem::take(data)),
                Got::Trailers(trailers) => drop(mem::take(trailers)),
                _ => {}
            }
        });
        held += allocated.bytes_current;
        match got {
            Got::Data(_) => sent += 1,
            Got::Trailers(_) => {}
            _ => break,
        }
    }
    assert_eq!(sent, slices.len());
    assert_within(held, "after the body is sent");
    let mut second = None;
    let allocated = allocation_counter::measure(|| second = replay.take_over(false));
    assert_within(held + allocated.bytes_current, "for the second attempt");
}

/// The next frame, after as many polls as it takes.
fn poll_frame(body: &mut ReplayBody<Reader>) -> Got {
    loop {
        match poll(body) {
            Got::Waits => {}
            got => return got,
        }
    }
}

fn read(slice: Slice) -> (Bytes, BytesMut) {
    let Slice { len, before, after, owner } = slice;
    if let Owner::Vector = owner {
        let memory = Bytes::from(vec![b'x'; before + len + after]);
        return (memory.slice(before..before + len), BytesMut::new());
    }
    let mut buffer = BytesMut::zeroed(before + len + after);
    drop(buffer.split_to(before));
    let frame = buffer.split_to(len).freeze();
    let rest = if let Owner::Shared = owner { buffer } else { BytesMut::new() };
    (frame, rest)
}

/// Trailers whose only value is a part of a larger buffer.
fn read_trailers(spare: usize) -> HeaderMap {
    let mut text = BytesMut::zeroed(spare);
    let (name, value) = FIELD;
    text.extend_from_slice(value.as_bytes());
    let value = HeaderValue::from_maybe_shared(text.split_off(spare).freeze());
    HeaderMap::from_iter([(HeaderName::from_static(name), value.expect("visible ASCII"))])
}

// === impl Reader ===

impl Reader {
    fn new(slices: &[Slice], trailers: Option<usize>, ready: usize) -> Self {
        let (slices, rest) = (slices.into(), Rc::default());
        Self { slices, read: 0, trailers, ready, has_waited: false, rest }
    }
}

impl Body for Reader {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.read >= self.ready && !self.has_waited {
            self.has_waited = true;
            return Poll::Pending;
        }
        self.has_waited = false;
        let Some(&slice) = self.slices.get(self.read) else {
            let trailers = self.trailers.take().map(read_trailers);
            return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
        };
        self.read += 1;
        let (frame, rest) = read(slice);
        *self.rest.borrow_mut() = rest;
        Poll::Ready(Some(Ok(Frame::data(frame))))
    }

    fn is_end_stream(&self) -> bool {
        self.read == self.slices.len() && self.trailers.is_none()
    }
}
