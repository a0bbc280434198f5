//! A store that seals its records: what it refuses, and what its operator can do.

use std::{error::Error, sync::Arc};

use bytes::Bytes;
use tower_refresh::{
    ErrorKind,
    store::{Memory, Record, SealError, SealKey, Sealed, Store, StoreErrorKind, Version},
};

use crate::support::{Endpoint, access_token, forged, replica, token, write};

type Inner = Arc<Memory>;

fn key(id: u32) -> SealKey {
    SealKey::new(id, &[u8::try_from(id).unwrap(); 32])
}

/// A store with the record `content` of `zoe`.
async fn sealed() -> (Sealed<Inner>, Inner) {
    let inner = Arc::new(Memory::new());
    let store = Sealed::new(inner.clone(), key(1));
    write(&store, "zoe", None, b"content").await;
    (store, inner)
}

async fn record<S: Store>(store: &S, name: &str) -> Record {
    store.load(name).await.unwrap().unwrap()
}

/// Puts these bytes in the place of a record, as the operator of the store can.
async fn replace(inner: &Inner, name: &str, bytes: &[u8]) -> Version {
    let seen = inner.load(name).await.unwrap().map(|record| record.version());
    write(inner, name, seen, bytes).await
}

/// The failure of a load and of a swap, which is the same.
async fn failure(store: &Sealed<Inner>, name: &str) -> (StoreErrorKind, Option<SealError>) {
    let loaded = store.load(name).await.unwrap_err();
    let swapped = store.swap(name, None, Some(Bytes::new())).await.unwrap_err();
    let cause =
        |error: &dyn Error| error.source().and_then(|source| source.downcast_ref()).copied();
    assert_eq!((loaded.kind(), cause(&loaded)), (swapped.kind(), cause(&swapped)));
    assert!(!format!("{loaded} {loaded:?}").contains("content"));
    (loaded.kind(), cause(&loaded))
}

#[tokio::test]
async fn a_sealed_record_shows_neither_its_content_nor_the_same_bytes_twice() {
    let (store, inner) = sealed().await;
    let first = record(&inner, "zoe").await;
    assert!(!first.bytes().windows(4).any(|part| b"content".windows(4).any(|text| text == part)));
    write(&store, "zoe", Some(first.version()), b"content").await;
    assert_ne!(record(&inner, "zoe").await.bytes(), first.bytes());
    assert_eq!(&record(&store, "zoe").await.bytes()[..], b"content");
}

#[tokio::test]
async fn a_plain_record_is_refused_and_so_is_a_record_of_another_program() {
    let (store, inner) = sealed().await;
    let plain = {
        let (session, driver) = replica(&Endpoint::default(), inner.clone());
        driver.login(&session, token(1, true)).await.unwrap();
        record(&inner, "ann").await.bytes().clone()
    };
    for bytes in [&plain[..], b"", b"{}", b"trfr", b"content"] {
        replace(&inner, "zoe", bytes).await;
        let expected = (StoreErrorKind::Incompatible, Some(SealError::NotSealed));
        assert_eq!(failure(&store, "zoe").await, expected);
    }
}

#[tokio::test]
async fn a_record_that_is_cut_off_or_has_one_altered_bit_is_refused() {
    let (store, inner) = sealed().await;
    let whole = record(&inner, "zoe").await.bytes().clone();
    for at in 0..whole.len() {
        replace(&inner, "zoe", &whole[..at]).await;
        assert!(store.load("zoe").await.is_err(), "cut off at {at}");
        for bit in 0..8 {
            let mut altered = whole.to_vec();
            altered[at] ^= 1 << bit;
            replace(&inner, "zoe", &altered).await;
            assert!(store.load("zoe").await.is_err(), "bit {bit} of {at}");
        }
    }
    replace(&inner, "zoe", &whole).await;
    assert_eq!(&record(&store, "zoe").await.bytes()[..], b"content");
}

#[tokio::test]
async fn a_forged_record_is_refused_at_every_byte() {
    let (store, inner) = sealed().await;
    let whole = record(&inner, "zoe").await.bytes().clone();
    let mut causes = Vec::new();
    // The head of the frame, which says that it is sealed, is no part of the seal.
    for at in 13..whole.len() - 8 {
        replace(&inner, "zoe", &forged(&whole, |bytes| bytes[at] ^= 1)).await;
        let (_, cause) = failure(&store, "zoe").await;
        causes.push(cause);
    }
    assert!(causes[..4].iter().all(|cause| matches!(cause, Some(SealError::UnknownKey(_)))));
    assert!(causes[4..].iter().all(|cause| *cause == Some(SealError::Altered)), "{causes:?}");
}

#[tokio::test]
async fn a_record_of_another_name_or_from_a_later_version_is_refused() {
    let (store, inner) = sealed().await;
    let sealed = record(&inner, "zoe").await;
    replace(&inner, "ann", sealed.bytes()).await;
    let altered = (StoreErrorKind::Corrupt, Some(SealError::Altered));
    assert_eq!(failure(&store, "ann").await, altered);

    let mut seen = sealed.version();
    for _ in 0..3 {
        seen = write(&store, "zoe", Some(seen), b"later").await;
    }
    let later = record(&inner, "zoe").await;
    let earlier = Arc::new(Memory::new());
    let store = Sealed::new(earlier.clone(), key(1));
    replace(&earlier, "zoe", later.bytes()).await;
    assert_eq!(failure(&store, "zoe").await, altered);
}

#[tokio::test]
async fn keys_are_rotated_and_a_missing_or_wrong_key_is_named() {
    let (_, inner) = sealed().await;
    let unknown = (StoreErrorKind::Incompatible, Some(SealError::UnknownKey(1)));
    let store = Sealed::new(inner.clone(), key(2));
    assert_eq!(failure(&store, "zoe").await, unknown);

    let wrong = Sealed::new(inner.clone(), SealKey::new(1, &[9; 32]));
    let altered = (StoreErrorKind::Corrupt, Some(SealError::Altered));
    assert_eq!(failure(&wrong, "zoe").await, altered);

    let store = Sealed::new(inner.clone(), key(2)).open_with(wrong_key(1)).open_with(key(1));
    let seen = record(&store, "zoe").await;
    assert_eq!(&seen.bytes()[..], b"content");
    write(&store, "zoe", Some(seen.version()), b"content").await;
    let store = Sealed::new(inner, key(2));
    assert_eq!(&record(&store, "zoe").await.bytes()[..], b"content", "sealed with the new key");
}

/// Another key of the same id.
fn wrong_key(id: u32) -> SealKey {
    SealKey::new(id, &[0xee; 32])
}

#[tokio::test(start_paused = true)]
async fn a_login_and_a_logout_write_over_a_record_that_cannot_be_opened_and_a_refresh_does_not() {
    for is_login in [true, false] {
        let inner = Arc::new(Memory::new());
        let endpoint = Endpoint::default();
        let (session, driver) = replica(&endpoint, Sealed::new(inner.clone(), key(1)));
        driver.login(&session, token(1, true)).await.unwrap();
        replace(&inner, "ann", b"plain").await;

        let error = session.refresh().await.unwrap_err();
        assert_eq!((error.kind(), endpoint.calls()), (ErrorKind::RefreshFailed, 0));
        assert_eq!(&record(&inner, "ann").await.bytes()[..], b"plain");
        if is_login {
            driver.login(&session, token(2, true)).await.unwrap();
        } else {
            driver.logout(&session).await.unwrap();
        }
        let (other, driver) = replica(&endpoint, Sealed::new(inner.clone(), key(1)));
        driver.open(&other).await.unwrap();
        assert_eq!(access_token(&other).as_deref(), is_login.then_some("at-2"));
    }
}

#[tokio::test(start_paused = true)]
async fn g17_an_old_record_that_the_operator_puts_back_is_written_over_by_a_driver_that_knows_more()
{
    let (inner, endpoint) = (Arc::new(Memory::new()), Endpoint::default());
    let (session, driver) = replica(&endpoint, Sealed::new(inner.clone(), key(1)));
    driver.login(&session, token(1, true)).await.unwrap();
    let old = record(&inner, "ann").await;
    session.refresh().await.unwrap();
    replace(&inner, "ann", old.bytes()).await;
    session.refresh().await.unwrap();
    assert_eq!((endpoint.calls(), endpoint.reused()), (2, 0));
}

#[tokio::test]
async fn a_plain_record_is_taken_along_by_a_swap_of_its_bytes() {
    let inner = Arc::new(Memory::new());
    let plain = write(&inner, "zoe", None, b"content").await;
    let store = Sealed::new(inner.clone(), key(1));
    write(&store, "zoe", Some(plain), record(&inner, "zoe").await.bytes()).await;
    assert_eq!(&record(&store, "zoe").await.bytes()[..], b"content");
}

#[test]
fn debug_shows_no_key() {
    let store = Sealed::new(Memory::new(), SealKey::new(7, &[0xab; 32]));
    let shown = format!("{store:?}");
    assert_eq!(shown, "Sealed { store: Memory { .. }, keys: [SealKey { id: 7, .. }] }");
}
