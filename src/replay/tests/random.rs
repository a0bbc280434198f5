use std::sync::Arc;

use bytes::Bytes;
use http_body::{Body, SizeHint};
use proptest::prelude::*;

use crate::replay::{
    Replay, ReplayBody,
    tests::script::{
        Act, Got, Script, ScriptProgress, all, data, drain, poll, taken_over, trailers,
    },
};

/// A body, and how its attempts are polled.
#[derive(Clone, Debug)]
struct Story {
    acts: Vec<Act>,
    is_frank: bool,
    /// The size hint, lower and upper bound.
    hint: Option<(u64, Option<u64>)>,
    limit: usize,
    may_poll_early: bool,
    /// The number of polls of the first attempt before the take-over.
    polls: usize,
    is_first_dropped: bool,
    interrupt: bool,
}

/// One attempt, checked at every poll.
struct CheckedAttempt {
    body: ReplayBody<Script>,
    start: SizeHint,
    /// Whether this is the caller's body as it is: the size hint of a script never changes.
    is_passing: bool,
    sent: u64,
    got: Vec<Got>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_is_exact_or_impossible(story in story()) {
        play(&story);
    }

    #[test]
    fn a_clone_has_exactly_the_frames_that_are_left(story in story()) {
        let (mut first, replay, _watch) = begin(&story);
        let waits = story.acts.iter().any(|act| matches!(act, Act::Wait | Act::Fail));
        let weight: usize = story.acts.iter().map(weight).sum();
        if story.may_poll_early && !waits && !first.is_passing && weight <= story.limit {
            assert!(first.body.try_clone().is_some(), "read whole");
        }
        (0..story.polls).for_each(|_| first.poll());
        first.check_clone(&story);
        if let Some(second) = replay.take_over(story.interrupt) {
            CheckedAttempt::new(second, first.start, false).check_clone(&story);
        }
    }

    #[test]
    fn a_dropped_replay_leaves_the_first_attempt_untouched(story in story()) {
        let (mut first, replay, _watch) = begin(&story);
        (0..story.polls).for_each(|_| first.poll());
        drop(replay);
        first.finish();
        assert_eq!(first.got, all(&story.acts));
    }
}

fn play(story: &Story) {
    let expected = all(&story.acts);
    let (mut first, replay, watch) = begin(story);
    let (start, is_empty) = (first.start, first.body.is_end_stream());
    (0..story.polls).for_each(|_| first.poll());

    // A replay is possible or not by what was polled from the source so far.
    let played = &story.acts[..watch.acts()];
    let weight: usize = played.iter().map(weight).sum();
    let is_whole = watch.is_over() || is_empty;
    let can_be_had = is_whole || story.is_first_dropped || story.interrupt;
    let is_possible =
        !first.is_passing && weight <= story.limit && !played.contains(&Act::Fail) && can_be_had;

    let first = (!story.is_first_dropped).then_some(first);
    let second = replay.take_over(story.interrupt);
    assert_eq!(second.is_some(), is_possible, "{played:?}");

    let is_interrupted = second.is_some() && !is_whole;
    if let Some(second) = second {
        let mut second = CheckedAttempt::new(second, start, false);
        second.finish();
        assert_eq!(second.got, expected);
    }
    let Some(mut first) = first else { return };
    let sent = first.got.len();
    first.finish();
    if is_interrupted {
        assert_eq!(first.got.len(), sent + 1, "went on after the replay had taken over");
        assert_eq!(first.got.pop(), Some(taken_over()));
        assert!(expected.starts_with(&first.got));
    } else {
        assert_eq!(first.got, expected);
    }
}

fn begin(story: &Story) -> (CheckedAttempt, Replay<Script>, Arc<ScriptProgress>) {
    let script = story.script();
    let (watch, start) = (script.watch(), script.size_hint());
    let is_passing =
        !script.is_end_stream() && (story.limit == 0 || start.lower() > story.limit as u64);
    let (first, replay) = ReplayBody::recording(script, story.limit, || story.may_poll_early);
    (CheckedAttempt::new(first, start, is_passing), replay, watch)
}

fn weight(act: &Act) -> usize {
    match act {
        Act::Data(data) => data.len(),
        Act::Trailers(map) => {
            map.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
        }
        _ => 0,
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..20_usize).prop_map(|len| Act::Data(Bytes::from(vec![b'x'; len]))),
        1 => Just(data("")),
        3 => Just(Act::Wait),
        1 => Just(Act::Fail),
    ]
}

prop_compose! {
    fn story()(
        mut acts in prop::collection::vec(act(), 0..8),
        has_trailers in any::<bool>(),
        is_frank in any::<bool>(),
        slack in prop::option::of((0..4_u64, prop::option::of(0..4_u64))),
        limit in prop_oneof![1 => Just(0_usize), 5 => 0..60_usize, 5 => Just(1000_usize)],
        is_limit_hit in prop::option::of(0..3_usize),
        may_poll_early in any::<bool>(),
        polls in 0..10_usize,
        is_first_dropped in any::<bool>(),
        interrupt in any::<bool>(),
    ) -> Story {
        if has_trailers {
            acts.push(trailers());
        }
        // Every frame has content of its own, so that a mix-up is noticed.
        for (at, act) in acts.iter_mut().enumerate() {
            if let Act::Data(data) = act {
                *data = vec![b'a' + at as u8; data.len()].into();
            }
        }
        let size = acts.iter().map(weight).sum::<usize>();
        let bytes = acts.iter().map(|act| if let Act::Data(data) = act { data.len() as u64 } else { 0 }).sum::<u64>();
        let hint = slack.map(|(below, above)| (bytes.saturating_sub(below), above.map(|above| bytes + above)));
        // One byte less than the size, exactly the size, and one byte more.
        let limit = is_limit_hit.map_or(limit, |off| (size + off).saturating_sub(1));
        Story { acts, is_frank, hint, limit, may_poll_early, polls, is_first_dropped, interrupt }
    }
}

// === impl Story ===

impl Story {
    fn script(&self) -> Script {
        let script = Script::new(self.acts.clone());
        let script = if self.is_frank { script.frank() } else { script };
        match self.hint {
            Some((lower, upper)) => script.hint(lower, upper),
            None => script,
        }
    }
}

// === impl CheckedAttempt ===

impl CheckedAttempt {
    fn new(body: ReplayBody<Script>, start: SizeHint, is_passing: bool) -> Self {
        Self { body, start, is_passing, sent: 0, got: Vec::new() }
    }

    fn is_done(&self) -> bool {
        matches!(self.got.last(), Some(Got::End | Got::Failed(_)))
    }

    fn poll(&mut self) {
        self.check_hint();
        let was_over = self.body.is_end_stream();
        let got = poll(&mut self.body);
        assert!(!was_over || got == Got::End, "yielded after is_end_stream was true: {got:?}");
        if self.is_done() {
            assert_eq!(got, Got::End, "yielded after its end");
            return;
        }
        match &got {
            Got::Waits => return,
            Got::Data(data) => self.sent += data.len() as u64,
            Got::Failed(_) => {
                assert!(!self.body.is_end_stream(), "an error was reported as a clean end")
            }
            Got::Trailers(_) | Got::End => {}
        }
        self.got.push(got);
        self.check_hint();
    }

    /// A clone is exact or impossible, and so is the conversion of a clone to bytes.
    fn check_clone(&self, story: &Story) {
        let Some(mut clone) = self.body.try_clone() else { return };
        assert_eq!(
            (clone.size_hint().lower(), clone.size_hint().upper(), clone.is_end_stream()),
            (
                self.body.size_hint().lower(),
                self.body.size_hint().upper(),
                self.body.is_end_stream()
            ),
        );
        let expected = match self.is_done() {
            true => vec![Got::End],
            false => all(&story.acts).split_off(self.got.len()),
        };
        let bytes = clone.try_clone().expect("a clone can be cloned").try_into_bytes();
        assert_eq!(drain(&mut clone), expected);
        match bytes {
            Ok(bytes) => {
                let data = expected.iter().map(|got| match got {
                    Got::Data(data) => data.clone(),
                    Got::End => Bytes::new(),
                    got => panic!("lost: {got:?}"),
                });
                assert_eq!(bytes, data.collect::<Vec<_>>().concat());
            }
            Err(mut body) => {
                assert!(expected.iter().any(|got| matches!(got, Got::Trailers(_))));
                assert_eq!(drain(&mut body), expected);
            }
        }
    }

    fn finish(&mut self) {
        while !self.is_done() {
            self.poll();
        }
        self.poll();
    }

    fn check_hint(&self) {
        let (start, now) = (self.start, self.body.size_hint());
        assert!(
            start.exact().is_some() || now.exact().is_none(),
            "{start:?} became exact: {now:?}"
        );
        let sent = if self.is_passing { 0 } else { self.sent };
        assert_eq!(now.lower(), start.lower().saturating_sub(sent));
        if let Some(upper) = now.upper() {
            assert_eq!(Some(upper), start.upper().map(|upper| upper.saturating_sub(sent)));
        } else {
            assert!(start.upper().is_none_or(|upper| upper <= sent), "{start:?} lost its end");
        }
    }
}
