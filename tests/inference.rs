//! Closures whose parameter has no type.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::sync::Arc;

use http::request;
use tower_refresh::{
    Credential, RefreshContext, RefreshError, Refresher, Session, Token, refresher::Cause,
    refresher_fn,
};

struct Key(&'static str);

impl Credential for Key {
    fn apply(&self, _: &mut request::Parts) {}
}

async fn post(refresh_token: &str) -> Result<String, std::io::Error> {
    Ok(format!("at-for-{refresh_token}"))
}

#[tokio::test]
async fn a_closure_that_uses_the_refresh_token_infers_its_parameter() {
    let refresher = refresher_fn(|context| async move {
        let refresh_token = context
            .refresh_token()
            .ok_or_else(|| RefreshError::terminal("there is no refresh token"))?;
        let access_token = post(refresh_token).await.map_err(RefreshError::ambiguous)?;
        Ok(Token::bearer(access_token)?.with_refresh_token(refresh_token))
    });
    let token = Token::bearer("at-1").unwrap().with_refresh_token("rt-1");
    let session = Session::new(token, refresher);
    assert_eq!(session.refresh().await.unwrap().access_token(), "at-for-rt-1");
}

#[tokio::test]
async fn a_closure_that_only_returns_a_token_infers_its_parameter() {
    let session = Session::new(
        Token::bearer("at-1").unwrap(),
        refresher_fn(|_| async { Ok(Token::bearer("at-2")?) }),
    );
    assert_eq!(session.refresh().await.unwrap().access_token(), "at-2");

    let refresher = refresher_fn(|context| async move {
        match context.cause() {
            Cause::Forced => Ok(Token::bearer("at-3")?),
            _ => Err(RefreshError::terminal("not forced")),
        }
    });
    let session = Session::new(Token::bearer("at-1").unwrap(), refresher);
    assert_eq!(session.refresh().await.unwrap().access_token(), "at-3");
}

#[tokio::test]
async fn a_closure_for_another_credential_infers_or_states_its_parameter() {
    let inferred = refresher_fn(|_| async { Ok(Key("2")) });
    let session = Session::new(Key("1"), inferred);
    assert_eq!(session.refresh().await.unwrap().0, "2");

    let stated = refresher_fn(|context: RefreshContext<Key>| async move {
        let current = context.current().map_or("none", |key| key.0);
        if current == "1" { Ok(Key("2")) } else { Err(RefreshError::terminal("unknown key")) }
    });
    let context = RefreshContext::new(Cause::Forced).with_current(Arc::new(Key("1")));
    assert_eq!(stated.refresh(context).await.unwrap().0, "2");

    async fn by_name(_: RefreshContext<Key>) -> Result<Key, RefreshError> {
        Ok(Key("3"))
    }
    let session = Session::new(Key("1"), refresher_fn(by_name));
    assert_eq!(session.refresh().await.unwrap().0, "3");
}

#[tokio::test]
async fn a_closure_that_always_fails_needs_no_type_beside_that_of_its_session() {
    let refresher = refresher_fn(|_| async { Err(RefreshError::terminal("revoked")) });
    let session: Session = Session::builder(refresher).build();
    assert!(session.credential().is_none());
}
