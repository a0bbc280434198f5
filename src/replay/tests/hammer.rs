use std::{
    hint,
    sync::{Arc, Barrier},
    task::{Context, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

use crate::replay::{
    ReplayBody,
    tests::script::{Act, Got, Script, all, data, poll_with, taken_over, trailers},
};

struct Unpark(Thread);

#[test]
fn a_take_over_during_a_poll_on_another_thread_loses_no_frame_and_no_wake_up() {
    let acts = [
        data("one"),
        Act::Yield,
        data("two"),
        data("three"),
        Act::Yield,
        Act::Yield,
        data("four"),
        // Only the take-over wakes the first attempt here.
        Act::Gate,
        data("five"),
        trailers(),
    ];
    let expected = all(&acts);
    let mut interrupted = 0;
    for round in 0..5_000_u32 {
        let script = Script::new(acts.to_vec());
        let watch = script.watch();
        let (first, replay) = ReplayBody::recording(script, 1000, || round % 2 == 0);
        let start = Arc::new(Barrier::new(2));
        let upload = thread::spawn({
            let start = start.clone();
            move || {
                start.wait();
                block_on_all(first)
            }
        });
        start.wait();
        (0..round % 400).for_each(|_| hint::spin_loop());
        let second = replay.take_over(true).expect("neither too long nor failed");
        watch.open_gate();
        assert_eq!(block_on_all(second), expected);

        let mut sent = upload.join().expect("first attempt panicked");
        assert_eq!(sent.pop(), Some(taken_over()));
        assert!(expected.starts_with(&sent), "{sent:?}");
        interrupted += usize::from(!sent.is_empty());
    }
    assert!(interrupted > 0, "no take-over interrupted the first attempt");
}

#[test]
fn overflow_and_take_over_at_the_same_time_have_one_answer() {
    let acts =
        [data("one"), Act::Yield, data("two"), data("three"), Act::Yield, data("four"), trailers()];
    let expected = all(&acts);
    let (mut taken, mut refused) = (0, 0);
    for round in 0..5_000_u32 {
        // "three" breaks it.
        let (first, replay) = ReplayBody::recording(Script::new(acts.to_vec()), 8, || false);
        let start = Arc::new(Barrier::new(2));
        let upload = thread::spawn({
            let start = start.clone();
            move || {
                start.wait();
                block_on_all(first)
            }
        });
        start.wait();
        (0..round % 400).for_each(|_| hint::spin_loop());
        let second = replay.take_over(true).map(block_on_all);
        let mut sent = upload.join().expect("first attempt panicked");
        match second {
            Some(second) => {
                taken += 1;
                assert_eq!(second, expected);
                assert_eq!(sent.pop(), Some(taken_over()));
                assert!(expected.starts_with(&sent), "{sent:?}");
            }
            None => {
                refused += 1;
                assert_eq!(sent, expected);
            }
        }
    }
    assert!(taken > 0 && refused > 0, "no race: {taken} taken, {refused} refused");
}

#[test]
fn dropping_the_replay_during_a_poll_on_another_thread_leaves_the_upload_alone() {
    let acts = [data("one"), Act::Yield, data("two"), Act::Yield, data("three"), trailers()];
    for round in 0..2_000_u32 {
        let (first, replay) = ReplayBody::recording(Script::new(acts.to_vec()), 1000, || false);
        let upload = thread::spawn(move || block_on_all(first));
        (0..round % 400).for_each(|_| hint::spin_loop());
        drop(replay);
        assert_eq!(upload.join().expect("first attempt panicked"), all(&acts));
    }
}

#[test]
fn the_second_attempt_may_be_dropped_while_it_waits_for_the_upload() {
    let acts = [data("one"), Act::Yield, data("two"), Act::Yield, data("three"), Act::Gate];
    for round in 0..2_000_u32 {
        let script = Script::new(acts.to_vec());
        let watch = script.watch();
        let (first, replay) = ReplayBody::recording(script, 1000, || false);
        let upload = thread::spawn(move || block_on_all(first));
        (0..round % 400).for_each(|_| hint::spin_loop());
        drop(replay.take_over(true));
        let sent = upload.join().expect("first attempt panicked");
        assert_eq!(sent.last(), Some(&taken_over()));
        assert!(watch.is_dropped(), "the source outlived both attempts");
    }
}

fn block_on_all(mut body: ReplayBody<Script>) -> Vec<Got> {
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut cx = Context::from_waker(&waker);
    let mut all = Vec::new();
    loop {
        match poll_with(&mut body, &mut cx) {
            Got::Waits => park(),
            end @ (Got::End | Got::Failed(_)) => {
                all.push(end);
                return all;
            }
            got => all.push(got),
        }
    }
}

/// A lost wake-up shall fail, not hang.
fn park() {
    let begun = Instant::now();
    thread::park_timeout(Duration::from_secs(20));
    assert!(begun.elapsed() < Duration::from_secs(19), "the task was never woken");
}

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
