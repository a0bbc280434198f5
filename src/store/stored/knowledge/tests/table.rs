//! One answer of the store at a time, and what the driver concludes.

use crate::store::{
    contract::Version,
    stored::knowledge::{Content, Fate, Found, Intent, Knowledge, Mark},
};

fn version(number: u64) -> Version {
    Version::from_u64(number)
}

fn mark(number: u64, author: u64) -> Mark {
    Mark { number, author }
}

fn found(at: u64, number: u64, author: u64, content: Content<u32>) -> Option<Found<u32>> {
    Some(Found { version: version(at), mark: mark(number, author), is_restored: false, content })
}

fn look(knowledge: &mut Knowledge<u32>, found: Option<Found<u32>>) {
    assert!(knowledge.observe(knowledge.moment(), found));
}

/// Knows of credential 5, stored as version 5 with number 5 by author 9.
fn knowing() -> Knowledge<u32> {
    let mut knowledge = Knowledge::new(1);
    look(&mut knowledge, found(5, 5, 9, Content::Live(5)));
    knowledge
}

#[test]
fn the_first_record_is_taken_over() {
    let knowledge = knowing();
    assert_eq!(knowledge.content(), &Content::Live(5));
    assert_eq!((knowledge.at(), knowledge.is_pending()), (Some(version(5)), false));
}

#[test]
fn a_newer_record_is_taken_over_and_an_older_one_is_written_over() {
    let cases = [
        // (version, number, taken over)
        (6, 6, true),
        (6, 4, true), // deleted, and made anew with a lower number
        (4, 6, true), // restored by another replica after the store went back
        (5, 6, true), // the same, with a version that was given out again
        (4, 4, false),
        (5, 4, false),
    ];
    for (at, number, is_newer) in cases {
        let mut knowledge = knowing();
        look(&mut knowledge, found(at, number, 8, Content::Live(7)));
        let expected = if is_newer { 7 } else { 5 };
        assert_eq!(knowledge.content(), &Content::Live(expected), "{at} {number}");
        assert_eq!(knowledge.at(), Some(version(at)), "{at} {number}");
        let intent = (!is_newer).then_some(Intent::Restore);
        assert_eq!(knowledge.write().map(|write| write.intent), intent, "{at} {number}");
    }
}

#[test]
fn a_late_acknowledgement_of_an_older_content_is_no_news() {
    let mut knowledge = knowing();
    knowledge.exchanged(knowledge.mark(), 6, 0).unwrap();
    let write = knowledge.write().unwrap();
    knowledge.logged_out(0);
    knowledge.written(&write, version(6));
    assert_eq!(knowledge.content(), &Content::Ended);
    let next = knowledge.write().unwrap();
    assert_eq!((next.seen, next.intent), (Some(version(6)), Intent::Logout));

    let mut knowledge = knowing();
    knowledge.exchanged(knowledge.mark(), 6, 0).unwrap();
    let write = knowledge.write().unwrap();
    look(&mut knowledge, found(6, 9, 8, Content::Live(9)));
    knowledge.written(&write, version(7));
    assert_eq!(knowledge.content(), &Content::Live(9));
    let next = knowledge.write().unwrap();
    assert_eq!(
        (next.seen, next.intent, next.is_restored),
        (Some(version(7)), Intent::Restore, true)
    );
}

#[test]
fn a_write_over_a_store_that_went_back_says_so_unless_it_is_a_logout() {
    let older = || found(4, 4, 9, Content::Live(4));
    let is_restored = |knowledge: &Knowledge<u32>| knowledge.write().unwrap().is_restored;
    let mut knowledge = knowing();
    look(&mut knowledge, older());
    assert!(is_restored(&knowledge));

    let mut knowledge = knowing();
    knowledge.exchanged(knowledge.mark(), 6, 0).unwrap();
    assert!(!is_restored(&knowledge));
    look(&mut knowledge, older());
    assert!(is_restored(&knowledge));

    let mut knowledge = knowing();
    knowledge.logged_out(0);
    look(&mut knowledge, older());
    assert!(!is_restored(&knowledge));
}

#[test]
fn the_age_of_a_restored_record_goes_by_its_number() {
    for (at, number, is_newer) in [(6, 4, false), (4, 6, true), (6, 6, true)] {
        let mut knowledge = knowing();
        let content = Content::Live(7);
        let mark = mark(number, 8);
        let record = Found { version: version(at), mark, is_restored: true, content };
        look(&mut knowledge, Some(record));
        let expected = if is_newer { 7 } else { 5 };
        assert_eq!(knowledge.content(), &Content::Live(expected), "{at} {number}");
    }
}

#[test]
fn a_record_that_was_restored_by_another_replica_is_the_known_one() {
    let mut knowledge = knowing();
    look(&mut knowledge, found(3, 5, 9, Content::Live(5)));
    assert_eq!((knowledge.at(), knowledge.is_pending()), (Some(version(3)), false));
}

#[test]
fn a_record_that_has_vanished_is_a_logout() {
    let mut knowledge = knowing();
    look(&mut knowledge, None);
    assert_eq!(knowledge.content(), &Content::Ended);
    assert!(!knowledge.is_pending());
}

#[test]
fn a_record_that_comes_back_after_it_vanished_is_ended_by_a_tombstone() {
    for (at, number) in [(4, 4), (5, 5)] {
        let mut knowledge = knowing();
        look(&mut knowledge, None);
        look(&mut knowledge, found(at, number, 9, Content::Live(4)));
        assert_eq!(knowledge.content(), &Content::Ended, "{at}");
        let intent = knowledge.write().map(|write| write.intent);
        assert_eq!(intent, Some(Intent::Restore), "{at}");
    }
}

#[test]
fn a_login_after_a_record_vanished_is_taken_over() {
    let mut knowledge = knowing();
    look(&mut knowledge, None);
    look(&mut knowledge, found(7, 1, 8, Content::Live(7)));
    assert_eq!(knowledge.content(), &Content::Live(7));
}

#[test]
fn an_empty_store_is_no_logout() {
    let mut knowledge = Knowledge::<u32>::new(1);
    look(&mut knowledge, None);
    assert_eq!(knowledge.content(), &Content::Nothing);
}

#[test]
fn an_unsaved_credential_is_newer_than_the_record_that_it_follows() {
    let mut knowledge = knowing();
    let mark = knowledge.exchanged(knowledge.mark(), 6, 0).unwrap();
    look(&mut knowledge, found(5, 5, 9, Content::Live(5)));
    assert_eq!(knowledge.content(), &Content::Live(6));
    assert_eq!(knowledge.fate(mark), Fate::Pending);
    assert_eq!(knowledge.write().unwrap().seen, Some(version(5)));
}

#[test]
fn a_save_whose_acknowledgement_was_lost_is_recognised() {
    let mut knowledge = knowing();
    let mark = knowledge.exchanged(knowledge.mark(), 6, 0).unwrap();
    look(
        &mut knowledge,
        Some(Found { version: version(6), mark, is_restored: false, content: Content::Live(6) }),
    );
    assert_eq!(knowledge.fate(mark), Fate::Saved);
}

#[test]
fn a_tombstone_refuses_a_save_and_a_newer_credential_beats_a_refusal() {
    let mut knowledge = knowing();
    let saved = knowledge.exchanged(knowledge.mark(), 6, 0).unwrap();
    let write = knowledge.write().unwrap();
    knowledge.lost(&write, found(6, 6, 8, Content::Ended));
    assert_eq!(knowledge.fate(saved), Fate::Overtaken);
    assert_eq!((knowledge.content(), knowledge.is_pending()), (&Content::Ended, false));

    let mut knowledge = knowing();
    let refused = knowledge.refused(knowledge.mark()).unwrap();
    let write = knowledge.write().unwrap();
    knowledge.lost(&write, found(6, 6, 8, Content::Live(7)));
    assert_eq!(knowledge.fate(refused), Fate::Overtaken);
    assert_eq!(knowledge.content(), &Content::Live(7));
}

#[test]
fn a_logout_is_written_over_everything() {
    let others = [
        None,
        found(6, 6, 8, Content::Live(7)),
        found(2, 2, 8, Content::Live(3)),
        found(6, 2_000, 8, Content::Ended),
    ];
    for other in others {
        let mut knowledge = knowing();
        knowledge.logged_out(1_000);
        assert_eq!(knowledge.mark(), Some(mark(1_000, 1)));
        let write = knowledge.write().unwrap();
        knowledge.lost(&write, other.clone());
        assert!(knowledge.is_pending(), "{other:?}");
        let write = knowledge.write().unwrap();
        assert_eq!((&write.content, write.intent), (&Content::Ended, Intent::Logout));
        assert_eq!(write.seen, other.as_ref().map(|other| other.version));
        assert!(other.is_none_or(|other| write.mark.number > other.mark.number));
        knowledge.written(&write, version(9));
        assert!(!knowledge.is_pending());
    }
}

#[test]
fn what_an_exchange_brings_does_not_replace_what_was_learned_during_it() {
    let mut knowledge = knowing();
    let from = knowledge.mark();
    look(&mut knowledge, found(6, 6, 8, Content::Ended));
    assert_eq!(knowledge.exchanged(from, 6, 0), None);
    assert_eq!(knowledge.refused(from), None);
    assert_eq!(knowledge.content(), &Content::Ended);
}

#[test]
fn an_answer_to_a_question_from_before_a_change_does_not_count() {
    let mut knowledge = Knowledge::<u32>::new(1);
    let asked = knowledge.moment();
    let mark = knowledge.exchanged(None, 1, 0).unwrap();
    let write = knowledge.write().unwrap();
    knowledge.written(&write, version(1));
    assert!(!knowledge.observe(asked, None), "the store was empty before the save");
    assert_eq!(knowledge.fate(mark), Fate::Saved);
}

#[test]
fn a_late_acknowledgement_does_not_hide_a_newer_record() {
    let mut knowledge = knowing();
    knowledge.exchanged(knowledge.mark(), 6, 0).unwrap();
    let write = knowledge.write().unwrap();
    look(&mut knowledge, found(8, 8, 8, Content::Live(8)));
    knowledge.written(&write, version(6));
    assert_eq!((knowledge.content(), knowledge.at()), (&Content::Live(8), Some(version(8))));
}
