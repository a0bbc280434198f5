//! What depends on time: renewals ahead of expiry, back-off, limits, strikes, and clocks that jump.

use std::time::SystemTime;

use super::*;
use crate::session::machine::{
    limit::Limit,
    rules::AmbiguousOutcome,
    tests::key::{after, key_with},
    timing::Ahead,
};

// ## A renewal is due, and the credential usable

#[test]
fn a_renewal_that_is_due_elects_and_requests_are_sent_meanwhile() {
    for (state, elected) in [(active(), renewal()), (failed(), renewal().again())] {
        let taken = renew(&due(state), now());
        elected.check_unjoined(&taken);
        let flying = taken.next.expect("a renewal flies");
        assert_eq!(admission(&request(&flying).answer), Answer::Sent(KEY, stamp()));
    }
}

#[test]
fn a_renewal_is_due_from_the_moment_on_that_its_credential_names() {
    renew(&due(active()), both(99)).assert_nothing();
    Elected { at: both(199), ..renewal() }.check_unjoined(&renew(&due(active()), both(199)));
    // Nobody waits for it, even though the credential has expired meanwhile.
    Elected { at: late(), ..renewal() }.check_unjoined(&renew(&due(active()), late()));
}

#[test]
fn no_renewal_is_due_where_a_flight_is_under_way_or_held_off_or_nothing_expires() {
    let none = [
        due(refreshing()),
        due(awaited()),
        due(backing_off()),
        due(beyond_the_limit(active())),
        due(beyond_the_limit(failed())),
        ageless(active()),
        without_key(active()),
        without_key(failed()),
        refused(),
        logged_out(),
        signed_out(),
    ];
    for state in none {
        renew(&state, now()).assert_nothing();
    }
}

#[test]
fn a_request_starts_no_renewal_when_it_is_admitted() {
    for may_elect in [true, false] {
        for state in [
            active(),
            failed(),
            backing_off(),
            beyond_the_limit(active()),
            beyond_the_limit(failed()),
        ] {
            let taken = take(&due(state), |state| state.admit(login(), may_elect, now));
            assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
            taken.assert_nothing();
        }
    }
}

#[test]
fn a_request_when_a_renewal_is_due_and_a_flight_is_not_awaited_is_sent() {
    let taken = request(&due(refreshing()));
    assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
    taken.assert_nothing();
}

#[test]
fn a_request_when_a_renewal_is_due_and_a_flight_is_awaited_waits() {
    let taken = request(&due(awaited()));
    assert_eq!(admission(&taken.answer), Answer::Waits(leg_of(&awaited())));
    taken.assert_nothing();
}

#[test]
fn a_request_past_the_expiry_waits_for_the_renewal_that_is_late() {
    let taken = late_request(&due(active()));
    Elected::late().check(&taken, flight_of);

    let flying = renewing(&due(active()));
    let waiting = late_request(&flying);
    assert_eq!(admission(&waiting.answer), Answer::Waits(Leg { awaited: true, ..leg_of(&flying) }));
    waiting.assert_no_effects();
}

#[test]
fn a_rejection_turns_a_renewal_into_a_flight_that_is_waited_for() {
    let flying = renewing(&due(active()));
    let expected = Leg { awaited: true, rejected: true, ..leg_of(&flying) };
    let taken = reject(&flying, stamp());
    assert_eq!((expected.cause, expected.number), (Cause::Expiring, FLIGHT));
    assert_eq!(reaction(&taken.answer), Answer::Waits(expected.clone()));
    taken.assert_state(|state| state.stand = Stand::Refreshing(expected));
    taken.assert_no_effects();
}

#[test]
fn an_idle_session_knows_how_long_to_sleep() {
    let renewal_in = |state: State<Key>, seconds| state.renewal_in(both(seconds));
    assert_eq!(renewal_in(due(active()), 40), Some(60 * SECOND));
    assert_eq!(renewal_in(due(active()), 100), Some(Duration::ZERO));
    assert_eq!(renewal_in(due(active()), 300), Some(Duration::ZERO));
    assert_eq!(renewal_in(due(backing_off()), 100), Some(5 * SECOND));
    assert_eq!(renewal_in(due(backing_off()), 40), Some(65 * SECOND), "the longer one of both");
    assert_eq!(renewal_in(due(beyond_the_limit(active())), 100), Some(26 * SECOND));
    assert_eq!(renewal_in(due(beyond_the_limit(backing_off())), 100), Some(5 * SECOND));
    assert_eq!(renewal_in(active(), 100), Some(100 * SECOND), "without a margin, when it expires");
    for state in
        [due(refreshing()), due(awaited()), ageless(active()), without_key(active()), logged_out()]
    {
        assert_eq!(renewal_in(state, 100), None);
    }
}

#[test]
fn the_fresh_path_sees_the_same_renewals() {
    // By the monotonic clock as it is: less than a hundred seconds into the test.
    let wants = |state: State<Key>, seconds| state.wants_renewal(|| at(seconds));
    let long_over = failed_until(both(0));
    assert!(wants(due(active()), 100) && wants(due(active()), 199) && wants(due(long_over), 100));
    assert!(!wants(due(active()), 99) && !wants(active(), 100) && !wants(ageless(active()), 100));
    let held_off = [failed_until(both(10_000)), beyond_the_limit(active())];
    for state in [refreshing(), awaited()].into_iter().chain(held_off) {
        assert!(!wants(due(state), 100));
    }
    assert!(!wants(without_key(active()), 100) && !wants(logged_out(), 100));
}

#[test]
fn the_clock_is_read_for_a_credential_of_known_expiry_alone() {
    let unread = || -> SystemTime { panic!("the clock is read") };
    for state in [ageless(active()), ageless(failed()), ageless(refreshing())] {
        assert!(state.sendable(unread).is_some());
        assert!(!state.wants_renewal(unread));
    }
    for state in [awaited(), logged_out()] {
        assert!(state.sendable(unread).is_none());
    }
}

// ## During a back-off

#[test]
fn a_request_with_an_expired_credential_during_a_back_off_fails_with_the_time_to_wait() {
    let state = failed_until(both(305));
    let taken = late_request(&state);
    assert_eq!(admission(&taken.answer), Answer::Later("failed".to_owned(), 5 * SECOND));
    taken.assert_nothing();
}

#[test]
fn a_request_without_a_credential_during_a_back_off_fails_with_the_time_to_wait() {
    for may_elect in [true, false] {
        let state = without_key(backing_off());
        let taken = take(&state, |state| state.admit(login(), may_elect, now));
        assert_eq!(admission(&taken.answer), later("failed", 5 * SECOND));
        taken.assert_nothing();
    }
}

#[test]
fn a_back_off_is_over_at_its_moment_and_not_before() {
    let before = Now { instant: both(105).instant - Duration::from_nanos(1), ..now() };
    let taken = take(&without_key(backing_off()), |state| state.admit(login(), true, || before));
    assert_eq!(admission(&taken.answer), later("failed", Duration::from_nanos(1)));
    taken.assert_nothing();

    let taken = take(&without_key(backing_off()), |state| state.admit(login(), true, || both(105)));
    let expected = Elected { key: None, at: both(105), ..Elected::new(Cause::Missing) };
    expected.again().check(&taken, flight_of);
}

#[test]
fn a_request_with_a_usable_credential_during_a_back_off_is_sent() {
    let taken = request(&backing_off());
    assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
    taken.assert_nothing();
    assert!(backing_off().sendable(|| now().wall).is_some());
}

#[test]
fn a_request_that_has_waited_is_sent_with_an_expired_credential_during_a_back_off_too() {
    let taken = take(&failed_until(both(305)), |state| state.admit(login(), false, late));
    assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
    taken.assert_nothing();
}

#[test]
fn a_rejection_during_a_back_off_gets_its_failure_whenever_the_request_was_sent() {
    for flights_settled in [0, SETTLED - 1, SETTLED] {
        let taken = reject(&backing_off(), Stamped { flights_settled, ..stamp() });
        assert_eq!(reaction(&taken.answer), later("failed", 5 * SECOND));
        taken.assert_nothing();
    }
}

#[test]
fn a_rejection_of_an_older_generation_during_a_back_off_is_replayed() {
    let taken = reject(&backing_off(), older());
    assert_eq!(reaction(&taken.answer), Answer::Replays);
    taken.assert_nothing();
    assert_of_another_login(&backing_off());
}

#[test]
fn a_refresh_or_an_acquire_during_a_back_off_fails_with_the_time_to_wait() {
    for state in [backing_off(), without_key(backing_off())] {
        let taken = take(&state, |state| state.refresh(now()));
        assert_eq!(taken.answer.as_ref().map_err(fails).unwrap_err(), later("failed", 5 * SECOND));
        taken.assert_nothing();
        let taken = acquire(&state, now());
        assert_eq!(taken.answer.as_ref().map_err(fails).unwrap_err(), later("failed", 5 * SECOND));
        taken.assert_nothing();
    }
    let taken = acquire(&failed_until(both(305)), late());
    assert_eq!(taken.answer.as_ref().map_err(fails).unwrap_err(), later("failed", 5 * SECOND));
    taken.assert_nothing();
}

#[test]
fn a_login_or_a_replacement_ends_a_back_off() {
    for after in [log_in(&backing_off()).next, replace(&backing_off()).next] {
        let after = after.expect("the state changes");
        let taken = reject(&after, after.stamp());
        let Launch { flight, context, .. } = taken.effects.launch.expect("a flight starts");
        assert_eq!((flight.attempt(), flight.row), (1, Row::default()));
        assert!(context.previous_error().is_none());
    }
}

#[test]
fn an_acquire_after_a_logout_during_a_back_off_elects_at_once() {
    let over = log_out(&backing_off()).next.expect("the login ends");
    let taken = acquire(&over, now());
    let flight = acquired_flight(&taken.answer);
    assert_eq!((flight.attempt(), flight.row), (1, Row::default()));
    let launch = taken.effects.launch.as_ref().expect("a flight starts");
    assert!(launch.context.previous_error().is_none());
}

#[test]
fn fifty_requests_that_are_rejected_during_a_back_off_cost_one_flight() {
    let flying = reject(&active(), stamp()).next.expect("it flies");
    let mut state =
        settle(&flying, &Err(RefreshError::transient("down")), None).next.expect("it fails");
    for tick in 0..50 {
        let now = Now { instant: now().instant + tick * Duration::from_millis(99), ..now() };
        let sent = take(&state, |state| state.admit(login(), true, || now));
        let Admission::Send(_, stamped) = &sent.answer else { panic!("it is usable") };
        let taken = reject_at(&state, *stamped, now);
        assert_eq!(reaction(&taken.answer), later("down", WAIT - tick * Duration::from_millis(99)));
        state = [sent.next, taken.next].into_iter().flatten().last().unwrap_or(state);
    }
    assert_eq!(state.flights_started, FLIGHT);
}

// ## How many failed in a row

#[test]
fn a_failure_says_how_many_failed_in_a_row_and_when_the_next_may_start() {
    let mut state = active();
    for (nth, error) in (1..).zip([transient(), refusal(), refusal(), lost(), refusal()]) {
        // Nobody waits for it, so that no refusal ends the login.
        let start = take(&state, |state| state.refresh(after_failures(nth - 1)));
        let flying = start.next.expect("it flies");
        assert_eq!(flight(&flying).attempt(), nth);
        assert_eq!(flight(&flying).started_at(), after_failures(nth - 1).instant.into_std());
        let taken = settle_at(&flying, &error, after_failures(nth - 1));
        state = taken.next.expect("it fails");
        let Phase::Failed(failure) = state.phase() else { panic!("it has failed") };
        assert_eq!(failure.in_a_row(), nth);
        assert_eq!(failure.retry_at(), after_failures(nth).instant.into_std());
        assert_eq!(said(failure.error()), said(&error));
        assert_eq!(failure.row.refusals, [0, 1, 2, 0, 1][nth as usize - 1], "refusals in a row");
    }

    let flying = take(&state, |state| state.refresh(after_failures(5))).next.expect("it flies");
    for after in [
        settle(&flying, &Ok(new_key()), None).next,
        log_in(&flying).next,
        replace(&flying).next,
        log_in(&state).next,
        replace(&state).next,
    ] {
        let after = after.expect("a credential arrives");
        let flying = take(&after, |state| state.refresh(now())).next.expect("it flies");
        assert_eq!((flight(&flying).attempt(), flight(&flying).row), (1, Row::default()));
    }
}

#[test]
fn whoever_comes_to_wait_leaves_the_count_and_the_start_of_a_flight_as_they_are() {
    let flying = take(&failed(), |state| state.refresh(now())).next.expect("it flies");
    for after in [reject_at(&flying, stamp(), late()).next, late_request(&flying).next] {
        let flight = flight(&after.expect("it is awaited"));
        assert_eq!((flight.attempt(), flight.row), (2, FAILED));
        assert_eq!(flight.started_at(), now().instant.into_std());
        assert!(flight.is_awaited());
    }
}

#[test]
fn the_count_of_failures_overflows_nothing() {
    let row = Row { failures: u32::MAX, refusals: u32::MAX };
    let worn = Flight { row, ..new_flight(Cause::Forced, false) };
    assert_eq!(worn.attempt(), u32::MAX);
    let taken = settle_at(&state(Phase::Refreshing(worn)), &refusal(), now());
    taken.assert_state(|state| {
        state.stand = setback_at("no", now(), row);
        state.flights_settled += 1;
    });
}

// ## Beyond the limit of refreshes

#[test]
fn a_request_with_an_expired_credential_beyond_the_limit_is_sent() {
    for state in [active(), failed()] {
        let state = with_successes(state, &burst(late()));
        let taken = late_request(&state);
        assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
        taken.assert_nothing();
    }
}

#[test]
fn a_request_with_an_expired_credential_within_the_limit_elects() {
    let burst = burst(late());
    let taken = late_request(&with_successes(active(), &burst[1..]));
    let leg = leg_of(taken.next.as_ref().expect("it flies"));
    assert_eq!(admission(&taken.answer), Answer::Waits(leg));
}

#[test]
fn a_rejection_beyond_the_limit_goes_to_the_caller() {
    for state in [active(), failed()] {
        let taken = reject(&beyond_the_limit(state), stamp());
        assert_eq!(reaction(&taken.answer), Answer::Responds);
        taken.assert_nothing();
    }
    // Nothing is spared where a flight is in progress anyway, or a newer credential there.
    let waits = reject(&beyond_the_limit(awaited()), stamp());
    assert!(matches!(reaction(&waits.answer), Answer::Waits(_)));
    let replays = reject(&beyond_the_limit(active()), older());
    assert_eq!(reaction(&replays.answer), Answer::Replays);
}

#[test]
fn a_rejection_from_before_a_failure_gets_that_failure_beyond_the_limit_too() {
    let stamped = Stamped { flights_settled: SETTLED - 1, ..stamp() };
    let taken = reject(&beyond_the_limit(failed()), stamped);
    assert_eq!(reaction(&taken.answer), later("failed", Duration::ZERO));
    taken.assert_nothing();
}

#[test]
fn the_limit_counts_what_succeeded_within_its_window() {
    // The first of five has left the window at 126.
    let state = beyond_the_limit(active());
    let before = Now { instant: both(126).instant - Duration::from_nanos(1), ..now() };
    assert_eq!(reaction(&reject_at(&state, stamp(), before).answer), Answer::Responds);
    let taken = reject_at(&state, stamp(), Now { instant: both(126).instant, ..now() });
    assert!(taken.effects.launch.is_some());
    assert!(
        reject(&with_successes(active(), &burst(now())[1..]), stamp()).effects.launch.is_some()
    );
}

#[test]
fn a_back_off_goes_before_the_limit() {
    let state = with_successes(failed_until(both(305)), &burst(late()));
    let taken = late_request(&state);
    assert_eq!(admission(&taken.answer), later("failed", 5 * SECOND));
    taken.assert_nothing();
    let taken = reject(&beyond_the_limit(backing_off()), stamp());
    assert_eq!(reaction(&taken.answer), later("failed", 5 * SECOND));
    taken.assert_nothing();
}

#[test]
fn a_refresh_or_an_acquire_is_not_limited() {
    let taken = take(&unproven(beyond_the_limit(active()), now()), |state| state.refresh(now()));
    let flight = taken.answer.as_ref().expect("it flies");
    assert_eq!((flight.cause, flight.number), (Cause::Forced, FLIGHT));
    assert!(taken.effects.launch.is_some());

    let expired = acquire(&with_successes(active(), &burst(late())), late());
    assert_eq!(acquired_flight(&expired.answer).cause, Cause::Expiring);
    assert!(expired.effects.launch.is_some());
    let usable = acquire(&beyond_the_limit(failed()), now());
    assert_eq!(acquired_flight(&usable.answer).cause, Cause::Forced);
    assert!(usable.effects.launch.is_some());
}

#[test]
fn a_refresh_is_counted() {
    let mut state = active();
    for _ in 0..5 {
        assert!(reject(&state, state.stamp()).effects.launch.is_some(), "the limit is not reached");
        let flying = take(&state, |state| state.refresh(now())).next.expect("it flies");
        state = settle(&flying, &Ok(new_key()), None).next.expect("it succeeds");
    }
    assert_eq!(Picture::of(&state).history, history(&[now(); 5]));
    let taken = reject(&state, state.stamp());
    assert_eq!(reaction(&taken.answer), Answer::Responds);
    taken.assert_nothing();
}

#[test]
fn a_failure_is_not_counted() {
    for error in [transient(), lost(), refusal()] {
        let taken = settle_at(&refreshing(), &error, now());
        assert_eq!(taken.after.expect("it fails").history, history(&[]));
    }
    // Nor is the outcome of a flight that was overtaken.
    let fenced = Flight { number: FLIGHT - 1, ..new_flight(Cause::Forced, false) };
    let taken = take(&active(), |state| state.settle(&fenced, &Ok(new_key()), None, WAIT, now()));
    taken.assert_nothing();
}

#[test]
fn a_new_login_has_its_own_limit_and_a_replacement_has_not() {
    let burst = burst(now());
    for state in [active(), refreshing(), awaited(), failed(), refused(), logged_out()] {
        let taken = log_in(&with_successes(state, &burst));
        assert_eq!(taken.after.expect("it begins").history, history(&[]));
    }
    for state in [refused(), logged_out()] {
        let taken = acquire(&with_successes(state, &burst), now());
        assert_eq!(taken.after.expect("it begins").history, history(&[]));
    }
    for state in [active(), refreshing(), awaited(), failed()] {
        let state = with_successes(state, &burst);
        assert_eq!(replace(&state).after.expect("it is newer").history, history(&burst));
        let replaced = replace(&state).next.expect("it is newer");
        assert_eq!(reaction(&reject(&replaced, replaced.stamp()).answer), Answer::Responds);
    }
}

#[test]
fn a_window_of_zero_is_no_limit_and_an_endless_one_never_ends() {
    let limited = |window| {
        let rules = Rules { limit: Limit::new(1, window), ..Rules::DEFAULT };
        with_successes(unproven(State { rules, ..active() }, now()), &[now()])
    };
    assert!(reject(&limited(Duration::ZERO), stamp()).effects.launch.is_some());
    let much_later = Now { instant: after(Duration::from_secs(u64::from(u32::MAX))), ..now() };
    assert_eq!(
        reaction(&reject_at(&limited(Duration::MAX), stamp(), much_later).answer),
        Answer::Responds
    );
}

#[test]
fn what_expires_as_fast_as_the_limit_allows_counts_as_of_unknown_expiry() {
    let before = burst(now());
    let long_ago = Now { instant: now().instant - 30 * SECOND, ..now() };
    for (cause, brought_at, expires_at) in [
        (Cause::Expiring, before[4], None),
        (Cause::Expiring, long_ago, Some(at(400))),
        (Cause::Forced, before[4], Some(at(400))),
    ] {
        let flying = unproven(state(Phase::Refreshing(new_flight(cause, true))), brought_at);
        let brought = key_with(NEW, Some(at(400)), now().wall, Some(now().instant), AHEAD);
        let taken = settle(&with_successes(flying, &before[1..]), &Ok(brought.clone()), None);
        let after = taken.next.expect("it succeeds");
        assert_eq!(after.expires_at(), expires_at);
        assert!(Arc::ptr_eq(after.credential().expect("it has one"), brought.credential()));
        let later = Now { instant: both(127).instant, ..now() };
        assert_eq!(
            reaction(&reject_at(&after, after.stamp(), later).answer),
            Answer::Responds,
            "it is as unproven as any other, when the limit is not reached any more"
        );
    }
    let below = settle(&with_successes(awaited(), &before[2..]), &Ok(new_key()), None);
    assert_eq!(below.next.expect("it succeeds").expires_at(), Some(at(400)));
}

// ## A credential that was never accepted

#[test]
fn a_rejection_of_an_unproven_credential_goes_to_the_caller() {
    for state in [active(), failed()] {
        let taken = reject(&unproven(state, now()), stamp());
        assert_eq!(reaction(&taken.answer), Answer::Responds);
        taken.assert_nothing();
    }
}

#[test]
fn a_credential_that_was_accepted_once_earns_a_refresh() {
    let state = unproven(active(), now());
    state.held.as_ref().expect("it has one").accept();
    Elected::rejected().check(&reject(&state, stamp()), joined);
    let state = unproven(failed(), now());
    state.held.as_ref().expect("it has one").accept();
    Elected::rejected().again().check(&reject(&state, stamp()), joined);
}

#[test]
fn a_credential_that_is_accepted_is_so_for_whoever_holds_it() {
    let state = unproven(active(), now());
    let Admission::Send(held, _) = request(&state).answer else { panic!("it is sent") };
    let snapshot = state.clone();
    held.accept();
    assert!(reject(&snapshot, stamp()).effects.launch.is_some());
}

#[test]
fn an_unproven_credential_earns_a_refresh_when_the_window_is_over() {
    let state = unproven(active(), now());
    let before = Now { instant: both(130).instant - Duration::from_nanos(1), ..now() };
    assert_eq!(reaction(&reject_at(&state, stamp(), before).answer), Answer::Responds);
    let taken = reject_at(&state, stamp(), both(130));
    Elected { at: both(130), ..Elected::rejected() }.check(&taken, joined);
}

#[test]
fn an_unproven_credential_is_renewed_and_replaced_when_it_expires() {
    let held = key_with(KEY, Some(at(200)), at(0), Some(now().instant), AHEAD);
    renewal().check_unjoined(&renew(&State { held: Some(held), ..active() }, now()));
    Elected::late().check(&late_request(&unproven(active(), late())), flight_of);
}

#[test]
fn what_a_flight_brings_is_unproven_and_what_the_application_brings_is_not() {
    let brought = key_with(NEW, Some(at(400)), now().wall, Some(now().instant), AHEAD);
    let renewed = settle(&awaited(), &Ok(brought), None).next.expect("it succeeds");
    assert_eq!(reaction(&reject(&renewed, renewed.stamp()).answer), Answer::Responds);
    for after in [replace(&renewed).next, log_in(&renewed).next] {
        let after = after.expect("a credential arrives");
        assert!(reject(&after, after.stamp()).effects.launch.is_some());
    }
}

#[test]
fn a_rejection_of_an_unproven_credential_joins_a_flight_and_gets_a_failure() {
    let waits = reject(&unproven(refreshing(), now()), stamp());
    assert!(matches!(
        reaction(&waits.answer),
        Answer::Waits(Leg { awaited: true, rejected: true, .. })
    ));
    let taken = reject(&unproven(backing_off(), now()), stamp());
    assert_eq!(reaction(&taken.answer), later("failed", 5 * SECOND));
}

// ## What ends a login

#[test]
fn as_many_refusals_in_a_row_end_a_login_as_were_asked_for() {
    let rules = Rules { terminal_after: 3, ..Rules::DEFAULT };
    let mut state = State { rules, ..active() };
    let errors =
        [refusal(), refusal(), transient(), refusal(), refusal(), lost(), refusal(), refusal()];
    for (nth, error) in (0..).zip(errors) {
        let now = after_failures(nth);
        let flying = reject_at(&state, state.stamp(), now).next.expect("it flies");
        let taken = settle_at(&flying, &error, now);
        assert!(taken.effects.ended.is_none(), "not yet");
        taken.assert_settled(FLIGHT + u64::from(nth), Told::Failed(said(&error), WAIT));
        state = taken.next.expect("it fails");
    }
    let now = after_failures(8);
    let flying = reject_at(&state, state.stamp(), now).next.expect("it flies");
    let taken = settle_at(&flying, &refusal(), now);
    taken.assert_settled(FLIGHT + 8, Told::Ended(Some("no".to_owned())));
    assert!(taken.effects.ended.is_some());
}

#[test]
fn a_new_credential_starts_the_count_of_refusals_anew() {
    let rules = Rules { terminal_after: 2, ..Rules::DEFAULT };
    let once =
        settle_at(&State { rules, ..awaited() }, &refusal(), now()).next.expect("it goes on");
    for after in [replace(&once).next, log_in(&once).next] {
        let after = after.expect("a credential arrives");
        let flying = reject(&after, after.stamp()).next.expect("it flies");
        assert!(settle_at(&flying, &refusal(), now()).effects.ended.is_none());
    }
    let flying = reject_at(&once, once.stamp(), after_failures(1)).next.expect("it flies");
    assert!(settle_at(&flying, &refusal(), after_failures(1)).effects.ended.is_some());
}

#[test]
fn a_lost_answer_ends_a_login_where_it_counts_as_a_refusal() {
    let rules = Rules { ambiguous: AmbiguousOutcome::EndLogin, ..Rules::DEFAULT };
    let strict = |state| State { rules, ..state };
    for (state, now) in
        [(awaited(), now()), (refreshing(), late()), (without_key(refreshing()), now())]
    {
        let taken = settle_at(&strict(state), &lost(), now);
        taken.assert_settled(FLIGHT, Told::Ended(Some("lost".to_owned())));
        assert!(taken.effects.ended.is_some());
    }
    // Not while the credential works, and never for what is known not to have happened.
    let taken = settle_at(&strict(refreshing()), &lost(), now());
    taken.assert_settled(FLIGHT, Told::Failed("lost".to_owned(), WAIT));
    assert!(taken.effects.ended.is_none());
    assert!(settle_at(&strict(awaited()), &transient(), now()).effects.ended.is_none());
    let same = settle(&strict(with_rejection(awaited())), &Ok(new_key()), Some(&unchanged()));
    assert!(same.effects.ended.is_none());
}

#[test]
fn a_lost_answer_and_a_refusal_are_counted_together_where_both_count() {
    let rules =
        Rules { ambiguous: AmbiguousOutcome::EndLogin, terminal_after: 2, ..Rules::DEFAULT };
    for errors in [[lost(), refusal()], [refusal(), lost()]] {
        let once =
            settle_at(&State { rules, ..awaited() }, &errors[0], now()).next.expect("it goes on");
        let flying = reject_at(&once, once.stamp(), after_failures(1)).next.expect("it flies");
        let taken = settle_at(&flying, &errors[1], after_failures(1));
        assert_eq!(taken.after.expect("it ends").stand, Stand::Refused(said(&errors[1])));
    }
}

#[test]
fn no_number_of_lost_answers_ends_a_login_where_they_are_tried_again() {
    let mut state = active();
    for nth in 0..100 {
        let now = after_failures(nth);
        let flying = reject_at(&state, state.stamp(), now).next.expect("it flies");
        let taken = settle_at(&flying, &[lost(), transient()][nth as usize % 2], now);
        assert!(taken.effects.ended.is_none());
        state = taken.next.expect("it fails");
    }
}

#[test]
fn renewals_that_are_refused_leave_a_credential_in_use_until_it_has_expired() {
    let mut state = due(active());
    for nth in 0..4 {
        let now = after_failures(nth);
        let flying = renew(&state, now).next.expect("a renewal flies");
        let taken = settle_at(&flying, &refusal(), now);
        assert!(taken.effects.ended.is_none());
        taken.assert_settled(FLIGHT + u64::from(nth), Told::Failed("no".to_owned(), WAIT));
        state = taken.next.expect("it fails");
        assert_eq!(state.credential().map(|key| key.name), Some(KEY));
    }
    // Now somebody needs it.
    let flying = late_request(&state).next.expect("it flies");
    let taken = settle_at(&flying, &refusal(), late());
    taken.assert_settled(FLIGHT + 4, Told::Ended(Some("no".to_owned())));
    assert!(taken.effects.ended.is_some());
}

#[test]
fn a_refused_renewal_ends_the_login_where_its_credential_is_rejected_meanwhile() {
    let flying = renewing(&due(active()));
    let started = flight(&flying);
    let rejected = reject(&flying, stamp()).next.expect("it is awaited");
    let taken = take(&rejected, |state| state.settle(&started, &Err(refusal()), None, WAIT, now()));
    taken.assert_settled(FLIGHT, Told::Ended(Some("no".to_owned())));
    assert!(taken.effects.ended.is_some());
}

#[test]
fn a_credential_that_is_rejected_after_its_renewal_was_refused_gets_another_chance_and_no_more() {
    let flying = renewing(&due(active()));
    let failed = settle_at(&flying, &refusal(), now()).next.expect("it fails");
    // Sent before, and rejected since: the login goes on, and nothing is called.
    let early = reject_at(&failed, stamp(), both(106));
    assert_eq!(reaction(&early.answer), later("no", Duration::ZERO));
    early.assert_nothing();
    let flying = reject_at(&failed, failed.stamp(), both(106)).next.expect("it flies");
    assert!(settle_at(&flying, &refusal(), both(106)).effects.ended.is_some());
}

// ## What waiters are told of the time

#[test]
fn waiters_of_a_failed_flight_are_told_how_long_to_wait() {
    for wait in [Duration::ZERO, WAIT, 3_600 * SECOND] {
        let taken = take(&awaited(), |state| {
            state.settle(&flight(state), &Err(transient()), None, wait, now())
        });
        let (_, outcome) = taken.effects.settled.expect("it settles");
        assert_eq!(fails(&outcome.into_result().expect_err("it fails")), later("down", wait));
        let after = taken.next.expect("it fails");
        let told = reject(&after, stamp());
        assert_eq!(reaction(&told.answer), later("down", wait), "so is whoever comes later");
    }
}

// ## Clocks that jump

#[test]
fn a_wall_clock_that_jumps_moves_no_back_off() {
    for seconds in [0, 150, 10_000] {
        let jumped = |monotonic: u64| Now { wall: at(seconds), ..both(monotonic) };
        let state = without_key(backing_off());
        let taken = take(&state, |state| state.admit(login(), true, || jumped(104)));
        assert_eq!(admission(&taken.answer), later("failed", SECOND));
        let taken = take(&state, |state| state.admit(login(), true, || jumped(105)));
        assert!(taken.effects.launch.is_some());
    }
}

#[test]
fn a_wall_clock_that_jumps_moves_no_limit() {
    for seconds in [0, 150, 10_000] {
        let jumped = |monotonic: u64| Now { wall: at(seconds), ..both(monotonic) };
        let states = [beyond_the_limit(active()), unproven(active(), both(96))];
        for state in states {
            assert_eq!(reaction(&reject_at(&state, stamp(), jumped(125)).answer), Answer::Responds);
            assert!(reject_at(&state, stamp(), jumped(126)).effects.launch.is_some());
        }
    }
}

#[test]
fn a_machine_that_slept_knows_that_its_credential_has_expired() {
    // The monotonic clock stood still.
    let awake = Now { wall: at(10_000), ..now() };
    let taken = take(&active(), |state| state.admit(login(), true, || awake));
    Elected::new(Cause::Expiring).check(&taken, flight_of);
    assert!(active().sendable(|| awake.wall).is_none());
}

#[test]
fn a_wall_clock_that_jumps_forth_and_back_costs_one_refresh() {
    let forth = Now { wall: at(10_000), ..now() };
    let flying =
        take(&active(), |state| state.admit(login(), true, || forth)).next.expect("it flies");
    // Whether it expires by the server's clock, or by one that has jumped.
    for expires_at in [at(400), at(10_300)] {
        let brought = key_with(NEW, Some(expires_at), forth.wall, Some(now().instant), AHEAD);
        let mut state = settle_at_ok(&flying, &brought, forth);
        let started = state.flights_started;
        for wall in [forth.wall, at(101), at(9_999), at(0), forth.wall] {
            let taken = take(&state, |state| state.admit(login(), true, || Now { wall, ..now() }));
            assert!(matches!(admission(&taken.answer), Answer::Sent(NEW, _)));
            state = taken.next.unwrap_or(state);
        }
        assert_eq!(state.flights_started, started);
    }
}

#[test]
fn a_wall_clock_that_jumps_back_puts_a_renewal_off_and_one_that_jumps_forth_brings_it_on() {
    let state = due(active());
    let back = Now { wall: at(0), ..now() };
    take(&state, |state| state.renew(back)).assert_nothing();
    assert_eq!(state.renewal_in(back), Some(100 * SECOND));
    let forth = Now { wall: at(150), ..both(10) };
    Elected { at: both(10), ..renewal() }.check_unjoined(&take(&state, |state| state.renew(forth)));
}

#[test]
fn a_wall_clock_that_jumps_during_a_flight_decides_what_its_refusal_means() {
    let flying = renewing(&due(active()));
    let forth = Now { wall: at(10_000), ..now() };
    assert!(settle_at(&flying, &refusal(), forth).effects.ended.is_some());
    assert!(settle_at(&flying, &transient(), forth).effects.ended.is_none());
    let waits = take(&flying, |state| state.admit(login(), true, || forth));
    assert!(matches!(
        admission(&waits.answer),
        Answer::Waits(Leg { awaited: true, rejected: false, .. })
    ));
    // It stays awaited when the clock jumps back again.
    let awaited = waits.next.expect("it is awaited");
    assert!(settle_at(&awaited, &refusal(), now()).effects.ended.is_some());
}

#[test]
fn the_ends_of_time_overflow_nothing() {
    let eternity = Duration::from_secs(i64::MAX.unsigned_abs() / 2);
    let (first, last) = (at(0).checked_sub(eternity).unwrap_or(at(0)), at(0).checked_add(eternity));
    let last = last.unwrap_or(at(1));
    for margin in [Duration::ZERO, SECOND, Duration::MAX] {
        for arrival in [first, at(0), last] {
            for expires_at in [first, at(0), at(1), last] {
                let ahead = Ahead { margin, jitter: 1.0 };
                let held = key_with(KEY, Some(expires_at), arrival, Some(now().instant), ahead);
                let state = State { held: Some(held), ..active() };
                for wall in [first, at(0), last] {
                    let now = Now { wall, ..now() };
                    let taken = take(&state, |state| state.admit(login(), true, || now));
                    assert!(matches!(
                        admission(&taken.answer),
                        Answer::Sent(..) | Answer::Waits(_)
                    ));
                    let _ = (
                        state.renewal_in(now),
                        state.sendable(|| wall),
                        state.wants_renewal(|| wall),
                    );
                }
            }
        }
    }
}

// === States and events ===

const SECOND: Duration = Duration::from_secs(1);
const AHEAD: Ahead = Ahead { margin: Duration::from_secs(100), jitter: 0.0 };

/// A flight that nobody waits for, since the credential is going to expire.
fn renewal() -> Elected {
    Elected { awaited: false, ..Elected::new(Cause::Expiring) }
}

/// The renewal of its credential is due from now on.
fn due(state: State<Key>) -> State<Key> {
    State { held: Some(key_with(KEY, Some(at(200)), at(0), None, AHEAD)), ..state }
}

/// Nobody knows when its credential expires.
fn ageless(state: State<Key>) -> State<Key> {
    State { held: Some(key_with(KEY, None, at(0), None, AHEAD)), ..state }
}

/// A flight has brought its credential, which nobody has accepted since.
fn unproven(state: State<Key>, since: Now) -> State<Key> {
    let ahead = Ahead { margin: Duration::ZERO, ..AHEAD };
    State { held: Some(key_with(KEY, Some(at(200)), at(0), Some(since.instant), ahead)), ..state }
}

/// Five seconds are left of a back-off.
fn backing_off() -> State<Key> {
    failed_until(both(105))
}

/// As many refreshes as the limit allows within its window, the first four seconds before the last.
fn burst(last: Now) -> [Now; 5] {
    [4, 3, 2, 1, 0].map(|before| Now { instant: last.instant - before * SECOND, ..last })
}

/// No refresh is allowed for 26 seconds.
fn beyond_the_limit(state: State<Key>) -> State<Key> {
    with_successes(state, &burst(now()))
}

/// When the back-off of so many failures is over, of which each settled when that of the one before
/// it was.
fn after_failures(failures: u32) -> Now {
    Now { instant: now().instant + failures * WAIT, ..now() }
}

fn transient() -> RefreshError {
    RefreshError::transient("down")
}

fn lost() -> RefreshError {
    RefreshError::ambiguous("lost")
}

fn refusal() -> RefreshError {
    RefreshError::terminal("no")
}

#[track_caller]
fn settle_at(state: &State<Key>, error: &RefreshError, now: Now) -> Taken<Result<(), Overtaken>> {
    take(state, |state| state.settle(&flight(state), &Err(error.clone()), None, WAIT, now))
}

#[track_caller]
fn settle_at_ok(state: &State<Key>, brought: &Held<Key>, now: Now) -> State<Key> {
    let taken =
        take(state, |state| state.settle(&flight(state), &Ok(brought.clone()), None, WAIT, now));
    taken.next.expect("it succeeds")
}
