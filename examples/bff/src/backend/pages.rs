//! The pages: static files, so that no page holds the data of a user.

use axum::{
    extract::State,
    response::{Html, IntoResponse},
};
use http::header::CONTENT_TYPE;

use crate::backend::app::Backend;

/// A notice on the login page.
#[derive(Clone, Copy)]
pub(super) enum Notice {
    LoginFailed,
}

const DASHBOARD: &str = include_str!("pages/dashboard.html");
const LOGIN: &str = include_str!("pages/login.html");
const SCRIPT: &str = include_str!("pages/dashboard.js");
const STYLE: &str = include_str!("../style.css");

/// The dashboard. Its script asks for the data, and leads to the login if there is none.
pub(super) async fn dashboard(State(backend): State<Backend>) -> Html<String> {
    Html(DASHBOARD.replace("{{admin}}", &backend.admin))
}

pub(super) async fn login() -> Html<String> {
    page(None)
}

/// The login page with a notice.
pub(super) fn login_with(notice: Notice) -> Html<String> {
    page(Some(notice))
}

pub(super) async fn script() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], SCRIPT)
}

pub(super) async fn style() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

fn page(notice: Option<Notice>) -> Html<String> {
    let notice = notice.map_or(
        "",
        |Notice::LoginFailed| r#"<p role="alert">The login has failed, please try again.</p>"#,
    );
    Html(LOGIN.replace("<!--notice-->", notice))
}
