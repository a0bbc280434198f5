//! One test for each cell of the table in the docs of [`session`](crate::session), row by row.
//!
//! What depends on time is in `time`. Not here: the row "rejection of a replay, or of a request
//! that had waited". Such a rejection never reaches the state.

mod time;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use tokio_test::{assert_pending, assert_ready, task};

use crate::{
    error::{Error, ErrorKind, RefreshError},
    identity::{Generation, Login},
    refresher::{Cause, Rejection},
    session::machine::{
        clock::Now,
        held::Held,
        limit::History,
        outcome::{Outcome, OutcomeCell},
        outstanding::Outstanding,
        rules::Rules,
        state::{EndReason, Failure, Flight, Phase, Row, Stamped, State},
        tests::{
            key::{Key, at, both, key},
            picture::{Leg, Picture, Setback, Stand, Taken, Told, said, take, told},
        },
        transition::{Admission, Effects, Launch, Overtaken, Reaction},
    },
};

// ## A request, the credential is usable

#[test]
fn a_request_with_a_usable_credential_while_active_is_sent() {
    let taken = request(&active());
    assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
    taken.assert_nothing();
}

#[test]
fn a_request_with_a_usable_credential_while_a_flight_is_not_awaited_is_sent() {
    let taken = request(&refreshing());
    assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
    taken.assert_nothing();
}

#[test]
fn a_request_with_a_usable_credential_while_a_flight_is_awaited_waits() {
    let taken = request(&awaited());
    assert_eq!(admission(&taken.answer), Answer::Waits(leg_of(&awaited())));
    taken.assert_nothing();
}

#[test]
fn a_request_with_a_usable_credential_after_a_failure_is_sent() {
    let taken = request(&failed());
    assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
    taken.assert_nothing();
}

#[test]
fn a_request_after_a_refusal_fails_with_it() {
    for now in [now(), late()] {
        let taken = take(&refused(), |state| state.admit(login(), true, || now));
        assert_eq!(
            admission(&taken.answer),
            Answer::Fails(ErrorKind::LoggedOut, Some("refused".to_owned()))
        );
        taken.assert_nothing();
    }
}

#[test]
fn a_request_after_a_logout_or_before_any_login_fails_without_a_cause() {
    for state in [logged_out(), signed_out()] {
        let taken = request(&state);
        assert_eq!(admission(&taken.answer), Answer::Fails(ErrorKind::LoggedOut, None));
        taken.assert_nothing();
    }
}

#[test]
fn a_credential_of_unknown_expiry_is_usable_for_ever() {
    let ageless = State { held: Some(key(KEY, None, now().wall)), ..active() };
    let taken = late_request(&ageless);
    assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
    taken.assert_nothing();
}

#[test]
fn a_credential_that_arrives_expired_counts_as_one_of_unknown_expiry() {
    for expired in [at(0), now().wall] {
        let held = key(KEY, Some(expired), now().wall);
        assert_eq!(held.expires_at(), None);
        let taken = request(&State { held: Some(held), ..active() });
        assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
        taken.assert_nothing();
    }
    assert_eq!(key(KEY, Some(at(101)), now().wall).expires_at(), Some(at(101)));
}

#[test]
fn a_credential_is_usable_until_the_moment_of_its_expiry() {
    let before = take(&active(), |state| state.admit(login(), true, || both(199)));
    assert_eq!(admission(&before.answer), Answer::Sent(KEY, stamp()));
    let on_the_dot = take(&active(), |state| state.admit(login(), true, || both(200)));
    Elected { at: both(200), ..Elected::new(Cause::Expiring) }.check(&on_the_dot, flight_of);
}

#[test]
fn a_request_of_another_login_fails_in_every_phase() {
    for state in every_phase() {
        for now in [now(), late()] {
            for other in [Login::NONE, login().next()] {
                let taken = take(&state, |state| state.admit(other, true, || now));
                assert_eq!(admission(&taken.answer), Answer::Fails(ErrorKind::LoginChanged, None));
                taken.assert_nothing();
            }
        }
    }
}

// ## A request, the credential has expired or is absent

#[test]
fn a_request_with_an_expired_credential_while_active_elects() {
    let taken = late_request(&active());
    Elected::late().check(&taken, flight_of);
}

#[test]
fn a_request_without_a_credential_while_active_elects() {
    let taken = request(&without_key(active()));
    Elected { key: None, ..Elected::new(Cause::Missing) }.check(&taken, flight_of);
}

#[test]
fn the_first_request_of_a_session_that_acquires_on_demand_elects() {
    let state = State::<Key>::on_demand(Rules::DEFAULT);
    let first = Login::NONE.next();
    let taken = take(&state, |state| state.admit(first, true, now));
    assert_eq!(taken.before.stand, Stand::Active);
    let launch = taken.effects.launch.as_ref().expect("a flight starts");
    assert_eq!((launch.context.cause(), launch.context.login()), (Cause::Missing, first));
    assert_eq!(launch.context.generation(), Generation::NONE);
    taken.assert_state(|state| {
        state.stand =
            Stand::Refreshing(Leg { number: 1, rejected: false, ..new_leg(Cause::Missing) });
        state.flights_started = 1;
    });
}

#[test]
fn a_request_with_an_expired_credential_makes_a_flight_awaited() {
    let awaited = Leg { awaited: true, ..leg_of(&refreshing()) };
    let taken = late_request(&refreshing());
    assert_eq!(admission(&taken.answer), Answer::Waits(awaited.clone()));
    taken.assert_state(|state| state.stand = Stand::Refreshing(awaited));
    taken.assert_no_effects();
}

#[test]
fn a_request_without_a_credential_makes_a_flight_awaited() {
    let awaited = Leg { awaited: true, ..leg_of(&refreshing()) };
    let taken = request(&without_key(refreshing()));
    assert_eq!(admission(&taken.answer), Answer::Waits(awaited.clone()));
    taken.assert_state(|state| state.stand = Stand::Refreshing(awaited));
    taken.assert_no_effects();
}

#[test]
fn a_request_with_an_expired_credential_does_not_make_a_flight_forget_a_rejection() {
    let awaited = Leg { awaited: true, ..leg_of(&with_rejection(refreshing())) };
    let taken = late_request(&with_rejection(refreshing()));
    assert!(awaited.rejected);
    assert_eq!(admission(&taken.answer), Answer::Waits(awaited));
}

#[test]
fn a_request_with_an_expired_credential_while_a_flight_is_awaited_waits() {
    let taken = late_request(&awaited());
    assert_eq!(admission(&taken.answer), Answer::Waits(leg_of(&awaited())));
    taken.assert_nothing();
}

#[test]
fn a_request_without_a_credential_while_a_flight_is_awaited_waits() {
    let taken = request(&without_key(awaited()));
    assert_eq!(admission(&taken.answer), Answer::Waits(leg_of(&awaited())));
    taken.assert_nothing();
}

#[test]
fn a_request_with_an_expired_credential_after_a_failure_elects() {
    let taken = late_request(&failed());
    Elected::late().again().check(&taken, flight_of);
}

#[test]
fn a_request_without_a_credential_after_a_failure_elects() {
    let taken = request(&without_key(failed()));
    Elected { key: None, ..Elected::new(Cause::Missing) }.again().check(&taken, flight_of);
}

#[test]
fn a_request_that_has_waited_is_sent_with_an_expired_credential_rather_than_elect() {
    for state in [active(), failed()] {
        let taken = take(&state, |state| state.admit(login(), false, late));
        assert_eq!(admission(&taken.answer), Answer::Sent(KEY, stamp()));
        taken.assert_nothing();
    }
}

#[test]
fn a_request_that_has_waited_waits_again_for_a_flight_that_it_did_not_cause() {
    let taken = take(&awaited(), |state| state.admit(login(), false, late));
    assert_eq!(admission(&taken.answer), Answer::Waits(leg_of(&awaited())));
    taken.assert_nothing();

    let awaited = Leg { awaited: true, ..leg_of(&refreshing()) };
    let taken = take(&refreshing(), |state| state.admit(login(), false, late));
    assert_eq!(admission(&taken.answer), Answer::Waits(awaited));
    assert!(taken.effects.launch.is_none());
}

#[test]
fn what_the_fresh_path_sends_is_what_would_be_admitted() {
    let states = every_phase().into_iter().chain(every_phase().map(without_key));
    for state in states {
        for now in [now(), late()] {
            let fresh = state
                .sendable(|| now.wall)
                .map(|held| Answer::Sent(held.credential().name, state.stamp()));
            let admitted =
                admission(&take(&state, |state| state.admit(login(), true, || now)).answer);
            assert_eq!(fresh, matches!(admitted, Answer::Sent(..)).then_some(admitted));
        }
    }
}

// ## A rejection of this generation

#[test]
fn a_rejection_of_this_generation_while_active_elects() {
    let taken = reject(&active(), stamp());
    Elected::rejected().check(&taken, joined);
}

#[test]
fn a_rejection_of_this_generation_makes_a_flight_awaited() {
    let awaited = Leg { awaited: true, rejected: true, ..leg_of(&refreshing()) };
    let taken = reject(&refreshing(), stamp());
    assert_eq!(reaction(&taken.answer), Answer::Waits(awaited.clone()));
    taken.assert_state(|state| state.stand = Stand::Refreshing(awaited));
    taken.assert_no_effects();
}

#[test]
fn a_rejection_of_this_generation_while_a_flight_is_awaited_waits_and_is_remembered() {
    let rejected = Leg { rejected: true, ..leg_of(&awaited()) };
    let taken = reject(&awaited(), stamp());
    assert_eq!(reaction(&taken.answer), Answer::Waits(rejected.clone()));
    taken.assert_state(|state| state.stand = Stand::Refreshing(rejected));
    taken.assert_no_effects();
}

#[test]
fn a_second_rejection_of_this_generation_changes_nothing() {
    let taken = reject(&with_rejection(awaited()), stamp());
    assert_eq!(reaction(&taken.answer), Answer::Waits(leg_of(&with_rejection(awaited()))));
    taken.assert_nothing();
}

#[test]
fn a_rejection_of_this_generation_from_before_an_earlier_failure_joins_the_flight_too() {
    let rejected = Leg { awaited: true, rejected: true, ..leg_of(&refreshing()) };
    let taken = reject(&refreshing(), Stamped { flights_settled: SETTLED - 1, ..stamp() });
    assert_eq!(reaction(&taken.answer), Answer::Waits(rejected));
    assert!(taken.effects.launch.is_none());
}

#[test]
fn a_rejection_from_before_the_failure_gets_that_failure() {
    for flights_settled in [SETTLED - 1, 0] {
        let taken = reject(&failed(), Stamped { flights_settled, ..stamp() });
        assert_eq!(reaction(&taken.answer), later("failed", Duration::ZERO));
        taken.assert_nothing();
    }
}

#[test]
fn a_rejection_from_after_the_failure_elects() {
    let taken = reject(&failed(), stamp());
    Elected::rejected().again().check(&taken, joined);
}

#[test]
fn a_rejection_of_this_generation_after_the_end_fails_with_its_cause() {
    let over =
        [(refused(), Some("refused".to_owned())), (logged_out(), None), (signed_out(), None)];
    for (state, cause) in over {
        let taken = reject(&state, state.stamp());
        assert_eq!(reaction(&taken.answer), Answer::Fails(ErrorKind::LoggedOut, cause));
        taken.assert_nothing();
    }
}

// ## A rejection of an older generation, same login

#[test]
fn a_rejection_of_an_older_generation_while_active_is_replayed() {
    let taken = reject(&active(), older());
    assert_eq!(reaction(&taken.answer), Answer::Replays);
    taken.assert_nothing();
}

#[test]
fn a_rejection_of_an_older_generation_while_a_flight_is_not_awaited_is_replayed() {
    let taken = reject(&refreshing(), older());
    assert_eq!(reaction(&taken.answer), Answer::Replays);
    taken.assert_nothing();
}

#[test]
fn a_rejection_of_an_older_generation_while_a_flight_is_awaited_waits_and_is_not_held_against_it() {
    let taken = reject(&awaited(), older());
    assert_eq!(reaction(&taken.answer), Answer::Waits(leg_of(&awaited())));
    taken.assert_nothing();
}

#[test]
fn a_rejection_of_an_older_generation_after_a_failure_is_replayed() {
    for flights_settled in [SETTLED, 0] {
        let taken = reject(&failed(), Stamped { flights_settled, ..older() });
        assert_eq!(reaction(&taken.answer), Answer::Replays);
        taken.assert_nothing();
    }
}

#[test]
fn a_rejection_of_an_older_generation_after_the_end_fails_with_its_cause() {
    for (state, cause) in [(refused(), Some("refused".to_owned())), (logged_out(), None)] {
        let taken = reject(&state, older());
        assert_eq!(reaction(&taken.answer), Answer::Fails(ErrorKind::LoggedOut, cause));
        taken.assert_nothing();
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
fn a_success_that_arrives_expired_is_sent_all_the_same() {
    let taken = settle(&awaited(), &Ok(key(NEW, Some(at(0)), now().wall)), None);
    assert!(taken.answer.is_ok());
    taken.assert_settled(FLIGHT, Told::Renewed);
    let after = taken.next.expect("the state changes");
    let sent = Stamped { generation: generation().next(), flights_settled: SETTLED + 1, ..stamp() };
    assert_eq!(admission(&request(&after).answer), Answer::Sent(NEW, sent));
    assert_eq!(after.expires_at(), None);
}

// ## A flight settles: success, with the credential that it was to replace

#[test]
fn the_rejected_credential_again_is_a_failure() {
    for state in [with_rejection(awaited()), without_key(with_rejection(awaited()))] {
        let taken = settle(&state, &Ok(new_key()), Some(&unchanged()));
        assert!(taken.answer.is_ok());
        taken.assert_state(|state| {
            state.stand = setback("unchanged");
            state.flights_settled += 1;
        });
        taken.assert_settled(FLIGHT, Told::Failed("unchanged".to_owned(), WAIT));
        assert!(taken.effects.ended.is_none());
    }
}

#[test]
fn the_same_credential_again_is_a_success_where_nobody_rejected_it() {
    for state in [refreshing(), awaited()] {
        let taken = settle(&state, &Ok(new_key()), Some(&unchanged()));
        assert!(taken.answer.is_ok());
        taken.assert_state(renewed);
        taken.assert_settled(FLIGHT, Told::Renewed);
        assert!(taken.effects.ended.is_none());
    }
}

#[test]
fn the_same_credential_again_is_a_failure_where_it_was_rejected_while_the_flight_ran() {
    for state in [refreshing(), awaited()] {
        // The guard knows the flight as it was when it started.
        let started = flight(&state);
        let rejected = reject(&state, stamp()).next.expect("the rejection is remembered");
        let taken = take(&rejected, |state| {
            state.settle(&started, &Ok(new_key()), Some(&unchanged()), WAIT, now())
        });
        assert!(taken.answer.is_ok());
        taken.assert_settled(FLIGHT, Told::Failed("unchanged".to_owned(), WAIT));
        taken.assert_state(|state| {
            state.stand = setback("unchanged");
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
        state.stand = setback_at("no", now(), Row { failures: 1, refusals: 1 });
        state.flights_settled += 1;
    });
    taken.assert_settled(FLIGHT, Told::Failed("no".to_owned(), WAIT));
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
fn a_refusal_ends_the_login_where_a_request_came_to_wait_while_the_flight_ran() {
    let started = flight(&refreshing());
    let rejected = reject(&refreshing(), stamp()).next.expect("it is awaited from now on");
    let taken = take(&rejected, |state| {
        state.settle(&started, &Err(RefreshError::terminal("no")), None, WAIT, now())
    });
    taken.assert_settled(FLIGHT, Told::Ended(Some("no".to_owned())));
    assert!(taken.effects.ended.is_some());
}

// ## The outcome of a fenced flight

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_while_active() {
    assert_overtaken(&active());
}

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_while_another_is_not_awaited() {
    assert_overtaken(&refreshing());
}

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_while_another_is_awaited() {
    assert_overtaken(&awaited());
}

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_after_a_failure() {
    assert_overtaken(&failed());
}

#[test]
fn the_outcome_of_a_fenced_flight_is_dropped_after_the_end() {
    assert_overtaken(&refused());
    assert_overtaken(&logged_out());
}

// ## Login

#[test]
fn a_login_while_active_takes_the_place_of_the_other() {
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
fn a_login_after_a_failure_takes_the_place_of_the_other() {
    let taken = log_in(&failed());
    assert_logged_in(&taken);
    taken.assert_no_effects();
}

#[test]
fn a_login_after_the_end_begins_anew() {
    for state in [refused(), logged_out(), signed_out()] {
        let taken = log_in(&state);
        assert_logged_in(&taken);
        taken.assert_no_effects();
    }
}

#[test]
fn a_login_has_flights_of_its_own() {
    let active = active();
    let mut finished = task::spawn(active.outstanding.finished());
    let running = log_in(&active).next.expect("the state changes").outstanding.enter();
    assert!(assert_ready!(finished.poll()).is_none());
    drop(running);
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
        taken.assert_nothing();
    }
}

#[test]
fn a_replacement_of_another_login_is_refused_in_every_phase() {
    for state in every_phase() {
        for other in [Login::NONE, Login::NONE.next(), login().next()] {
            let taken = take(&state, |state| state.replace(other, &new_key()));
            assert_eq!(taken.answer, None);
            taken.assert_nothing();
        }
    }
}

#[test]
fn a_replacement_keeps_the_flights_of_its_login() {
    let state = awaited();
    let running = state.outstanding.enter();
    let after = replace(&state).next.expect("the state changes");
    let mut finished = task::spawn(after.outstanding.finished());
    assert_pending!(finished.poll());
    drop(running);
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
        log_out(&state).assert_nothing();
    }
}

#[test]
fn whoever_ends_a_login_can_wait_for_its_flights() {
    let elected = reject(&active(), stamp());
    let Launch { running, .. } = elected.effects.launch.expect("a flight starts");
    let ended = log_out(&elected.next.expect("it flies")).effects.ended.expect("the login ends");
    let mut finished = task::spawn(ended.outstanding.finished());
    assert_pending!(finished.poll());
    running.bring_late(new_key().credential().clone());
    assert_pending!(finished.poll());
    drop(running);
    assert!(finished.is_woken());
    assert_eq!(assert_ready!(finished.poll()).map(|key| key.name), Some(NEW));
}

// ## refresh()

#[test]
fn a_refresh_while_active_elects_a_flight_that_is_not_awaited() {
    let taken = take(&active(), |state| state.refresh(now()));
    Elected { awaited: false, ..Elected::new(Cause::Forced) }
        .check(&taken, |answer| answer.as_ref().unwrap());
}

#[test]
fn a_refresh_without_a_credential_elects_a_flight_that_is_not_awaited() {
    let taken = take(&without_key(active()), |state| state.refresh(now()));
    let expected = Elected { awaited: false, key: None, ..Elected::new(Cause::Missing) };
    expected.check(&taken, |answer| answer.as_ref().unwrap());
}

#[test]
fn a_refresh_joins_a_flight_that_is_not_awaited_and_leaves_it_so() {
    let taken = take(&refreshing(), |state| state.refresh(now()));
    assert_eq!(taken.answer.as_ref().map(Leg::of).unwrap(), leg_of(&refreshing()));
    taken.assert_nothing();
}

#[test]
fn a_refresh_joins_an_awaited_flight() {
    let taken = take(&awaited(), |state| state.refresh(now()));
    assert_eq!(taken.answer.as_ref().map(Leg::of).unwrap(), leg_of(&awaited()));
    taken.assert_nothing();
}

#[test]
fn a_refresh_after_a_failure_elects_a_flight_that_is_not_awaited() {
    let taken = take(&failed(), |state| state.refresh(now()));
    let expected = Elected { awaited: false, ..Elected::new(Cause::Forced) }.again();
    expected.check(&taken, |answer| answer.as_ref().unwrap());

    let taken = take(&without_key(failed()), |state| state.refresh(now()));
    let expected = Elected { key: None, cause: Cause::Missing, ..expected };
    expected.check(&taken, |answer| answer.as_ref().unwrap());
}

#[test]
fn a_refresh_after_the_end_fails_with_its_cause() {
    let over =
        [(refused(), Some("refused".to_owned())), (logged_out(), None), (signed_out(), None)];
    for (state, cause) in over {
        let taken = take(&state, |state| state.refresh(now()));
        assert_eq!(told(taken.answer.as_ref().unwrap_err()), (ErrorKind::LoggedOut, cause));
        taken.assert_nothing();
    }
}

// ## acquire()

#[test]
fn an_acquire_while_active_is_the_current_credential() {
    let taken = acquire(&active(), now());
    assert_eq!(acquired(&taken.answer).0, login());
    assert!(acquired(&taken.answer).1.is_none());
    taken.assert_nothing();
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
        assert_eq!(acquired(&taken.answer).1.map(Leg::of), Some(leg_of(&refreshing())));
        taken.assert_nothing();
    }
}

#[test]
fn an_acquire_joins_an_awaited_flight() {
    for state in [awaited(), without_key(awaited())] {
        let taken = acquire(&state, now());
        assert_eq!(acquired(&taken.answer).0, login());
        assert_eq!(acquired(&taken.answer).1.map(Leg::of), Some(leg_of(&awaited())));
        taken.assert_nothing();
    }
}

#[test]
fn an_acquire_after_a_failure_elects_even_where_the_credential_is_usable() {
    let taken = acquire(&failed(), now());
    assert_eq!(acquired(&taken.answer).0, login());
    Elected { awaited: false, ..Elected::new(Cause::Forced) }
        .again()
        .check(&taken, acquired_flight);
}

#[test]
fn an_acquire_after_a_failure_elects_a_flight_that_requests_wait_for_where_nothing_is_usable() {
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
        let leg = Leg { number: state.flights_started + 1, ..new_leg(Cause::Missing) };
        assert_eq!(acquired(&taken.answer).1.map(Leg::of), Some(leg.clone()));
        taken.assert_state(|state| {
            state.login = login;
            state.stand = Stand::Refreshing(leg.clone());
            state.flights_started += 1;
        });
        let Launch { flight, context, .. } =
            taken.effects.launch.as_ref().expect("a flight starts");
        assert_eq!(Leg::of(flight), leg);
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
fn an_acquired_login_has_flights_of_its_own() {
    let over = logged_out();
    let mut finished = task::spawn(over.outstanding.finished());
    let taken = acquire(&over, now());
    assert!(assert_ready!(finished.poll()).is_none());

    let launch = taken.effects.launch.expect("a flight starts");
    let ended = log_out(&taken.next.expect("it flies")).effects.ended.expect("the login ends");
    let mut finished = task::spawn(ended.outstanding.finished());
    assert_pending!(finished.poll());
    drop(launch);
    assert_ready!(finished.poll());
}

// ## What is asked of every cell at once

#[test]
fn a_flight_knows_that_it_is_fenced_as_soon_as_its_waiters_are_told() {
    let elected = reject(&active(), stamp());
    let context = elected.effects.launch.expect("a flight starts").context;
    let flying = elected.next.expect("it flies");
    for fence in [log_in(&flying).effects, replace(&flying).effects, log_out(&flying).effects] {
        let (flight, _) = fence.settled.expect("the flight is fenced");
        assert!(!context.is_fenced());
        assert!(Arc::ptr_eq(context.current().unwrap(), flying.credential().unwrap()));
        assert_eq!(Leg::of(&flight), leg_of(&flying));
    }
    let (flight, outcome) = log_out(&flying).effects.settled.expect("the flight is fenced");
    flight.outcome.set(outcome);
    assert!(context.is_fenced());
}

#[test]
fn a_flight_that_has_settled_by_itself_is_not_fenced() {
    let errors = [RefreshError::transient("later"), RefreshError::terminal("no")];
    for result in [Ok(new_key())].into_iter().chain(errors.map(Err)) {
        let elected = reject(&active(), stamp());
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
    assert_eq!(told(&again()), (ErrorKind::LoggedOut, Some("no".to_owned())));
    assert_eq!(told(&again()), told(&refused_with(&taken.next.expect("the state changes"))));
}

#[test]
fn an_outcome_tells_a_waiter_what_the_table_says() {
    let outcome = |effects: Effects<Key>| {
        let (_, outcome) = effects.settled.expect("a flight settles");
        outcome.into_result().map_err(|error| told(&error))
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

// === What is asserted for more than one cell ===

/// What whoever caused an event is to do.
#[derive(Debug, PartialEq)]
enum Answer {
    Sent(u32, Stamped),
    Waits(Leg),
    Responds,
    Replays,
    Fails(ErrorKind, Option<String>),
    /// `RefreshFailed`, what the cause says, and how long to wait.
    Later(String, Duration),
}

/// A flight that starts in a state of [`state`].
struct Elected {
    cause: Cause,
    awaited: bool,
    rejected: bool,
    key: Option<u32>,
    previous_error: Option<&'static str>,
    row: Row,
    at: Now,
}

impl Elected {
    /// One that requests wait for.
    fn new(cause: Cause) -> Self {
        Self {
            cause,
            awaited: true,
            rejected: false,
            key: Some(KEY),
            previous_error: None,
            row: Row::default(),
            at: now(),
        }
    }

    /// Past the expiry of the credential.
    fn late() -> Self {
        Self { at: late(), ..Self::new(Cause::Expiring) }
    }

    /// In [`failed`].
    fn again(self) -> Self {
        Self { previous_error: Some("failed"), row: FAILED, ..self }
    }

    fn rejected() -> Self {
        Self { rejected: true, ..Self::new(Cause::Rejected) }
    }

    #[track_caller]
    fn check<A>(&self, taken: &Taken<A>, joined: impl Fn(&A) -> &Flight) {
        let leg = Leg::of(joined(&taken.answer));
        self.check_unjoined(taken);
        let started = taken.effects.launch.as_ref().map(|launch| &launch.flight);
        assert_eq!(started.map(|flight| Leg { outcome: None, ..Leg::of(flight) }), Some(leg));
        assert!(joined(&taken.answer).outcome.is_fenced());
    }

    /// Nobody waits for it.
    #[track_caller]
    fn check_unjoined<A>(&self, taken: &Taken<A>) {
        let leg = Leg {
            awaited: self.awaited,
            rejected: self.rejected,
            row: self.row,
            started_at: self.at.instant.into_std(),
            ..new_leg(self.cause)
        };
        taken.assert_state(|state| {
            state.stand = Stand::Refreshing(leg.clone());
            state.flights_started += 1;
        });
        assert!(taken.effects.settled.is_none() && taken.effects.ended.is_none());

        let Launch { flight, context, .. } =
            taken.effects.launch.as_ref().expect("a flight starts");
        assert_eq!(Leg::of(flight), leg);
        assert_eq!(
            (context.cause(), context.login(), context.generation()),
            (self.cause, login(), generation())
        );
        assert_eq!(context.current().map(|key| key.name), self.key);
        assert_eq!(context.previous_error().map(said).as_deref(), self.previous_error);
        assert_eq!(context.rejection().is_some(), self.rejected);
        if let Some(evidence) = context.rejection() {
            assert_eq!(evidence.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(evidence.headers()[WWW_AUTHENTICATE], "DPoP");
        }

        // The waiter, the state, the guard and the refresher look at the same cell.
        assert!(!context.is_fenced());
        flight.outcome.set(Outcome::LoginChanged);
        assert!(context.is_fenced());
        assert_eq!(leg_of(taken.next.as_ref().unwrap()).outcome, Some(Told::LoginChanged));
    }
}

fn admission(admission: &Admission<Key>) -> Answer {
    match admission {
        Admission::Send(held, stamped) => Answer::Sent(held.credential().name, *stamped),
        Admission::Wait(flight) => Answer::Waits(Leg::of(flight)),
        Admission::Fail(error) => fails(error),
    }
}

fn reaction(reaction: &Reaction) -> Answer {
    match reaction {
        Reaction::Respond => Answer::Responds,
        Reaction::Replay => Answer::Replays,
        Reaction::Wait(flight) => Answer::Waits(Leg::of(flight)),
        Reaction::Fail(error) => fails(error),
    }
}

fn fails(error: &Error) -> Answer {
    match (told(error), error.retry_after()) {
        ((ErrorKind::RefreshFailed, Some(cause)), Some(wait)) => Answer::Later(cause, wait),
        ((kind, cause), None) => Answer::Fails(kind, cause),
        (_, Some(_)) => panic!("only a failed refresh says when to try again"),
    }
}

#[track_caller]
fn flight_of(admission: &Admission<Key>) -> &Flight {
    let Admission::Wait(flight) = admission else { panic!("the request waits") };
    flight
}

#[track_caller]
fn joined(reaction: &Reaction) -> &Flight {
    let Reaction::Wait(flight) = reaction else { panic!("the request waits") };
    flight
}

#[track_caller]
fn assert_of_another_login(state: &State<Key>) {
    for stamped in [stamp(), older(), Stamped { flights_settled: 0, ..stamp() }] {
        let taken = reject(state, Stamped { login: Login::NONE.next(), ..stamped });
        assert_eq!(reaction(&taken.answer), Answer::Fails(ErrorKind::LoginChanged, None));
        taken.assert_nothing();
    }
}

#[track_caller]
fn assert_renewed(state: &State<Key>) {
    let taken = settle(state, &Ok(new_key()), None);
    assert!(taken.answer.is_ok());
    taken.assert_state(renewed);
    taken.assert_settled(FLIGHT, Told::Renewed);
    assert!(taken.effects.ended.is_none());
}

fn renewed(state: &mut Picture) {
    replaced(state);
    state.flights_settled += 1;
    state.history = history(&[now()]);
}

fn replaced(state: &mut Picture) {
    state.generation = generation().next();
    state.key = Some(NEW);
    state.expires_at = Some(at(400));
    state.stand = Stand::Active;
}

#[track_caller]
fn assert_failed(state: &State<Key>, now: Now) {
    for error in [RefreshError::transient("later"), RefreshError::ambiguous("lost")] {
        let text = said(&error);
        let taken = take(state, |state| state.settle(&flight(state), &Err(error), None, WAIT, now));
        assert!(taken.answer.is_ok());
        taken.assert_state(|state| {
            state.stand = setback_at(&text, now, FAILED);
            state.flights_settled += 1;
        });
        taken.assert_settled(FLIGHT, Told::Failed(text, WAIT));
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
        state.stand = Stand::Refused("no".to_owned());
        state.flights_settled += 1;
    });
    taken.assert_settled(FLIGHT, Told::Ended(Some("no".to_owned())));
    let ended = taken.effects.ended.as_ref().expect("the login ends");
    assert_eq!(
        (ended.login, Stand::over(&ended.reason)),
        (login(), Stand::Refused("no".to_owned()))
    );
    assert_eq!(ended.credential.as_ref().map(|key| key.name), taken.before.key);
}

#[track_caller]
fn assert_overtaken(state: &State<Key>) {
    let fenced = Flight { number: FLIGHT - 1, ..new_flight(Cause::Forced, false) };
    let results =
        [Ok(new_key()), Err(RefreshError::transient("later")), Err(RefreshError::terminal("no"))];
    for result in &results {
        for unchanged in [None, Some(&unchanged())] {
            for now in [now(), late()] {
                let taken =
                    take(state, |state| state.settle(&fenced, result, unchanged, WAIT, now));
                assert!(taken.answer.is_err(), "overtaken");
                taken.assert_nothing();
            }
        }
    }
}

#[track_caller]
fn assert_logged_in(taken: &Taken<Login>) {
    let login = taken.before.login.next();
    assert_eq!(taken.answer, login);
    let is_fenced = taken.effects.settled.is_some();
    taken.assert_state(|state| {
        state.login = login;
        state.generation = state.generation.next();
        state.key = Some(NEW);
        state.expires_at = Some(at(400));
        state.stand = Stand::Active;
        state.flights_settled += u64::from(is_fenced);
    });
    assert!(taken.effects.ended.is_none(), "no hook for a login that another one replaces");
}

#[track_caller]
fn assert_login_fences(state: &State<Key>) {
    let taken = log_in(state);
    taken.assert_settled(FLIGHT, Told::LoginChanged);
    assert_logged_in(&taken);
}

#[track_caller]
fn assert_replaced(taken: &Taken<Option<Generation>>) {
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
    taken.assert_settled(FLIGHT, Told::Replaced);
    assert_replaced(&taken);
}

#[track_caller]
fn assert_logged_out(taken: &Taken<()>, last: Option<u32>) {
    let is_fenced = taken.effects.settled.is_some();
    taken.assert_state(|state| {
        state.key = None;
        state.expires_at = None;
        state.stand = Stand::Logout;
        state.flights_settled += u64::from(is_fenced);
    });
    assert!(taken.effects.launch.is_none());
    let ended = taken.effects.ended.as_ref().expect("the login ends");
    assert_eq!((ended.login, Stand::over(&ended.reason)), (login(), Stand::Logout));
    assert_eq!(ended.credential.as_ref().map(|key| key.name), last);
}

#[track_caller]
fn assert_logout_fences(state: &State<Key>) {
    let taken = log_out(state);
    taken.assert_settled(FLIGHT, Told::Ended(None));
    assert_logged_out(&taken, Some(KEY));
}

fn later(cause: &str, wait: Duration) -> Answer {
    Answer::Later(cause.to_owned(), wait)
}

/// A first failure, which has settled now.
fn setback(error: &str) -> Stand {
    setback_at(error, now(), FAILED)
}

fn setback_at(error: &str, settled: Now, row: Row) -> Stand {
    Stand::Failed(Setback {
        error: error.to_owned(),
        row,
        retry_at: (settled.instant + WAIT).into_std(),
    })
}

/// What `Debug` shows of a history of these successes.
fn history(successes: &[Now]) -> String {
    format!("{:?}", with_successes(active(), successes).history)
}

// === Events ===

type Acquired = Result<(Login, Option<Flight>), Error>;

#[track_caller]
fn acquired(answer: &Acquired) -> (Login, Option<&Flight>) {
    let (login, flight) = answer.as_ref().expect("there is a login");
    (*login, flight.as_ref())
}

#[track_caller]
fn acquired_flight(answer: &Acquired) -> &Flight {
    acquired(answer).1.expect("there is a flight")
}

#[track_caller]
fn request(state: &State<Key>) -> Taken<Admission<Key>> {
    take(state, |state| state.admit(state.login, true, now))
}

#[track_caller]
fn renew(state: &State<Key>, now: Now) -> Taken<()> {
    take(state, |state| state.renew(now))
}

#[track_caller]
fn renewing(state: &State<Key>) -> State<Key> {
    renew(state, now()).next.expect("a renewal flies")
}

/// A request after the credential has expired.
#[track_caller]
fn late_request(state: &State<Key>) -> Taken<Admission<Key>> {
    take(state, |state| state.admit(state.login, true, late))
}

#[track_caller]
fn reject(state: &State<Key>, stamped: Stamped) -> Taken<Reaction> {
    reject_at(state, stamped, now())
}

#[track_caller]
fn reject_at(state: &State<Key>, stamped: Stamped, now: Now) -> Taken<Reaction> {
    let mut headers = HeaderMap::new();
    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("DPoP"));
    let rejection = || Rejection::new(StatusCode::UNAUTHORIZED, headers.clone());
    take(state, |state| state.rejected(stamped, rejection, || now))
}

#[track_caller]
fn settle(
    state: &State<Key>,
    result: &Result<Held<Key>, RefreshError>,
    unchanged: Option<&RefreshError>,
) -> Taken<Result<(), Overtaken>> {
    take(state, |state| state.settle(&flight(state), result, unchanged, WAIT, now()))
}

#[track_caller]
fn log_in(state: &State<Key>) -> Taken<Login> {
    take(state, |state| state.log_in(&new_key()))
}

#[track_caller]
fn replace(state: &State<Key>) -> Taken<Option<Generation>> {
    take(state, |state| state.replace(login(), &new_key()))
}

#[track_caller]
fn log_out(state: &State<Key>) -> Taken<()> {
    take(state, State::log_out)
}

#[track_caller]
fn acquire(state: &State<Key>, now: Now) -> Taken<Acquired> {
    take(state, |state| state.acquire(now))
}

// === States ===

/// The name of the credential that there is.
const KEY: u32 = 1;
/// The name of the credential that arrives.
const NEW: u32 = 2;
/// How long a failed flight keeps the next one away.
const WAIT: Duration = Duration::from_secs(5);
/// What precedes a flight that starts in [`failed`].
const FAILED: Row = Row { failures: 1, refusals: 0 };
const SETTLED: u64 = 7;
/// The flight that is in progress, or the next one.
const FLIGHT: u64 = SETTLED + 1;

/// The credential that there is has not expired.
fn now() -> Now {
    both(100)
}

/// The credential that there is has expired.
fn late() -> Now {
    both(300)
}

fn login() -> Login {
    Login::NONE.next().next()
}

fn generation() -> Generation {
    Generation::NONE.next().next().next()
}

/// The stamp of a request that is sent in one of these states.
fn stamp() -> Stamped {
    Stamped { login: login(), generation: generation(), flights_settled: SETTLED }
}

/// The stamp of a request of the same login that was sent with the credential before.
fn older() -> Stamped {
    Stamped { generation: Generation::NONE.next().next(), flights_settled: SETTLED - 1, ..stamp() }
}

fn new_key() -> Held<Key> {
    key(NEW, Some(at(400)), now().wall)
}

fn unchanged() -> RefreshError {
    RefreshError::transient("unchanged")
}

fn active() -> State<Key> {
    state(Phase::Active)
}

/// A flight of `refresh()`.
fn refreshing() -> State<Key> {
    state(Phase::Refreshing(new_flight(Cause::Forced, false)))
}

/// A flight that an expiry has caused: nobody has rejected the credential.
fn awaited() -> State<Key> {
    state(Phase::Refreshing(new_flight(Cause::Expiring, true)))
}

/// The back-off of one failure is just over.
fn failed() -> State<Key> {
    failed_until(now())
}

fn failed_until(retry: Now) -> State<Key> {
    let (error, retry_at) = (RefreshError::transient("failed"), retry.instant.into_std());
    state(Phase::Failed(Failure { error, row: FAILED, retry_at }))
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

/// Each phase, of the same login.
fn every_phase() -> [State<Key>; 6] {
    [active(), refreshing(), awaited(), failed(), refused(), logged_out()]
}

fn state(phase: Phase) -> State<Key> {
    let flights_started = SETTLED + u64::from(matches!(phase, Phase::Refreshing(_)));
    State {
        login: login(),
        generation: generation(),
        held: Some(key(KEY, Some(at(200)), now().wall)),
        phase,
        flights_started,
        flights_settled: SETTLED,
        outstanding: Outstanding::new(),
        history: History::default(),
        rules: Rules::DEFAULT,
    }
}

/// These refreshes of its login have succeeded.
fn with_successes(state: State<Key>, successes: &[Now]) -> State<Key> {
    let limit = state.rules.limit;
    let history = successes
        .iter()
        .fold(History::default(), |history, success| history.with(success.instant, limit));
    State { history, ..state }
}

fn without_key(state: State<Key>) -> State<Key> {
    State { held: None, ..state }
}

/// The flight in progress is there because the credential was rejected.
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
        row: Row::default(),
        started_at: now().instant.into_std(),
        outcome: OutcomeCell::default(),
    }
}

/// An awaited flight that starts.
fn new_leg(cause: Cause) -> Leg {
    Leg::of(&new_flight(cause, true))
}

/// The flight in progress.
#[track_caller]
fn flight(state: &State<Key>) -> Flight {
    let Phase::Refreshing(flight) = &state.phase else { panic!("a flight is in progress") };
    flight.clone()
}

#[track_caller]
fn leg_of(state: &State<Key>) -> Leg {
    Leg::of(&flight(state))
}

#[track_caller]
fn refused_with(state: &State<Key>) -> Error {
    let Phase::LoggedOut(reason) = &state.phase else { panic!("the login is over") };
    reason.to_error()
}
