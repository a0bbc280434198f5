use std::error::Error as _;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;
use tower_refresh::{
    Error, ErrorKind, RefreshError,
    session::{EndReason, Phase},
};

/// The reason why a call has no answer, for the script of the page: a JSON object with `reason`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Problem {
    /// No user is logged in in this browser.
    LoggedOut,
    /// A user was logged in, and has to log in again: the refresh was refused, or the login has
    /// reached a time limit.
    SessionExpired,
    /// A page of another origin has sent the request.
    ForeignPage,
    /// The credential cannot be refreshed now.
    TryAgain,
    /// The upstream rejects the newest token.
    UpstreamRejected,
    /// The upstream does not answer.
    UpstreamUnreachable,
    /// The back-end is put together wrongly.
    Misconfigured,
}

// === impl Problem ===

impl Problem {
    /// The problem behind an error of a session. `has_key` says whether the browser shows a key,
    /// and `phase` is that of its session, if the registry has one.
    pub(super) fn of(error: &Error, has_key: bool, phase: Option<&Phase>) -> Self {
        let is_timed_out =
            matches!(phase, Some(Phase::LoggedOut(EndReason::Idle | EndReason::Lifetime)));
        match error.kind() {
            ErrorKind::LoggedOut if is_timed_out => Self::SessionExpired,
            ErrorKind::LoggedOut | ErrorKind::RefreshFailed if is_refused(error) => {
                Self::SessionExpired
            }
            // The registry forgets a session some time after its login has ended.
            ErrorKind::NoSession if has_key => Self::SessionExpired,
            ErrorKind::LoggedOut | ErrorKind::LoginChanged | ErrorKind::NoSession => {
                Self::LoggedOut
            }
            ErrorKind::RefreshFailed | ErrorKind::Overloaded | ErrorKind::StorageFailed => {
                Self::TryAgain
            }
            _ => Self::Misconfigured,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::LoggedOut => "logged_out",
            Self::SessionExpired => "session_expired",
            Self::ForeignPage => "foreign_page",
            Self::TryAgain => "try_again",
            Self::UpstreamRejected => "upstream_rejected",
            Self::UpstreamUnreachable => "upstream_unreachable",
            Self::Misconfigured => "misconfigured",
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::LoggedOut | Self::SessionExpired => StatusCode::UNAUTHORIZED,
            Self::ForeignPage => StatusCode::FORBIDDEN,
            Self::TryAgain => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamRejected | Self::UpstreamUnreachable => StatusCode::BAD_GATEWAY,
            Self::Misconfigured => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status(), Json(json!({ "reason": self.reason() }))).into_response()
    }
}

fn is_refused(error: &Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<RefreshError>());
    cause.is_some_and(RefreshError::is_terminal)
}

#[cfg(test)]
mod tests {
    use tower_refresh::testing;

    use super::*;

    #[test]
    fn a_problem_tells_a_login_that_ended_from_a_failure_that_may_pass() {
        let refused = || Some(RefreshError::terminal("revoked"));
        let down = || Some(RefreshError::transient("down"));
        let ended = |reason| Some(Phase::LoggedOut(reason));
        for (kind, cause, has_key, phase, expected) in [
            (ErrorKind::NoSession, None, false, None, Problem::LoggedOut),
            (ErrorKind::NoSession, None, true, None, Problem::SessionExpired),
            (ErrorKind::LoggedOut, refused(), true, None, Problem::SessionExpired),
            (ErrorKind::LoggedOut, None, true, ended(EndReason::Idle), Problem::SessionExpired),
            (ErrorKind::LoggedOut, None, true, ended(EndReason::Lifetime), Problem::SessionExpired),
            (ErrorKind::LoggedOut, None, true, ended(EndReason::Logout), Problem::LoggedOut),
            (ErrorKind::LoggedOut, None, true, None, Problem::LoggedOut),
            (ErrorKind::LoginChanged, None, true, Some(Phase::Active), Problem::LoggedOut),
            (ErrorKind::RefreshFailed, refused(), true, None, Problem::SessionExpired),
            (ErrorKind::RefreshFailed, down(), true, Some(Phase::Active), Problem::TryAgain),
            (ErrorKind::Overloaded, None, true, Some(Phase::Active), Problem::TryAgain),
            (ErrorKind::Cleartext, None, true, Some(Phase::Active), Problem::Misconfigured),
        ] {
            let error = testing::error(kind, cause, None);
            let problem = Problem::of(&error, has_key, phase.as_ref());
            assert_eq!(problem, expected, "{error:?} {has_key} {phase:?}");
        }
    }
}
