//! The administrator's page: lets all access tokens expire, ends the logins of a user, and counts.
//!
//! A real server would ask for the administrator's login. This one listens on loopback only.

use axum::{
    Form, Json,
    extract::State,
    response::{Html, Redirect},
};
use serde::Deserialize;

use crate::auth_server::{app::AuthServer, grants::Counters, user::User};

#[derive(Deserialize)]
pub(super) struct RevokedUser {
    user: User,
}

const PAGE: &str = include_str!("pages/admin.html");

pub(super) async fn show(State(server): State<AuthServer>) -> Html<String> {
    let counters = server.grants.counters();
    let values = [
        ("{{grants}}", counters.grants as u64),
        ("{{logins}}", counters.logins),
        ("{{refreshes}}", counters.refreshes),
        ("{{refused}}", counters.refused),
        ("{{reused}}", counters.reused),
        ("{{revoked}}", counters.revoked),
    ];
    let fill = |page: String, (name, value): (&str, u64)| page.replace(name, &value.to_string());
    Html(values.into_iter().fold(PAGE.to_owned(), fill))
}

pub(super) async fn counters(State(server): State<AuthServer>) -> Json<Counters> {
    Json(server.grants.counters())
}

pub(super) async fn expire(State(server): State<AuthServer>) -> Redirect {
    server.grants.expire_access_tokens();
    Redirect::to("/admin")
}

pub(super) async fn revoke(
    State(server): State<AuthServer>,
    Form(RevokedUser { user }): Form<RevokedUser>,
) -> Redirect {
    server.grants.revoke_user(user);
    Redirect::to("/admin")
}
