use std::time::Duration;

use axum::response::AppendHeaders;
use http::{HeaderName, HeaderValue, header::SET_COOKIE, request::Parts};
use oauth2::{CsrfToken, PkceCodeVerifier};
use tower_refresh::sessions::{CookieKey, SelectKey};
use url::Url;

use crate::{
    backend::{provider::PendingLogin, session_key::SessionKey},
    secret,
};

/// The two cookies of the back-end: the session key, and the login that a browser has begun.
///
/// Both are `SameSite=Lax` and not `Strict`: the browser comes back from the auth server by a
/// navigation from another site, which has to bring the login, and the earlier session that the new
/// one replaces. No such navigation changes anything else.
#[derive(Clone)]
pub(super) struct Cookies {
    session: Cookie,
    login: Cookie,
}

/// The name and the attributes of a cookie.
#[derive(Clone)]
struct Cookie {
    name: String,
    attributes: String,
    lifetime: String,
}

/// A `Set-Cookie` line for a response.
pub(super) type SetCookie = AppendHeaders<Option<(HeaderName, HeaderValue)>>;

/// The time that a browser may take to log in.
const LOGIN_LIFETIME: Duration = Duration::from_secs(600);

// === impl Cookies ===

impl Cookies {
    /// The cookies of the back-end at this address.
    pub(super) fn new(public: &Url) -> Self {
        let has_tls = public.scheme() == "https";
        let lifetime = format!("; Max-Age={}", LOGIN_LIFETIME.as_secs());
        Self {
            session: Cookie::new("bff-session", has_tls, String::new()),
            login: Cookie::new("bff-login", has_tls, lifetime),
        }
    }

    pub(super) fn session_key(&self, request: &Parts) -> Option<SessionKey> {
        SessionKey::parse(&self.session.value(request)?)
    }

    pub(super) fn set_session(&self, key: &SessionKey) -> SetCookie {
        self.session.set(key.as_str())
    }

    pub(super) fn clear_session(&self) -> SetCookie {
        self.session.clear()
    }

    /// The login that this browser has begun.
    pub(super) fn pending_login(&self, request: &Parts) -> Option<PendingLogin> {
        let value = self.login.value(request)?;
        let (state, verifier) = value.split_once('.')?;
        let is_ours = secret::is_well_formed(state) && secret::is_well_formed(verifier);
        is_ours.then(|| PendingLogin {
            state: CsrfToken::new(state.to_owned()),
            verifier: PkceCodeVerifier::new(verifier.to_owned()),
        })
    }

    pub(super) fn set_pending_login(&self, login: &PendingLogin) -> SetCookie {
        self.login.set(&format!("{}.{}", login.state.secret(), login.verifier.secret()))
    }

    pub(super) fn clear_pending_login(&self) -> SetCookie {
        self.login.clear()
    }
}

// === impl Cookie ===

impl Cookie {
    fn new(name: &str, has_tls: bool, lifetime: String) -> Self {
        let (prefix, secure) = if has_tls { ("__Host-", "; Secure") } else { ("", "") };
        Self {
            name: format!("{prefix}{name}"),
            attributes: format!("; Path=/; HttpOnly; SameSite=Lax{secure}"),
            lifetime,
        }
    }

    /// The value in a request. `None` if there are several: another server of the host has planted
    /// one.
    fn value(&self, request: &Parts) -> Option<String> {
        CookieKey::new(&self.name).key(request)
    }

    fn set(&self, value: &str) -> SetCookie {
        set_cookie(format!("{}={value}{}{}", self.name, self.attributes, self.lifetime))
    }

    fn clear(&self) -> SetCookie {
        set_cookie(format!("{}={}; Max-Age=0", self.name, self.attributes))
    }
}

/// The line is sensitive, so that no log of headers shows it.
fn set_cookie(line: String) -> SetCookie {
    let mut value = HeaderValue::try_from(line).ok();
    value.iter_mut().for_each(|value| value.set_sensitive(true));
    AppendHeaders(value.map(|value| (SET_COOKIE, value)))
}

#[cfg(test)]
mod tests {
    use http::{Request, header::COOKIE};

    use super::*;

    fn cookies(public: &str) -> Cookies {
        Cookies::new(&public.parse().expect("a URL"))
    }

    fn with_cookie(value: &str) -> Parts {
        Request::get("/").header(COOKIE, value).body(()).expect("a request").into_parts().0
    }

    #[test]
    fn a_cookie_is_bound_to_its_host_where_there_is_tls() {
        let key = SessionKey::random();
        for (public, expected) in [
            ("http://127.0.0.1:1", "bff-session=KEY; Path=/; HttpOnly; SameSite=Lax"),
            (
                "https://example.com",
                "__Host-bff-session=KEY; Path=/; HttpOnly; SameSite=Lax; Secure",
            ),
        ] {
            let header = cookies(public).set_session(&key).0.expect("a header").1;
            assert_eq!(header.to_str().expect("text"), expected.replace("KEY", key.as_str()));
            assert!(header.is_sensitive());
        }
    }

    #[test]
    fn a_value_that_no_login_has_made_is_no_session_key() {
        let cookies = cookies("http://127.0.0.1:1");
        let key = SessionKey::random();
        let text = key.as_str();
        assert!(
            cookies.session_key(&with_cookie(&format!("bff-session={text}"))) == Some(key.clone())
        );
        for value in [
            "bff-session=".to_owned(),
            "bff-session=1".to_owned(),
            format!("bff-session={text}x"),
            format!("bff-session=\"{}\"", &text[2..]),
            format!("bff-session={text}; bff-session={text}"),
            format!("__Host-bff-session={text}"),
        ] {
            assert!(cookies.session_key(&with_cookie(&value)).is_none(), "{value}");
        }
    }

    #[test]
    fn a_pending_login_survives_its_cookie() {
        let cookies = cookies("http://127.0.0.1:1");
        let [state, verifier] = [secret::random(), secret::random()];
        let login = PendingLogin {
            state: CsrfToken::new(state.clone()),
            verifier: PkceCodeVerifier::new(verifier.clone()),
        };
        let (_, header) = cookies.set_pending_login(&login).0.expect("a header");
        let text = header.to_str().expect("text");
        assert!(text.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=600"), "{text}");
        let found = cookies.pending_login(&with_cookie(text.split(';').next().expect("a pair")));
        let found = found.expect("the login is found");
        assert_eq!((found.state.secret(), found.verifier.secret()), (&state, &verifier));
        for value in ["bff-login=a.b", "bff-login=.", "bff-login="] {
            assert!(cookies.pending_login(&with_cookie(value)).is_none(), "{value}");
        }
    }
}
