use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde_json::json;

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
    pub(super) fn reason(self) -> &'static str {
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
