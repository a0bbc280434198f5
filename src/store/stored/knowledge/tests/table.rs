//! One answer of the store at a time, and the conclusion of the driver.

use proptest::prelude::*;

use crate::store::{
    stored::{
        knowledge::{Content, Fate, Found, Knowledge},
        login::LoginWrite,
        rank::Rank,
    },
    version::Version,
};

/// The login that `knowing` knows.
const LOGIN: u64 = 100;

fn version(number: u64) -> Version {
    Version::from_u64(number)
}

fn live(login: u64, depth: u64, author: u64) -> Rank {
    Rank { depth, ..Rank::login(login, author) }
}

/// The record of this version. A live content is the depth of its rank.
fn found(at: u64, rank: Rank) -> Found<u64> {
    let content = if rank.is_end { Content::Ended } else { Content::Live(rank.depth) };
    Found { version: version(at), rank, content }
}

fn look(knowledge: &mut Knowledge<u64>, found: Option<Found<u64>>) {
    assert!(knowledge.observe(knowledge.moment(), found.as_ref()));
}

/// Knows of the fifth credential of its login, stored as version 5 by author 9.
fn knowing() -> Knowledge<u64> {
    let mut knowledge = Knowledge::new();
    look(&mut knowledge, Some(found(5, live(LOGIN, 5, 9))));
    knowledge
}

#[test]
fn the_first_record_is_taken_over() {
    let knowledge = knowing();
    assert_eq!(knowledge.content(), &Content::Live(5));
    assert_eq!((knowledge.at(), knowledge.is_pending()), (Some(version(5)), false));
}

#[test]
fn g17_a_greater_rank_is_taken_over_and_a_lower_one_is_written_over_whatever_the_version() {
    let cases = [
        (live(LOGIN, 6, 8), true),
        (live(LOGIN, 5, 10), true), // two exchanges of one credential
        (live(LOGIN, 5, 8), false),
        (live(LOGIN, 4, 10), false),
        (live(LOGIN + 1, 0, 8), true),
        (live(LOGIN - 1, 9, 10), false),
        (live(LOGIN, 5, 9).refused(), true),
        (live(LOGIN, 4, 9).refused(), false), // a newer credential beats the refusal of an older one
        (Rank::logout(LOGIN), true),
        (Rank::logout(LOGIN - 1), false),
        (Rank::LOWEST_END, false),
    ];
    for (rank, is_newer) in cases {
        for at in [4, 5, 6] {
            let mut knowledge = knowing();
            look(&mut knowledge, Some(found(at, rank)));
            let newest = if is_newer { rank } else { live(LOGIN, 5, 9) };
            assert_eq!(knowledge.rank(), Some(newest), "{rank:?} at {at}");
            assert_eq!(knowledge.at(), Some(version(at)), "{rank:?} at {at}");
            let write = knowledge.write().map(|write| (write.seen, write.rank));
            let expected = (!is_newer).then_some((Some(version(at)), newest));
            assert_eq!(write, expected, "{rank:?} at {at}");
        }
    }
}

#[test]
fn the_known_content_under_another_version_is_known() {
    let mut knowledge = knowing();
    look(&mut knowledge, Some(found(3, live(LOGIN, 5, 9))));
    assert_eq!((knowledge.at(), knowledge.is_pending()), (Some(version(3)), false));
}

#[test]
fn a_late_acknowledgement_of_an_older_content_is_no_news() {
    let mut knowledge = knowing();
    knowledge.exchanged(knowledge.rank(), 6, 0, 1).unwrap();
    let write = knowledge.write().unwrap();
    knowledge.logged_out(0);
    knowledge.written(&write.found(version(6)));
    assert_eq!(knowledge.content(), &Content::Ended);
    let next = knowledge.write().unwrap();
    assert_eq!((next.seen, next.rank), (Some(version(6)), Rank::logout(LOGIN)));

    let mut knowledge = knowing();
    knowledge.exchanged(knowledge.rank(), 6, 0, 1).unwrap();
    let write = knowledge.write().unwrap();
    look(&mut knowledge, Some(found(8, live(LOGIN, 8, 8))));
    knowledge.written(&write.found(version(6)));
    assert_eq!((knowledge.content(), knowledge.at()), (&Content::Live(8), Some(version(8))));
    assert!(!knowledge.is_pending());
}

#[test]
fn an_older_write_that_was_executed_over_a_newer_record_is_written_over() {
    let mut knowledge = knowing();
    knowledge.exchanged(knowledge.rank(), 6, 0, 1).unwrap();
    let write = knowledge.write().unwrap();
    look(&mut knowledge, Some(found(6, live(LOGIN, 9, 8))));
    knowledge.written(&write.found(version(7)));
    let next = knowledge.write().unwrap();
    assert_eq!((next.seen, next.rank), (Some(version(7)), live(LOGIN, 9, 8)));
}

#[test]
fn a_record_that_has_vanished_is_a_logout() {
    let mut knowledge = knowing();
    look(&mut knowledge, None);
    assert_eq!(knowledge.content(), &Content::Ended);
    assert!(!knowledge.is_pending());
}

#[test]
fn a_login_that_comes_back_after_its_record_vanished_is_ended_by_a_tombstone() {
    for rank in [live(LOGIN, 4, 9), live(LOGIN, 5, 9), live(LOGIN, 6, 9), live(LOGIN - 1, 7, 9)] {
        let mut knowledge = knowing();
        look(&mut knowledge, None);
        look(&mut knowledge, Some(found(6, rank)));
        assert_eq!(knowledge.content(), &Content::Ended, "{rank:?}");
        assert_eq!(knowledge.write().map(|write| write.rank), Some(Rank::logout(LOGIN)));
    }
}

#[test]
fn a_login_after_a_record_vanished_is_taken_over() {
    let mut knowledge = knowing();
    look(&mut knowledge, None);
    look(&mut knowledge, Some(found(7, live(LOGIN + 1, 0, 8))));
    assert_eq!(knowledge.content(), &Content::Live(0));
}

#[test]
fn an_empty_store_is_no_logout() {
    let mut knowledge = Knowledge::<u64>::new();
    look(&mut knowledge, None);
    assert_eq!(knowledge.content(), &Content::Nothing);
}

#[test]
fn an_unsaved_credential_is_newer_than_the_record_that_it_follows() {
    let mut knowledge = knowing();
    let rank = knowledge.exchanged(knowledge.rank(), 6, 0, 1).unwrap();
    look(&mut knowledge, Some(found(5, live(LOGIN, 5, 9))));
    assert_eq!(knowledge.content(), &Content::Live(6));
    assert_eq!(knowledge.fate(rank), Fate::Pending);
    assert_eq!(knowledge.write().unwrap().seen, Some(version(5)));
}

#[test]
fn a_save_whose_acknowledgement_was_lost_is_recognised() {
    let mut knowledge = knowing();
    let rank = knowledge.exchanged(knowledge.rank(), 6, 0, 1).unwrap();
    look(&mut knowledge, Some(found(6, rank)));
    assert_eq!(knowledge.fate(rank), Fate::Saved);
}

#[test]
fn a_tombstone_refuses_a_save_and_a_newer_credential_beats_a_refusal() {
    let mut knowledge = knowing();
    let saved = knowledge.exchanged(knowledge.rank(), 6, 0, 1).unwrap();
    let write = knowledge.write().unwrap();
    knowledge.lost(&write, Some(&found(6, Rank::logout(LOGIN))));
    assert_eq!(knowledge.fate(saved), Fate::Overtaken);
    assert_eq!((knowledge.content(), knowledge.is_pending()), (&Content::Ended, false));

    let mut knowledge = knowing();
    let refused = knowledge.refused(knowledge.rank()).unwrap();
    let write = knowledge.write().unwrap();
    knowledge.lost(&write, Some(&found(6, live(LOGIN, 6, 8))));
    assert_eq!(knowledge.fate(refused), Fate::Overtaken);
    assert_eq!(knowledge.content(), &Content::Live(6));
}

#[test]
fn a_logout_is_written_over_all_that_began_before_it_and_a_later_login_beats_it() {
    let others = [
        (None, true),
        (Some(live(LOGIN, 6, 8)), true),
        (Some(live(LOGIN + 7, 2, 8)), true), // a login that this driver has not seen
        (Some(live(LOGIN, 2, 8)), true),
        (Some(Rank::logout(LOGIN + 7)), true),
        (Some(live(1_001, 0, 8)), false),
    ];
    for (rank, is_written) in others {
        let mut knowledge = knowing();
        knowledge.logged_out(1_000);
        let write = knowledge.write().unwrap();
        knowledge.lost(&write, rank.map(|rank| found(6, rank)).as_ref());
        assert_eq!(knowledge.is_pending(), is_written, "{rank:?}");
        if is_written {
            let write = knowledge.write().unwrap();
            assert_eq!((&write.content, write.rank), (&Content::Ended, Rank::logout(1_000)));
            assert_eq!(write.seen, rank.map(|_| version(6)));
            knowledge.written(&write.found(version(9)));
            assert!(!knowledge.is_pending());
        }
    }
}

#[test]
fn a_logout_by_a_slow_clock_ends_the_login_that_is_known() {
    let mut knowledge = knowing();
    knowledge.logged_out(LOGIN - 50);
    assert_eq!(knowledge.rank(), Some(Rank::logout(LOGIN)));
}

#[test]
fn an_exchange_does_not_replace_what_was_learned_during_it() {
    let learned = [Rank::logout(LOGIN), live(LOGIN + 1, 0, 8), live(LOGIN, 7, 8)];
    for rank in learned {
        let mut knowledge = knowing();
        let from = knowledge.rank();
        look(&mut knowledge, Some(found(6, rank)));
        assert_eq!(knowledge.exchanged(from, 6, 0, 1), None, "{rank:?}");
        assert_eq!(knowledge.refused(from), None, "{rank:?}");
        assert_eq!(knowledge.rank(), Some(rank));
    }
}

#[test]
fn an_exchange_from_nothing_begins_a_login_unless_one_was_learned_during_it() {
    let mut knowledge = Knowledge::<u64>::new();
    assert_eq!(knowledge.exchanged(None, 0, 1_000, 1), Some(live(1_000, 0, 1)));

    let mut knowledge = Knowledge::<u64>::new();
    look(&mut knowledge, Some(found(1, live(LOGIN, 0, 8))));
    assert_eq!(knowledge.exchanged(None, 0, 1_000, 1), None);
    assert_eq!(knowledge.refused(None), None);

    let mut knowledge = knowing();
    knowledge.logged_out(0);
    let from = knowledge.rank();
    assert_eq!(knowledge.exchanged(from, 0, 0, 1), Some(live(LOGIN + 1, 0, 1)));
}

#[test]
fn a_refusal_where_no_login_is_stored_gives_way_to_every_login() {
    let mut knowledge = Knowledge::<u64>::new();
    assert_eq!(knowledge.refused(None), Some(Rank::LOWEST_END));
    let write = knowledge.write().unwrap();
    knowledge.lost(&write, Some(&found(1, live(1, 0, 0))));
    assert_eq!(knowledge.content(), &Content::Live(0));
}

#[test]
fn an_older_answer_to_a_question_from_before_a_change_does_not_count_and_a_newer_one_does() {
    let mut knowledge = Knowledge::<u64>::new();
    let asked = knowledge.moment();
    let rank = knowledge.exchanged(None, 1, 0, 1).unwrap();
    let write = knowledge.write().unwrap();
    knowledge.written(&write.found(version(1)));
    assert!(!knowledge.observe(asked, None), "the store was empty before the save");
    assert_eq!(knowledge.fate(rank), Fate::Saved);
    assert!(knowledge.observe(asked, Some(&found(2, rank.exchanged(8)))));
    assert_eq!(knowledge.fate(rank), Fate::Overtaken);
}

#[test]
fn a_login_ranks_above_what_it_writes_over() {
    let mut knowledge = knowing();
    let mut write = LoginWrite::new(Some(version(5)), 0, 7, &knowledge, 50);
    assert_eq!(write.rank, live(LOGIN + 1, 0, 7));
    // Another login came in between, by a faster clock.
    let is_over = write.lost(Some(&found(6, live(2_000, 3, 8))), &mut knowledge, 50);
    assert_eq!((is_over, write.seen, write.rank), (false, Some(version(6)), live(2_001, 0, 7)));
}

#[test]
fn a_login_whose_acknowledgement_was_lost_is_not_written_over_what_followed_from_it() {
    let (login, depth) = (LOGIN + 1, 0);
    let followers = [
        live(login, depth, 7),
        live(login, depth + 1, 8),
        Rank::logout(login),
        live(login, depth, 7).refused(),
        live(login + 1, 0, 8),
    ];
    for rank in followers {
        let mut knowledge = knowing();
        let mut write = LoginWrite::new(Some(version(5)), 0, 7, &knowledge, 0);
        write.failed();
        assert!(write.lost(Some(&found(7, rank)), &mut knowledge, 0), "{rank:?}");
    }

    // An older record shows that the write was not executed.
    let mut knowledge = knowing();
    let mut write = LoginWrite::new(Some(version(5)), 0, 7, &knowledge, 0);
    write.failed();
    assert!(!write.lost(Some(&found(6, live(LOGIN, 6, 8))), &mut knowledge, 0));
    assert_eq!((write.seen, write.rank), (Some(version(6)), live(login, depth, 7)));
}

fn any_rank() -> impl Strategy<Value = Rank> {
    let live = (0..3_u64, 0..3_u64, 0..3_u64, any::<bool>());
    prop_oneof![
        4 => live.prop_map(|(login, depth, author, is_end)| Rank { login, depth, author, is_end }),
        1 => (0..3_u64).prop_map(Rank::logout),
    ]
}

proptest! {
    #[test]
    fn g17_the_order_in_which_records_are_found_makes_no_difference(
        ranks in proptest::collection::vec(any_rank(), 1..6),
        shuffled in any::<prop::sample::Index>(),
    ) {
        let learn = |ranks: &[Rank]| {
            let mut knowledge = Knowledge::<u64>::new();
            for (at, rank) in (1..).zip(ranks) {
                knowledge.found(&found(at, *rank));
            }
            (knowledge.rank(), knowledge.content().clone())
        };
        let mut others = ranks.clone();
        others.rotate_left(shuffled.index(ranks.len()));
        others.reverse();
        let newest = ranks.iter().max().copied();
        prop_assert_eq!(learn(&ranks).0, newest);
        prop_assert_eq!(learn(&ranks), learn(&others));
    }

    #[test]
    fn g17_a_successor_ranks_above_its_ancestors_and_below_the_end_of_its_login(
        rank in any_rank(),
        authors in proptest::collection::vec(0..3_u64, 1..5),
    ) {
        prop_assume!(!rank.is_logout());
        let mut last = rank;
        for author in authors {
            let next = last.exchanged(author);
            prop_assert!(last < last.refused() || last.is_end);
            prop_assert!(last.refused() < next);
            prop_assert!(next < Rank::logout(rank.login));
            last = Rank { is_end: false, ..next };
        }
        prop_assert!(Rank::logout(rank.login) < Rank::login(rank.login + 1, 0));
    }
}
