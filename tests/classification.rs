//! The kind of a failed refresh, and its effect on the login.

#![allow(clippy::unwrap_used, reason = "a test may unwrap, its helpers too")]

mod support;

use std::error::Error as _;

use http::StatusCode;
use support::*;
use tower_refresh::{
    ErrorKind, RefreshContext, RefreshError, RefreshErrorKind, Session, Token, refresher_fn,
    session::AmbiguousOutcome,
};

/// Access tokens that no header can carry.
const UNUSABLE: [&str; 5] = ["", " ", "two words", "line\n", "caf\u{e9}"];

fn refresher(access_token: &'static str) -> impl tower_refresh::Refresher {
    refresher_fn(move |_: RefreshContext| async move { Ok(Token::bearer(access_token)?) })
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_a_usable_token_is_ambiguous() {
    for unusable in UNUSABLE {
        let session = Session::new(token("at-1"), refresher(unusable));
        let error = session.refresh().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RefreshFailed);
        let source: &RefreshError = error.source().unwrap().downcast_ref().unwrap();
        assert_eq!(source.kind(), RefreshErrorKind::Ambiguous, "{unusable:?}");
        assert!(session.credential().is_some());

        let strict = Session::builder(refresher(unusable))
            .acquire_on_demand(true)
            .on_ambiguous(AmbiguousOutcome::EndLogin)
            .build();
        let error = strict.acquire().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LoggedOut, "{unusable:?}");
    }
}

#[test]
fn a_success_status_without_a_credential_is_ambiguous() {
    for code in 200..300 {
        let status = StatusCode::from_u16(code).unwrap();
        assert_eq!(RefreshError::from_status(status).kind(), RefreshErrorKind::Ambiguous, "{code}");
    }
    for code in [400, 404, 429, 500, 502, 503] {
        let status = StatusCode::from_u16(code).unwrap();
        assert_eq!(RefreshError::from_status(status).kind(), RefreshErrorKind::Transient, "{code}");
    }
}

#[test]
fn no_error_text_claims_that_no_answer_came() {
    let errors = [
        RefreshError::from_status(StatusCode::OK),
        RefreshError::ambiguous("cut off"),
        Token::bearer("").unwrap_err().into(),
    ];
    for error in errors {
        assert_eq!(error.to_string(), "the outcome of the refresh is unknown");
    }
}
