//! The single checks. Each takes a store and panics where it breaks its contract.

#![allow(missing_docs, reason = "the name of a check is its documentation")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::time;

use crate::store::{
    contract::{Leased, Record, Store, Swapped},
    version::Version,
};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);
/// No operation of a sound store takes longer.
const LIMIT: Duration = Duration::from_secs(20);

/// A name that no other check uses, on a server that many checks share.
fn unused(check: &str) -> String {
    format!("conformance/{check}/{:016x}", fastrand::u64(..))
}

async fn load<S: Store>(store: &S, name: &str) -> Option<Record> {
    time::timeout(LIMIT, store.load(name)).await.expect("`load` ends").expect("`load` succeeds")
}

async fn swap<S: Store>(
    store: &S,
    name: &str,
    seen: Option<Version>,
    next: Option<&[u8]>,
) -> Swapped {
    let next = next.map(Bytes::copy_from_slice);
    let swapped = time::timeout(LIMIT, store.swap(name, seen, next)).await;
    swapped.expect("`swap` ends").expect("`swap` succeeds")
}

async fn write<S: Store>(store: &S, name: &str, seen: Option<Version>, next: &[u8]) -> Version {
    match swap(store, name, seen, Some(next)).await {
        Swapped::Done(version) => version,
        Swapped::Lost(found) => panic!("the expected version was there, and {found:?} was found"),
    }
}

async fn delete<S: Store>(store: &S, name: &str, seen: Version) -> Version {
    match swap(store, name, Some(seen), None).await {
        Swapped::Done(version) => version,
        Swapped::Lost(found) => panic!("the expected version was there, and {found:?} was found"),
    }
}

async fn lost<S: Store>(
    store: &S,
    name: &str,
    seen: Option<Version>,
    next: Option<&[u8]>,
) -> Option<Record> {
    match swap(store, name, seen, next).await {
        Swapped::Lost(found) => found,
        Swapped::Done(version) => panic!("another version was expected, and {version:?} written"),
    }
}

async fn lease<S: Store>(store: &S, name: &str, holder: &str, ttl: Duration) -> Leased {
    let leased = time::timeout(LIMIT, store.lease(name, holder, ttl)).await;
    leased.expect("`lease` ends").expect("`lease` succeeds")
}

async fn is_busy<S: Store>(store: &S, name: &str, holder: &str) -> bool {
    match lease(store, name, holder, LONG).await {
        Leased::Held => false,
        Leased::Busy(left) => {
            assert!(left <= LONG, "a lease of {LONG:?} has {left:?} left");
            true
        }
    }
}

pub async fn a_name_without_a_record_loads_nothing<S: Store>(store: S) {
    assert_eq!(load(&store, &unused("nothing")).await, None);
}

pub async fn a_written_record_is_loaded_as_it_was<S: Store>(store: S) {
    let name = unused("written");
    write(&store, &name, None, b"content").await;
    let record = load(&store, &name).await.expect("the record was written");
    assert_eq!(&record.bytes()[..], b"content");
}

pub async fn an_empty_record_is_a_record<S: Store>(store: S) {
    let name = unused("empty");
    let version = write(&store, &name, None, b"").await;
    let record = load(&store, &name).await.expect("an empty record is not a deleted one");
    assert_eq!((record.version(), record.bytes().len()), (version, 0));
}

pub async fn every_byte_is_kept<S: Store>(store: S) {
    let name = unused("bytes");
    let all: Vec<u8> = (0..=u8::MAX).collect();
    write(&store, &name, None, &all).await;
    assert_eq!(load(&store, &name).await.expect("it was written").bytes()[..], all);
}

pub async fn a_record_of_64_kib_is_kept<S: Store>(store: S) {
    let name = unused("large");
    let large = vec![b'x'; 64 * 1024];
    write(&store, &name, None, &large).await;
    assert_eq!(load(&store, &name).await.expect("it was written").bytes()[..], large);
}

pub async fn a_record_of_10_mb_is_kept_or_refused_without_damage<S: Store>(store: S) {
    let name = unused("huge");
    let version = write(&store, &name, None, b"before").await;
    let huge = Bytes::from(vec![b'x'; 10_000_000]);
    let swapped = store.swap(&name, Some(version), Some(huge.clone()));
    let expected = match time::timeout(LIMIT, swapped).await.expect("`swap` ends") {
        Ok(_) => huge,
        Err(_) => Bytes::from_static(b"before"),
    };
    assert!(load(&store, &name).await.expect("there is a record").bytes() == &expected);
}

pub async fn a_swap_answers_with_the_version_that_is_loaded_then<S: Store>(store: S) {
    let name = unused("version");
    let first = write(&store, &name, None, b"1").await;
    assert_eq!(load(&store, &name).await.map(|record| record.version()), Some(first));
    let second = write(&store, &name, Some(first), b"2").await;
    assert_eq!(load(&store, &name).await.map(|record| record.version()), Some(second));
}

pub async fn a_swap_that_expects_nothing_loses_against_a_record<S: Store>(store: S) {
    let name = unused("occupied");
    write(&store, &name, None, b"1").await;
    lost(&store, &name, None, Some(b"2")).await;
    assert_eq!(&load(&store, &name).await.expect("it is there").bytes()[..], b"1");
}

pub async fn a_swap_that_expects_another_version_loses_and_changes_nothing<S: Store>(store: S) {
    let name = unused("stale");
    let first = write(&store, &name, None, b"1").await;
    let second = write(&store, &name, Some(first), b"2").await;
    lost(&store, &name, Some(first), Some(b"3")).await;
    let future = Version::from_u64(second.as_u64() + 1);
    lost(&store, &name, Some(future), Some(b"3")).await;
    let record = load(&store, &name).await.expect("it is there");
    assert_eq!((record.version(), &record.bytes()[..]), (second, &b"2"[..]));
}

pub async fn a_swap_that_expects_a_record_loses_where_there_is_none<S: Store>(store: S) {
    let name = unused("absent");
    let found = lost(&store, &name, Some(Version::from_u64(1)), Some(b"1")).await;
    assert_eq!(found, None);
    assert_eq!(load(&store, &name).await, None);
}

pub async fn a_lost_swap_answers_with_the_record<S: Store>(store: S) {
    let name = unused("loser");
    write(&store, &name, None, b"1").await;
    let found = lost(&store, &name, None, Some(b"2")).await;
    assert_eq!(found, load(&store, &name).await);
    assert!(found.is_some());
}

pub async fn a_swap_that_was_done_is_lost_when_it_is_repeated<S: Store>(store: S) {
    let name = unused("repeated");
    let first = write(&store, &name, None, b"1").await;
    let second = write(&store, &name, Some(first), b"2").await;
    let found = lost(&store, &name, Some(first), Some(b"2")).await;
    assert_eq!(found.map(|record| record.version()), Some(second));
}

pub async fn versions_grow<S: Store>(store: S) {
    let name = unused("growing");
    let mut last = None;
    for number in 0..20_u8 {
        let version = write(&store, &name, last, &[number]).await;
        assert!(last < Some(version), "{version:?} comes after {last:?}");
        last = Some(version);
    }
}

pub async fn an_equal_content_gets_a_new_version<S: Store>(store: S) {
    let name = unused("equal");
    let first = write(&store, &name, None, b"same").await;
    let second = write(&store, &name, Some(first), b"same").await;
    assert!(first < second);
}

pub async fn a_deleted_record_is_gone<S: Store>(store: S) {
    let name = unused("deleted");
    let version = write(&store, &name, None, b"1").await;
    delete(&store, &name, version).await;
    assert_eq!(load(&store, &name).await, None);
}

pub async fn a_version_is_not_used_again_after_a_deletion<S: Store>(store: S) {
    let name = unused("reborn");
    let first = write(&store, &name, None, b"1").await;
    let deletion = delete(&store, &name, first).await;
    let second = write(&store, &name, None, b"1").await;
    assert!(first < deletion && deletion < second, "{first:?}, {deletion:?}, {second:?}");
}

pub async fn a_deletion_that_expects_another_version_loses<S: Store>(store: S) {
    let name = unused("undeleted");
    let first = write(&store, &name, None, b"1").await;
    write(&store, &name, Some(first), b"2").await;
    lost(&store, &name, Some(first), None).await;
    lost(&store, &name, None, None).await;
    assert!(load(&store, &name).await.is_some());
}

pub async fn a_deletion_of_nothing_is_no_record<S: Store>(store: S) {
    let name = unused("void");
    swap(&store, &name, None, None).await;
    assert_eq!(load(&store, &name).await, None);
    write(&store, &name, None, b"1").await;
}

pub async fn a_version_from_before_a_deletion_is_lost<S: Store>(store: S) {
    let name = unused("ghost");
    let first = write(&store, &name, None, b"1").await;
    delete(&store, &name, first).await;
    assert_eq!(lost(&store, &name, Some(first), Some(b"2")).await, None);
    write(&store, &name, None, b"3").await;
    assert!(lost(&store, &name, Some(first), Some(b"4")).await.is_some());
}

pub async fn names_do_not_share_records<S: Store>(store: S) {
    let (one, other) = (unused("one"), unused("other"));
    write(&store, &one, None, b"1").await;
    assert_eq!(load(&store, &other).await, None);
    let version = write(&store, &other, None, b"2").await;
    delete(&store, &other, version).await;
    assert!(load(&store, &one).await.is_some());
}

pub async fn any_text_is_a_name<S: Store>(store: S) {
    let long = "n".repeat(1000);
    let tails = [
        "", "/", "..", "../../x", "a b", "a\nb", "\0", "*?[{}", "%s", "Ä", "ä", "😀", "A", "a",
        &long,
    ];
    let start = unused("text");
    for (number, tail) in (0_u8..).zip(tails) {
        write(&store, &format!("{start}{tail}"), None, &[number]).await;
    }
    for (number, tail) in (0_u8..).zip(tails) {
        let record = load(&store, &format!("{start}{tail}")).await;
        assert_eq!(record.expect("it was written").bytes()[..], [number], "{tail:?}");
    }
}

pub async fn one_of_many_concurrent_swaps_is_done<S: Store>(store: S) {
    let (store, name) = (Arc::new(store), unused("race"));
    let mut seen = None;
    for _ in 0..4 {
        let racers: Vec<_> = (0..8_u8)
            .map(|racer| {
                let (store, name) = (store.clone(), name.clone());
                tokio::spawn(async move { swap(&store, &name, seen, Some(&[racer])).await })
            })
            .collect();
        let (mut winner, mut found) = (None, Vec::new());
        for (racer, task) in (0..).zip(racers) {
            match task.await.expect("a racer ends") {
                Swapped::Done(version) => {
                    assert!(winner.replace((racer, version)).is_none(), "two have won");
                }
                Swapped::Lost(record) => found.push(record.expect("a racer has written")),
            }
        }
        let (racer, version) = winner.expect("one has won");
        assert!(found.iter().all(|found| *found == Record::new(version, vec![racer])));
        seen = Some(version);
    }
}

pub async fn concurrent_increments_are_all_counted<S: Store>(store: S) {
    const EACH: u32 = 5;
    let (store, name) = (Arc::new(store), unused("count"));
    let counters: Vec<_> = (0..4)
        .map(|_| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(async move {
                for _ in 0..EACH {
                    let mut found = load(&store, &name).await;
                    loop {
                        let next = found.as_ref().map_or(1, |found| found.bytes()[0] + 1);
                        let seen = found.as_ref().map(Record::version);
                        match swap(&store, &name, seen, Some(&[next])).await {
                            Swapped::Done(_) => break,
                            Swapped::Lost(record) => found = record,
                        }
                    }
                }
            })
        })
        .collect();
    for counter in counters {
        counter.await.expect("a counter ends");
    }
    let count = load(&store, &name).await.expect("it was written").bytes()[0];
    assert_eq!(u32::from(count), 4 * EACH);
}

pub async fn a_lease_is_busy_for_others<S: Store>(store: S) {
    let name = unused("busy");
    assert_eq!(lease(&store, &name, "one", LONG).await, Leased::Held);
    assert!(is_busy(&store, &name, "other").await);
    assert!(is_busy(&store, &name, "other").await);
}

pub async fn a_lease_is_extended_by_its_holder<S: Store>(store: S) {
    let name = unused("extended");
    assert_eq!(lease(&store, &name, "one", LONG).await, Leased::Held);
    assert_eq!(lease(&store, &name, "one", LONG).await, Leased::Held);
    assert!(is_busy(&store, &name, "other").await);
}

pub async fn a_lease_that_was_given_up_is_free<S: Store>(store: S) {
    let name = unused("given up");
    assert_eq!(lease(&store, &name, "one", LONG).await, Leased::Held);
    assert_eq!(lease(&store, &name, "one", Duration::ZERO).await, Leased::Held);
    assert_eq!(lease(&store, &name, "other", LONG).await, Leased::Held);
    assert!(is_busy(&store, &name, "one").await);
}

pub async fn a_lease_cannot_be_given_up_by_another_holder<S: Store>(store: S) {
    let name = unused("kept");
    lease(&store, &name, "other", Duration::ZERO).await;
    assert_eq!(lease(&store, &name, "one", LONG).await, Leased::Held);
    lease(&store, &name, "other", Duration::ZERO).await;
    assert!(is_busy(&store, &name, "other").await);
}

pub async fn a_lease_ends_by_itself<S: Store>(store: S) {
    let name = unused("over");
    assert_eq!(lease(&store, &name, "one", SHORT).await, Leased::Held);
    let start = Instant::now();
    while is_busy(&store, &name, "other").await {
        assert!(start.elapsed() < LIMIT, "the lease has not ended");
        time::sleep(SHORT / 4).await;
    }
}

pub async fn an_extended_lease_outlives_its_first_time<S: Store>(store: S) {
    let name = unused("longer");
    assert_eq!(lease(&store, &name, "one", SHORT).await, Leased::Held);
    assert_eq!(lease(&store, &name, "one", LONG).await, Leased::Held);
    time::sleep(SHORT * 2).await;
    assert!(is_busy(&store, &name, "other").await);
}

pub async fn a_lease_of_any_length_is_taken<S: Store>(store: S) {
    for ttl in [Duration::from_nanos(1), Duration::from_millis(1), Duration::MAX] {
        let name = unused("length");
        assert_eq!(lease(&store, &name, "one", ttl).await, Leased::Held, "{ttl:?}");
        if ttl == Duration::MAX {
            let other = lease(&store, &name, "other", LONG).await;
            assert!(matches!(other, Leased::Busy(_)), "{other:?}");
        }
    }
}

pub async fn one_of_many_concurrent_holders_gets_the_lease<S: Store>(store: S) {
    let (store, name) = (Arc::new(store), unused("holders"));
    let holders: Vec<_> = (0..8)
        .map(|holder| {
            let (store, name) = (store.clone(), name.clone());
            tokio::spawn(
                async move { lease(&store, &name, &format!("holder {holder}"), LONG).await },
            )
        })
        .collect();
    let mut held = 0;
    for holder in holders {
        held += u32::from(holder.await.expect("a holder ends") == Leased::Held);
    }
    assert_eq!(held, 1);
}

pub async fn leases_of_several_names_are_independent<S: Store>(store: S) {
    let (one, other) = (unused("mine"), unused("yours"));
    assert_eq!(lease(&store, &one, "one", LONG).await, Leased::Held);
    assert_eq!(lease(&store, &other, "other", LONG).await, Leased::Held);
}

pub async fn a_lease_does_not_hinder_a_swap<S: Store>(store: S) {
    let name = unused("unhindered");
    assert_eq!(lease(&store, &name, "one", LONG).await, Leased::Held);
    let version = write(&store, &name, None, b"1").await;
    delete(&store, &name, version).await;
    assert!(is_busy(&store, &name, "other").await, "a deletion has ended the lease");
}

pub async fn a_change_ends_the_wait_for_it<S: Store>(store: S) {
    let (store, name) = (Arc::new(store), unused("changed"));
    let version = write(&store, &name, None, b"1").await;
    let wait = tokio::spawn({
        let (store, name) = (store.clone(), name.clone());
        async move { store.changed(&name, Some(version)).await }
    });
    time::sleep(SHORT / 4).await;
    write(&store, &name, Some(version), b"2").await;
    time::timeout(LIMIT, wait).await.expect("the wait ends").expect("the wait does not panic");
}

pub async fn a_wait_for_a_version_that_is_gone_ends<S: Store>(store: S) {
    let name = unused("gone");
    let version = write(&store, &name, None, b"1").await;
    time::timeout(LIMIT, store.changed(&name, None)).await.expect("there is a record");
    delete(&store, &name, version).await;
    time::timeout(LIMIT, store.changed(&name, Some(version))).await.expect("it was deleted");
}
