use std::{sync::Arc, time::SystemTime};

use bytes::Bytes;

use crate::{
    credential::contract::Credential,
    store::{codec::Codec, error::StoreError},
};

/// A credential, and the time of its arrival where its expiry may count from there.
///
/// The session has the same `Arc` after a login or a delivery, and in a registry after a refresh. A
/// [`Refresher`](crate::Refresher) returns a copy. An inner refresher may recognise a credential by
/// its pointer, so that each attempt presents the same one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Receipt<C> {
    credential: Arc<C>,
    /// `None` for a credential of the store, which knows its end.
    received_at: Option<SystemTime>,
}

// === impl Receipt ===

impl<C> Receipt<C> {
    /// A credential of the store.
    pub(super) fn loaded(credential: C) -> Self {
        Self { credential: Arc::new(credential), received_at: None }
    }

    /// A credential that arrived at this time.
    pub(super) fn received(credential: Arc<C>, at: SystemTime) -> Self {
        Self { credential, received_at: Some(at) }
    }

    pub(super) fn credential(&self) -> &Arc<C> {
        &self.credential
    }
}

impl<C: 'static> Receipt<C> {
    /// The bytes of the credential, which have its end.
    pub(super) fn encode(&self, codec: &dyn Codec<C>) -> Result<Bytes, StoreError> {
        codec.encode(&self.credential, self.received_at.unwrap_or_else(SystemTime::now))
    }

    /// The credential for a session that receives it later: one that knows its end.
    pub(super) fn with_end(&self, codec: &dyn Codec<C>) -> Arc<C> {
        if self.received_at.is_none() {
            return self.credential.clone();
        }
        let copy = self.encode(codec).and_then(|bytes| codec.decode(&bytes));
        // The saver reports a credential that cannot be written.
        copy.map_or_else(|_| self.credential.clone(), Arc::new)
    }
}

impl<C: Credential> Receipt<C> {
    pub(super) fn is_usable(&self, now: SystemTime) -> bool {
        let expires_at = self.credential.expires_at(self.received_at.unwrap_or(now));
        expires_at.is_none_or(|at| at > now)
    }
}

impl<C> Clone for Receipt<C> {
    fn clone(&self) -> Self {
        Self { credential: self.credential.clone(), received_at: self.received_at }
    }
}
