use std::{
    cell::RefCell,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Empty, Full};
use tokio_test::task;

use crate::replay::{
    Replay, ReplayBody,
    buffer::MAX_FRAMES,
    error::UploadError,
    tests::script::{
        Act, Got, Script, ScriptError, all, data, drain, poll, poll_with, taken_over, trailers,
    },
};

const LIMIT: usize = 1000;

fn got(text: &'static str) -> Got {
    Got::Data(Bytes::from_static(text.as_bytes()))
}

fn early(acts: &[Act]) -> (ReplayBody<Script>, Replay<Script>) {
    ReplayBody::recording(Script::new(acts.to_vec()), LIMIT, || true)
}

fn late(acts: &[Act]) -> (ReplayBody<Script>, Replay<Script>) {
    ReplayBody::recording(Script::new(acts.to_vec()), LIMIT, || false)
}

// === bodies that have ended ===

#[test]
fn a_body_that_is_over_is_empty_on_both_attempts() {
    let script = Script::new([]).frank().hint(0, Some(7));
    let watch = script.watch();
    let (mut first, replay) = ReplayBody::recording(script, 0, || true);
    assert!(watch.is_dropped(), "an ended source is still held");
    let mut second = replay.take_over(false).expect("an empty body can be replayed");
    for body in [&mut first, &mut second] {
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().lower(), 0);
        assert_eq!(body.size_hint().upper(), Some(7));
        assert_eq!(drain(body), [Got::End]);
        assert!(body.is_end_stream());
    }
    assert_eq!(watch.polls(), 0);
}

#[test]
fn an_empty_body_keeps_its_content_length() {
    let (first, replay) = ReplayBody::recording(Empty::<Bytes>::new(), LIMIT, || true);
    let second = replay.take_over(false).expect("an empty body can be replayed");
    assert_eq!((first.size_hint().exact(), second.size_hint().exact()), (Some(0), Some(0)));
}

#[test]
fn a_body_without_frames_is_not_over_before_it_was_polled() {
    for (acts, may_poll_early) in [(vec![], true), (vec![Act::Wait], true), (vec![], false)] {
        let script = Script::new(acts);
        let (mut first, replay) = ReplayBody::recording(script, LIMIT, || may_poll_early);
        assert!(!first.is_end_stream());
        assert_eq!(drain(&mut first), [Got::End]);
        assert!(first.is_end_stream());
        let mut second = replay.take_over(false).expect("the end was recorded");
        assert!(!second.is_end_stream());
        assert_eq!(second.size_hint().exact(), None);
        assert_eq!(drain(&mut second), [Got::End]);
        assert!(second.is_end_stream());
    }
}

// === bodies that are kept whole ===

#[test]
fn a_single_frame_is_kept_without_a_copy() {
    let bytes = Bytes::from(vec![1; 100]);
    let (mut first, replay) = ReplayBody::recording(Full::new(bytes.clone()), LIMIT, || true);
    let mut second = replay.take_over(false).expect("kept");
    for body in [&mut first, &mut second] {
        assert_eq!(body.size_hint().exact(), Some(100));
        assert!(!body.is_end_stream());
        let Got::Data(sent) = poll(body) else { panic!("no data") };
        assert_eq!((sent.as_ptr(), sent.len()), (bytes.as_ptr(), bytes.len()));
        assert!(body.is_end_stream());
        assert_eq!(body.size_hint().exact(), Some(0));
        assert_eq!(drain(body), [Got::End]);
    }
}

#[test]
fn a_body_that_need_not_wait_is_read_before_it_is_sent() {
    let acts = [data("one"), data("two"), trailers()];
    let script = Script::new(acts.to_vec());
    let watch = script.watch();
    let (mut first, replay) = ReplayBody::recording(script, LIMIT, || true);
    assert!(watch.is_dropped(), "an ended source is still held");
    assert_eq!(poll(&mut first), got("one"));
    // The first attempt has its own copy of the frames.
    let mut second = replay.take_over(false).expect("kept");
    assert_eq!(drain(&mut second), all(&acts));
    assert_eq!(drain(&mut first), all(&acts)[1..]);
}

#[test]
fn trailers_without_data_are_kept() {
    let (mut first, replay) = early(&[trailers()]);
    let mut second = replay.take_over(false).expect("kept");
    for body in [&mut first, &mut second] {
        assert!(!body.is_end_stream(), "over before its trailers");
        assert_eq!(drain(body), all(&[trailers()]));
    }
}

#[test]
fn data_of_another_type_arrives_as_bytes() {
    let chain = Bytes::from_static(b"one").chain(&b"two"[..]);
    let (mut first, replay) = ReplayBody::recording(Full::new(chain), LIMIT, || true);
    let mut second = replay.take_over(false).expect("kept");
    assert_eq!(drain(&mut first), [got("onetwo"), Got::End]);
    assert_eq!(drain(&mut second), [got("onetwo"), Got::End]);
}

// === polled early, and not all there ===

#[test]
fn frames_polled_early_come_first_when_the_body_has_to_wait() {
    let acts = [data("one"), data("two"), Act::Wait, data("three"), trailers()];
    let (mut first, replay) = early(&acts);
    assert_eq!(drain(&mut first), all(&acts));
    let mut second = replay.take_over(false).expect("recorded whole");
    assert_eq!(drain(&mut second), all(&acts));
}

#[test]
fn frames_polled_early_come_first_when_the_body_is_too_long() {
    for is_frank in [true, false] {
        let acts = [data("one"), data("two"), data("three")];
        let script = Script::new(acts.to_vec());
        let script = if is_frank { script.frank() } else { script };
        let (mut first, replay) = ReplayBody::recording(script, 10, || true);
        assert!(replay.take_over(true).is_none());
        assert_eq!(drain(&mut first), all(&acts));
    }
}

#[test]
fn frames_polled_early_come_before_the_error() {
    let acts = [data("one"), data("two"), Act::Fail];
    let (mut first, replay) = early(&acts);
    assert!(replay.take_over(true).is_none());
    assert_eq!(drain(&mut first), all(&acts));
    assert!(!first.is_end_stream(), "an error is no clean end");
}

#[test]
fn polling_early_loses_no_wake_up() {
    let (mut first, _replay) = early(&[data("one"), Act::Yield, Act::Yield, data("two")]);
    let mut upload = task::spawn(());
    upload.enter(|cx, _| {
        assert_eq!(poll_with(&mut first, cx), got("one"));
        assert_eq!(poll_with(&mut first, cx), Got::Waits);
    });
    assert!(upload.is_woken());
}

#[test]
fn a_body_is_not_polled_early_unless_allowed() {
    let script = Script::new([data("one")]).frank();
    let watch = script.watch();
    let (mut first, replay) = ReplayBody::recording(script, LIMIT, || false);
    assert_eq!(watch.polls(), 0);
    assert_eq!(drain(&mut first), all(&[data("one")]));
    let mut second = replay.take_over(false).expect("recorded whole");
    assert_eq!(drain(&mut second), all(&[data("one")]));
}

// === limits ===

#[test]
fn exactly_the_limit_is_replayed_and_one_byte_more_is_not() {
    // Three bytes of data, and twelve of trailers.
    let acts = [data("one"), Act::Wait, trailers()];
    for may_poll_early in [true, false] {
        for (limit, is_possible) in [(15, true), (14, false)] {
            let (mut first, replay) =
                ReplayBody::recording(Script::new(acts.to_vec()), limit, || may_poll_early);
            assert_eq!(drain(&mut first), all(&acts));
            assert_eq!(replay.take_over(true).is_some(), is_possible);
        }
    }
    for (limit, is_possible) in [(3, true), (2, false)] {
        let whole = Script::new([data("one")]);
        let told = Script::new([data("one")]).hint(3, Some(3));
        for script in [whole, told] {
            let (mut first, replay) = ReplayBody::recording(script, limit, || true);
            assert_eq!(drain(&mut first), all(&[data("one")]));
            assert_eq!(replay.take_over(true).is_some(), is_possible);
        }
    }
}

#[test]
fn a_body_whose_hint_exceeds_the_limit_is_not_polled_early() {
    for (limit, hint) in [(10, (11, Some(11))), (10, (11, None)), (0, (0, None))] {
        let script = Script::new([data("hello"), data(" world")]).frank().hint(hint.0, hint.1);
        let watch = script.watch();
        let (mut first, replay) = ReplayBody::recording(script, limit, || true);
        assert_eq!(watch.polls(), 0, "polled early");
        assert_eq!((first.size_hint().lower(), first.size_hint().upper()), hint);
        assert!(!first.is_end_stream());
        assert!(replay.take_over(true).is_none());
        assert_eq!(drain(&mut first), all(&[data("hello"), data(" world")]));
    }
}

#[test]
fn a_body_of_more_than_1024_frames_is_not_kept() {
    for tiny in ["", "x"] {
        for may_poll_early in [true, false] {
            let script = Script::new(vec![data(tiny); MAX_FRAMES + 10]);
            let watch = script.watch();
            let (mut first, replay) = ReplayBody::recording(script, usize::MAX, || may_poll_early);
            assert!(watch.polls() <= MAX_FRAMES + 1, "polled without end");
            assert_eq!(drain(&mut first).len(), MAX_FRAMES + 11);
            assert!(replay.take_over(true).is_none());
        }
    }
    let (_first, replay) =
        ReplayBody::recording(Script::new(vec![data(""); MAX_FRAMES]), usize::MAX, || true);
    assert!(replay.take_over(true).is_some(), "1024 frames are within the limit");
}

#[test]
fn the_source_is_dropped_as_soon_as_no_attempt_can_send_it() {
    let script = Script::new([data("one"), Act::Wait]);
    let watch = script.watch();
    let (first, replay) = ReplayBody::recording(script, LIMIT, || true);
    drop(first);
    assert!(!watch.is_dropped(), "the replay may need it");
    drop(replay);
    assert!(watch.is_dropped());

    let script = Script::new([data("one"), Act::Wait]);
    let watch = script.watch();
    let (first, replay) = ReplayBody::recording(script, LIMIT, || true);
    drop(replay.take_over(true));
    assert!(watch.is_dropped(), "held by a first copy that can't send it");
    drop(first);

    let script = Script::new([data("one"), data("two"), Act::Wait]);
    let watch = script.watch();
    let (mut first, _replay) = ReplayBody::recording(script, 5, || false);
    (0..2).for_each(|_| drop(poll(&mut first)));
    drop(first);
    assert!(watch.is_dropped(), "held by a replay that can't send it");
}

// === taking over ===

#[test]
fn a_body_rejected_before_it_was_polled_is_replayed() {
    let acts = [data("one"), Act::Wait, data("two"), trailers()];
    for may_poll_early in [true, false] {
        for is_dropped in [true, false] {
            let (first, replay) =
                ReplayBody::recording(Script::new(acts.to_vec()), LIMIT, || may_poll_early);
            let first = (!is_dropped).then_some(first);
            let mut second = replay.take_over(!is_dropped).expect("nothing was sent");
            assert_eq!(drain(&mut second), all(&acts));
            if let Some(mut first) = first {
                assert!(!first.is_end_stream());
                assert_eq!(drain(&mut first), [taken_over()]);
            }
        }
    }
}

#[test]
fn a_rejected_upload_goes_on_in_the_replay_and_its_first_copy_ends_with_an_error() {
    let acts = [data("one"), data("two"), Act::Wait, data("three"), trailers()];
    for may_poll_early in [true, false] {
        let script = Script::new(acts.to_vec()).hint(5, Some(20));
        let (mut first, replay) = ReplayBody::recording(script, LIMIT, || may_poll_early);
        let mut upload = task::spawn(());
        upload.enter(|cx, _| {
            assert_eq!(poll_with(&mut first, cx), got("one"));
            assert_eq!(poll_with(&mut first, cx), got("two"));
        });
        if !may_poll_early {
            upload.enter(|cx, _| assert_eq!(poll_with(&mut first, cx), Got::Waits));
            assert!(!upload.is_woken());
        }
        let mut second = replay.take_over(true).expect("within the limit");
        assert_eq!(upload.is_woken(), !may_poll_early);
        assert!(!first.is_end_stream());
        assert_eq!(first.size_hint().upper(), Some(14));
        assert_eq!((second.size_hint().lower(), second.size_hint().upper()), (5, Some(20)));
        assert_eq!(drain(&mut second), all(&acts));
        assert_eq!(drain(&mut first), [taken_over()]);
        assert!(!first.is_end_stream());
    }
}

#[test]
fn a_take_over_wakes_a_waiting_first_copy() {
    let (mut first, replay) = early(&[data("one"), Act::Wait, Act::Wait]);
    let mut upload = task::spawn(());
    upload.enter(|cx, _| {
        assert_eq!(poll_with(&mut first, cx), got("one"));
        assert_eq!(poll_with(&mut first, cx), Got::Waits);
    });
    assert!(!upload.is_woken());
    let _second = replay.take_over(true);
    assert!(upload.is_woken());
    upload.enter(|cx, _| {
        assert_eq!(poll_with(&mut first, cx), taken_over());
        assert_eq!(poll_with(&mut first, cx), Got::End);
    });
}

#[tokio::test]
async fn a_taken_over_copy_ends_with_an_upload_error() {
    let (mut first, replay) = early(&[Act::Wait]);
    let _second = replay.take_over(true);
    let error = first.frame().await.expect("ended cleanly").expect_err("went on");
    assert_eq!(error.downcast_ref(), Some(&UploadError::TakenOver));
    assert_eq!(error.to_string(), "upload was taken over by the replay");
}

#[test]
fn an_upload_in_progress_is_not_interrupted_unless_allowed() {
    let acts = [data("one"), Act::Wait, data("two")];
    let (mut first, replay) = late(&acts);
    assert_eq!(poll(&mut first), got("one"));
    assert!(replay.take_over(false).is_none());
    assert_eq!(drain(&mut first), all(&acts)[1..]);
}

#[test]
fn an_upload_is_replayed_without_interrupting_once_its_first_copy_was_dropped() {
    let acts = [data("one"), Act::Wait, data("two")];
    let (mut first, replay) = late(&acts);
    assert_eq!(poll(&mut first), got("one"));
    drop(first);
    let mut second = replay.take_over(false).expect("the first copy was dropped");
    assert_eq!(drain(&mut second), all(&acts));
}

#[test]
fn a_take_over_does_not_disturb_a_first_copy_that_was_sent_whole() {
    let acts = [data("one"), Act::Wait, data("two")];
    let script = Script::new(acts.to_vec()).frank();
    let watch = script.watch();
    let (mut first, replay) = ReplayBody::recording(script, LIMIT, || true);
    (0..3).for_each(|_| drop(poll(&mut first)));
    assert!(first.is_end_stream());
    assert!(watch.is_dropped());
    let mut second = replay.take_over(false).expect("recorded whole");
    assert_eq!(drain(&mut first), [Got::End]);
    assert_eq!(drain(&mut second), all(&acts));
    assert!(second.is_end_stream());
}

#[test]
fn the_replay_may_take_over_from_within_the_poll_of_the_source() {
    // As if from another thread: the first attempt is polling the source, so the second attempt has
    // to wait for the upload.
    for (acts, limit) in [
        (vec![data("one"), data("two"), Act::Wait, data("three"), trailers()], LIMIT),
        (vec![data("one"), data("two, which is too long"), data("three")], 10),
        (vec![data("one"), Act::Wait, data("three")], LIMIT),
        (vec![data("one"), Act::Fail], LIMIT),
        (vec![data("one")], LIMIT),
        (vec![data("one"), trailers()], LIMIT),
    ] {
        let (mut first, other, second) = meddled(Script::new(acts.clone()), limit);
        assert_eq!(poll(&mut first), got("one"));
        assert_eq!(drain(&mut first), [taken_over()]);
        let mut second = second.borrow_mut().take().expect("has taken over");
        assert!(is_woken(&other), "the second attempt was left waiting");
        assert_eq!(drain(&mut second), all(&acts));
    }
}

#[test]
fn a_body_that_is_taken_over_during_the_poll_of_its_last_frame_knows_its_end_and_is_cloned() {
    // With the small limit, the last frame goes past the buffer.
    for limit in [LIMIT, 10] {
        let script = Script::new([data("one"), data("two, which is too long")]).frank();
        let (mut first, _other, second) = meddled(script, limit);
        assert_eq!(poll(&mut first), got("one"));
        assert_eq!(drain(&mut first), [taken_over()]);
        let mut second = second.borrow_mut().take().expect("has taken over");
        assert_eq!(poll(&mut second), got("one"));
        assert!(!second.is_end_stream());
        let mut clone = second.try_clone().expect("read whole");
        for body in [&mut second, &mut clone] {
            assert_eq!(poll(body), got("two, which is too long"));
            assert!(body.is_end_stream());
        }
    }
}

#[test]
fn the_replay_may_be_dropped_from_within_the_poll_of_the_source() {
    let acts = [data("one"), Act::Wait, data("three")];
    for at in 1..=4 {
        let mut first = meddle_with(Script::new(acts.to_vec()), LIMIT, at, drop);
        assert_eq!(drain(&mut first), all(&acts));
    }
}

#[test]
fn the_second_attempt_may_be_dropped_while_the_source_is_polled() {
    let acts = [data("one"), Act::Wait, data("three")];
    for at in 1..=4 {
        let script = Script::new(acts.to_vec());
        let watch = script.watch();
        let mut first = meddle_with(script, LIMIT, at, |replay| drop(replay.take_over(true)));
        assert_eq!(drain(&mut first).last(), Some(&taken_over()));
        assert!(watch.is_dropped(), "the source outlived both attempts");
    }
}

#[test]
fn a_take_over_during_a_poll_is_refused_unless_interrupting_is_allowed() {
    let acts = [data("one"), Act::Wait, data("three")];
    for at in 1..=4 {
        let refuse = |replay: Replay<_>| assert!(replay.take_over(false).is_none());
        let mut first = meddle_with(Script::new(acts.to_vec()), LIMIT, at, refuse);
        assert_eq!(drain(&mut first), all(&acts));
    }
}

#[test]
fn the_source_is_not_dropped_under_the_lock() {
    for (acts, limit) in [(vec![data("one")], LIMIT), (vec![data("one"), Act::Fail], LIMIT)] {
        for interrupt in [true, false] {
            let shared = MeddlerCell::<Replay<Meddler>>::default();
            let on_drop = {
                let shared = shared.clone();
                // Deadlocks if the lock is held.
                move || {
                    drop(shared.borrow_mut().take().and_then(|replay| replay.take_over(interrupt)))
                }
            };
            let script = Script::new(acts.clone());
            let meddler =
                Meddler { script, at: 0, on_poll: Box::new(|| {}), on_drop: Box::new(on_drop) };
            let (mut first, replay) = ReplayBody::recording(meddler, limit, || false);
            *shared.borrow_mut() = Some(replay);
            drain(&mut first);
            assert!(shared.borrow().is_none(), "the source is still there");
        }
    }
}

// === errors and panics ===

#[test]
fn an_error_in_the_middle_goes_to_the_first_attempt_and_there_is_no_replay() {
    let acts = [data("one"), Act::Wait, data("two"), Act::Fail];
    let (mut first, replay) = early(&acts);
    assert_eq!(drain(&mut first), all(&acts));
    assert!(!first.is_end_stream(), "an error is no clean end");
    assert!(replay.take_over(true).is_none());
}

#[tokio::test]
async fn the_error_of_the_source_passes_unwrapped() {
    for may_poll_early in [true, false] {
        let script = Script::new([Act::Fail]);
        let (mut first, _replay) = ReplayBody::recording(script, LIMIT, || may_poll_early);
        let error = first.frame().await.expect("ended").expect_err("went on");
        assert!(error.is::<ScriptError>());
    }
    let mut body = ReplayBody::passthrough(Script::new([Act::Fail]));
    assert!(body.frame().await.expect("ended").expect_err("went on").is::<ScriptError>());
}

#[test]
fn an_error_after_the_take_over_goes_to_the_replay() {
    let acts = [data("one"), Act::Wait, data("two"), Act::Fail];
    let (mut first, replay) = early(&acts);
    let mut second = replay.take_over(true).expect("nothing is wrong yet");
    assert_eq!(drain(&mut second), all(&acts));
    assert_eq!(drain(&mut first), [taken_over()]);
}

#[test]
fn a_source_that_panics_is_never_polled_again_and_the_second_attempt_is_woken() {
    let (mut first, replay) = late(&[data("one"), Act::Panic]);
    assert_eq!(poll(&mut first), got("one"));
    assert!(panics(|| poll(&mut first)));
    assert_eq!(drain(&mut first), [Got::Failed("request body panicked".to_owned())]);
    assert!(replay.take_over(true).is_none());

    let (mut first, other, second) = meddled(Script::new([data("one"), Act::Panic]), LIMIT);
    assert_eq!(poll(&mut first), got("one"));
    assert!(panics(|| poll(&mut first)));
    assert_eq!(drain(&mut first), [taken_over()]);
    assert!(is_woken(&other), "the second attempt was left waiting");
    let mut second = second.borrow_mut().take().expect("has taken over");
    assert_eq!(drain(&mut second), [Got::Failed("request body panicked".to_owned())]);
}

// === hints ===

#[test]
fn both_attempts_give_the_callers_hint_less_what_they_sent() {
    let acts = [data("one"), data("four"), trailers()];
    for is_waiting in [true, false] {
        for (lower, upper) in [(7, Some(7)), (5, Some(20)), (4, None), (0, Some(7)), (0, None)] {
            let mut acts = acts.to_vec();
            if is_waiting {
                acts.insert(1, Act::Wait);
            }
            let script = Script::new(acts).hint(lower, upper);
            let (mut first, replay) = ReplayBody::recording(script, LIMIT, || true);
            check_hints(&mut first, lower, upper);
            check_hints(&mut replay.take_over(false).expect("recorded whole"), lower, upper);
        }
    }
}

fn check_hints(body: &mut ReplayBody<Script>, lower: u64, upper: Option<u64>) {
    let mut sent = 0;
    loop {
        let hint = body.size_hint();
        assert_eq!(hint.lower(), lower.saturating_sub(sent));
        // The bounds (0, 7) less 7 would be an exact hint.
        let upper = upper.filter(|upper| lower == *upper || *upper > sent);
        assert_eq!(hint.upper(), upper.map(|upper| upper - sent));
        match poll(body) {
            Got::End => return,
            Got::Data(data) => sent += data.len() as u64,
            _ => {}
        }
    }
}

#[test]
fn a_body_that_is_kept_whole_gets_no_exact_hint() {
    let (first, replay) = early(&[data("one")]);
    let second = replay.take_over(false).expect("kept");
    assert_eq!((first.size_hint().exact(), second.size_hint().exact()), (None, None));
    assert_eq!((first.size_hint().lower(), first.size_hint().upper()), (0, None));
}

// === clones ===

#[test]
fn a_body_that_was_read_whole_is_cloned_without_a_copy_of_its_data() {
    let bytes = Bytes::from(vec![1; 100]);
    let (first, replay) = ReplayBody::recording(Full::new(bytes.clone()), LIMIT, || true);
    let second = replay.take_over(false).expect("kept");
    for body in [first, second] {
        let clone = body.try_clone().expect("read whole");
        assert_eq!(clone.size_hint().exact(), Some(100));
        for body in [body, clone] {
            assert_eq!(body.try_into_bytes().expect("data alone").as_ptr(), bytes.as_ptr());
        }
    }
}

#[test]
fn an_empty_body_is_cloned_even_if_it_is_never_replayed() {
    for make in [ReplayBody::passthrough, |body| ReplayBody::recording(body, LIMIT, || true).0] {
        let body = make(Empty::<Bytes>::new());
        let clone = body.try_clone().expect("empty");
        assert_eq!((clone.size_hint().exact(), clone.is_end_stream()), (Some(0), true));
        assert_eq!(body.try_into_bytes().expect("empty"), "");
    }
}

#[test]
fn a_single_frame_is_sent_by_both_attempts_whatever_its_hint() {
    for (lower, upper) in [(3, Some(3)), (0, None), (1, None), (0, Some(7)), (5, Some(5))] {
        let script = Script::new([data("one")]).frank().hint(lower, upper);
        let (first, replay) = ReplayBody::recording(script, LIMIT, || true);
        let second = replay.take_over(false).expect("kept");
        for mut body in [first, second] {
            assert_eq!((body.size_hint().lower(), body.size_hint().upper()), (lower, upper));
            assert_eq!(drain(&mut body), [got("one"), Got::End]);
        }
    }
}

fn bytes_of(act: &Act) -> &[u8] {
    if let Act::Data(data) = act { data } else { &[] }
}

#[test]
fn the_frames_that_are_still_to_be_sent_become_bytes_in_one_piece() {
    let long = || Act::Data(Bytes::from(vec![b'x'; 500]));
    for acts in [vec![data("one"), data("two")], vec![data("one"), long(), data("two")]] {
        let rest: Vec<u8> = acts[1..].iter().flat_map(bytes_of).copied().collect();
        let (mut first, replay) = early(&acts);
        let whole = replay.take_over(false).expect("kept").try_into_bytes().expect("data alone");
        assert_eq!(whole, [b"one", &rest[..]].concat());
        assert_eq!(poll(&mut first), got("one"));
        assert_eq!(first.try_into_bytes().expect("data alone"), rest);
    }
}

#[test]
fn data_that_is_in_one_piece_becomes_bytes_without_a_copy() {
    let beyond_the_limit = Bytes::from(vec![b'x'; LIMIT + 1]);
    let script = Script::new([Act::Data(beyond_the_limit.clone())]).frank();
    let (body, _replay) = ReplayBody::recording(script, LIMIT, || true);
    assert_eq!(body.try_into_bytes().expect("data alone").as_ptr(), beyond_the_limit.as_ptr());

    let copied = vec![data("two"), data("three")];
    let kept = vec![Act::Data(Bytes::from(vec![b'x'; 5000]))];
    for rest in [copied, kept] {
        let script = Script::new([vec![data("one")], rest].concat());
        let (mut body, _replay) = ReplayBody::recording(script, 3 + 5000, || true);
        assert_eq!(poll(&mut body), got("one"));
        let clone = body.try_clone().expect("read whole");
        let [body, clone] = [body, clone].map(|body| body.try_into_bytes().expect("data alone"));
        assert_eq!(body.as_ptr(), clone.as_ptr());
    }
}

#[test]
fn a_body_is_not_cloned_while_frames_are_to_come_from_its_source() {
    let waiting = [data("one"), Act::Wait, data("two")];
    let failing = [data("one"), Act::Fail];
    for (acts, limit, may_poll_early) in [
        (&waiting[..], LIMIT, true),
        (&waiting, LIMIT, false),
        (&waiting, 2, true),
        (&failing, LIMIT, true),
    ] {
        let script = Script::new(acts.to_vec());
        let (first, _replay) = ReplayBody::recording(script, limit, || may_poll_early);
        assert!(first.try_clone().is_none());
        let mut first = first.try_into_bytes().expect_err("frames are to come");
        assert_eq!(drain(&mut first), all(acts), "the body is returned as it was");
    }
    let body = ReplayBody::passthrough(Script::new([data("one")]).frank());
    assert!(body.try_clone().is_none());
    assert!(body.try_into_bytes().is_err());
}

#[test]
fn a_body_with_trailers_is_cloned_and_does_not_become_bytes() {
    let acts = [data("one"), trailers()];
    let (first, _replay) = early(&acts);
    let mut clone = first.try_clone().expect("read whole");
    assert_eq!(drain(&mut clone), all(&acts));
    let mut first = first.try_into_bytes().expect_err("the trailers would be lost");
    assert_eq!(drain(&mut first), all(&acts));
}

// === the caller's body ===

#[test]
fn the_caller_gets_its_body_back_unless_the_layer_has_read_some_of_it() {
    let bytes = Bytes::from(vec![1; 100]);
    let whole = || Full::new(bytes.clone());
    let passing = ReplayBody::passthrough(whole());
    let once = ReplayBody::once(whole()).0;
    let too_long = ReplayBody::recording(whole(), 99, || true).0;
    for body in [passing, once, too_long] {
        let mut inner = body.try_into_inner().expect("not read");
        let frame = task::spawn(()).enter(|cx, _| Pin::new(&mut inner).poll_frame(cx));
        let Poll::Ready(Some(Ok(frame))) = frame else { panic!("{frame:?}") };
        assert_eq!(frame.into_data().expect("data").as_ptr(), bytes.as_ptr());
    }
    for (acts, may_poll_early) in [
        (vec![data("one")], true),
        (vec![data("one"), Act::Wait, data("two")], true),
        (vec![data("one"), data("two")], false),
        (vec![], true),
    ] {
        let script = Script::new(acts.clone());
        let (first, _replay) = ReplayBody::recording(script, LIMIT, || may_poll_early);
        let mut first = first.try_into_inner().err().expect("read, or recorded");
        assert_eq!(drain(&mut first), all(&acts), "the body is returned as it was");
    }
}

#[test]
fn a_body_that_was_sent_or_has_failed_does_not_return_to_the_caller() {
    for (acts, ending) in [(vec![data("one")], true), (vec![data("one"), Act::Fail], false)] {
        let mut body = ReplayBody::passthrough(Script::new(acts.clone()));
        assert_eq!(drain(&mut body), all(&acts));
        assert_eq!(body.try_into_inner().err().expect("at its end").is_end_stream(), ending);
    }
}

// === passing through ===

#[test]
fn a_body_that_is_never_replayed_passes_unchanged() {
    let acts = [data("one"), Act::Wait, trailers()];
    let script = Script::new(acts.to_vec()).frank().hint(3, Some(3));
    let mut body = ReplayBody::passthrough(script);
    assert_eq!(body.size_hint().exact(), Some(3));
    assert!(!body.is_end_stream());
    assert_eq!(drain(&mut body), all(&acts));
    assert!(body.is_end_stream());

    let mut failing = ReplayBody::passthrough(Script::new([data("one"), Act::Fail]));
    assert_eq!(drain(&mut failing), all(&[data("one"), Act::Fail]));
    assert!(!failing.is_end_stream(), "an error is no clean end");
}

#[test]
fn the_default_body_is_the_default_of_the_callers() {
    let mut body = ReplayBody::<Full<Bytes>>::default();
    assert!(body.is_end_stream());
    assert_eq!(drain(&mut body), [Got::End]);
}

#[test]
fn debug_shows_nothing_of_the_body() {
    let (first, _replay) =
        ReplayBody::recording(Full::new(Bytes::from_static(b"secret")), LIMIT, || true);
    assert_eq!(format!("{first:?}"), "ReplayBody { .. }");
}

// === compiled facts ===

#[test]
fn a_body_that_is_send_and_not_sync_stays_send() {
    fn assert_send<T: Send>() {}
    fn assert_unpin<T: Unpin>() {}
    assert_send::<ReplayBody<Script>>();
    assert_send::<Replay<Script>>();
    assert_unpin::<ReplayBody<Script>>();
}

// === helpers ===

/// A body that calls `on_poll` at its `at`th poll, and `on_drop` when it is dropped.
struct Meddler {
    script: Script,
    at: usize,
    on_poll: Box<dyn FnMut()>,
    on_drop: Box<dyn FnMut()>,
}

type MeddlerCell<T> = Rc<RefCell<Option<T>>>;

/// The first attempt at a body. `meddle` is called with its replay during the `at`th poll.
fn meddle_with(
    script: Script,
    limit: usize,
    at: usize,
    mut meddle: impl FnMut(Replay<Meddler>) + 'static,
) -> ReplayBody<Meddler> {
    let shared = MeddlerCell::default();
    let on_poll = {
        let shared = shared.clone();
        move || meddle(shared.borrow_mut().take().expect("meddles once"))
    };
    let meddler = Meddler { script, at, on_poll: Box::new(on_poll), on_drop: Box::new(|| {}) };
    let (first, replay) = ReplayBody::recording(meddler, limit, || false);
    *shared.borrow_mut() = Some(replay);
    first
}

/// A first attempt that is taken over during its second poll, the task that polls the second
/// attempt meanwhile, and the second attempt.
fn meddled(
    script: Script,
    limit: usize,
) -> (ReplayBody<Meddler>, MeddlerCell<task::Spawn<()>>, MeddlerCell<ReplayBody<Meddler>>) {
    let (task, second) = (MeddlerCell::default(), MeddlerCell::default());
    *task.borrow_mut() = Some(task::spawn(()));
    let first = meddle_with(script, limit, 2, {
        let (task, second) = (task.clone(), second.clone());
        move |replay| {
            let mut body = replay.take_over(true).expect("within the limit so far");
            assert!(!body.is_end_stream());
            let mut task = task.borrow_mut();
            let task = task.as_mut().expect("spawned");
            task.enter(|cx, _| assert_eq!(poll_with(&mut body, cx), Got::Waits));
            assert!(!task.is_woken());
            *second.borrow_mut() = Some(body);
        }
    });
    (first, task, second)
}

fn is_woken(task: &MeddlerCell<task::Spawn<()>>) -> bool {
    task.borrow().as_ref().is_some_and(task::Spawn::is_woken)
}

fn panics<T>(run: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(run)).is_err()
}

impl Body for Meddler {
    type Data = Bytes;
    type Error = ScriptError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ScriptError>>> {
        self.at = self.at.wrapping_sub(1);
        if self.at == 0 {
            (self.on_poll)();
        }
        Pin::new(&mut self.script).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.script.is_end_stream()
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        (self.on_drop)();
    }
}
