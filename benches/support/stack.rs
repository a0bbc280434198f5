use tower::{Layer, retry::Retry};
use tower_http::auth::{AddAuthorization, AddAuthorizationLayer};
use tower_refresh::{
    Origins, Refresh, RefreshContext, RefreshError, RefreshLayer, RefreshPerRequest, Session,
    Token,
    observe::{Event, observer_fn},
    refresher_fn,
    session::SessionBuilder,
};

use crate::support::{request::TOKEN, retry::CloneAndRetry};

/// Adds tower-http's `AddAuthorization`, which does not replay. Its header is sensitive, like that
/// of a `Token`, because HTTP/2 compresses sensitive headers differently.
pub(crate) fn authorize<S>(inner: S) -> AddAuthorization<S> {
    AddAuthorizationLayer::bearer(TOKEN).as_sensitive(true).layer(inner)
}

/// Adds tower's `Retry` with a policy that clones the request, over `AddAuthorization`. The stack
/// can replay and cannot refresh.
pub(crate) fn retry<S: Clone>(inner: S) -> Retry<CloneAndRetry, AddAuthorization<S>> {
    Retry::new(CloneAndRetry::once(), authorize(inner))
}

/// Adds the layer of this crate.
pub(crate) fn refresh<S>(inner: S, token: Token) -> Refresh<S> {
    refresh_layer(token).layer(inner)
}

/// Adds the layer of this crate, with an observer of its session.
pub(crate) fn observed<S>(inner: S, token: Token) -> Refresh<S> {
    let observer = observer_fn(|event: &Event<'_>| drop(format!("{event:?}")));
    layer_of(session(token).observer(observer)).layer(inner)
}

/// A layer for several services of one session, whose credential is never rejected.
pub(crate) fn refresh_layer(token: Token) -> RefreshLayer {
    layer_of(session(token))
}

/// Adds the layer of this crate for requests that bring their session.
pub(crate) fn per_request<S>(inner: S) -> RefreshPerRequest<S> {
    RefreshLayer::per_request(Origins::any()).layer(inner)
}

/// A session whose credential is never rejected.
pub(crate) fn session(token: Token) -> SessionBuilder {
    let refresher =
        refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("not needed")) });
    Session::builder(refresher).credential(token)
}

fn layer_of(session: SessionBuilder) -> RefreshLayer {
    RefreshLayer::new(session.build(), Origins::any())
}
