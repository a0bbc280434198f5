use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use crate::{auth_server::user::User, secret};

/// The codes, grants and tokens of the auth server.
pub(crate) struct Grants {
    token_lifetime: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    codes: HashMap<String, Code>,
    /// Grants by their ids. A token is the id of its grant, a dot and a secret.
    grants: HashMap<String, Grant>,
    counters: Counters,
}

/// A login that waits for the client to fetch its tokens.
struct Code {
    user: User,
    challenge: String,
    expires_at: Instant,
}

/// A login whose tokens are in use.
struct Grant {
    user: User,
    access_token: String,
    expires_at: Instant,
    refresh_token: String,
}

/// New tokens, as the token endpoint answers them (RFC 6749 §5.1).
#[derive(Serialize)]
pub(super) struct IssuedTokens {
    access_token: String,
    refresh_token: String,
    token_type: &'static str,
    expires_in: u64,
}

/// The code or the refresh token is not valid: `invalid_grant` (RFC 6749 §5.2).
#[derive(Debug, PartialEq)]
pub(super) struct InvalidGrant;

/// The numbers of events since the start.
#[derive(Clone, Copy, Default, Serialize)]
pub(super) struct Counters {
    pub(super) logins: u64,
    pub(super) refreshes: u64,
    pub(super) refused: u64,
    pub(super) reused: u64,
    pub(super) revoked: u64,
    /// The number of grants that are valid now.
    pub(super) grants: usize,
}

const CODE_LIFETIME: Duration = Duration::from_secs(60);

// === impl Grants ===

impl Grants {
    pub(crate) fn new(token_lifetime: Duration) -> Self {
        Self { token_lifetime, state: Mutex::default() }
    }

    /// Makes a code for a user who has logged in.
    pub(super) fn authorize(&self, user: User, challenge: String) -> String {
        let (code, now) = (secret::random(), Instant::now());
        let codes = &mut self.state().codes;
        codes.retain(|_, code| code.expires_at > now);
        codes.insert(code.clone(), Code { user, challenge, expires_at: now + CODE_LIFETIME });
        code
    }

    /// Exchanges a code. A code that is presented is used up, whatever the verifier.
    pub(super) fn redeem(&self, code: &str, verifier: &str) -> Result<IssuedTokens, InvalidGrant> {
        let mut state = self.state();
        let code = state.codes.remove(code).ok_or(InvalidGrant)?;
        if code.expires_at <= Instant::now() || code.challenge != challenge_of(verifier) {
            return Err(InvalidGrant);
        }
        state.counters.logins += 1;
        Ok(state.issue(&secret::random(), code.user, self.token_lifetime))
    }

    /// Exchanges a refresh token. One that was used before ends its grant.
    pub(super) fn refresh(&self, refresh_token: &str) -> Result<IssuedTokens, InvalidGrant> {
        let mut state = self.state();
        state.counters.refreshes += 1;
        let id = id_of(refresh_token);
        match state.grants.get(id).map(|grant| (grant.user, grant.refresh_token == refresh_token)) {
            Some((user, true)) => Ok(state.issue(id, user, self.token_lifetime)),
            Some((_, false)) => {
                state.counters.reused += 1;
                state.counters.refused += 1;
                state.grants.remove(id);
                Err(InvalidGrant)
            }
            None => {
                state.counters.refused += 1;
                Err(InvalidGrant)
            }
        }
    }

    /// Ends the grant of a token (RFC 7009). A token that is unknown is no error.
    pub(super) fn revoke(&self, token: &str) {
        let mut state = self.state();
        if state.grants.remove(id_of(token)).is_some() {
            state.counters.revoked += 1;
        }
    }

    /// Ends all grants of a user.
    pub(super) fn revoke_user(&self, user: User) {
        let mut state = self.state();
        let before = state.grants.len();
        state.grants.retain(|_, grant| grant.user != user);
        state.counters.revoked += (before - state.grants.len()) as u64;
    }

    /// Makes all access tokens expire. Refresh tokens stay valid.
    pub(super) fn expire_access_tokens(&self) {
        let now = Instant::now();
        self.state().grants.values_mut().for_each(|grant| grant.expires_at = now);
    }

    pub(super) fn counters(&self) -> Counters {
        let state = self.state();
        Counters { grants: state.grants.len(), ..state.counters }
    }

    /// The user of an access token that is valid now.
    pub(crate) fn user_of(&self, access_token: &str) -> Option<User> {
        let state = self.state();
        let grant = state.grants.get(id_of(access_token))?;
        let is_valid = grant.access_token == access_token && grant.expires_at > Instant::now();
        is_valid.then_some(grant.user)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl State ===

impl State {
    fn issue(&mut self, id: &str, user: User, lifetime: Duration) -> IssuedTokens {
        let [access_token, refresh_token] = [(); 2].map(|()| format!("{id}.{}", secret::random()));
        let grant = Grant {
            user,
            access_token: access_token.clone(),
            expires_at: Instant::now() + lifetime,
            refresh_token: refresh_token.clone(),
        };
        self.grants.insert(id.to_owned(), grant);
        IssuedTokens {
            access_token,
            refresh_token,
            token_type: "Bearer",
            expires_in: lifetime.as_secs(),
        }
    }
}

/// The id of the grant of a token.
fn id_of(token: &str) -> &str {
    token.split_once('.').map_or("", |(id, _)| id)
}

/// The challenge of a verifier, by the method `S256` (RFC 7636 §4.2).
fn challenge_of(verifier: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn grants() -> Grants {
        Grants::new(Duration::from_secs(60))
    }

    fn log_in(grants: &Grants) -> IssuedTokens {
        let code = grants.authorize(User::Ann, CHALLENGE.to_owned());
        grants.redeem(&code, VERIFIER).expect("the code is valid")
    }

    #[test]
    fn the_challenge_is_that_of_rfc_7636() {
        assert_eq!(challenge_of(VERIFIER), CHALLENGE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_code_is_exchanged_once_by_its_verifier_and_in_time() {
        let grants = grants();
        let code = || grants.authorize(User::Ann, CHALLENGE.to_owned());
        let used = code();
        assert!(grants.redeem(&used, VERIFIER).is_ok());
        assert!(grants.redeem(&used, VERIFIER).is_err());
        let attacked = code();
        assert!(grants.redeem(&attacked, CHALLENGE).is_err());
        assert!(grants.redeem(&attacked, VERIFIER).is_err(), "a wrong verifier uses up the code");
        assert!(grants.redeem(&code(), "").is_err());
        let late = code();
        tokio::time::advance(CODE_LIFETIME).await;
        assert!(grants.redeem(&late, VERIFIER).is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_access_token_ends_with_its_lifetime_or_by_a_refresh() {
        let grants = grants();
        let first = log_in(&grants);
        assert!(grants.user_of(&first.access_token) == Some(User::Ann));
        assert!(grants.user_of(&first.refresh_token).is_none());
        tokio::time::advance(Duration::from_secs(60)).await;
        assert!(grants.user_of(&first.access_token).is_none());
        let second = grants.refresh(&first.refresh_token).expect("the refresh token is valid");
        assert!(grants.user_of(&second.access_token).is_some());
        grants.expire_access_tokens();
        assert!(grants.user_of(&second.access_token).is_none());
        assert!(grants.refresh(&second.refresh_token).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_refresh_token_that_is_used_twice_ends_its_grant() {
        let grants = grants();
        let first = log_in(&grants);
        let second = grants.refresh(&first.refresh_token).expect("the refresh token is valid");
        assert!(grants.refresh(&first.refresh_token).is_err());
        assert!(grants.refresh(&second.refresh_token).is_err());
        assert!(grants.user_of(&second.access_token).is_none());
        assert_eq!(grants.counters().reused, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_revocation_ends_one_grant_or_all_of_a_user() {
        let grants = grants();
        let [one, other] = [log_in(&grants), log_in(&grants)];
        grants.revoke(&one.refresh_token);
        assert!(grants.user_of(&one.access_token).is_none());
        assert!(grants.user_of(&other.access_token).is_some());
        grants.revoke("unknown");
        grants.revoke_user(User::Bob);
        assert!(grants.user_of(&other.access_token).is_some());
        grants.revoke_user(User::Ann);
        assert!(grants.refresh(&other.refresh_token).is_err());
        assert_eq!(grants.counters().revoked, 2);
    }
}
