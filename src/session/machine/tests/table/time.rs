//! The cells that depend on time: renewals, back-off, limits, and jumps of the clock.

use std::time::SystemTime;

use super::*;
use crate::session::machine::{
    limit::RefreshLimit,
    rules::AmbiguousOutcome,
    tests::key::{after, key_with},
    timing::RenewalMargin,
};

// ## A renewal is due, and the credential usable

#[test]
fn a_renewal_that_is_due_elects_and_requests_are_sent_meanwhile() {
    for (state, elected) in [(active(), renewal()), (failed(), renewal().again())] {
        let taken = renew(&due(state), now());
        elected.check_unjoined(&taken);
        let flying = taken.next.expect("a renewal flies");
        assert_eq!(admission(&request(&flying).answer), AnswerView::Send(KEY, epoch()));
    }
}

#[test]
fn a_renewal_is_due_from_the_renewal_time_of_its_entry() {
    renew(&due(active()), both(99)).assert_unchanged();
    Elected { at: both(199), ..renewal() }.check_unjoined(&renew(&due(active()), both(199)));
    // Not awaited, even if the credential has expired.
    Elected { at: late(), ..renewal() }.check_unjoined(&renew(&due(active()), late()));
}

#[test]
fn no_renewal_is_due_during_a_flight_a_back_off_or_without_an_expiry() {
    let none = [
        due(refreshing()),
        due(awaited()),
        due(backing_off()),
        due(beyond_the_limit(active())),
        due(beyond_the_limit(failed())),
        of_unknown_expiry(active()),
        without_key(active()),
        without_key(failed()),
        refused(),
        logged_out(),
        signed_out(),
    ];
    for state in none {
        renew(&state, now()).assert_unchanged();
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
            assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
            taken.assert_unchanged();
        }
    }
}

#[test]
fn a_request_when_a_renewal_is_due_and_a_flight_is_not_awaited_is_sent() {
    let taken = request(&due(refreshing()));
    assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
    taken.assert_unchanged();
}

#[test]
fn a_request_when_a_renewal_is_due_and_a_flight_is_awaited_waits() {
    let taken = request(&due(awaited()));
    assert_eq!(admission(&taken.answer), AnswerView::Wait(flight_view(&awaited())));
    taken.assert_unchanged();
}

#[test]
fn a_request_after_the_expiry_waits_for_the_late_renewal() {
    let taken = late_request(&due(active()));
    Elected::late().check(&taken, admission_flight);

    let flying = renewing(&due(active()));
    let waiting = late_request(&flying);
    assert_eq!(
        admission(&waiting.answer),
        AnswerView::Wait(FlightView { awaited: true, ..flight_view(&flying) })
    );
    waiting.assert_no_effects();
}

#[test]
fn a_rejection_makes_a_renewal_awaited() {
    let flying = renewing(&due(active()));
    let expected = FlightView { awaited: true, rejected: true, ..flight_view(&flying) };
    let taken = reject(&flying, epoch());
    assert_eq!((expected.cause, expected.number), (Cause::Expiring, FLIGHT));
    assert_eq!(reaction(&taken.answer), AnswerView::Wait(expected.clone()));
    taken.assert_state(|state| state.phase = PhaseView::Refreshing(expected));
    taken.assert_no_effects();
}

#[test]
fn an_idle_session_knows_how_long_to_sleep() {
    let renewal_in = |state: State<Key>, seconds| state.renewal_in(both(seconds));
    assert_eq!(renewal_in(due(active()), 40), Some(60 * SECOND));
    assert_eq!(renewal_in(due(active()), 100), Some(Duration::ZERO));
    assert_eq!(renewal_in(due(active()), 300), Some(Duration::ZERO));
    assert_eq!(renewal_in(due(backing_off()), 100), Some(5 * SECOND));
    assert_eq!(renewal_in(due(backing_off()), 40), Some(65 * SECOND), "the longer of the two");
    assert_eq!(renewal_in(due(beyond_the_limit(active())), 100), Some(26 * SECOND));
    assert_eq!(renewal_in(due(beyond_the_limit(backing_off())), 100), Some(5 * SECOND));
    assert_eq!(renewal_in(active(), 100), Some(100 * SECOND), "without a margin, when it expires");
    for state in [
        due(refreshing()),
        due(awaited()),
        of_unknown_expiry(active()),
        without_key(active()),
        logged_out(),
    ] {
        assert_eq!(renewal_in(state, 100), None);
    }
}

#[test]
fn the_fresh_path_sees_the_same_renewals() {
    // `wants_renewal` reads the real monotonic clock: less than a hundred seconds into the test.
    let wants = |state: State<Key>, seconds| state.wants_renewal(|| at(seconds));
    let long_over = failed_until(both(0));
    assert!(wants(due(active()), 100) && wants(due(active()), 199) && wants(due(long_over), 100));
    assert!(
        !wants(due(active()), 99)
            && !wants(active(), 100)
            && !wants(of_unknown_expiry(active()), 100)
    );
    let held_off = [failed_until(both(10_000)), beyond_the_limit(active())];
    for state in [refreshing(), awaited()].into_iter().chain(held_off) {
        assert!(!wants(due(state), 100));
    }
    assert!(!wants(without_key(active()), 100) && !wants(logged_out(), 100));
}

#[test]
fn the_clock_is_only_read_if_the_expiry_is_known() {
    let unread = || -> SystemTime { panic!("the clock is read") };
    for state in
        [of_unknown_expiry(active()), of_unknown_expiry(failed()), of_unknown_expiry(refreshing())]
    {
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
    assert_eq!(
        admission(&taken.answer),
        AnswerView::RefreshFailed("failed".to_owned(), 5 * SECOND)
    );
    taken.assert_unchanged();
}

#[test]
fn a_request_without_a_credential_during_a_back_off_fails_with_the_time_to_wait() {
    for may_elect in [true, false] {
        let state = without_key(backing_off());
        let taken = take(&state, |state| state.admit(login(), may_elect, now));
        assert_eq!(admission(&taken.answer), refresh_failed("failed", 5 * SECOND));
        taken.assert_unchanged();
    }
}

#[test]
fn a_back_off_ends_exactly_at_retry_at() {
    let before = Now { instant: both(105).instant - Duration::from_nanos(1), ..now() };
    let taken = take(&without_key(backing_off()), |state| state.admit(login(), true, || before));
    assert_eq!(admission(&taken.answer), refresh_failed("failed", Duration::from_nanos(1)));
    taken.assert_unchanged();

    let taken = take(&without_key(backing_off()), |state| state.admit(login(), true, || both(105)));
    let expected = Elected { key: None, at: both(105), ..Elected::new(Cause::Missing) };
    expected.again().check(&taken, admission_flight);
}

#[test]
fn a_request_with_a_usable_credential_during_a_back_off_is_sent() {
    let taken = request(&backing_off());
    assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
    taken.assert_unchanged();
    assert!(backing_off().sendable(|| now().wall).is_some());
}

#[test]
fn a_request_that_has_waited_is_sent_with_an_expired_credential_during_a_back_off_too() {
    let taken = take(&failed_until(both(305)), |state| state.admit(login(), false, late));
    assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
    taken.assert_unchanged();
}

#[test]
fn a_rejection_during_a_back_off_gets_the_failure() {
    for flights_settled in [0, SETTLED - 1, SETTLED] {
        let taken = reject(&backing_off(), Epoch { flights_settled, ..epoch() });
        assert_eq!(reaction(&taken.answer), refresh_failed("failed", 5 * SECOND));
        taken.assert_unchanged();
    }
}

#[test]
fn a_rejection_of_an_older_generation_during_a_back_off_is_replayed() {
    let taken = reject(&backing_off(), older());
    assert_eq!(reaction(&taken.answer), AnswerView::Replay);
    taken.assert_unchanged();
    assert_of_another_login(&backing_off());
}

#[test]
fn a_refresh_or_an_acquire_during_a_back_off_fails_with_the_time_to_wait() {
    for state in [backing_off(), without_key(backing_off())] {
        let taken = take(&state, |state| state.refresh(now()));
        assert_eq!(
            taken.answer.as_ref().map_err(fail_view).unwrap_err(),
            refresh_failed("failed", 5 * SECOND)
        );
        taken.assert_unchanged();
    }
    for (state, now) in [(without_key(backing_off()), now()), (failed_until(both(305)), late())] {
        let taken = acquire(&state, now);
        assert_eq!(
            taken.answer.as_ref().map_err(fail_view).unwrap_err(),
            refresh_failed("failed", 5 * SECOND)
        );
        taken.assert_unchanged();
    }
}

// ## retry_now()

#[test]
fn a_retry_ends_a_back_off_and_keeps_the_streak() {
    let taken = take(&without_key(backing_off()), |state| state.end_back_off(now()));
    taken.assert_state(|state| {
        state.phase = PhaseView::Failed(FailureView {
            error: "failed".to_owned(),
            streak: FAILED,
            retry_at: now().instant.into_std(),
        });
    });
    taken.assert_no_effects();
    let state = taken.next.expect("the back-off is over");
    let taken = request(&state);
    let expected = Elected { key: None, ..Elected::new(Cause::Missing) };
    expected.again().check(&taken, admission_flight);
}

#[test]
fn a_retry_without_a_back_off_changes_nothing() {
    for state in every_phase().into_iter().chain([signed_out(), failed()]) {
        take(&state, |state| state.end_back_off(now())).assert_unchanged();
    }
}

#[test]
fn a_retry_does_not_end_the_refresh_limit() {
    let state = beyond_the_limit(due(backing_off()));
    let after = take(&state, |state| state.end_back_off(now())).next.expect("it is over");
    assert_eq!(after.renewal_in(now()), Some(26 * SECOND));
}

#[test]
fn a_login_or_a_replacement_ends_a_back_off() {
    for after in [log_in(&backing_off()).next, replace(&backing_off()).next] {
        let after = after.expect("the state changes");
        let taken = reject(&after, after.epoch());
        let Launch { flight, context, .. } = taken.effects.launch.expect("a flight starts");
        assert_eq!((flight.attempt(), flight.streak), (1, Streak::default()));
        assert!(context.previous_error().is_none());
    }
}

#[test]
fn an_acquire_after_a_logout_during_a_back_off_elects_at_once() {
    let over = log_out(&backing_off()).next.expect("the login ends");
    let taken = acquire(&over, now());
    let flight = acquired_flight(&taken.answer);
    assert_eq!((flight.attempt(), flight.streak), (1, Streak::default()));
    let launch = taken.effects.launch.as_ref().expect("a flight starts");
    assert!(launch.context.previous_error().is_none());
}

#[test]
fn fifty_requests_that_are_rejected_during_a_back_off_cost_one_flight() {
    let flying = reject(&active(), epoch()).next.expect("it flies");
    let mut state =
        settle(&flying, &Err(RefreshError::transient("down")), None).next.expect("it fails");
    for tick in 0..50 {
        let now = Now { instant: now().instant + tick * Duration::from_millis(99), ..now() };
        let sent = take(&state, |state| state.admit(login(), true, || now));
        let Admission::Send(_, epoch) = &sent.answer else { panic!("it is usable") };
        let taken = reject_at(&state, *epoch, now);
        assert_eq!(
            reaction(&taken.answer),
            refresh_failed("down", WAIT - tick * Duration::from_millis(99))
        );
        state = [sent.next, taken.next].into_iter().flatten().last().unwrap_or(state);
    }
    assert_eq!(state.flights_started, FLIGHT);
}

// ## Failures in a row

#[test]
fn a_failure_has_the_number_of_failures_in_a_row_and_the_next_attempt() {
    let mut state = active();
    for (nth, error) in (1..).zip([transient(), refusal(), refusal(), lost(), refusal()]) {
        // Not awaited, so no refusal ends the login.
        let start = take(&state, |state| state.refresh(after_failures(nth - 1)));
        let flying = start.next.expect("it flies");
        assert_eq!(flight(&flying).attempt(), nth);
        assert_eq!(flight(&flying).started_at(), after_failures(nth - 1).instant.into_std());
        let taken = settle_at(&flying, &error, after_failures(nth - 1));
        state = taken.next.expect("it fails");
        let Phase::Failed(failure) = state.phase() else { panic!("it has failed") };
        assert_eq!(failure.in_a_row(), nth);
        assert_eq!(failure.retry_at(), after_failures(nth).instant.into_std());
        assert_eq!(cause_text(failure.error()), cause_text(&error));
        assert_eq!(
            failure.streak.refusals,
            [0, 1, 2, 0, 1][nth as usize - 1],
            "refusals in a streak"
        );
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
        assert_eq!((flight(&flying).attempt(), flight(&flying).streak), (1, Streak::default()));
    }
}

#[test]
fn a_flight_that_becomes_awaited_keeps_its_streak_and_its_start() {
    let flying = take(&failed(), |state| state.refresh(now())).next.expect("it flies");
    for after in [reject_at(&flying, epoch(), late()).next, late_request(&flying).next] {
        let flight = flight(&after.expect("it is awaited"));
        assert_eq!((flight.attempt(), flight.streak), (2, FAILED));
        assert_eq!(flight.started_at(), now().instant.into_std());
        assert!(flight.is_awaited());
    }
}

#[test]
fn the_count_of_failures_saturates() {
    let streak = Streak { failures: u32::MAX, refusals: u32::MAX, rejected: false };
    let worn = Flight { streak, ..new_flight(Cause::Forced, false) };
    assert_eq!(worn.attempt(), u32::MAX);
    let taken = settle_at(&state(Phase::Refreshing(worn)), &refusal(), now());
    taken.assert_state(|state| {
        state.phase = failed_view_at("no", now(), streak);
        state.flights_settled += 1;
    });
}

// ## Beyond the limit of refreshes

#[test]
fn a_request_with_an_expired_credential_beyond_the_limit_is_sent() {
    for state in [active(), failed()] {
        let state = with_successes(state, &burst(late()));
        let taken = late_request(&state);
        assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
        taken.assert_unchanged();
    }
}

#[test]
fn a_request_with_an_expired_credential_within_the_limit_elects() {
    let burst = burst(late());
    let taken = late_request(&with_successes(active(), &burst[1..]));
    let view = flight_view(taken.next.as_ref().expect("it flies"));
    assert_eq!(admission(&taken.answer), AnswerView::Wait(view));
}

#[test]
fn a_rejection_beyond_the_limit_goes_to_the_caller() {
    for state in [active(), failed()] {
        let taken = reject(&beyond_the_limit(state), epoch());
        assert_eq!(reaction(&taken.answer), AnswerView::Respond);
        taken.assert_unchanged();
    }
    // The limit does not apply if a flight is in progress or a newer credential has arrived.
    let waits = reject(&beyond_the_limit(awaited()), epoch());
    assert!(matches!(reaction(&waits.answer), AnswerView::Wait(_)));
    let replays = reject(&beyond_the_limit(active()), older());
    assert_eq!(reaction(&replays.answer), AnswerView::Replay);
}

#[test]
fn a_rejection_from_before_a_failure_gets_that_failure_beyond_the_limit_too() {
    let epoch = Epoch { flights_settled: SETTLED - 1, ..epoch() };
    let taken = reject(&beyond_the_limit(failed()), epoch);
    assert_eq!(reaction(&taken.answer), refresh_failed("failed", Duration::ZERO));
    taken.assert_unchanged();
}

#[test]
fn the_limit_counts_the_successes_within_its_window() {
    // The first of five has left the window at 126.
    let state = beyond_the_limit(active());
    let before = Now { instant: both(126).instant - Duration::from_nanos(1), ..now() };
    assert_eq!(reaction(&reject_at(&state, epoch(), before).answer), AnswerView::Respond);
    let taken = reject_at(&state, epoch(), Now { instant: both(126).instant, ..now() });
    assert!(taken.effects.launch.is_some());
    assert!(
        reject(&with_successes(active(), &burst(now())[1..]), epoch()).effects.launch.is_some()
    );
}

#[test]
fn a_back_off_takes_precedence_over_the_limit() {
    let state = with_successes(failed_until(both(305)), &burst(late()));
    let taken = late_request(&state);
    assert_eq!(admission(&taken.answer), refresh_failed("failed", 5 * SECOND));
    taken.assert_unchanged();
    let taken = reject(&beyond_the_limit(backing_off()), epoch());
    assert_eq!(reaction(&taken.answer), refresh_failed("failed", 5 * SECOND));
    taken.assert_unchanged();
}

#[test]
fn a_refresh_or_an_acquire_is_not_limited() {
    let taken = take(&unproven(beyond_the_limit(active()), now()), |state| state.refresh(now()));
    let flight = acquired_flight(&taken.answer);
    assert_eq!((flight.cause, flight.number), (Cause::Forced, FLIGHT));
    assert!(taken.effects.launch.is_some());

    let expired = acquire(&with_successes(active(), &burst(late())), late());
    assert_eq!(acquired_flight(&expired.answer).cause, Cause::Expiring);
    assert!(expired.effects.launch.is_some());
    let missing = acquire(&beyond_the_limit(without_key(failed())), now());
    assert_eq!(acquired_flight(&missing.answer).cause, Cause::Missing);
    assert!(missing.effects.launch.is_some());
}

#[test]
fn a_refresh_is_counted() {
    let mut state = active();
    for _ in 0..5 {
        assert!(reject(&state, state.epoch()).effects.launch.is_some(), "the limit is not reached");
        let flying = take(&state, |state| state.refresh(now())).next.expect("it flies");
        state = settle(&flying, &Ok(new_key()), None).next.expect("it succeeds");
    }
    assert_eq!(StateView::of(&state).history, history(&[now(); 5]));
    let taken = reject(&state, state.epoch());
    assert_eq!(reaction(&taken.answer), AnswerView::Respond);
    taken.assert_unchanged();
}

#[test]
fn a_failure_is_not_counted() {
    for error in [transient(), lost(), refusal()] {
        let taken = settle_at(&refreshing(), &error, now());
        assert_eq!(taken.after.expect("it fails").history, history(&[]));
    }
    // The result of a fenced flight is not counted either.
    let fenced = Flight { number: FLIGHT - 1, ..new_flight(Cause::Forced, false) };
    let taken = take(&active(), |state| state.settle(&fenced, &Ok(new_key()), None, WAIT, now()));
    taken.assert_unchanged();
}

#[test]
fn a_new_login_resets_the_limit_and_a_replacement_does_not() {
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
        assert_eq!(reaction(&reject(&replaced, replaced.epoch()).answer), AnswerView::Respond);
    }
}

#[test]
fn a_window_of_zero_disables_the_limit_and_a_maximal_one_never_ends() {
    let limited = |window| {
        let rules = Rules { limit: RefreshLimit::new(1, window), ..Rules::DEFAULT };
        with_successes(unproven(State { rules, ..active() }, now()), &[now()])
    };
    assert!(reject(&limited(Duration::ZERO), epoch()).effects.launch.is_some());
    let much_later = Now { instant: after(Duration::from_secs(u64::from(u32::MAX))), ..now() };
    assert_eq!(
        reaction(&reject_at(&limited(Duration::MAX), epoch(), much_later).answer),
        AnswerView::Respond
    );
}

#[test]
fn an_expired_credential_that_the_upstream_accepts_counts_as_of_unknown_expiry() {
    for (state, may_elect) in
        [(with_successes(active(), &burst(late())), true), (active(), false), (failed(), false)]
    {
        let sent = take(&state, |state| state.admit(login(), may_elect, late));
        let Admission::Send(entry, _) = sent.answer else { panic!("the request is sent") };
        assert!(state.usable(|| late().wall).is_none());
        assert_eq!(state.expires_at(), Some(at(200)));

        entry.accept();
        assert_eq!(state.expires_at(), None);
        assert!(state.sendable(|| late().wall).is_some());
        assert_eq!(state.renewal_in(late()), None);
        assert_eq!(admission(&late_request(&state).answer), AnswerView::Send(KEY, epoch()));
    }
}

#[test]
fn a_credential_that_the_upstream_accepts_before_its_expiry_keeps_its_expiry() {
    let state = with_successes(active(), &burst(now()));
    let Admission::Send(entry, _) = request(&state).answer else { panic!("it is sent") };
    entry.accept();
    assert_eq!(state.expires_at(), Some(at(200)));
    assert!(state.sendable(|| late().wall).is_none());
}

#[test]
fn a_credential_keeps_its_expiry_however_often_the_limit_is_reached() {
    let before = burst(now());
    for cause in [Cause::Expiring, Cause::Forced, Cause::Rejected] {
        let flying = unproven(state(Phase::Refreshing(new_flight(cause, true))), before[4]);
        let brought = key_with(NEW, Some(at(400)), now().wall, Some(now().instant), MARGIN);
        let taken = settle(&with_successes(flying, &before[1..]), &Ok(brought), None);
        assert_eq!(taken.next.expect("it succeeds").expires_at(), Some(at(400)));
    }
}

// ## A credential that was never accepted

#[test]
fn a_rejection_of_an_unproven_credential_goes_to_the_caller() {
    for state in [active(), failed()] {
        let taken = reject(&unproven(state, now()), epoch());
        assert_eq!(reaction(&taken.answer), AnswerView::Respond);
        taken.assert_unchanged();
    }
}

#[test]
fn a_rejection_of_an_accepted_credential_elects() {
    let state = unproven(active(), now());
    state.entry.as_ref().expect("it has one").accept();
    Elected::rejected().check(&reject(&state, epoch()), reaction_flight);
    let state = unproven(failed(), now());
    state.entry.as_ref().expect("it has one").accept();
    Elected::rejected().again().check(&reject(&state, epoch()), reaction_flight);
}

#[test]
fn an_acceptance_is_visible_in_older_snapshots() {
    let state = unproven(active(), now());
    let Admission::Send(entry, _) = request(&state).answer else { panic!("it is sent") };
    let snapshot = state.clone();
    entry.accept();
    assert!(reject(&snapshot, epoch()).effects.launch.is_some());
}

#[test]
fn a_rejection_of_an_unproven_credential_elects_after_the_window() {
    let state = unproven(active(), now());
    let before = Now { instant: both(130).instant - Duration::from_nanos(1), ..now() };
    assert_eq!(reaction(&reject_at(&state, epoch(), before).answer), AnswerView::Respond);
    let taken = reject_at(&state, epoch(), both(130));
    Elected { at: both(130), ..Elected::rejected() }.check(&taken, reaction_flight);
}

#[test]
fn an_unproven_credential_is_renewed_when_it_is_due_or_expired() {
    let entry = key_with(KEY, Some(at(200)), at(0), Some(now().instant), MARGIN);
    renewal().check_unjoined(&renew(&State { entry: Some(entry), ..active() }, now()));
    Elected::late().check(&late_request(&unproven(active(), late())), admission_flight);
}

#[test]
fn only_a_credential_that_a_flight_brings_is_unproven() {
    let brought = key_with(NEW, Some(at(400)), now().wall, Some(now().instant), MARGIN);
    let renewed = settle(&awaited(), &Ok(brought), None).next.expect("it succeeds");
    assert_eq!(reaction(&reject(&renewed, renewed.epoch()).answer), AnswerView::Respond);
    for after in [replace(&renewed).next, log_in(&renewed).next] {
        let after = after.expect("a credential arrives");
        assert!(reject(&after, after.epoch()).effects.launch.is_some());
    }
}

#[test]
fn a_rejection_of_an_unproven_credential_joins_a_flight_and_gets_a_failure() {
    let waits = reject(&unproven(refreshing(), now()), epoch());
    assert!(matches!(
        reaction(&waits.answer),
        AnswerView::Wait(FlightView { awaited: true, rejected: true, .. })
    ));
    let taken = reject(&unproven(backing_off(), now()), epoch());
    assert_eq!(reaction(&taken.answer), refresh_failed("failed", 5 * SECOND));
}

// ## The end of a login

#[test]
fn a_login_ends_after_terminal_after_refusals_in_a_row() {
    let rules = Rules { terminal_after: 3, ..Rules::DEFAULT };
    let mut state = State { rules, ..active() };
    let errors =
        [refusal(), refusal(), transient(), refusal(), refusal(), lost(), refusal(), refusal()];
    for (nth, error) in (0..).zip(errors) {
        let now = after_failures(nth);
        let flying = reject_at(&state, state.epoch(), now).next.expect("it flies");
        let taken = settle_at(&flying, &error, now);
        assert!(taken.effects.ended.is_none(), "not yet");
        taken
            .assert_settled(FLIGHT + u64::from(nth), OutcomeView::Failed(cause_text(&error), WAIT));
        state = taken.next.expect("it fails");
    }
    let now = after_failures(8);
    let flying = reject_at(&state, state.epoch(), now).next.expect("it flies");
    let taken = settle_at(&flying, &refusal(), now);
    taken.assert_settled(FLIGHT + 8, OutcomeView::Ended(Some("no".to_owned())));
    assert!(taken.effects.ended.is_some());
}

#[test]
fn a_new_credential_resets_the_count_of_refusals() {
    let rules = Rules { terminal_after: 2, ..Rules::DEFAULT };
    let once =
        settle_at(&State { rules, ..awaited() }, &refusal(), now()).next.expect("it goes on");
    for after in [replace(&once).next, log_in(&once).next] {
        let after = after.expect("a credential arrives");
        let flying = reject(&after, after.epoch()).next.expect("it flies");
        assert!(settle_at(&flying, &refusal(), now()).effects.ended.is_none());
    }
    let flying = reject_at(&once, once.epoch(), after_failures(1)).next.expect("it flies");
    assert!(settle_at(&flying, &refusal(), after_failures(1)).effects.ended.is_some());
}

#[test]
fn an_ambiguous_failure_ends_a_login_if_it_counts_as_a_refusal() {
    let rules = Rules { ambiguous: AmbiguousOutcome::EndLogin, ..Rules::DEFAULT };
    let strict = |state| State { rules, ..state };
    for (state, now) in
        [(awaited(), now()), (refreshing(), late()), (without_key(refreshing()), now())]
    {
        let taken = settle_at(&strict(state), &lost(), now);
        taken.assert_settled(FLIGHT, OutcomeView::Ended(Some("lost".to_owned())));
        assert!(taken.effects.ended.is_some());
    }
    // Not while the credential is usable, and never after a transient failure.
    let taken = settle_at(&strict(refreshing()), &lost(), now());
    taken.assert_settled(FLIGHT, OutcomeView::Failed("lost".to_owned(), WAIT));
    assert!(taken.effects.ended.is_none());
    assert!(settle_at(&strict(awaited()), &transient(), now()).effects.ended.is_none());
    let same = settle(&strict(with_rejection(awaited())), &Ok(new_key()), Some(&unchanged()));
    assert!(same.effects.ended.is_none());
}

#[test]
fn ambiguous_failures_and_refusals_are_counted_together_if_both_count() {
    let rules =
        Rules { ambiguous: AmbiguousOutcome::EndLogin, terminal_after: 2, ..Rules::DEFAULT };
    for errors in [[lost(), refusal()], [refusal(), lost()]] {
        let once =
            settle_at(&State { rules, ..awaited() }, &errors[0], now()).next.expect("it goes on");
        let flying = reject_at(&once, once.epoch(), after_failures(1)).next.expect("it flies");
        let taken = settle_at(&flying, &errors[1], after_failures(1));
        assert_eq!(taken.after.expect("it ends").phase, PhaseView::Refused(cause_text(&errors[1])));
    }
}

#[test]
fn ambiguous_failures_never_end_a_login_by_default() {
    let mut state = active();
    for nth in 0..100 {
        let now = after_failures(nth);
        let flying = reject_at(&state, state.epoch(), now).next.expect("it flies");
        let taken = settle_at(&flying, &[lost(), transient()][nth as usize % 2], now);
        assert!(taken.effects.ended.is_none());
        state = taken.next.expect("it fails");
    }
}

#[test]
fn a_refused_renewal_keeps_the_credential_until_it_has_expired() {
    let mut state = due(active());
    for nth in 0..4 {
        let now = after_failures(nth);
        let flying = renew(&state, now).next.expect("a renewal flies");
        let taken = settle_at(&flying, &refusal(), now);
        assert!(taken.effects.ended.is_none());
        taken.assert_settled(FLIGHT + u64::from(nth), OutcomeView::Failed("no".to_owned(), WAIT));
        state = taken.next.expect("it fails");
        assert_eq!(state.credential().map(|key| key.name), Some(KEY));
    }
    // A request needs the credential now.
    let flying = late_request(&state).next.expect("it flies");
    let taken = settle_at(&flying, &refusal(), late());
    taken.assert_settled(FLIGHT + 4, OutcomeView::Ended(Some("no".to_owned())));
    assert!(taken.effects.ended.is_some());
}

#[test]
fn a_refused_renewal_ends_the_login_if_the_credential_is_rejected_meanwhile() {
    let flying = renewing(&due(active()));
    let started = flight(&flying);
    let rejected = reject(&flying, epoch()).next.expect("it is awaited");
    let taken = take(&rejected, |state| state.settle(&started, &Err(refusal()), None, WAIT, now()));
    taken.assert_settled(FLIGHT, OutcomeView::Ended(Some("no".to_owned())));
    assert!(taken.effects.ended.is_some());
}

#[test]
fn a_rejection_after_a_refused_renewal_gets_one_more_attempt() {
    let flying = renewing(&due(active()));
    let failed = settle_at(&flying, &refusal(), now()).next.expect("it fails");
    // Sent before the failure: the request gets the failure, and no flight starts.
    let early = reject_at(&failed, epoch(), both(106));
    assert_eq!(reaction(&early.answer), refresh_failed("no", Duration::ZERO));
    early.assert_unchanged();
    let flying = reject_at(&failed, failed.epoch(), both(106)).next.expect("it flies");
    assert!(settle_at(&flying, &refusal(), both(106)).effects.ended.is_some());
}

// ## The back-off in the outcome

#[test]
fn waiters_of_a_failed_flight_get_its_back_off() {
    for wait in [Duration::ZERO, WAIT, 3_600 * SECOND] {
        let taken = take(&awaited(), |state| {
            state.settle(&flight(state), &Err(transient()), None, wait, now())
        });
        let (_, outcome) = taken.effects.settled.expect("it settles");
        assert_eq!(
            fail_view(&outcome.into_result().expect_err("it fails")),
            refresh_failed("down", wait)
        );
        let after = taken.next.expect("it fails");
        let told = reject(&after, epoch());
        assert_eq!(
            reaction(&told.answer),
            refresh_failed("down", wait),
            "a later rejection gets the same back-off"
        );
    }
}

// ## Clocks that jump

#[test]
fn a_jump_of_the_wall_clock_does_not_change_a_back_off() {
    for seconds in [0, 150, 10_000] {
        let jumped = |monotonic: u64| Now { wall: at(seconds), ..both(monotonic) };
        let state = without_key(backing_off());
        let taken = take(&state, |state| state.admit(login(), true, || jumped(104)));
        assert_eq!(admission(&taken.answer), refresh_failed("failed", SECOND));
        let taken = take(&state, |state| state.admit(login(), true, || jumped(105)));
        assert!(taken.effects.launch.is_some());
    }
}

#[test]
fn a_jump_of_the_wall_clock_does_not_change_the_limit() {
    for seconds in [0, 150, 10_000] {
        let jumped = |monotonic: u64| Now { wall: at(seconds), ..both(monotonic) };
        let states = [beyond_the_limit(active()), unproven(active(), both(96))];
        for state in states {
            assert_eq!(
                reaction(&reject_at(&state, epoch(), jumped(125)).answer),
                AnswerView::Respond
            );
            assert!(reject_at(&state, epoch(), jumped(126)).effects.launch.is_some());
        }
    }
}

#[test]
fn a_credential_expires_while_the_machine_sleeps() {
    // The monotonic clock has stood still.
    let awake = Now { wall: at(10_000), ..now() };
    let taken = take(&active(), |state| state.admit(login(), true, || awake));
    Elected::new(Cause::Expiring).check(&taken, admission_flight);
    assert!(active().sendable(|| awake.wall).is_none());
}

#[test]
fn a_jump_of_the_wall_clock_and_back_costs_one_refresh() {
    let forth = Now { wall: at(10_000), ..now() };
    let flying =
        take(&active(), |state| state.admit(login(), true, || forth)).next.expect("it flies");
    // The expiry is by the server's clock, or by the local clock after its jump.
    for expires_at in [at(400), at(10_300)] {
        let brought = key_with(NEW, Some(expires_at), forth.wall, Some(now().instant), MARGIN);
        let mut state = settle_at_ok(&flying, &brought, forth);
        let started = state.flights_started;
        for wall in [forth.wall, at(101), at(9_999), at(0), forth.wall] {
            let taken = take(&state, |state| state.admit(login(), true, || Now { wall, ..now() }));
            assert!(matches!(admission(&taken.answer), AnswerView::Send(NEW, _)));
            state = taken.next.unwrap_or(state);
        }
        assert_eq!(state.flights_started, started);
    }
}

#[test]
fn a_jump_of_the_wall_clock_moves_a_renewal() {
    let state = due(active());
    let back = Now { wall: at(0), ..now() };
    take(&state, |state| state.renew(back)).assert_unchanged();
    assert_eq!(state.renewal_in(back), Some(100 * SECOND));
    let forth = Now { wall: at(150), ..both(10) };
    Elected { at: both(10), ..renewal() }.check_unjoined(&take(&state, |state| state.renew(forth)));
}

#[test]
fn a_refusal_is_judged_by_the_wall_clock_at_the_end_of_the_flight() {
    let flying = renewing(&due(active()));
    let forth = Now { wall: at(10_000), ..now() };
    assert!(settle_at(&flying, &refusal(), forth).effects.ended.is_some());
    assert!(settle_at(&flying, &transient(), forth).effects.ended.is_none());
    let waits = take(&flying, |state| state.admit(login(), true, || forth));
    assert!(matches!(
        admission(&waits.answer),
        AnswerView::Wait(FlightView { awaited: true, rejected: false, .. })
    ));
    // The flight stays awaited when the clock jumps back.
    let awaited = waits.next.expect("it is awaited");
    assert!(settle_at(&awaited, &refusal(), now()).effects.ended.is_some());
}

#[test]
fn extreme_times_do_not_overflow() {
    let eternity = Duration::from_secs(i64::MAX.unsigned_abs() / 2);
    let (first, last) = (at(0).checked_sub(eternity).unwrap_or(at(0)), at(0).checked_add(eternity));
    let last = last.unwrap_or(at(1));
    for margin in [Duration::ZERO, SECOND, Duration::MAX] {
        for arrival in [first, at(0), last] {
            for expires_at in [first, at(0), at(1), last] {
                let margin = RenewalMargin { margin, jitter: 1.0, ..RenewalMargin::DEFAULT };
                let entry = key_with(KEY, Some(expires_at), arrival, Some(now().instant), margin);
                let state = State { entry: Some(entry), ..active() };
                for wall in [first, at(0), last] {
                    let now = Now { wall, ..now() };
                    let taken = take(&state, |state| state.admit(login(), true, || now));
                    assert!(matches!(
                        admission(&taken.answer),
                        AnswerView::Send(..) | AnswerView::Wait(_)
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
const MARGIN: RenewalMargin =
    RenewalMargin { margin: Duration::from_secs(100), jitter: 0.0, min_age: Duration::ZERO };

/// The expected flight of a renewal.
fn renewal() -> Elected {
    Elected { awaited: false, ..Elected::new(Cause::Expiring) }
}

/// `state` with a credential whose renewal is due now.
fn due(state: State<Key>) -> State<Key> {
    State { entry: Some(key_with(KEY, Some(at(200)), at(0), None, MARGIN)), ..state }
}

/// `state` with a credential of unknown expiry.
fn of_unknown_expiry(state: State<Key>) -> State<Key> {
    State { entry: Some(key_with(KEY, None, at(0), None, MARGIN)), ..state }
}

/// `state` with a credential that a flight brought and the upstream has not accepted.
fn unproven(state: State<Key>, since: Now) -> State<Key> {
    let margin = RenewalMargin { margin: Duration::ZERO, ..MARGIN };
    State { entry: Some(key_with(KEY, Some(at(200)), at(0), Some(since.instant), margin)), ..state }
}

/// A failure with five seconds of back-off left.
fn backing_off() -> State<Key> {
    failed_until(both(105))
}

/// As many successes as the limit allows, one per second.
fn burst(last: Now) -> [Now; 5] {
    [4, 3, 2, 1, 0].map(|before| Now { instant: last.instant - before * SECOND, ..last })
}

/// `state` with the limit reached for another 26 seconds.
fn beyond_the_limit(state: State<Key>) -> State<Key> {
    with_successes(state, &burst(now()))
}

/// The time after this many failures, each followed by its back-off.
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
fn settle_at(state: &State<Key>, error: &RefreshError, now: Now) -> StepView<Result<(), Fenced>> {
    take(state, |state| state.settle(&flight(state), &Err(error.clone()), None, WAIT, now))
}

#[track_caller]
fn settle_at_ok(state: &State<Key>, brought: &Arc<Entry<Key>>, now: Now) -> State<Key> {
    let taken =
        take(state, |state| state.settle(&flight(state), &Ok(brought.clone()), None, WAIT, now));
    taken.next.expect("it succeeds")
}
