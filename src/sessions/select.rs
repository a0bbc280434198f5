use http::{header::COOKIE, request::Parts};

/// Decides which user a request belongs to: the key of its session in a
/// [`Sessions`](crate::sessions::Sessions).
///
/// The key must be something that the caller cannot choose at will, or that is a secret of its
/// user: what an authenticating layer above has put into the extensions, the subject of a client
/// certificate, or the unguessable value of a session cookie ([`CookieKey`]). A key that callers
/// can guess lets one user send requests as another.
///
/// ```
/// use http::request::Parts;
/// use tower_refresh::sessions::SelectKey;
///
/// /// The user that a layer above has authenticated.
/// #[derive(Clone)]
/// struct User(u64);
///
/// struct ByUser;
///
/// impl SelectKey for ByUser {
///     type Key = u64;
///
///     fn key(&self, request: &Parts) -> Option<u64> {
///         request.extensions.get().map(|User(id)| *id)
///     }
/// }
/// ```
pub trait SelectKey: Send + Sync + 'static {
    /// The type of key.
    type Key;

    /// The key of a request. `None` if the request belongs to no user: it goes on without a
    /// session.
    ///
    /// # Panics
    ///
    /// A request for which this panics goes on without a session.
    fn key(&self, request: &Parts) -> Option<Self::Key>;
}

/// A [`SelectKey`] made from a closure. Made by [`key_fn`].
#[derive(Clone, Copy, Debug)]
pub struct KeyFn<F>(F);

/// The value of a cookie as the key of a session: the common case of a back-end for browsers.
///
/// A request without the cookie, or with an empty value, a value of more than 256 bytes, a value
/// that is not ASCII, or several values, has no key.
///
/// ```
/// use http::Request;
/// use tower_refresh::sessions::{CookieKey, SelectKey};
///
/// let cookie = CookieKey::new("__Host-session");
/// let (request, ()) = Request::get("/api/user")
///     .header("cookie", "theme=dark; __Host-session=f3b1")
///     .body(())
///     .unwrap()
///     .into_parts();
/// assert_eq!(cookie.key(&request).as_deref(), Some("f3b1"));
/// ```
#[derive(Clone, Debug)]
pub struct CookieKey {
    name: String,
}

const MAX_COOKIE: usize = 256;

/// Makes a [`SelectKey`] from a closure.
///
/// ```
/// use tower_refresh::sessions::{SelectKey, key_fn};
///
/// // A gateway behind a proxy that has authenticated the caller.
/// let selector = key_fn(|request: &http::request::Parts| {
///     request.headers.get("x-user-id")?.to_str().ok().map(str::to_owned)
/// });
/// # fn f(_: impl SelectKey<Key = String>) {}
/// # f(selector);
/// ```
pub const fn key_fn<F, K>(select: F) -> KeyFn<F>
where
    F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
{
    KeyFn(select)
}

/// The value of a cookie, if this is its name.
fn value_of<'a>(pair: &'a [u8], name: &str) -> Option<&'a [u8]> {
    pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")
}

// === impl KeyFn ===

impl<F, K> SelectKey for KeyFn<F>
where
    F: Fn(&Parts) -> Option<K> + Send + Sync + 'static,
{
    type Key = K;

    fn key(&self, request: &Parts) -> Option<K> {
        (self.0)(request)
    }
}

// === impl CookieKey ===

impl CookieKey {
    /// The value of the cookie with this name.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into() }
    }
}

impl SelectKey for CookieKey {
    type Key = String;

    fn key(&self, request: &Parts) -> Option<String> {
        // Other cookies of the host may have any bytes, and must not hide this one.
        let lines = request.headers.get_all(COOKIE).into_iter();
        let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';'));
        let mut values = pairs.filter_map(|pair| value_of(pair.trim_ascii(), &self.name));
        let value = values.next()?;
        let is_single = values.next().is_none();
        let is_valid = is_single && !value.is_empty() && value.len() <= MAX_COOKIE;
        let text = str::from_utf8(value).ok().filter(|text| is_valid && text.is_ascii())?;
        Some(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn the_cookie_is_found_among_others_and_a_doubtful_one_is_none() {
        let long = format!("s={}", "x".repeat(257));
        let fits = format!("s={}", "x".repeat(256));
        for (lines, expected) in [
            (vec!["s=1"], Some("1")),
            (vec!["a=b; s=1;c"], Some("1")),
            (vec!["a=b", "s=1"], Some("1")),
            (vec!["s=a=b"], Some("a=b")),
            (vec![&*fits], Some(&fits[2..])),
            (vec![&*long], None),
            (vec!["s="], None),
            (vec!["s"], None),
            (vec!["xs=1; sx=2; S=3"], None),
            (vec!["s=1; s=2"], None),
            (vec!["s=1", "s=1"], None),
            (vec!["a=é; s=1; é=b"], Some("1")),
            (vec!["a=é", "s=1"], Some("1")),
            (vec!["s=é"], None),
            (vec!["s=é; s=1"], None),
            (vec![""], None),
            (vec![], None),
        ] {
            let mut request = Request::get("/");
            for line in &lines {
                request = request.header(COOKIE, line.as_bytes());
            }
            let (head, ()) = request.body(()).unwrap().into_parts();
            assert_eq!(CookieKey::new("s").key(&head).as_deref(), expected, "{lines:?}");
        }
    }
}
