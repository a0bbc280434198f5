//! One test for each cell of the table in the docs of [`session`](crate::session), row by row.
//!
//! The tests in `time` cover back-off, limits, renewals and clocks. The row "rejection of a replay"
//! has no test here: the middleware answers such a rejection and does not report it to the session.

mod time;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use tokio_test::{assert_pending, assert_ready, task};

use crate::{
    cause::Cause,
    error::{Error, ErrorKind, RefreshError},
    identity::{Generation, Login},
    refresher::{fence::Fence, rejection::Rejection},
    session::machine::{
        clock::Now,
        entry::Entry,
        limit::RefreshHistory,
        outcome::Outcome,
        rules::Rules,
        state::{EndReason, Epoch, Failure, Flight, Phase, State, Streak},
        tests::{
            key::{Key, at, both, key},
            view::{
                FailureView, FlightView, OutcomeView, PhaseView, StateView, StepView, cause_text,
                error_view, take,
            },
        },
        tracker::FlightTracker,
        transition::{Acquisition, Admission, Effects, Fenced, Launch, Reaction},
    },
};

// ## A request, the credential is usable

#[test]
fn a_request_with_a_usable_credential_while_active_is_sent() {
    let taken = request(&active());
    assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
    taken.assert_unchanged();
}

#[test]
fn a_request_with_a_usable_credential_while_a_flight_is_not_awaited_is_sent() {
    let taken = request(&refreshing());
    assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
    taken.assert_unchanged();
}

#[test]
fn a_request_with_a_usable_credential_while_a_flight_is_awaited_waits() {
    let taken = request(&awaited());
    assert_eq!(admission(&taken.answer), AnswerView::Wait(flight_view(&awaited())));
    taken.assert_unchanged();
}

#[test]
fn a_request_with_a_usable_credential_after_a_failure_is_sent() {
    let taken = request(&failed());
    assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
    taken.assert_unchanged();
}

#[test]
fn a_request_after_a_refusal_fails_with_it() {
    for now in [now(), late()] {
        let taken = take(&refused(), |state| state.admit(login(), true, || now));
        assert_eq!(
            admission(&taken.answer),
            AnswerView::Fail(ErrorKind::LoggedOut, Some("refused".to_owned()))
        );
        taken.assert_unchanged();
    }
}

#[test]
fn a_request_after_a_logout_or_before_any_login_fails_without_a_cause() {
    for state in [logged_out(), signed_out()] {
        let taken = request(&state);
        assert_eq!(admission(&taken.answer), AnswerView::Fail(ErrorKind::LoggedOut, None));
        taken.assert_unchanged();
    }
}

#[test]
fn a_credential_of_unknown_expiry_never_expires() {
    let of_unknown_expiry = State { entry: Some(key(KEY, None, now().wall)), ..active() };
    let taken = late_request(&of_unknown_expiry);
    assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
    taken.assert_unchanged();
}

#[test]
fn a_credential_that_arrives_expired_counts_as_one_of_unknown_expiry() {
    for expired in [at(0), now().wall] {
        let entry = key(KEY, Some(expired), now().wall);
        assert_eq!(entry.expires_at(), None);
        let taken = request(&State { entry: Some(entry), ..active() });
        assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
        taken.assert_unchanged();
    }
    assert_eq!(key(KEY, Some(at(101)), now().wall).expires_at(), Some(at(101)));
}

#[test]
fn a_credential_expires_exactly_at_its_expiry() {
    let before = take(&active(), |state| state.admit(login(), true, || both(199)));
    assert_eq!(admission(&before.answer), AnswerView::Send(KEY, epoch()));
    let on_the_dot = take(&active(), |state| state.admit(login(), true, || both(200)));
    Elected { at: both(200), ..Elected::new(Cause::Expiring) }.check(&on_the_dot, admission_flight);
}

#[test]
fn a_request_of_another_login_fails_in_every_phase() {
    for state in every_phase() {
        for now in [now(), late()] {
            for other in [Login::NONE, login().next()] {
                let taken = take(&state, |state| state.admit(other, true, || now));
                assert_eq!(
                    admission(&taken.answer),
                    AnswerView::Fail(ErrorKind::LoginChanged, None)
                );
                taken.assert_unchanged();
            }
        }
    }
}

// ## A request, the credential has expired or is absent

#[test]
fn a_request_with_an_expired_credential_while_active_elects() {
    let taken = late_request(&active());
    Elected::late().check(&taken, admission_flight);
}

#[test]
fn a_request_without_a_credential_while_active_elects() {
    let taken = request(&without_key(active()));
    Elected { key: None, ..Elected::new(Cause::Missing) }.check(&taken, admission_flight);
}

#[test]
fn the_first_request_of_a_session_that_acquires_on_demand_elects() {
    let state = State::<Key>::on_demand(Rules::DEFAULT);
    let first = Login::NONE.next();
    let taken = take(&state, |state| state.admit(first, true, now));
    assert_eq!(taken.before.phase, PhaseView::Active);
    let launch = taken.effects.launch.as_ref().expect("a flight starts");
    assert_eq!((launch.context.cause(), launch.context.login()), (Cause::Missing, first));
    assert_eq!(launch.context.generation(), Generation::NONE);
    taken.assert_state(|state| {
        state.phase = PhaseView::Refreshing(FlightView {
            number: 1,
            rejected: false,
            ..new_flight_view(Cause::Missing)
        });
        state.flights_started = 1;
    });
}

#[test]
fn a_request_with_an_expired_credential_makes_a_flight_awaited() {
    let awaited = FlightView { awaited: true, ..flight_view(&refreshing()) };
    let taken = late_request(&refreshing());
    assert_eq!(admission(&taken.answer), AnswerView::Wait(awaited.clone()));
    taken.assert_state(|state| state.phase = PhaseView::Refreshing(awaited));
    taken.assert_no_effects();
}

#[test]
fn a_request_without_a_credential_makes_a_flight_awaited() {
    let awaited = FlightView { awaited: true, ..flight_view(&refreshing()) };
    let taken = request(&without_key(refreshing()));
    assert_eq!(admission(&taken.answer), AnswerView::Wait(awaited.clone()));
    taken.assert_state(|state| state.phase = PhaseView::Refreshing(awaited));
    taken.assert_no_effects();
}

#[test]
fn a_request_with_an_expired_credential_keeps_the_rejection_of_a_flight() {
    let awaited = FlightView { awaited: true, ..flight_view(&with_rejection(refreshing())) };
    let taken = late_request(&with_rejection(refreshing()));
    assert!(awaited.rejected);
    assert_eq!(admission(&taken.answer), AnswerView::Wait(awaited));
}

#[test]
fn a_request_with_an_expired_credential_while_a_flight_is_awaited_waits() {
    let taken = late_request(&awaited());
    assert_eq!(admission(&taken.answer), AnswerView::Wait(flight_view(&awaited())));
    taken.assert_unchanged();
}

#[test]
fn a_request_without_a_credential_while_a_flight_is_awaited_waits() {
    let taken = request(&without_key(awaited()));
    assert_eq!(admission(&taken.answer), AnswerView::Wait(flight_view(&awaited())));
    taken.assert_unchanged();
}

#[test]
fn a_request_with_an_expired_credential_after_a_failure_elects() {
    let taken = late_request(&failed());
    Elected::late().again().check(&taken, admission_flight);
}

#[test]
fn a_request_without_a_credential_after_a_failure_elects() {
    let taken = request(&without_key(failed()));
    Elected { key: None, ..Elected::new(Cause::Missing) }.again().check(&taken, admission_flight);
}

#[test]
fn a_request_that_has_waited_is_sent_with_an_expired_credential_rather_than_elect() {
    for state in [active(), failed()] {
        let taken = take(&state, |state| state.admit(login(), false, late));
        assert_eq!(admission(&taken.answer), AnswerView::Send(KEY, epoch()));
        taken.assert_unchanged();
    }
}

#[test]
fn a_request_that_has_waited_waits_again_for_a_running_flight() {
    let taken = take(&awaited(), |state| state.admit(login(), false, late));
    assert_eq!(admission(&taken.answer), AnswerView::Wait(flight_view(&awaited())));
    taken.assert_unchanged();

    let awaited = FlightView { awaited: true, ..flight_view(&refreshing()) };
    let taken = take(&refreshing(), |state| state.admit(login(), false, late));
    assert_eq!(admission(&taken.answer), AnswerView::Wait(awaited));
    assert!(taken.effects.launch.is_none());
}

#[test]
fn the_fresh_path_sends_exactly_the_requests_that_admit_sends() {
    let states = every_phase().into_iter().chain(every_phase().map(without_key));
    for state in states {
        for now in [now(), late()] {
            let fresh = state
                .sendable(|| now.wall)
                .map(|entry| AnswerView::Send(entry.credential().name, state.epoch()));
            let admitted =
                admission(&take(&state, |state| state.admit(login(), true, || now)).answer);
            assert_eq!(fresh, matches!(admitted, AnswerView::Send(..)).then_some(admitted));
        }
    }
}

// ## A rejection of this generation

#[test]
fn a_rejection_of_this_generation_while_active_elects() {
    let taken = reject(&active(), epoch());
    Elected::rejected().check(&taken, reaction_flight);
}

#[test]
fn a_rejection_of_this_generation_makes_a_flight_awaited() {
    let awaited = FlightView { awaited: true, rejected: true, ..flight_view(&refreshing()) };
    let taken = reject(&refreshing(), epoch());
    assert_eq!(reaction(&taken.answer), AnswerView::Wait(awaited.clone()));
    taken.assert_state(|state| state.phase = PhaseView::Refreshing(awaited));
    taken.assert_no_effects();
}

#[test]
fn a_rejection_of_this_generation_while_a_flight_is_awaited_waits_and_marks_the_flight() {
    let rejected = FlightView { rejected: true, ..flight_view(&awaited()) };
    let taken = reject(&awaited(), epoch());
    assert_eq!(reaction(&taken.answer), AnswerView::Wait(rejected.clone()));
    taken.assert_state(|state| state.phase = PhaseView::Refreshing(rejected));
    taken.assert_no_effects();
}

#[test]
fn a_second_rejection_of_this_generation_changes_nothing() {
    let taken = reject(&with_rejection(awaited()), epoch());
    assert_eq!(reaction(&taken.answer), AnswerView::Wait(flight_view(&with_rejection(awaited()))));
    taken.assert_unchanged();
}

#[test]
fn a_rejection_of_this_generation_from_before_an_earlier_failure_joins_the_flight_too() {
    let rejected = FlightView { awaited: true, rejected: true, ..flight_view(&refreshing()) };
    let taken = reject(&refreshing(), Epoch { flights_settled: SETTLED - 1, ..epoch() });
    assert_eq!(reaction(&taken.answer), AnswerView::Wait(rejected));
    assert!(taken.effects.launch.is_none());
}

#[test]
fn a_rejection_from_before_the_failure_gets_that_failure() {
    for flights_settled in [SETTLED - 1, 0] {
        let taken = reject(&failed(), Epoch { flights_settled, ..epoch() });
        assert_eq!(reaction(&taken.answer), refresh_failed("failed", Duration::ZERO));
        taken.assert_unchanged();
    }
}

#[test]
fn a_rejection_from_after_the_failure_elects() {
    let taken = reject(&failed(), epoch());
    Elected::rejected().again().check(&taken, reaction_flight);
}

#[test]
fn a_rejection_of_this_generation_after_the_end_fails_with_its_cause() {
    let over =
        [(refused(), Some("refused".to_owned())), (logged_out(), None), (signed_out(), None)];
    for (state, cause) in over {
        let taken = reject(&state, state.epoch());
        assert_eq!(reaction(&taken.answer), AnswerView::Fail(ErrorKind::LoggedOut, cause));
        taken.assert_unchanged();
    }
}

// ## A rejection of an older generation, same login

#[test]
fn a_rejection_of_an_older_generation_while_active_is_replayed() {
    let taken = reject(&active(), older());
    assert_eq!(reaction(&taken.answer), AnswerView::Replay);
    taken.assert_unchanged();
}

#[test]
fn a_rejection_of_an_older_generation_while_a_flight_is_not_awaited_is_replayed() {
    let taken = reject(&refreshing(), older());
    assert_eq!(reaction(&taken.answer), AnswerView::Replay);
    taken.assert_unchanged();
}

#[test]
fn a_rejection_of_an_older_generation_while_a_flight_is_awaited_waits_and_does_not_mark_it() {
    let taken = reject(&awaited(), older());
    assert_eq!(reaction(&taken.answer), AnswerView::Wait(flight_view(&awaited())));
    taken.assert_unchanged();
}

#[test]
fn a_rejection_of_an_older_generation_after_a_failure_is_replayed() {
    for flights_settled in [SETTLED, 0] {
        let taken = reject(&failed(), Epoch { flights_settled, ..older() });
        assert_eq!(reaction(&taken.answer), AnswerView::Replay);
        taken.assert_unchanged();
    }
}

#[test]
fn a_rejection_of_an_older_generation_after_the_end_fails_with_its_cause() {
    for (state, cause) in [(refused(), Some("refused".to_owned())), (logged_out(), None)] {
        let taken = reject(&state, older());
        assert_eq!(reaction(&taken.answer), AnswerView::Fail(ErrorKind::LoggedOut, cause));
        taken.assert_unchanged();
    }
}

// ## A rejection, other login

#[test]
fn a_rejection_of_another_login_while_active_fails() {
    assert_of_another_login(&active());
}

#[test]
fn a_rejection_of_another_login_while_a_flight_is_not_awaited_fails() {
    assert_of_another_login(&refreshing());
}

#[test]
fn a_rejection_of_another_login_while_a_flight_is_awaited_fails() {
    assert_of_another_login(&awaited());
}

#[test]
fn a_rejection_of_another_login_after_a_failure_fails() {
    assert_of_another_login(&failed());
}

#[test]
fn a_rejection_of_another_login_after_the_end_fails() {
    assert_of_another_login(&refused());
    assert_of_another_login(&logged_out());
}

// ## A rejection of a request that had waited before it was first sent

#[test]
fn a_late_rejection_of_a_request_that_had_waited_is_replayed() {
    for state in [active(), refreshing(), failed(), failed_until(both(105))] {
        let taken = reject_waited(&state, older());
        assert_eq!(reaction(&taken.answer), AnswerView::Replay);
        taken.assert_unchanged();
    }
    let taken = reject_waited(&awaited(), older());
    assert_eq!(reaction(&taken.answer), AnswerView::Wait(flight_view(&awaited())));
    taken.assert_unchanged();
}

#[test]
fn any_other_rejection_of_a_request_that_had_waited_goes_to_the_caller() {
    let other_login = Epoch { login: Login::NONE.next(), ..older() };
    for state in every_phase() {
        for epoch in [epoch(), Epoch { flights_settled: 0, ..epoch() }, other_login] {
            let taken = reject_waited(&state, epoch);
            assert_eq!(reaction(&taken.answer), AnswerView::Respond);
            taken.assert_unchanged();
        }
    }
    for state in [refused(), logged_out()] {
        let taken = reject_waited(&state, older());
        assert_eq!(reaction(&taken.answer), AnswerView::Respond);
        taken.assert_unchanged();
    }
}

// ## A flight settles: success

#[test]
fn a_success_of_a_flight_that_is_not_awaited_is_the_next_generation() {
    assert_renewed(&refreshing());
}

#[test]
fn a_success_of_an_awaited_flight_is_the_next_generation() {
    assert_renewed(&awaited());
    assert_renewed(&with_rejection(awaited()));
}

#[test]
fn a_success_of_a_flight_without_a_credential_is_the_next_generation() {
    assert_renewed(&without_key(refreshing()));
    assert_renewed(&without_key(awaited()));
}

#[test]
fn a_credential_that_a_flight_brings_expired_is_still_sent() {
    let taken = settle(&awaited(), &Ok(key(NEW, Some(at(0)), now().wall)), None);
    assert!(taken.answer.is_ok());
    taken.assert_settled(FLIGHT, OutcomeView::Renewed);
    let after = taken.next.expect("the state changes");
    let sent = Epoch { generation: generation().next(), flights_settled: SETTLED + 1, ..epoch() };
    assert_eq!(admission(&request(&after).answer), AnswerView::Send(NEW, sent));
    assert_eq!(after.expires_at(), None);
}

// ## A flight settles: success, with the credential that it was to replace

#[test]
fn a_flight_that_returns_the_rejected_credential_fails() {
    for state in [with_rejection(awaited()), without_key(with_rejection(awaited()))] {
        let taken = settle(&state, &Ok(new_key()), Some(&unchanged()));
        assert!(taken.answer.is_ok());
        taken.assert_state(|state| {
            state.phase = failed_view("unchanged", true);
            state.flights_settled += 1;
        });
        taken.assert_settled(FLIGHT, OutcomeView::Failed("unchanged".to_owned(), WAIT));
        assert!(taken.effects.ended.is_none());
    }
}

#[test]
fn a_flight_that_returns_the_same_credential_succeeds_without_a_rejection() {
    for state in [refreshing(), awaited()] {
        let taken = settle(&state, &Ok(new_key()), Some(&unchanged()));
        assert!(taken.answer.is_ok());
        taken.assert_state(renewed);
        taken.assert_settled(FLIGHT, OutcomeView::Renewed);
        assert!(taken.effects.ended.is_none());
    }
}

#[test]
fn a_flight_that_returns_a_credential_rejected_meanwhile_fails() {
    for state in [refreshing(), awaited()] {
        // The guard passes the flight as it was at its start.
        let started = flight(&state);
        let rejected = reject(&state, epoch()).next.expect("the rejection is remembered");
        let taken = take(&rejected, |state| {
            state.settle(&started, &Ok(new_key()), Some(&unchanged()), WAIT, now())
        });
        assert!(taken.answer.is_ok());
        taken.assert_settled(FLIGHT, OutcomeView::Failed("unchanged".to_owned(), WAIT));
        taken.assert_state(|state| {
            state.phase = failed_view("unchanged", true);
            state.flights_settled += 1;
        });
    }
}

// ## A flight settles: transient, ambiguous

#[test]
fn a_transient_or_ambiguous_failure_of_a_flight_that_is_not_awaited_keeps_the_login() {
    assert_failed(&refreshing(), now());
    assert_failed(&refreshing(), late());
    assert_failed(&without_key(refreshing()), now());
}

#[test]
fn a_transient_or_ambiguous_failure_of_an_awaited_flight_keeps_the_login() {
    assert_failed(&awaited(), now());
    assert_failed(&awaited(), late());
    assert_failed(&without_key(awaited()), now());
    assert_failed(&with_rejection(awaited()), now());
}

// ## A flight settles: terminal

#[test]
fn a_refusal_of_a_flight_that_is_not_awaited_keeps_a_credential_that_is_still_usable() {
    let taken = settle(&refreshing(), &Err(RefreshError::terminal("no")), None);
    assert!(taken.answer.is_ok());
    taken.assert_state(|state| {
        state.phase =
            failed_view_at("no", now(), Streak { failures: 1, refusals: 1, rejected: false });
        state.flights_settled += 1;
    });
    taken.assert_settled(FLIGHT, OutcomeView::Failed("no".to_owned(), WAIT));
    assert!(taken.effects.ended.is_none());
}

#[test]
fn a_refusal_of_a_flight_that_is_not_awaited_ends_the_login_of_an_expired_credential() {
    assert_refused(&refreshing(), late());
}

#[test]
fn a_refusal_of_a_flight_that_is_not_awaited_ends_a_login_without_a_credential() {
    assert_refused(&without_key(refreshing()), now());
}

#[test]
fn a_refusal_of_an_awaited_flight_ends_the_login() {
    assert_refused(&awaited(), now());
    assert_refused(&awaited(), late());
    assert_refused(&without_key(awaited()), now());
    assert_refused(&with_rejection(awaited()), now());
}

#[test]
fn a_refusal_ends_the_login_if_a_request_began_to_wait_meanwhile() {
    let started = flight(&refreshing());
    let rejected = reject(&refreshing(), epoch()).next.expect("it is awaited from now on");
    let taken = take(&rejected, |state| {
        state.settle(&started, &Err(RefreshError::terminal("no")), None, WAIT, now())
    });
    taken.assert_settled(FLIGHT, OutcomeView::Ended(Some("no".to_owned())));
    assert!(taken.effects.ended.is_some());
}

// ## The outcome of a fenced flight

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_while_active() {
    assert_fenced(&active());
}

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_while_another_is_not_awaited() {
    assert_fenced(&refreshing());
}

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_while_another_is_awaited() {
    assert_fenced(&awaited());
}

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_after_a_failure() {
    assert_fenced(&failed());
}

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_after_the_end() {
    assert_fenced(&refused());
    assert_fenced(&logged_out());
}

// ## Login

#[test]
fn a_login_while_active_replaces_the_current_one() {
    let taken = log_in(&active());
    assert_logged_in(&taken);
    taken.assert_no_effects();
}

#[test]
fn a_login_fences_a_flight_that_is_not_awaited() {
    assert_login_fences(&refreshing());
}

#[test]
fn a_login_fences_an_awaited_flight() {
    assert_login_fences(&awaited());
}

#[test]
fn a_login_after_a_failure_replaces_the_current_one() {
    let taken = log_in(&failed());
    assert_logged_in(&taken);
    taken.assert_no_effects();
}

#[test]
fn a_login_after_the_end_starts_over() {
    for state in [refused(), logged_out(), signed_out()] {
        let taken = log_in(&state);
        assert_logged_in(&taken);
        taken.assert_no_effects();
    }
}

#[test]
fn a_new_login_has_its_own_flight_tracker() {
    let old = active().tracker.token();
    let state = State { tracker: old.tracker(), ..active() };
    let next = log_in(&state).next.expect("the state changes");
    let new = next.tracker.token();
    drop(old);
    let flights = state.tracker.running();
    let mut finished = task::spawn(flights.wait());
    assert!(assert_ready!(finished.poll()).is_none());
    drop(new);
}

// ## Replace

#[test]
fn a_replacement_while_active_is_the_next_generation() {
    let taken = replace(&active());
    assert_replaced(&taken);
    taken.assert_no_effects();
}

#[test]
fn a_replacement_fences_a_flight_that_is_not_awaited() {
    assert_replacement_fences(&refreshing());
    assert_replacement_fences(&without_key(refreshing()));
}

#[test]
fn a_replacement_fences_an_awaited_flight() {
    assert_replacement_fences(&awaited());
    assert_replacement_fences(&without_key(awaited()));
}

#[test]
fn a_replacement_after_a_failure_is_the_next_generation() {
    for state in [failed(), without_key(failed())] {
        let taken = replace(&state);
        assert_replaced(&taken);
        taken.assert_no_effects();
    }
}

#[test]
fn a_replacement_after_the_end_is_refused() {
    for state in [refused(), logged_out(), signed_out()] {
        let taken = take(&state, |current| current.replace(state.login, &new_key()));
        assert_eq!(taken.answer, None);
        taken.assert_unchanged();
    }
}

#[test]
fn a_replacement_of_another_login_is_refused_in_every_phase() {
    for state in every_phase() {
        for other in [Login::NONE, Login::NONE.next(), login().next()] {
            let taken = take(&state, |state| state.replace(other, &new_key()));
            assert_eq!(taken.answer, None);
            taken.assert_unchanged();
        }
    }
}

#[test]
fn a_replacement_keeps_the_flight_tracker() {
    let token = awaited().tracker.token();
    let state = State { tracker: token.tracker(), ..awaited() };
    let after = replace(&state).next.expect("the state changes");
    let flights = after.tracker.running();
    let mut finished = task::spawn(flights.wait());
    assert_pending!(finished.poll());
    drop(token);
    assert_ready!(finished.poll());
}

// ## Logout

#[test]
fn a_logout_while_active_ends_the_login() {
    let taken = log_out(&active());
    assert_logged_out(&taken, Some(KEY));
    assert!(taken.effects.settled.is_none());
}

#[test]
fn a_logout_before_the_first_credential_ends_the_login_too() {
    let taken = log_out(&without_key(active()));
    assert_logged_out(&taken, None);
    assert!(taken.effects.settled.is_none());
}

#[test]
fn a_logout_fences_a_flight_that_is_not_awaited() {
    assert_logout_fences(&refreshing());
}

#[test]
fn a_logout_fences_an_awaited_flight() {
    assert_logout_fences(&awaited());
}

#[test]
fn a_logout_after_a_failure_ends_the_login() {
    let taken = log_out(&failed());
    assert_logged_out(&taken, Some(KEY));
    assert!(taken.effects.settled.is_none());
}

#[test]
fn a_logout_after_the_end_does_nothing() {
    for state in [refused(), logged_out(), signed_out()] {
        log_out(&state).assert_unchanged();
    }
}

#[test]
fn the_end_of_a_login_waits_for_its_flights() {
    let elected = reject(&active(), epoch());
    let Launch { token, .. } = elected.effects.launch.expect("a flight starts");
    let ended = log_out(&elected.next.expect("it flies")).effects.ended.expect("the login ends");
    let mut finished = task::spawn(ended.flights.wait());
    assert_pending!(finished.poll());
    token.bring_late(new_key().credential().clone());
    assert_pending!(finished.poll());
    drop(token);
    assert!(finished.is_woken());
    assert_eq!(assert_ready!(finished.poll()).map(|key| key.name), Some(NEW));
}

// ## refresh()

#[test]
fn a_refresh_while_active_elects_a_flight_that_is_not_awaited() {
    let taken = take(&active(), |state| state.refresh(now()));
    Elected { awaited: false, ..Elected::new(Cause::Forced) }.check(&taken, acquired_flight);
}

#[test]
fn a_refresh_without_a_credential_elects_a_flight_that_is_not_awaited() {
    let taken = take(&without_key(active()), |state| state.refresh(now()));
    let expected = Elected { awaited: false, key: None, ..Elected::new(Cause::Missing) };
    expected.check(&taken, acquired_flight);
}

#[test]
fn a_refresh_joins_a_flight_that_is_not_awaited_without_making_it_awaited() {
    let taken = take(&refreshing(), |state| state.refresh(now()));
    assert_eq!(FlightView::of(acquired_flight(&taken.answer)), flight_view(&refreshing()));
    taken.assert_unchanged();
}

#[test]
fn a_refresh_joins_an_awaited_flight() {
    let taken = take(&awaited(), |state| state.refresh(now()));
    assert_eq!(FlightView::of(acquired_flight(&taken.answer)), flight_view(&awaited()));
    taken.assert_unchanged();
}

#[test]
fn a_refresh_after_a_failure_elects_a_flight_that_is_not_awaited() {
    let taken = take(&failed(), |state| state.refresh(now()));
    let expected = Elected { awaited: false, ..Elected::new(Cause::Forced) }.again();
    expected.check(&taken, acquired_flight);

    let taken = take(&without_key(failed()), |state| state.refresh(now()));
    let expected = Elected { key: None, cause: Cause::Missing, ..expected };
    expected.check(&taken, acquired_flight);
}

#[test]
fn a_refresh_after_the_end_fails_with_its_cause() {
    let over =
        [(refused(), Some("refused".to_owned())), (logged_out(), None), (signed_out(), None)];
    for (state, cause) in over {
        let taken = take(&state, |state| state.refresh(now()));
        assert_eq!(error_view(taken.answer.as_ref().unwrap_err()), (ErrorKind::LoggedOut, cause));
        taken.assert_unchanged();
    }
}

// ## acquire()

#[test]
fn an_acquire_while_active_returns_the_current_credential() {
    let taken = acquire(&active(), now());
    assert_eq!(acquired(&taken.answer).0, login());
    assert!(acquired(&taken.answer).1.is_none());
    taken.assert_unchanged();
}

#[test]
fn an_acquire_with_an_expired_credential_elects() {
    let taken = acquire(&active(), late());
    assert_eq!(acquired(&taken.answer).0, login());
    Elected::late().check(&taken, acquired_flight);
}

#[test]
fn an_acquire_before_the_first_credential_elects() {
    let taken = acquire(&without_key(active()), now());
    assert_eq!(acquired(&taken.answer).0, login());
    Elected { key: None, ..Elected::new(Cause::Missing) }.check(&taken, acquired_flight);
}

#[test]
fn an_acquire_joins_a_flight_that_is_not_awaited() {
    for state in [refreshing(), without_key(refreshing())] {
        let taken = acquire(&state, now());
        assert_eq!(acquired(&taken.answer).0, login());
        assert_eq!(acquired(&taken.answer).1.map(FlightView::of), Some(flight_view(&refreshing())));
        taken.assert_unchanged();
    }
}

#[test]
fn an_acquire_joins_an_awaited_flight() {
    for state in [awaited(), without_key(awaited())] {
        let taken = acquire(&state, now());
        assert_eq!(acquired(&taken.answer).0, login());
        assert_eq!(acquired(&taken.answer).1.map(FlightView::of), Some(flight_view(&awaited())));
        taken.assert_unchanged();
    }
}

#[test]
fn an_acquire_after_a_failed_renewal_returns_the_current_credential() {
    for retry in [now(), both(105)] {
        let taken = acquire(&failed_until(retry), now());
        assert_eq!(acquired(&taken.answer).0, login());
        assert!(acquired(&taken.answer).1.is_none());
        taken.assert_unchanged();
    }
}

#[test]
fn an_acquire_after_a_failure_elects_if_the_credential_was_rejected() {
    let error = Err(RefreshError::transient("down"));
    let rejected = settle(&with_rejection(awaited()), &error, None).next.expect("it fails");
    let after = both(105);
    let taken = acquire(&rejected, after);
    let flight = acquired_flight(&taken.answer);
    assert_eq!((flight.cause, flight.awaited, flight.attempt()), (Cause::Forced, false, 2));
    assert!(taken.effects.launch.is_some());

    // The rejection counts until a newer credential arrives, and a second failure does not hide it.
    let again = take(&taken.next.expect("it flies"), |state| {
        state.settle(&flight.clone(), &error, None, WAIT, after)
    });
    let failed_twice = again.next.expect("it fails");
    let Phase::Failed(failure) = failed_twice.phase() else { panic!("it has failed") };
    assert!(failure.streak.rejected);
    assert!(acquire(&failed_twice, both(110)).effects.launch.is_some());
    let replaced = replace(&failed_twice).next.expect("a credential arrives");
    acquire(&replaced, after).assert_unchanged();
}

#[test]
fn an_acquire_after_a_failure_without_a_usable_credential_elects_an_awaited_flight() {
    let taken = acquire(&failed(), late());
    assert_eq!(acquired(&taken.answer).0, login());
    let expected = Elected::late().again();
    expected.check(&taken, acquired_flight);

    let taken = acquire(&without_key(failed()), now());
    assert_eq!(acquired(&taken.answer).0, login());
    let expected = Elected { key: None, cause: Cause::Missing, at: now(), ..expected };
    expected.check(&taken, acquired_flight);
}

#[test]
fn an_acquire_after_the_end_begins_a_login_and_elects() {
    for state in [refused(), logged_out(), signed_out()] {
        let taken = acquire(&state, now());
        let login = state.login.next();
        assert_eq!(acquired(&taken.answer).0, login);
        let view =
            FlightView { number: state.flights_started + 1, ..new_flight_view(Cause::Missing) };
        assert_eq!(acquired(&taken.answer).1.map(FlightView::of), Some(view.clone()));
        taken.assert_state(|state| {
            state.login = login;
            state.phase = PhaseView::Refreshing(view.clone());
            state.flights_started += 1;
        });
        let Launch { flight, context, .. } =
            taken.effects.launch.as_ref().expect("a flight starts");
        assert_eq!(FlightView::of(flight), view);
        assert_eq!(
            (context.cause(), context.login(), context.generation()),
            (Cause::Missing, login, state.generation)
        );
        assert!(
            context.current().is_none()
                && context.previous_error().is_none()
                && context.rejection().is_none()
        );
        assert!(taken.effects.settled.is_none() && taken.effects.ended.is_none());
    }
}

#[test]
fn an_acquired_login_has_its_own_flight_tracker() {
    let over = logged_out();
    let flights = over.tracker.running();
    let mut finished = task::spawn(flights.wait());
    let taken = acquire(&over, now());
    assert!(assert_ready!(finished.poll()).is_none());

    let launch = taken.effects.launch.expect("a flight starts");
    let ended = log_out(&taken.next.expect("it flies")).effects.ended.expect("the login ends");
    let mut finished = task::spawn(ended.flights.wait());
    assert_pending!(finished.poll());
    drop(launch);
    assert_ready!(finished.poll());
}

// ## Fences and outcomes

#[test]
fn a_refresher_sees_the_fence_when_the_outcome_is_set() {
    let elected = reject(&active(), epoch());
    let context = elected.effects.launch.expect("a flight starts").context;
    let flying = elected.next.expect("it flies");
    for fence in [log_in(&flying).effects, replace(&flying).effects, log_out(&flying).effects] {
        let (flight, _) = fence.settled.expect("the flight is fenced");
        assert!(!context.is_fenced());
        assert!(Arc::ptr_eq(context.current().unwrap(), flying.credential().unwrap()));
        assert_eq!(FlightView::of(&flight), flight_view(&flying));
    }
    let (flight, outcome) = log_out(&flying).effects.settled.expect("the flight is fenced");
    flight.outcome.set(outcome);
    assert!(context.is_fenced());
}

#[test]
fn a_flight_that_has_settled_by_itself_is_not_fenced() {
    let errors = [RefreshError::transient("later"), RefreshError::terminal("no")];
    for result in [Ok(new_key())].into_iter().chain(errors.map(Err)) {
        let elected = reject(&active(), epoch());
        let context = elected.effects.launch.expect("a flight starts").context;
        let taken = settle(&elected.next.expect("it flies"), &result, None);
        let (flight, outcome) = taken.effects.settled.expect("it settles");
        flight.outcome.set(outcome);
        assert!(!context.is_fenced());
    }
}

#[test]
fn waiters_of_one_flight_share_its_cause() {
    let refusal = RefreshError::terminal("no");
    let taken = settle(&awaited(), &Err(refusal), None);
    let (flight, outcome) = taken.effects.settled.expect("the flight settles");
    flight.outcome.set(outcome);
    let again =
        || flight.outcome.get().expect("it has settled").into_result().expect_err("it was refused");
    assert_eq!(error_view(&again()), (ErrorKind::LoggedOut, Some("no".to_owned())));
    assert_eq!(
        error_view(&again()),
        error_view(&refused_with(&taken.next.expect("the state changes")))
    );
}

#[test]
fn a_waiter_gets_the_outcome_of_the_table() {
    let outcome = |effects: Effects<Key>| {
        let (_, outcome) = effects.settled.expect("a flight settles");
        outcome.into_result().map_err(|error| error_view(&error))
    };
    assert_eq!(outcome(settle(&awaited(), &Ok(new_key()), None).effects), Ok(()));
    assert_eq!(outcome(replace(&awaited()).effects), Ok(()));
    assert_eq!(outcome(log_in(&awaited()).effects), Err((ErrorKind::LoginChanged, None)));
    assert_eq!(outcome(log_out(&awaited()).effects), Err((ErrorKind::LoggedOut, None)));
    let failure = settle(&awaited(), &Err(RefreshError::ambiguous("lost")), None).effects;
    assert_eq!(outcome(failure), Err((ErrorKind::RefreshFailed, Some("lost".to_owned()))));
    let refusal = settle(&awaited(), &Err(RefreshError::terminal("no")), None).effects;
    assert_eq!(outcome(refusal), Err((ErrorKind::LoggedOut, Some("no".to_owned()))));
}

// === Assertions for several cells ===

/// A view of an `Admission` or a `Reaction`.
#[derive(Debug, PartialEq)]
enum AnswerView {
    Send(u32, Epoch),
    Wait(FlightView),
    Respond,
    Replay,
    Fail(ErrorKind, Option<String>),
    /// `Fail` with `RefreshFailed`: the text of the cause, and `retry_after`.
    RefreshFailed(String, Duration),
}

/// The expected flight of an election in a state of [`state`].
struct Elected {
    cause: Cause,
    awaited: bool,
    rejected: bool,
    key: Option<u32>,
    previous_error: Option<&'static str>,
    streak: Streak,
    at: Now,
}

impl Elected {
    /// An awaited flight.
    fn new(cause: Cause) -> Self {
        Self {
            cause,
            awaited: true,
            rejected: false,
            key: Some(KEY),
            previous_error: None,
            streak: Streak::default(),
            at: now(),
        }
    }

    /// A flight that starts after the credential has expired.
    fn late() -> Self {
        Self { at: late(), ..Self::new(Cause::Expiring) }
    }

    /// This flight, if it starts in [`failed`].
    fn again(self) -> Self {
        Self { previous_error: Some("failed"), streak: FAILED, ..self }
    }

    fn rejected() -> Self {
        Self { rejected: true, ..Self::new(Cause::Rejected) }
    }

    #[track_caller]
    fn check<A>(&self, taken: &StepView<A>, reaction_flight: impl Fn(&A) -> &Flight) {
        let view = FlightView::of(reaction_flight(&taken.answer));
        self.check_unjoined(taken);
        let started = taken.effects.launch.as_ref().map(|launch| &launch.flight);
        assert_eq!(
            started.map(|flight| FlightView { outcome: None, ..FlightView::of(flight) }),
            Some(view)
        );
        assert!(reaction_flight(&taken.answer).outcome.is_fenced());
    }

    /// Like `check`, for an answer without the flight.
    #[track_caller]
    fn check_unjoined<A>(&self, taken: &StepView<A>) {
        let view = FlightView {
            awaited: self.awaited,
            rejected: self.rejected,
            streak: self.streak,
            started_at: self.at.instant.into_std(),
            ..new_flight_view(self.cause)
        };
        taken.assert_state(|state| {
            state.phase = PhaseView::Refreshing(view.clone());
            state.flights_started += 1;
        });
        assert!(taken.effects.settled.is_none() && taken.effects.ended.is_none());

        let Launch { flight, context, .. } =
            taken.effects.launch.as_ref().expect("a flight starts");
        assert_eq!(FlightView::of(flight), view);
        assert_eq!(
            (context.cause(), context.login(), context.generation()),
            (self.cause, login(), generation())
        );
        assert_eq!(context.current().map(|key| key.name), self.key);
        assert_eq!(context.previous_error().map(cause_text).as_deref(), self.previous_error);
        assert_eq!(context.rejection().is_some(), self.rejected);
        if let Some(evidence) = context.rejection() {
            assert_eq!(evidence.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(evidence.headers()[WWW_AUTHENTICATE], "DPoP");
        }

        // The waiter, the state, the guard and the refresher share one outcome cell.
        assert!(!context.is_fenced());
        flight.outcome.set(Outcome::LoginChanged);
        assert!(context.is_fenced());
        assert_eq!(
            flight_view(taken.next.as_ref().unwrap()).outcome,
            Some(OutcomeView::LoginChanged)
        );
    }
}

fn admission(admission: &Admission<Key>) -> AnswerView {
    match admission {
        Admission::Send(entry, epoch) => AnswerView::Send(entry.credential().name, *epoch),
        Admission::Wait(flight) => AnswerView::Wait(FlightView::of(flight)),
        Admission::Fail(error) => fail_view(error),
    }
}

fn reaction(reaction: &Reaction) -> AnswerView {
    match reaction {
        Reaction::Respond => AnswerView::Respond,
        Reaction::Replay => AnswerView::Replay,
        Reaction::Wait(flight) => AnswerView::Wait(FlightView::of(flight)),
        Reaction::Fail(error) => fail_view(error),
    }
}

fn fail_view(error: &Error) -> AnswerView {
    match (error_view(error), error.retry_after()) {
        ((ErrorKind::RefreshFailed, Some(cause)), Some(wait)) => {
            AnswerView::RefreshFailed(cause, wait)
        }
        ((kind, cause), None) => AnswerView::Fail(kind, cause),
        (_, Some(_)) => panic!("only `RefreshFailed` has a `retry_after`"),
    }
}

#[track_caller]
fn admission_flight(admission: &Admission<Key>) -> &Flight {
    let Admission::Wait(flight) = admission else { panic!("the request waits") };
    flight
}

#[track_caller]
fn reaction_flight(reaction: &Reaction) -> &Flight {
    let Reaction::Wait(flight) = reaction else { panic!("the request waits") };
    flight
}

#[track_caller]
fn assert_of_another_login(state: &State<Key>) {
    for epoch in [epoch(), older(), Epoch { flights_settled: 0, ..epoch() }] {
        let taken = reject(state, Epoch { login: Login::NONE.next(), ..epoch });
        assert_eq!(reaction(&taken.answer), AnswerView::Fail(ErrorKind::LoginChanged, None));
        taken.assert_unchanged();
    }
}

#[track_caller]
fn assert_renewed(state: &State<Key>) {
    let taken = settle(state, &Ok(new_key()), None);
    assert!(taken.answer.is_ok());
    taken.assert_state(renewed);
    taken.assert_settled(FLIGHT, OutcomeView::Renewed);
    assert!(taken.effects.ended.is_none());
}

fn renewed(state: &mut StateView) {
    replaced(state);
    state.flights_settled += 1;
    state.history = history(&[now()]);
}

fn replaced(state: &mut StateView) {
    state.generation = generation().next();
    state.key = Some(NEW);
    state.expires_at = Some(at(400));
    state.phase = PhaseView::Active;
}

#[track_caller]
fn assert_failed(state: &State<Key>, now: Now) {
    let rejected = flight(state).rejected;
    for error in [RefreshError::transient("later"), RefreshError::ambiguous("lost")] {
        let text = cause_text(&error);
        let taken = take(state, |state| state.settle(&flight(state), &Err(error), None, WAIT, now));
        assert!(taken.answer.is_ok());
        taken.assert_state(|state| {
            state.phase = failed_view_at(&text, now, Streak { rejected, ..FAILED });
            state.flights_settled += 1;
        });
        taken.assert_settled(FLIGHT, OutcomeView::Failed(text, WAIT));
        assert!(taken.effects.ended.is_none());
    }
}

#[track_caller]
fn assert_refused(state: &State<Key>, now: Now) {
    let refusal = Err(RefreshError::terminal("no"));
    let taken = take(state, |state| state.settle(&flight(state), &refusal, None, WAIT, now));
    assert!(taken.answer.is_ok());
    taken.assert_state(|state| {
        state.key = None;
        state.expires_at = None;
        state.phase = PhaseView::Refused("no".to_owned());
        state.flights_settled += 1;
    });
    taken.assert_settled(FLIGHT, OutcomeView::Ended(Some("no".to_owned())));
    let ended = taken.effects.ended.as_ref().expect("the login ends");
    assert_eq!(
        (ended.login, PhaseView::logged_out(&ended.reason)),
        (login(), PhaseView::Refused("no".to_owned()))
    );
    assert_eq!(ended.credential.as_ref().map(|key| key.name), taken.before.key);
}

#[track_caller]
fn assert_fenced(state: &State<Key>) {
    let fenced = Flight { number: FLIGHT - 1, ..new_flight(Cause::Forced, false) };
    let results =
        [Ok(new_key()), Err(RefreshError::transient("later")), Err(RefreshError::terminal("no"))];
    for result in &results {
        for unchanged in [None, Some(&unchanged())] {
            for now in [now(), late()] {
                let taken =
                    take(state, |state| state.settle(&fenced, result, unchanged, WAIT, now));
                assert!(taken.answer.is_err(), "overtaken");
                taken.assert_unchanged();
            }
        }
    }
}

#[track_caller]
fn assert_logged_in(taken: &StepView<Login>) {
    let login = taken.before.login.next();
    assert_eq!(taken.answer, login);
    let is_fenced = taken.effects.settled.is_some();
    taken.assert_state(|state| {
        state.login = login;
        state.generation = state.generation.next();
        state.key = Some(NEW);
        state.expires_at = Some(at(400));
        state.phase = PhaseView::Active;
        state.flights_settled += u64::from(is_fenced);
    });
    assert!(taken.effects.ended.is_none(), "no hook runs for a replaced login");
}

#[track_caller]
fn assert_login_fences(state: &State<Key>) {
    let taken = log_in(state);
    taken.assert_settled(FLIGHT, OutcomeView::LoginChanged);
    assert_logged_in(&taken);
}

#[track_caller]
fn assert_replaced(taken: &StepView<Option<Generation>>) {
    assert_eq!(taken.answer, Some(generation().next()));
    let is_fenced = taken.effects.settled.is_some();
    taken.assert_state(|state| {
        replaced(state);
        state.flights_settled += u64::from(is_fenced);
    });
    assert!(taken.effects.ended.is_none());
}

#[track_caller]
fn assert_replacement_fences(state: &State<Key>) {
    let taken = replace(state);
    taken.assert_settled(FLIGHT, OutcomeView::Replaced);
    assert_replaced(&taken);
}

#[track_caller]
fn assert_logged_out(taken: &StepView<()>, last: Option<u32>) {
    let is_fenced = taken.effects.settled.is_some();
    taken.assert_state(|state| {
        state.key = None;
        state.expires_at = None;
        state.phase = PhaseView::Logout;
        state.flights_settled += u64::from(is_fenced);
    });
    assert!(taken.effects.launch.is_none());
    let ended = taken.effects.ended.as_ref().expect("the login ends");
    assert_eq!((ended.login, PhaseView::logged_out(&ended.reason)), (login(), PhaseView::Logout));
    assert_eq!(ended.credential.as_ref().map(|key| key.name), last);
}

#[track_caller]
fn assert_logout_fences(state: &State<Key>) {
    let taken = log_out(state);
    taken.assert_settled(FLIGHT, OutcomeView::Ended(None));
    assert_logged_out(&taken, Some(KEY));
}

fn refresh_failed(cause: &str, wait: Duration) -> AnswerView {
    AnswerView::RefreshFailed(cause.to_owned(), wait)
}

/// A first failure that settles now.
fn failed_view(error: &str, rejected: bool) -> PhaseView {
    failed_view_at(error, now(), Streak { rejected, ..FAILED })
}

fn failed_view_at(error: &str, settled: Now, streak: Streak) -> PhaseView {
    PhaseView::Failed(FailureView {
        error: error.to_owned(),
        streak,
        retry_at: (settled.instant + WAIT).into_std(),
    })
}

/// The `Debug` output of a history with these successes.
fn history(successes: &[Now]) -> String {
    format!("{:?}", with_successes(active(), successes).history)
}

// === Events ===

#[track_caller]
fn acquired(answer: &Result<Acquisition, Error>) -> (Login, Option<&Flight>) {
    let Acquisition { login, flight } = answer.as_ref().expect("there is a login");
    (*login, flight.as_ref())
}

#[track_caller]
fn acquired_flight(answer: &Result<Acquisition, Error>) -> &Flight {
    acquired(answer).1.expect("there is a flight")
}

#[track_caller]
fn request(state: &State<Key>) -> StepView<Admission<Key>> {
    take(state, |state| state.admit(state.login, true, now))
}

#[track_caller]
fn renew(state: &State<Key>, now: Now) -> StepView<()> {
    take(state, |state| state.renew(now))
}

#[track_caller]
fn renewing(state: &State<Key>) -> State<Key> {
    renew(state, now()).next.expect("a renewal flies")
}

/// A request that comes after the credential has expired.
#[track_caller]
fn late_request(state: &State<Key>) -> StepView<Admission<Key>> {
    take(state, |state| state.admit(state.login, true, late))
}

/// A rejection of a request that had waited before it was first sent.
#[track_caller]
fn reject_waited(state: &State<Key>, epoch: Epoch) -> StepView<Reaction> {
    let rejection =
        || -> Option<Rejection> { panic!("no flight starts, so no rejection is needed") };
    take(state, |state| state.rejected(epoch, false, rejection, now))
}

#[track_caller]
fn reject(state: &State<Key>, epoch: Epoch) -> StepView<Reaction> {
    reject_at(state, epoch, now())
}

#[track_caller]
fn reject_at(state: &State<Key>, epoch: Epoch, now: Now) -> StepView<Reaction> {
    let mut headers = HeaderMap::new();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("DPoP"));
    let rejection = || Some(Rejection::new(StatusCode::UNAUTHORIZED, headers.clone()));
    take(state, |state| state.rejected(epoch, true, rejection, || now))
}

#[track_caller]
fn settle(
    state: &State<Key>,
    result: &Result<Arc<Entry<Key>>, RefreshError>,
    unchanged: Option<&RefreshError>,
) -> StepView<Result<(), Fenced>> {
    take(state, |state| state.settle(&flight(state), result, unchanged, WAIT, now()))
}

#[track_caller]
fn log_in(state: &State<Key>) -> StepView<Login> {
    take(state, |state| state.log_in(&new_key()))
}

#[track_caller]
fn replace(state: &State<Key>) -> StepView<Option<Generation>> {
    take(state, |state| state.replace(login(), &new_key()))
}

#[track_caller]
fn log_out(state: &State<Key>) -> StepView<()> {
    take(state, State::log_out)
}

#[track_caller]
fn acquire(state: &State<Key>, now: Now) -> StepView<Result<Acquisition, Error>> {
    take(state, |state| state.acquire(now))
}

// === States ===

/// The name of the current credential.
const KEY: u32 = 1;
/// The name of the next credential.
const NEW: u32 = 2;
/// The back-off of a failed flight.
const WAIT: Duration = Duration::from_secs(5);
/// The streak of a flight that starts in [`failed`].
const FAILED: Streak = Streak { failures: 1, refusals: 0, rejected: false };
const SETTLED: u64 = 7;
/// The number of the flight in progress, or else of the next one.
const FLIGHT: u64 = SETTLED + 1;

/// A time before the current credential expires.
fn now() -> Now {
    both(100)
}

/// A time after the current credential has expired.
fn late() -> Now {
    both(300)
}

fn login() -> Login {
    Login::NONE.next().next()
}

fn generation() -> Generation {
    Generation::NONE.next().next().next()
}

/// The epoch of a request that is sent in one of these states.
fn epoch() -> Epoch {
    Epoch { login: login(), generation: generation(), flights_settled: SETTLED }
}

/// The epoch of a request that was sent with the previous credential of the same login.
fn older() -> Epoch {
    Epoch { generation: Generation::NONE.next().next(), flights_settled: SETTLED - 1, ..epoch() }
}

fn new_key() -> Arc<Entry<Key>> {
    key(NEW, Some(at(400)), now().wall)
}

fn unchanged() -> RefreshError {
    RefreshError::transient("unchanged")
}

fn active() -> State<Key> {
    state(Phase::Active)
}

/// A flight of `refresh()`, not awaited.
fn refreshing() -> State<Key> {
    state(Phase::Refreshing(new_flight(Cause::Forced, false)))
}

/// An awaited flight that an expiry has caused, without a rejection.
fn awaited() -> State<Key> {
    state(Phase::Refreshing(new_flight(Cause::Expiring, true)))
}

/// A failure whose back-off is just over.
fn failed() -> State<Key> {
    failed_until(now())
}

fn failed_until(retry: Now) -> State<Key> {
    let (error, retry_at) = (RefreshError::transient("failed"), retry.instant.into_std());
    state(Phase::Failed(Failure { error, streak: FAILED, retry_at }))
}

fn refused() -> State<Key> {
    without_key(state(Phase::LoggedOut(EndReason::Refused(RefreshError::terminal("refused")))))
}

fn logged_out() -> State<Key> {
    without_key(state(Phase::LoggedOut(EndReason::Logout)))
}

fn signed_out() -> State<Key> {
    State::signed_out(Rules::DEFAULT)
}

/// One state for each phase, all of the same login.
fn every_phase() -> [State<Key>; 6] {
    [active(), refreshing(), awaited(), failed(), refused(), logged_out()]
}

fn state(phase: Phase) -> State<Key> {
    let flights_started = SETTLED + u64::from(matches!(phase, Phase::Refreshing(_)));
    State {
        login: login(),
        generation: generation(),
        entry: Some(key(KEY, Some(at(200)), now().wall)),
        phase,
        flights_started,
        flights_settled: SETTLED,
        tracker: FlightTracker::new(),
        history: RefreshHistory::default(),
        rules: Rules::DEFAULT,
    }
}

/// `state` after these successful refreshes.
fn with_successes(state: State<Key>, successes: &[Now]) -> State<Key> {
    let limit = state.rules.limit;
    let history = successes
        .iter()
        .fold(RefreshHistory::default(), |history, success| history.with(success.instant, limit));
    State { history, ..state }
}

fn without_key(state: State<Key>) -> State<Key> {
    State { entry: None, ..state }
}

/// `state` with a flight that a rejection has caused.
fn with_rejection(state: State<Key>) -> State<Key> {
    let flight = Flight { cause: Cause::Rejected, rejected: true, ..flight(&state) };
    State { phase: Phase::Refreshing(flight), ..state }
}

fn new_flight(cause: Cause, awaited: bool) -> Flight {
    Flight {
        number: FLIGHT,
        cause,
        awaited,
        rejected: false,
        streak: Streak::default(),
        started_at: now().instant.into_std(),
        outcome: Arc::default(),
    }
}

/// A view of an awaited flight at its start.
fn new_flight_view(cause: Cause) -> FlightView {
    FlightView::of(&new_flight(cause, true))
}

/// The flight in progress.
#[track_caller]
fn flight(state: &State<Key>) -> Flight {
    let Phase::Refreshing(flight) = &state.phase else { panic!("a flight is in progress") };
    flight.clone()
}

#[track_caller]
fn flight_view(state: &State<Key>) -> FlightView {
    FlightView::of(&flight(state))
}

#[track_caller]
fn refused_with(state: &State<Key>) -> Error {
    let Phase::LoggedOut(reason) = &state.phase else { panic!("the login is over") };
    reason.to_error()
}
