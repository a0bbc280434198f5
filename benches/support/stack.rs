use tower::{Layer, retry::Retry};
use tower_http::auth::{AddAuthorization, AddAuthorizationLayer};
use tower_refresh::{
    Origins, Refresh, RefreshContext, RefreshError, RefreshLayer, Session, Token, refresher_fn,
};

use crate::support::{request::TOKEN, retry::CloneAndRetry};

/// With tower-http's `AddAuthorization`, which has nothing to replay. Its header is sensitive, as a
/// `Token`'s is: that decides how HTTP/2 compresses it.
pub(crate) fn authorize<S>(inner: S) -> AddAuthorization<S> {
    AddAuthorizationLayer::bearer(TOKEN).as_sensitive(true).layer(inner)
}

/// With tower's `Retry` and a policy that clones the request, over `AddAuthorization`: what one
/// would stack to be able to replay, and it can't refresh.
pub(crate) fn retry<S: Clone>(inner: S) -> Retry<CloneAndRetry, AddAuthorization<S>> {
    Retry::new(CloneAndRetry::once(), authorize(inner))
}

/// With this crate's layer.
pub(crate) fn refresh<S>(inner: S, token: Token) -> Refresh<S> {
    refresh_layer(token).layer(inner)
}

/// For several services of one session, whose credential stays good.
pub(crate) fn refresh_layer(token: Token) -> RefreshLayer {
    let refresher =
        refresher_fn(|_: RefreshContext| async { Err(RefreshError::terminal("not needed")) });
    RefreshLayer::new(Session::new(token, refresher), Origins::any())
}
