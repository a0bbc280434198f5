use std::{
    collections::HashSet,
    error, fmt, str,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use cookie_store::{Cookie, CookieExpiration, CookieStore, RawCookie, StoreAction};
use http::{HeaderMap, HeaderValue, header::SET_COOKIE, request};
use url::Url;

use crate::{
    cookies::{base::Base, csrf::Csrf, header},
    credential::{contract::Credential, origin::Origin},
    error::RefreshError,
    exchange::InvalidUrl,
    head::ResponseHead,
};

/// A cookie jar as a credential: the cookies of one login at one upstream.
///
/// See the [module docs](crate::cookies) for what it sends where, and what it takes from whom.
///
/// Each login needs a jar of its own, which is why there is no `Clone`. `Debug` shows no cookie,
/// neither its name nor its value.
pub struct Jar {
    upstream: Arc<Upstream>,
    /// Shared by all jars of a login, so that none of them outlives its logout.
    is_closed: Arc<AtomicBool>,
    /// Locked for as long as it takes to look something up or to store it: no code of the user's
    /// runs meanwhile, nothing is awaited, and no jar locks another while it is locked itself.
    contents: Shared,
}

/// A text is not a cookie that a jar takes.
///
/// The message does not show the text.
#[derive(Clone, Debug)]
pub struct InvalidCookie(());

/// An answer brought cookies, and not one that the jar may hold.
#[derive(Debug)]
struct NothingStored;

/// What stays the same from one jar of a login to the next.
#[derive(Clone)]
struct Upstream {
    base: Base,
    csrf: Option<Csrf>,
    expiring: Option<Box<str>>,
}

type Shared = Arc<Mutex<Contents>>;

#[derive(Default)]
struct Contents {
    cookies: CookieStore,
    /// What refreshes of this login have set or deleted: an answer that they overtook must not
    /// touch it.
    renewed: HashSet<Key>,
    /// The contents of the jar that a refresh made of this one, as long as somebody holds it.
    next: Weak<Mutex<Contents>>,
    /// A request went to somebody else than the upstream. Whose answer the next one is can't be
    /// known.
    has_strayed: bool,
}

/// What browsers take at the most, of one cookie (RFC 6265 §6.1) and in all.
const LONGEST_COOKIE: usize = 4096;
const MOST_COOKIES: usize = 180;

// === impl Jar ===

impl Jar {
    /// An empty jar for the upstream at this URL, such as `https://app.example.com`.
    ///
    /// Every cookie that it takes counts as one from there. A path matters to cookies that name no
    /// `Path`: they get all of it up to the last slash (RFC 6265 §5.1.4), where a browser would go
    /// by the path of the request.
    ///
    /// # Errors
    ///
    /// If it is not an absolute `http` or `https` URL, or has user information, a query or a
    /// fragment.
    pub fn new(base: &str) -> Result<Self, InvalidUrl> {
        let upstream = Upstream { base: Base::parse(base)?, csrf: None, expiring: None };
        Ok(Self { upstream: upstream.into(), is_closed: Arc::default(), contents: Arc::default() })
    }

    /// Copies a cookie into a header of each request. Jars that a refresh makes of this one do so
    /// as well.
    #[must_use]
    pub fn with_csrf(self, csrf: Csrf) -> Self {
        self.configured(|upstream| upstream.csrf = Some(csrf))
    }

    /// Takes the expiry of the cookie of that name for the credential's own, so that it is renewed
    /// when it expires, or ahead of that
    /// ([`SessionBuilder::refresh_ahead`](crate::session::SessionBuilder::refresh_ahead)).
    ///
    /// It is read when the jar arrives in the session; when ordinary answers prolong the cookie
    /// later, the session does not hear of it. Without this the expiry is unknown, and a rejection
    /// is what starts a refresh.
    #[must_use]
    pub fn with_expiry_of(self, cookie: impl Into<Box<str>>) -> Self {
        self.configured(|upstream| upstream.expiring = Some(cookie.into()))
    }

    /// Takes a cookie, written as the upstream would write it in a `Set-Cookie` header.
    ///
    /// ```
    /// use tower_refresh::cookies::Jar;
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let jar = Jar::new("https://app.example.com")?.with_cookie("sid=31d4d96e; Path=/; Secure; HttpOnly")?;
    /// assert_eq!(jar.value("sid").as_deref(), Some("31d4d96e"));
    ///
    /// assert!(jar.with_cookie("sid=evil; Domain=example.org").is_err());
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    ///
    /// If the jar would not take it from the upstream: it is for another domain, has expired, or
    /// can't be read.
    pub fn with_cookie(self, set_cookie: &str) -> Result<Self, InvalidCookie> {
        let header =
            HeaderValue::from_bytes(set_cookie.as_bytes()).map_err(|_| InvalidCookie(()))?;
        let is_stored = self.lock().set(&header, &self.upstream.base);
        if is_stored { Ok(self) } else { Err(InvalidCookie(())) }
    }

    /// Takes the cookies of an answer of the upstream: that to the login, above all.
    ///
    /// Nothing happens when the login of this jar is over.
    pub fn store(&self, headers: &HeaderMap) {
        let mut contents = self.lock();
        if !self.is_closed() {
            contents.set_all(headers, &self.upstream.base);
        }
    }

    /// The value of the cookie of that name; of several, the one with the longest path.
    ///
    /// A secret: it belongs in no log.
    pub fn value(&self, cookie: &str) -> Option<String> {
        let contents = self.lock();
        let named = contents.cookies.iter_unexpired().filter(|held| held.name() == cookie);
        named.max_by_key(|held| held.path.len()).map(|held| held.value().to_owned())
    }

    /// Whether it holds no cookie that has not expired.
    pub fn is_empty(&self) -> bool {
        self.lock().cookies.iter_unexpired().next().is_none()
    }

    /// The origin of the upstream, for [`RefreshLayer::new`](crate::Origins).
    pub fn origin(&self) -> Origin {
        self.upstream.base.origin().clone()
    }

    /// Empties it for good, and with it all jars of its login: they take no cookie any more, and
    /// send none.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        // Whoever stored a cookie meanwhile held the lock; whoever comes later finds the jar
        // closed.
        self.lock().cookies.clear();
    }

    /// Puts the cookies on a request, and the header of this CSRF check in the place of the jar's
    /// own.
    pub(super) fn apply_with(&self, csrf: Option<&Csrf>, request: &mut request::Parts) {
        self.put_on(request, csrf.or(self.upstream.csrf.as_ref()));
    }

    fn put_on(&self, request: &mut request::Parts, csrf: Option<&Csrf>) {
        let Some(url) = self.upstream.base.resolve(&request.uri) else {
            return self.lock().has_strayed = true;
        };
        let cookies = self.cookies_for(&url, SystemTime::now());
        header::merge(&mut request.headers, &cookies);
        if let Some(csrf) = csrf {
            csrf.apply(&request.method, &cookies, &mut request.headers);
        }
    }

    pub(super) fn base(&self) -> &Base {
        &self.upstream.base
    }

    /// The jar that follows this one in the same login: its cookies as they are by now, and those
    /// of the answer. This one stays as it is, and hands on what late answers bring it: a new login
    /// must not begin with the result.
    ///
    /// For a refresher of your own, where [`RefreshEndpoint`](crate::cookies::RefreshEndpoint) does
    /// not fit.
    ///
    /// # Errors
    ///
    /// If the answer sets cookies, and none that the jar may hold: a transient failure.
    pub fn renewed(&self, answer: &HeaderMap) -> Result<Self, RefreshError> {
        let mut contents = self.lock();
        let next = Arc::new(Mutex::new(contents.renewed(answer, &self.upstream.base)?));
        // In one step with the copy: an answer from now on goes to both.
        contents.next = Arc::downgrade(&next);
        Ok(Self {
            upstream: self.upstream.clone(),
            is_closed: self.is_closed.clone(),
            contents: next,
        })
    }

    fn configured(self, change: impl FnOnce(&mut Upstream)) -> Self {
        let Self { mut upstream, is_closed, contents } = self;
        change(Arc::make_mut(&mut upstream));
        Self { upstream, is_closed, contents }
    }

    /// The cookies for a request to `url`, in the order in which they are sent.
    fn cookies_for(&self, url: &Url, now: SystemTime) -> Vec<(String, String)> {
        let mut contents = self.lock();
        if self.is_closed() {
            return Vec::new();
        }
        let cookies = contents.matching(url, now);
        if !self.upstream.base.trusts(url, !cookies.is_empty()) {
            contents.has_strayed = true;
        }
        cookies
    }

    fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }

    fn lock(&self) -> MutexGuard<'_, Contents> {
        lock(&self.contents)
    }
}

fn lock(contents: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    contents.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Credential for Jar {
    /// Adds the cookies to those of the caller's own `Cookie` header, and the CSRF header. Of two
    /// cookies of the same name the jar's is sent.
    fn apply(&self, request: &mut request::Parts) {
        self.put_on(request, self.upstream.csrf.as_ref());
    }

    /// The expiry of the cookie that [`with_expiry_of`](Jar::with_expiry_of) named.
    fn expires_at(&self) -> Option<SystemTime> {
        let name = self.upstream.expiring.as_deref()?;
        let contents = self.lock();
        let named = contents.cookies.iter_any().filter(|cookie| cookie.name() == name);
        named.filter_map(|cookie| expiry(cookie)).min()
    }

    /// Takes the cookies of the answer, unless a request has gone to somebody else than the
    /// upstream. The jar that a refresh has made of this one meanwhile takes those that no refresh
    /// has touched.
    fn observe(&self, response: &ResponseHead<'_>) {
        let headers = response.headers();
        if !headers.contains_key(SET_COOKIE) {
            return;
        }
        let mut next = self.lock().learn(headers, &self.upstream.base, &self.is_closed);
        // One lock at a time.
        while let Some(newer) = next {
            next = lock(&newer).learn_late(headers, &self.upstream.base, &self.is_closed);
        }
    }

    /// Whether they hold the same cookies with the same values until the same time.
    fn is_same(&self, other: &Self) -> bool {
        // One after the other: never two locks at a time.
        let mine = self.lock().summary();
        mine == other.lock().summary()
    }
}

impl fmt::Debug for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jar")
            .field("origin", self.upstream.base.origin())
            .field("cookies", &self.lock().cookies.iter_unexpired().count())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

/// A cookie that the upstream may set.
fn parse(header: &HeaderValue, base: &Base) -> Option<Cookie<'static>> {
    let cookie = RawCookie::parse(str::from_utf8(header.as_bytes()).ok()?).ok()?;
    let is_acceptable = cookie.name().len() + cookie.value().len() <= LONGEST_COOKIE
        && cookie.domain().is_none_or(|domain| base.allows_domain(domain));
    let cookie = Cookie::try_from_raw_cookie(&cookie, base.url()).ok()?;
    is_acceptable.then(|| cookie.into_owned())
}

fn expiry(cookie: &Cookie<'_>) -> Option<SystemTime> {
    match cookie.expires {
        CookieExpiration::AtUtc(at) => Some(at.into()),
        CookieExpiration::SessionEnd => None,
    }
}

// === impl Contents ===

impl Contents {
    /// What the jar is to hold that a refresh with this answer makes of this one.
    fn renewed(&self, answer: &HeaderMap, base: &Base) -> Result<Self, RefreshError> {
        let mut next = Self { cookies: self.cookies.clone(), ..Self::default() };
        let stored = next.set_all(answer, base);
        if stored == 0 && answer.contains_key(SET_COOKIE) {
            return Err(RefreshError::transient(NothingStored));
        }
        // What is neither held nor new is forgotten, so that it can't become ever more.
        let held = self
            .renewed
            .iter()
            .filter(|(domain, path, name)| next.cookies.contains_any(domain, path, name));
        let touched =
            answer.get_all(SET_COOKIE).iter().filter_map(|header| key(&parse(header, base)?));
        next.renewed = held.cloned().chain(touched).collect();
        Ok(next)
    }

    /// Takes the cookies of an answer to a request that carried these. Returns who is to hear of it
    /// as well.
    fn learn(
        &mut self,
        headers: &HeaderMap,
        base: &Base,
        is_closed: &AtomicBool,
    ) -> Option<Shared> {
        if self.has_strayed || is_closed.load(Ordering::SeqCst) {
            return None;
        }
        self.set_all(headers, base);
        self.next.upgrade()
    }

    /// Takes of an answer that a refresh has overtaken what the refresh has not touched. It deletes
    /// nothing: a late rejection may clear all cookies, and not mean those that were renewed.
    fn learn_late(
        &mut self,
        headers: &HeaderMap,
        base: &Base,
        is_closed: &AtomicBool,
    ) -> Option<Shared> {
        if is_closed.load(Ordering::SeqCst) {
            return None;
        }
        for header in headers.get_all(SET_COOKIE) {
            let cookie = parse(header, base).filter(|cookie| !cookie.is_expired());
            if cookie.as_ref().and_then(key).is_some_and(|key| !self.renewed.contains(&key)) {
                self.set(header, base);
            }
        }
        self.forget_expired();
        self.next.upgrade()
    }

    /// How many cookies of the answer are held now. One that was deleted does not count.
    ///
    /// Not `CookieStore::store_response_cookies`, which logs their values.
    fn set_all(&mut self, headers: &HeaderMap, base: &Base) -> usize {
        let stored =
            headers.get_all(SET_COOKIE).iter().filter(|header| self.set(header, base)).count();
        self.forget_expired();
        stored
    }

    fn set(&mut self, header: &HeaderValue, base: &Base) -> bool {
        let Some(cookie) = parse(header, base) else { return false };
        if self.is_full() && !self.holds(&cookie) {
            return false;
        }
        let action = self.cookies.insert(cookie, base.url());
        matches!(action, Ok(StoreAction::Inserted | StoreAction::UpdatedExisting))
    }

    fn is_full(&self) -> bool {
        self.cookies.iter_any().count() >= MOST_COOKIES
    }

    fn holds(&self, cookie: &Cookie<'_>) -> bool {
        let domain = cookie.domain.as_cow();
        domain.is_some_and(|domain| self.cookies.contains_any(&domain, &cookie.path, cookie.name()))
    }

    /// The store only marks them, and an upstream that invents names would have it grow for ever.
    fn forget_expired(&mut self) {
        let expired = self.cookies.iter_any().filter(|cookie| cookie.is_expired());
        let keys: Vec<_> = expired.filter_map(key).collect();
        for (domain, path, name) in keys {
            self.cookies.remove(&domain, &path, &name);
        }
    }

    /// Longer paths first (RFC 6265 §5.4).
    fn matching(&self, url: &Url, now: SystemTime) -> Vec<(String, String)> {
        let now = now.into();
        let mut matching = self.cookies.matches(url);
        matching.retain(|cookie| !cookie.expires_by(&now));
        matching
            .sort_by(|a, b| b.path.len().cmp(&a.path.len()).then_with(|| a.name().cmp(b.name())));
        matching
            .iter()
            .map(|cookie| (cookie.name().to_owned(), cookie.value().to_owned()))
            .collect()
    }

    fn summary(&self) -> Vec<(Key, String, Option<SystemTime>)> {
        let held = self.cookies.iter_unexpired();
        let mut summary: Vec<_> = held
            .filter_map(|cookie| Some((key(cookie)?, cookie.value().to_owned(), expiry(cookie))))
            .collect();
        summary.sort();
        summary
    }
}

/// Domain, path and name.
type Key = (String, String, String);

fn key(cookie: &Cookie<'_>) -> Option<Key> {
    let domain = cookie.domain.as_cow()?.into_owned();
    Some((domain, (*cookie.path).to_owned(), cookie.name().to_owned()))
}

// === impl InvalidCookie ===

impl fmt::Display for InvalidCookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the text is not a cookie that the upstream could set")
    }
}

impl error::Error for InvalidCookie {}

// === impl NothingStored ===

impl fmt::Display for NothingStored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the refresh endpoint set no cookie that the jar may hold")
    }
}

impl error::Error for NothingStored {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{Request, StatusCode, header::COOKIE};
    use proptest::prelude::*;

    use super::*;

    const _: fn() = || {
        fn is_credential<T: Credential + fmt::Debug>() {}
        is_credential::<Jar>();
    };

    fn jar(base: &str, cookies: &[&str]) -> Jar {
        let jar = Jar::new(base).unwrap();
        jar.store(&answer(cookies));
        jar
    }

    fn answer(cookies: &[&str]) -> HeaderMap {
        cookies
            .iter()
            .map(|cookie| (SET_COOKIE, HeaderValue::from_bytes(cookie.as_bytes()).unwrap()))
            .collect()
    }

    fn observe(jar: &Jar, cookies: &[&str]) {
        jar.observe(&ResponseHead::new(StatusCode::OK, &answer(cookies)));
    }

    /// The `Cookie` header of a request to `uri`.
    fn sent(jar: &Jar, uri: &str) -> String {
        let (mut head, ()) = Request::get(uri).body(()).unwrap().into_parts();
        jar.apply(&mut head);
        head.headers
            .get(COOKIE)
            .map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_cookie_without_a_domain_goes_to_its_host_alone() {
        let jar = jar("https://app.example.com", &["sid=1; Path=/"]);
        assert_eq!(sent(&jar, "https://app.example.com/x"), "sid=1");
        assert_eq!(sent(&jar, "https://APP.example.com:8443/x"), "sid=1");
        assert_eq!(sent(&jar, "/x"), "sid=1");
        for elsewhere in [
            "https://example.com/",
            "https://a.app.example.com/",
            "https://app.example.com.evil.org/",
        ] {
            assert_eq!(sent(&jar, elsewhere), "", "{elsewhere}");
        }
    }

    #[test]
    fn a_cookie_with_a_domain_goes_to_the_hosts_below_it() {
        let jar = jar("https://app.example.com", &["sid=1; Path=/; Domain=.Example.com"]);
        for below in ["https://example.com/", "https://api.example.com/", "wss://app.example.com/"]
        {
            assert_eq!(sent(&jar, below), "sid=1", "{below}");
        }
        assert_eq!(sent(&jar, "https://badexample.com/"), "");
    }

    #[test]
    fn a_cookie_for_a_domain_that_is_not_the_upstreams_is_not_taken() {
        let foreign = [
            "sid=1; Domain=evil.org",
            "sid=1; Domain=other.example.com",
            "sid=1; Domain=com",
            "sid=1; Domain=.com",
            "sid=1; Domain=xn--",
        ];
        let jar = jar("https://app.example.com", &foreign);
        assert!(jar.is_empty());
        for cookie in foreign {
            assert!(
                Jar::new("https://app.example.com").unwrap().with_cookie(cookie).is_err(),
                "{cookie}"
            );
        }
        assert!(!self::jar("http://localhost:8080", &["sid=1; Domain=localhost"]).is_empty());
        assert!(!self::jar("http://127.0.0.1", &["sid=1; Domain=127.0.0.1"]).is_empty());
        assert!(self::jar("http://127.0.0.1", &["sid=1; Domain=0.0.1"]).is_empty());
    }

    #[test]
    fn a_path_is_respected_and_the_longest_comes_first() {
        let cookies = ["sid=root; Path=/", "sid=auth; Path=/auth", "b=1; Path=/auth", "theme=dark"];
        let jar = jar("https://a.example/app/index", &cookies);
        assert_eq!(sent(&jar, "/auth/refresh"), "b=1; sid=auth; sid=root");
        assert_eq!(sent(&jar, "/authors"), "sid=root");
        assert_eq!(sent(&jar, "/app/x"), "theme=dark; sid=root");
        assert_eq!(jar.value("sid").as_deref(), Some("auth"));
    }

    #[test]
    fn a_secure_cookie_travels_encrypted_or_stays_on_this_machine() {
        let jar = jar("https://a.example", &["sid=1; Secure; Path=/", "b=2; Path=/"]);
        assert_eq!(sent(&jar, "http://a.example/"), "b=2");
        assert_eq!(sent(&jar, "ws://a.example/"), "b=2");
        assert_eq!(sent(&jar, "https://a.example/"), "b=2; sid=1");
        assert_eq!(sent(&self::jar("http://localhost", &["sid=1; Secure"]), "/"), "sid=1");
    }

    #[test]
    fn an_expired_cookie_is_not_sent() {
        let jar = jar("https://a.example", &["a=1; Max-Age=60; Path=/", "b=1; Path=/"]);
        let url = Url::parse("https://a.example/").unwrap();
        let at = |seconds| {
            let cookies = jar.cookies_for(&url, SystemTime::now() + Duration::from_secs(seconds));
            cookies.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
        };
        assert_eq!(at(0), ["a", "b"]);
        assert_eq!(at(61), ["b"]);
    }

    #[test]
    fn an_answer_can_delete_a_cookie_and_none_is_remembered_for_it() {
        let jar = jar("https://a.example", &["a=1; Path=/", "b=1; Path=/"]);
        observe(&jar, &["a=; Path=/; Max-Age=0", "c=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
        assert_eq!(sent(&jar, "/"), "b=1");
        assert_eq!(jar.lock().cookies.iter_any().count(), 1);
    }

    #[test]
    fn what_can_not_be_read_is_left_out() {
        let headers = [
            &b"sid=\xff"[..],
            b"",
            b";",
            b"=",
            b"=1",
            b"nothing",
            b"sid=1; Max-Age=x; Expires=tomorrow",
        ];
        let headers: HeaderMap = headers
            .iter()
            .map(|bytes| (SET_COOKIE, HeaderValue::from_bytes(bytes).unwrap()))
            .collect();
        let jar = Jar::new("https://a.example").unwrap();
        jar.store(&headers);
        assert_eq!(sent(&jar, "/"), "sid=1");
    }

    #[test]
    fn a_jar_has_bounds_as_in_a_browser_and_still_rolls_when_it_is_full() {
        let jar = jar("https://a.example", &["sid=1; Path=/"]);
        observe(&jar, &[&format!("long={}", "x".repeat(LONGEST_COOKIE))]);
        assert_eq!(jar.value("long"), None);
        for n in 0..2 * MOST_COOKIES {
            observe(&jar, &[&format!("c{n}=1")]);
        }
        assert_eq!(jar.lock().cookies.iter_any().count(), MOST_COOKIES);
        observe(&jar, &["sid=2; Path=/"]);
        assert_eq!(jar.value("sid").as_deref(), Some("2"));
    }

    #[test]
    fn quotes_and_percent_signs_come_back_as_they_were_set() {
        let jar = jar("https://a.example", &["a=\"x y\"; Path=/", "b=%20é; Path=/"]);
        let (mut head, ()) = Request::get("/").body(()).unwrap().into_parts();
        jar.apply(&mut head);
        assert_eq!(head.headers[COOKIE].as_bytes(), "a=\"x y\"; b=%20é".as_bytes());
    }

    #[test]
    fn the_answers_of_others_are_not_taken_for_the_upstreams() {
        for elsewhere in ["https://evil.org/", "http://a.example/", "https://b.a.example/"] {
            let jar = jar("https://a.example", &["sid=1; Path=/"]);
            assert_eq!(sent(&jar, "https://a.example/"), "sid=1");
            observe(&jar, &["sid=2; Path=/"]);
            assert_eq!(sent(&jar, "https://a.example/"), "sid=2");
            sent(&jar, elsewhere);
            observe(&jar, &["sid=fixed; Path=/"]);
            assert_eq!(sent(&jar, "https://a.example/"), "sid=2", "{elsewhere}");
            let renewed = jar.renewed(&answer(&["sid=3; Path=/"])).unwrap();
            observe(&renewed, &["sid=4; Path=/"]);
            assert_eq!(sent(&renewed, "/"), "sid=4");
        }
    }

    #[test]
    fn a_renewed_jar_has_what_rolled_meanwhile_and_is_one_of_its_own() {
        let csrf = Csrf::new("csrf", http::HeaderName::from_static("x-csrf"));
        let old = jar("https://a.example", &["sid=1; Path=/", "csrf=1; Path=/"]).with_csrf(csrf);
        observe(&old, &["csrf=2; Path=/"]);
        let new = old.renewed(&answer(&["sid=2; Path=/"])).unwrap();
        assert_eq!(sent(&new, "/"), "csrf=2; sid=2");
        assert_eq!(sent(&old, "/"), "csrf=2; sid=1");
        let (mut head, ()) = Request::post("/").body(()).unwrap().into_parts();
        new.with_expiry_of("sid").apply(&mut head);
        assert_eq!(head.headers["x-csrf"], "2");
    }

    #[test]
    fn a_late_answer_rolls_what_no_refresh_has_touched_and_deletes_nothing() {
        let first =
            jar("https://a.example", &["sid=1; Path=/", "csrf=1; Path=/", "theme=dark; Path=/"]);
        let second = first.renewed(&answer(&["sid=2; Path=/"])).unwrap();
        let third =
            second.renewed(&answer(&["sid=3; Path=/", "theme=; Path=/; Max-Age=0"])).unwrap();
        observe(&first, &["csrf=late; Path=/", "sid=late; Path=/", "theme=late; Path=/"]);
        assert_eq!(sent(&second, "/"), "csrf=late; sid=2; theme=late");
        assert_eq!(sent(&third, "/"), "csrf=late; sid=3");
        observe(&second, &["csrf=; Path=/; Max-Age=0", "sid=; Path=/; Max-Age=0"]);
        assert_eq!(sent(&third, "/"), "csrf=late; sid=3");

        sent(&first, "https://evil.org/");
        observe(&first, &["csrf=fixed; Path=/"]);
        assert_eq!(sent(&third, "/"), "csrf=late; sid=3");
        third.close();
        observe(&second, &["csrf=late; Path=/"]);
        assert!(third.is_empty());
    }

    #[test]
    fn jars_of_a_login_may_be_used_from_everywhere_at_once() {
        let jar = Arc::new(jar("https://a.example", &["sid=0; Path=/"]));
        let stop = AtomicBool::new(false);
        let mut last: Option<Jar> = None;
        std::thread::scope(|scope| {
            for n in 0..3 {
                let (jar, stop) = (&jar, &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        observe(jar, &[&format!("c{n}=1; Path=/")]);
                        assert!(sent(jar, "/").contains("sid=0"));
                    }
                });
            }
            for n in 0..300 {
                let next = jar.renewed(&answer(&[&format!("sid={n}; Path=/")])).unwrap();
                assert!(!next.is_same(&jar) || n == 0);
                assert_eq!(next.value("sid"), Some(n.to_string()));
                last = Some(next);
            }
            stop.store(true, Ordering::Relaxed);
        });
        last.unwrap().close();
        observe(&jar, &["sid=1; Path=/"]);
        assert_eq!(sent(&jar, "/"), "");
    }

    #[test]
    fn an_answer_that_sets_nothing_usable_renews_nothing() {
        let old = jar("https://a.example", &["sid=1; Path=/"]);
        let error = old.renewed(&answer(&["sid=s3cr3t; Domain=evil.org"])).unwrap_err();
        assert!(!error.is_terminal());
        assert!(!format!("{error:?}").contains("s3cr3t"));
        assert!(old.renewed(&answer(&["sid=; Path=/; Max-Age=0"])).is_err());
        assert!(
            old.renewed(&HeaderMap::new()).unwrap().is_same(&old),
            "which the session will find out"
        );
    }

    #[test]
    fn jars_are_the_same_that_hold_the_same_for_as_long() {
        let base = "https://a.example";
        assert!(jar(base, &["a=1", "b=2"]).is_same(&jar(base, &["b=2", "a=1"])));
        assert!(!jar(base, &["a=1"]).is_same(&jar(base, &["a=2"])));
        assert!(!jar(base, &["a=1; Max-Age=60"]).is_same(&jar(base, &["a=1; Max-Age=3600"])));
        assert!(!jar(base, &["a=1"]).is_same(&jar(base, &[])));
    }

    #[test]
    fn the_expiry_is_that_of_the_cookie_that_was_named() {
        let cookies = ["a=1; Expires=Wed, 18 May 2033 03:33:20 GMT", "b=1; Max-Age=5", "c=1"];
        let jar = jar("https://a.example", &cookies);
        assert_eq!(jar.expires_at(), None);
        let jar = jar.with_expiry_of("a");
        assert_eq!(
            jar.expires_at(),
            Some(SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000))
        );
        assert_eq!(jar.with_expiry_of("c").expires_at(), None);
        let endless = self::jar("https://a.example", &["a=1; Max-Age=99999999999999999999"])
            .with_expiry_of("a");
        assert!(endless.expires_at() > Some(SystemTime::now()));
    }

    #[test]
    fn a_closed_jar_takes_nothing_and_sends_nothing_nor_do_those_of_its_login() {
        let old = jar("https://a.example", &["sid=1; Path=/"]);
        let new = old.renewed(&answer(&["sid=2; Path=/"])).unwrap();
        new.close();
        for jar in [&old, &new] {
            observe(jar, &["sid=3; Path=/"]);
            jar.store(&answer(&["sid=3; Path=/"]));
            assert_eq!(sent(jar, "/"), "");
        }
        assert!(new.is_empty());
        let next = jar("https://a.example", &["sid=4; Path=/"]);
        assert_eq!(sent(&next, "/"), "sid=4");
    }

    #[test]
    fn only_an_authorization_header_makes_a_request_the_callers_own() {
        let is_present = |name: &str| {
            let (head, ()) = Request::get("/").header(name, "sid=1").body(()).unwrap().into_parts();
            Jar::is_present(&head)
        };
        assert!(is_present("authorization"));
        assert!(!is_present("cookie"));
    }

    #[test]
    fn neither_names_nor_values_are_shown() {
        let jar = jar("https://a.example", &["n4me=s3cr3t"]);
        assert_eq!(
            format!("{jar:?}"),
            "Jar { origin: Origin(https://a.example), cookies: 1, is_closed: false, .. }"
        );
        let error = jar.with_cookie("n4me=s3cr3t\n").unwrap_err();
        assert!(!format!("{error:?} {error}").contains("s3cr3t"));
    }

    /// Whether a host is that domain, or below it.
    fn is_below(host: &str, domain: &str) -> bool {
        host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
    }

    proptest! {
        #[test]
        fn a_cookie_goes_to_its_host_or_below_its_domain_and_nowhere_else(
            base in r"([ab]\.){0,2}(a|b)\.example",
            domain in proptest::option::of(r"\.?([ab]\.){0,2}((a|b)\.)?(example|org)"),
            target in r"([ab]\.){0,3}(a|b)\.(example|org)",
        ) {
            let jar = Jar::new(&format!("https://{base}")).unwrap();
            let attribute = domain.as_ref().map(|domain| format!("; Domain={domain}")).unwrap_or_default();
            jar.store(&answer(&[&format!("sid=1; Path=/{attribute}")]));
            let goes = match domain.as_deref().map(|domain| domain.trim_start_matches('.')) {
                None => target == base,
                Some(domain) => domain.contains('.') && is_below(&base, domain) && is_below(&target, domain),
            };
            prop_assert_eq!(!sent(&jar, &format!("https://{target}/")).is_empty(), goes);
        }

        #[test]
        fn whatever_an_answer_sets_a_request_can_carry(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                "[a-c]{0,2}=[ -~]{0,8}(; ?(Path|Domain|Max-Age|Expires|Secure|é)=[ -~éß]{0,12}){0,3}"
                    .prop_map(String::into_bytes),
                "a=1(; ?(Path=[/a%?#é.]{0,5}|Domain=[.a-z0-9-]{0,12}|Max-Age=-?[0-9]{0,25})){0,3}"
                    .prop_map(String::into_bytes),
                "a=1; Expires=[A-Z][a-z]{2}, [0-9]{1,2}[ -][A-Z][a-z]{2}[ -][0-9]{2,6} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"
                    .prop_map(String::into_bytes),
            ],
            path in "/[a%20./]{0,6}",
        ) {
            let Ok(header) = HeaderValue::from_bytes(&bytes) else { return Ok(()) };
            let jar = jar("https://app.example.com/a/b", &["sid=1; Path=/"]).with_expiry_of("a");
            let answer = HeaderMap::from_iter([(SET_COOKIE, header)]);
            jar.observe(&ResponseHead::new(StatusCode::OK, &answer));
            if let Ok(next) = jar.renewed(&answer) {
                next.expires_at();
                jar.observe(&ResponseHead::new(StatusCode::OK, &answer));
            }
            let Ok(request) = Request::get(path).body(()) else { return Ok(()) };
            let (mut head, ()) = request.into_parts();
            jar.apply(&mut head);
            prop_assert!(head.headers[COOKIE].as_bytes().windows(4).any(|part| part == b"sid="));
        }
    }
}
