use std::{fmt, sync::Arc, time::Duration};

use bytes::{BufMut, Bytes, BytesMut};
use chacha20poly1305::{XNonce, aead::Generate};

use crate::{
    refresher::contract::BoxFuture,
    store::{
        contract::{Leased, Record, Store, Swapped},
        error::StoreError,
        frame::{self, Kind, Reader},
        sealed::{error::SealError, key::SealKey},
        version::Version,
    },
};

/// A [`Store`] that encrypts each record before another store keeps it.
///
/// The cipher is XChaCha20-Poly1305, whose nonces of 24 bytes are long enough to be random, so that
/// any number of processes may share a key. Authenticated along with a record are its name, the id
/// of its key, and the version that it was written over.
///
/// # Example
///
/// ```no_run
/// use tower_refresh::store::{File, SealKey, Sealed};
///
/// # fn key_from_the_keychain(_: &str) -> [u8; 32] { [0; 32] }
/// let store = File::new("/home/ann/.local/state/my-app");
/// let store = Sealed::new(store, SealKey::new(1, &key_from_the_keychain("my-app")));
/// ```
///
/// # Key rotation
///
/// Records are sealed with one key, and opened with any. To change the key, first let all
/// processes open with the new one, and then let them seal with it. Drop the old one when all
/// logins have been refreshed:
///
/// ```no_run
/// # use tower_refresh::store::{File, SealKey, Sealed};
/// # let (store, old, new) = (File::new("/tmp"), [1; 32], [2; 32]);
/// let store = Sealed::new(store, SealKey::new(2, &new)).open_with(SealKey::new(1, &old));
/// ```
///
/// # Errors
///
/// A record that is not sealed, that no key opens, or that was altered is an error, with a
/// [`SealError`] as its source. A login or a logout of the driver writes over it. Records in plain
/// text are never read: to keep a login that was stored without encryption, load it from the inner
/// store, and swap the same bytes through this one.
///
/// # The operator of the inner store
///
/// An operator cannot read a record, alter it, make one up, move it to another name, or give it a
/// version that is not greater than the one that it was written over. An operator can see its name
/// and its length, delete it, and put an older record of the same name in its place. A driver that
/// knows a newer one then [writes that again](crate::store#guarantees). A process that starts then
/// takes the older record, since it has nothing to compare it with.
pub struct Sealed<S> {
    store: S,
    /// The first one seals.
    keys: Arc<Vec<SealKey>>,
}

const KIND: Kind = Kind { tag: *b"seal", format: 1 };
/// The beginning of the data that a seal binds: no other use of a key begins like this.
const CONTEXT: &[u8] = b"tower-refresh sealed record 1";
/// The id of the key (`u32`), and the version that the record was written over (`u8`, `u64`).
const HEAD: usize = 4 + 1 + 8;
const NONCE: usize = 24;

// === impl Sealed ===

impl<S> Sealed<S> {
    /// Seals with this key, and opens with it.
    pub fn new(store: S, key: SealKey) -> Self {
        Self { store, keys: Arc::new(vec![key]) }
    }

    /// Opens with this key as well. Several keys may have one id.
    ///
    /// # Panics
    ///
    /// The store was cloned before.
    pub fn open_with(mut self, key: SealKey) -> Self {
        Arc::get_mut(&mut self.keys).expect("keys are added before the first clone").push(key);
        self
    }

    /// The store that keeps the sealed records.
    pub fn get_ref(&self) -> &S {
        &self.store
    }

    fn seal(&self, name: &str, seen: Option<Version>, message: &[u8]) -> Result<Bytes, StoreError> {
        let key = &self.keys[0];
        let nonce =
            XNonce::try_generate().map_err(|error| StoreError::unavailable(error.to_string()))?;
        let mut body = BytesMut::new();
        body.put_u32_le(key.id());
        body.put_u8(seen.is_some().into());
        body.put_u64_le(seen.map_or(0, Version::as_u64));
        let sealed = key.seal(&nonce, message, &bound(&body, name));
        body.put_slice(&nonce);
        body.put_slice(&sealed.ok_or_else(|| StoreError::too_large("the cipher takes no more"))?);
        frame::seal(KIND, &body)
    }

    fn open(&self, name: &str, record: &Record) -> Result<Record, StoreError> {
        let opened = self.open_bytes(name, record);
        // A login or a logout may write over a record that cannot be opened.
        opened
            .map(|bytes| Record::new(record.version(), bytes))
            .map_err(|error| error.of_version(record.version()))
    }

    fn open_bytes(&self, name: &str, record: &Record) -> Result<Vec<u8>, StoreError> {
        if !frame::is_of(KIND, record.bytes()) {
            return Err(StoreError::incompatible(SealError::NotSealed));
        }
        let mut body = Reader(frame::open(KIND, record.bytes())?);
        let head = body.take(HEAD).ok_or_else(frame::cut_off)?;
        let nonce = body.take(NONCE).ok_or_else(frame::cut_off)?;
        let nonce: &XNonce = nonce.try_into().expect("the length was taken");
        let (id, seen) = read_head(head).expect("the length was taken");
        let mut keys = self.keys.iter().filter(|key| key.id() == id).peekable();
        if keys.peek().is_none() {
            return Err(StoreError::incompatible(SealError::UnknownKey(id)));
        }
        let bound = bound(head, name);
        keys.find_map(|key| key.open(nonce, body.0, &bound))
            .filter(|_| seen < Some(record.version()))
            .ok_or_else(|| StoreError::corrupt(SealError::Altered))
    }
}

fn read_head(head: &[u8]) -> Option<(u32, Option<Version>)> {
    let mut head = Reader(head);
    let (id, is_there, seen) = (head.u32()?, head.u8()?, head.u64()?);
    Some((id, (is_there != 0).then(|| Version::from_u64(seen))))
}

/// The data that a seal binds. The name is last, so that all other parts have a fixed place.
fn bound(head: &[u8], name: &str) -> Vec<u8> {
    [CONTEXT, head, name.as_bytes()].concat()
}

impl<S: Store> Store for Sealed<S> {
    fn load<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<Record>, StoreError>> {
        Box::pin(async move {
            let record = self.store.load(name).await?;
            record.map(|record| self.open(name, &record)).transpose()
        })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        seen: Option<Version>,
        next: Option<Bytes>,
    ) -> BoxFuture<'a, Result<Swapped, StoreError>> {
        Box::pin(async move {
            let next = next.map(|next| self.seal(name, seen, &next)).transpose()?;
            Ok(match self.store.swap(name, seen, next).await? {
                Swapped::Lost(Some(record)) => Swapped::Lost(Some(self.open(name, &record)?)),
                swapped => swapped,
            })
        })
    }

    fn lease<'a>(
        &'a self,
        name: &'a str,
        holder: &'a str,
        ttl: Duration,
    ) -> BoxFuture<'a, Result<Leased, StoreError>> {
        self.store.lease(name, holder, ttl)
    }

    fn changed<'a>(&'a self, name: &'a str, seen: Option<Version>) -> BoxFuture<'a, ()> {
        self.store.changed(name, seen)
    }
}

impl<S: Clone> Clone for Sealed<S> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), keys: self.keys.clone() }
    }
}

impl<S: fmt::Debug> fmt::Debug for Sealed<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed").field("store", &self.store).field("keys", &self.keys).finish()
    }
}
