use std::{task::Poll, time::Duration};

use bytes::Bytes;
use tokio::time;
use tokio_test::{assert_pending, assert_ready, task};

use crate::replay::{
    drain::Drain,
    tests::script::{Act, Script, data, trailers},
};

const LIMIT: usize = 64 * 1024;

fn zeros(len: usize) -> Act {
    Act::Data(Bytes::from(vec![0; len]))
}

/// Polls a drain of this body once. Returns the result, and whether the body was read to its end.
fn drain_once(acts: &[Act]) -> (Poll<()>, bool) {
    let body = Script::new(acts.to_vec());
    let progress = body.watch();
    let mut drain = Drain::new(body);
    let polled = task::spawn(()).enter(|cx, _| drain.poll(cx));
    (polled, progress.is_over())
}

#[test]
fn a_body_of_at_most_64_kib_is_read_to_its_end() {
    for acts in [
        vec![],
        vec![zeros(1)],
        vec![zeros(LIMIT)],
        vec![zeros(LIMIT / 2), zeros(LIMIT / 2)],
        vec![data("end"), trailers()],
    ] {
        assert_eq!(drain_once(&acts), (Poll::Ready(()), true));
    }
}

#[test]
fn a_longer_body_is_not_read_further() {
    for acts in [vec![zeros(LIMIT + 1)], vec![zeros(LIMIT), zeros(1)]] {
        assert_eq!(drain_once(&acts), (Poll::Ready(()), false));
    }
}

#[test]
fn each_frame_without_data_counts_as_a_byte() {
    let full = vec![zeros(0); LIMIT];
    assert_eq!(drain_once(&full), (Poll::Ready(()), true));
    let longer = vec![zeros(0); LIMIT + 1];
    assert_eq!(drain_once(&longer), (Poll::Ready(()), false));
}

#[test]
fn a_body_that_fails_is_not_read_further() {
    assert_eq!(drain_once(&[Act::Fail]), (Poll::Ready(()), false));
}

#[test]
fn a_body_that_waits_is_given_up_without_a_runtime() {
    assert_eq!(drain_once(&[data("start"), Act::Gate]), (Poll::Ready(()), false));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_is_given_up_after_a_second() {
    let body = Script::new([data("start"), Act::Gate, data("end")]);
    let progress = body.watch();
    let mut drain = task::spawn(Drain::new(body));
    assert_pending!(drain.enter(|cx, mut drain| drain.poll(cx)));
    time::advance(Duration::from_millis(999)).await;
    assert_pending!(drain.enter(|cx, mut drain| drain.poll(cx)));
    time::advance(Duration::from_millis(1)).await;
    assert_ready!(drain.enter(|cx, mut drain| drain.poll(cx)));
    assert!(!progress.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_goes_on_in_time_is_read_to_its_end() {
    let body = Script::new([Act::Gate, data("end")]);
    let progress = body.watch();
    let mut drain = task::spawn(Drain::new(body));
    assert_pending!(drain.enter(|cx, mut drain| drain.poll(cx)));
    time::advance(Duration::from_millis(999)).await;
    progress.open_gate();
    assert_ready!(drain.enter(|cx, mut drain| drain.poll(cx)));
    assert!(progress.is_over());
}
