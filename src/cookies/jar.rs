use std::{
    collections::HashSet,
    error, fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use http::{
    HeaderMap, HeaderValue,
    header::{DATE, SET_COOKIE},
    request,
};
use url::Url;

use crate::{
    cookies::{
        base::Base,
        csrf::Csrf,
        header,
        set_cookie::{Arrival, SetCookie},
        store::{Cookie, CookieKey, CookieStore, Pair},
    },
    credential::{contract::Credential, origin::Origin},
    error::RefreshError,
    exchange::{InvalidUrl, date::parse_date},
    head::ResponseHead,
    middleware::extension::TargetUri,
};

/// A cookie jar as a credential: the cookies of one login at one upstream.
///
/// See the [module docs](crate::cookies) for the cookies that a jar sends and takes.
///
/// There is no `Clone`, because each login needs its own jar. `Debug` shows no cookie, neither its
/// name nor its value.
pub struct Jar {
    upstream: Arc<Upstream>,
    /// Shared by all jars of a login, so that none of them outlives its logout.
    is_closed: Arc<AtomicBool>,
    /// Held for one lookup or one change. No user code runs meanwhile, nothing is awaited, and no
    /// second jar is locked.
    contents: Arc<Mutex<Contents>>,
}

/// A text is not a cookie that a jar takes.
///
/// The message does not show the text.
#[derive(Clone, Debug)]
pub struct InvalidCookie(());

/// A success of the refresh endpoint has left the jar without a new cookie.
#[derive(Debug)]
enum NothingStored {
    /// The answer sets cookies, and none that the jar may hold.
    Refused,
    /// The answer only deletes cookies.
    Deleted,
    /// The answer sets no cookie, and the jar holds none.
    Empty,
}

/// The settings of all jars of a login.
#[derive(Clone)]
struct Upstream {
    base: Base,
    csrf: Option<Csrf>,
    expiring: Option<Box<str>>,
    clock: JarClock,
}

#[derive(Clone)]
struct JarClock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

/// The cookies of one jar, and its link to the jar that follows it.
#[derive(Default)]
struct Contents {
    cookies: CookieStore,
    /// The cookies that refreshes of this login have set or deleted. An answer that they overtook
    /// must not change them.
    renewed: HashSet<CookieKey>,
    /// The contents of the jar that a refresh made of this one, while that jar is in use.
    next: Weak<Mutex<Contents>>,
}

// === impl Jar ===

impl Jar {
    /// An empty jar for the upstream at this URL, such as `https://app.example.com`.
    ///
    /// All cookies of the jar count as set by this URL. Its path is used for cookies without a
    /// `Path`: they get it up to the last slash (RFC 6265 §5.1.4), where a browser would use the
    /// path of the request.
    ///
    /// # Errors
    ///
    /// If the text is not an absolute `http` or `https` URL, or has user information, a query or a
    /// fragment.
    pub fn new(base: &str) -> Result<Self, InvalidUrl> {
        let clock = JarClock(Arc::new(SystemTime::now));
        let upstream = Upstream { base: Base::parse(base)?, csrf: None, expiring: None, clock };
        Ok(Self { upstream: upstream.into(), is_closed: Arc::default(), contents: Arc::default() })
    }

    /// Copies a cookie into a header of each request. Jars that a refresh makes of this one do so,
    /// too.
    #[must_use]
    pub fn with_csrf(self, csrf: Csrf) -> Self {
        self.configured(|upstream| upstream.csrf = Some(csrf))
    }

    /// Takes the expiry of the cookie of this name for the expiry of the credential, so that the
    /// session renews the jar when the cookie expires, or
    /// [ahead of it](crate::session::SessionBuilder::refresh_ahead).
    ///
    /// The session reads the expiry when the jar arrives, and does not see when an ordinary answer
    /// prolongs the cookie later. Default: the expiry is unknown, and a rejection starts a refresh.
    #[must_use]
    pub fn with_expiry_of(self, cookie: impl Into<Box<str>>) -> Self {
        self.configured(|upstream| upstream.expiring = Some(cookie.into()))
    }

    /// Replaces the clock by which cookies expire. Default: the system's clock.
    ///
    /// A jar tells its session how long the cookie of [`with_expiry_of`](Self::with_expiry_of)
    /// lasts, so the session may have another clock.
    #[must_use]
    pub fn with_clock<F>(self, clock: F) -> Self
    where
        F: Fn() -> SystemTime + Send + Sync + 'static,
    {
        self.configured(|upstream| upstream.clock = JarClock(Arc::new(clock)))
    }

    /// Takes a cookie, written like the value of a `Set-Cookie` header.
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
    /// If the jar would not take the cookie from the upstream: it is for another domain, has
    /// expired, or can't be read.
    pub fn with_cookie(self, set_cookie: &str) -> Result<Self, InvalidCookie> {
        let headers = HeaderValue::from_bytes(set_cookie.as_bytes());
        let headers = headers.map(|value| HeaderMap::from_iter([(SET_COOKIE, value)]));
        let headers = headers.map_err(|_| InvalidCookie(()))?;
        let arrival = self.upstream.arrival(&headers);
        let stored = self.lock().set_all(&headers, &self.upstream, arrival);
        if stored == 1 { Ok(self) } else { Err(InvalidCookie(())) }
    }

    /// Takes the cookies of an answer of the upstream, such as the answer to the login.
    ///
    /// A closed jar takes none.
    pub fn store(&self, headers: &HeaderMap) {
        let mut contents = self.lock();
        if !self.is_closed() {
            let arrival = self.upstream.arrival(headers);
            contents.set_all(headers, &self.upstream, arrival);
        }
    }

    /// The value of the cookie of this name. Of several, the value that is sent first: the one with
    /// the longest path, then the oldest.
    ///
    /// A secret: it belongs in no log.
    pub fn value(&self, cookie: &str) -> Option<String> {
        let value = self.lock().cookies.value(cookie, self.upstream.clock.now());
        value.map(|value| value.expose().to_owned())
    }

    /// Whether the jar holds no cookie, apart from expired ones.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The origin of the upstream, for [`RefreshLayer::new`](crate::RefreshLayer::new).
    pub fn origin(&self) -> Origin {
        self.upstream.base.origin().clone()
    }

    /// Empties all jars of the login for good: they take no cookie any more, and send none.
    pub fn close(&self) {
        // A cookie that is stored at the same time is cleared below, or finds the jar closed: it is
        // stored under the lock, after the flag was read.
        self.is_closed.store(true, Ordering::SeqCst);
        self.lock().cookies.clear();
    }

    /// Puts the cookies on a request, with this CSRF check in place of the jar's own.
    pub(super) fn apply_with(&self, csrf: Option<&Csrf>, request: &mut request::Parts) {
        self.put_on(request, csrf.or(self.upstream.csrf.as_ref()));
    }

    fn put_on(&self, request: &mut request::Parts, csrf: Option<&Csrf>) {
        let Some(url) = self.upstream.base.resolve(&request.uri) else { return };
        let cookies = self.cookies_for(&url);
        header::merge(&mut request.headers, &cookies);
        if let Some(csrf) = csrf {
            csrf.apply(&request.method, &cookies, &mut request.headers);
        }
    }

    pub(super) fn base(&self) -> &Base {
        &self.upstream.base
    }

    /// The jar that follows this one in the same login: its cookies as they are now, and those of
    /// the answer. This jar keeps its cookies, and passes those of late answers on. Do not begin a
    /// new login with the result.
    ///
    /// A refresher of your own calls it where
    /// [`RefreshEndpoint`](crate::cookies::RefreshEndpoint) does not fit.
    ///
    /// # Errors
    ///
    /// Ambiguous if the new jar would have no new cookie: the answer sets none that the jar may
    /// hold, only deletes cookies, or sets none for an empty jar.
    pub fn renewed(&self, answer: &HeaderMap) -> Result<Self, RefreshError> {
        self.renewed_at(answer, self.upstream.clock.now())
    }

    /// `session_now` is the arrival of the answer by the session's clock.
    pub(super) fn renewed_at(
        &self,
        answer: &HeaderMap,
        session_now: SystemTime,
    ) -> Result<Self, RefreshError> {
        let mut contents = self.lock();
        let arrival = self.upstream.arrival(answer).or_date(session_now);
        let next = contents.renewed(answer, &self.upstream, arrival);
        let next = next.map_err(RefreshError::ambiguous)?;
        let next = Arc::new(Mutex::new(next));
        // Under the same lock as the copy, so that each later answer goes to both jars.
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
    fn cookies_for(&self, url: &Url) -> Vec<Pair> {
        let contents = self.lock();
        if self.is_closed() {
            return Vec::new();
        }
        contents.cookies.matching(url, self.upstream.clock.now())
    }

    /// Whether the answer to a request to `uri` may change the jar.
    fn trusts(&self, response: &ResponseHead<'_>) -> bool {
        let target = response.extensions().get::<TargetUri>();
        let uri = target.map_or_else(|| response.request().uri(), |target| target.0.clone());
        let Some(url) = self.upstream.base.resolve(&uri) else { return false };
        self.upstream.base.trusts(&url, !self.cookies_for(&url).is_empty())
    }

    fn len(&self) -> usize {
        self.lock().cookies.len(self.upstream.clock.now())
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
    ///
    /// The jar's clock says how much of the lifetime is left, and the session's clock when that
    /// begins.
    fn expires_at(&self, received_at: SystemTime) -> Option<SystemTime> {
        let name = self.upstream.expiring.as_deref()?;
        let expires_at = self.lock().cookies.expires_at(name)?;
        match expires_at.duration_since(self.upstream.clock.now()) {
            Ok(left) => received_at.checked_add(left),
            Err(_) => Some(received_at),
        }
    }

    /// Takes the cookies of an answer of the upstream. A jar that a refresh has made of this one
    /// meanwhile takes the cookies that no refresh has changed.
    fn observe(&self, response: &ResponseHead<'_>) {
        let headers = response.headers();
        if !headers.contains_key(SET_COOKIE) || !self.trusts(response) {
            return;
        }
        let mut next = self.lock().learn(headers, &self.upstream, &self.is_closed);
        // One lock at a time.
        while let Some(newer) = next {
            next = lock(&newer).learn_late(headers, &self.upstream, &self.is_closed);
        }
    }

    /// Whether both jars hold the same cookies with the same values until the same time.
    fn is_same(&self, other: &Self) -> bool {
        // A copy, so that there is never more than one lock at a time.
        let mine = self.lock().cookies.clone();
        mine.is_same(&other.lock().cookies, self.upstream.clock.now())
    }
}

impl fmt::Debug for Jar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jar")
            .field("origin", self.upstream.base.origin())
            .field("cookies", &self.len())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}

// === impl Upstream ===

impl Upstream {
    fn arrival(&self, headers: &HeaderMap) -> Arrival {
        let date = headers.get(DATE).and_then(|date| parse_date(date.as_bytes()));
        Arrival { now: self.clock.now(), date }
    }

    /// The cookies of an answer that the upstream may set.
    fn cookies<'a>(
        &'a self,
        headers: &'a HeaderMap,
        arrival: Arrival,
    ) -> impl Iterator<Item = Cookie> + 'a {
        let set = headers.get_all(SET_COOKIE).iter().filter_map(SetCookie::parse);
        set.filter_map(move |set| Cookie::new(set, &self.base, arrival))
    }
}

// === impl JarClock ===

impl JarClock {
    fn now(&self) -> SystemTime {
        (self.0)()
    }
}

// === impl Contents ===

impl Contents {
    /// The contents of the jar that a refresh with this answer makes of this one.
    fn renewed(
        &self,
        answer: &HeaderMap,
        upstream: &Upstream,
        arrival: Arrival,
    ) -> Result<Self, NothingStored> {
        let mut next = Self { cookies: self.cookies.clone(), ..Self::default() };
        let touched: HashSet<_> =
            upstream.cookies(answer, arrival).map(|cookie| cookie.key().clone()).collect();
        let stored = next.set_all(answer, upstream, arrival);
        if stored == 0 && answer.contains_key(SET_COOKIE) {
            let deletes = !touched.is_empty();
            return Err(if deletes { NothingStored::Deleted } else { NothingStored::Refused });
        }
        if next.cookies.len(arrival.now) == 0 {
            return Err(NothingStored::Empty);
        }
        // A key that is neither held nor new is dropped, so that the set stays bounded.
        let held = self.renewed.iter().filter(|key| next.cookies.contains(key));
        next.renewed = held.cloned().chain(touched).collect();
        Ok(next)
    }

    /// Takes the cookies of an answer to a request that carried these. Returns the jar that has to
    /// see the answer next.
    fn learn(
        &mut self,
        headers: &HeaderMap,
        upstream: &Upstream,
        is_closed: &AtomicBool,
    ) -> Option<Arc<Mutex<Contents>>> {
        if is_closed.load(Ordering::SeqCst) {
            return None;
        }
        self.set_all(headers, upstream, upstream.arrival(headers));
        self.next.upgrade()
    }

    /// Takes the cookies of an answer that a refresh has overtaken, except those that the refresh
    /// has changed. It deletes none: a late rejection may clear all cookies, and does not mean
    /// those that were renewed.
    fn learn_late(
        &mut self,
        headers: &HeaderMap,
        upstream: &Upstream,
        is_closed: &AtomicBool,
    ) -> Option<Arc<Mutex<Contents>>> {
        if is_closed.load(Ordering::SeqCst) {
            return None;
        }
        let arrival = upstream.arrival(headers);
        for cookie in upstream.cookies(headers, arrival) {
            if !cookie.is_expired(arrival.now) && !self.renewed.contains(cookie.key()) {
                self.cookies.set(cookie, arrival.now);
            }
        }
        self.cookies.forget_expired(arrival.now);
        self.next.upgrade()
    }

    /// Takes the cookies of an answer. Returns how many of them are held then.
    fn set_all(&mut self, headers: &HeaderMap, upstream: &Upstream, arrival: Arrival) -> usize {
        // First, so that expired cookies take no room.
        self.cookies.forget_expired(arrival.now);
        let cookies = upstream.cookies(headers, arrival);
        cookies.filter(|cookie| self.cookies.set(cookie.clone(), arrival.now)).count()
    }
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
        f.write_str(match self {
            Self::Refused => "the refresh endpoint set no cookie that the jar may hold",
            Self::Deleted => "the refresh endpoint only deleted cookies",
            Self::Empty => "the refresh endpoint set no cookie, and the jar holds none",
        })
    }
}

impl error::Error for NothingStored {}

#[cfg(test)]
mod tests {
    use std::{sync::atomic::AtomicU64, time::Duration};

    use http::{Request, StatusCode, header::COOKIE};
    use proptest::prelude::*;

    use super::*;
    use crate::{
        cookies::store::{LONGEST_COOKIE, MOST_COOKIES},
        head::RequestHead,
    };

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

    /// A jar with a clock that stands in the middle of 2011.
    fn clocked() -> (Jar, Arc<AtomicU64>) {
        let clock = Arc::new(AtomicU64::new(1_309_478_400));
        let seconds = clock.clone();
        let now =
            move || SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.load(Ordering::SeqCst));
        (Jar::new("https://a.example").unwrap().with_clock(now), clock)
    }

    /// The answer to a request to `uri`.
    fn observe_from(jar: &Jar, uri: &str, cookies: &[&str]) {
        let (request, ()) = Request::get(uri).body(()).unwrap().into_parts();
        let headers = answer(cookies);
        let response = ResponseHead::new(StatusCode::OK, &headers);
        jar.observe(&response.with_request(RequestHead::new(&request)));
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
    fn a_cookie_without_a_domain_goes_to_its_host_only() {
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
    fn a_cookie_for_another_domain_is_refused() {
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
        assert_eq!(sent(&jar, "/auth/refresh"), "sid=auth; b=1; sid=root");
        assert_eq!(sent(&jar, "/authors"), "sid=root");
        assert_eq!(sent(&jar, "/app/x"), "theme=dark; sid=root");
        assert_eq!(jar.value("sid").as_deref(), Some("auth"));
    }

    #[test]
    fn a_secure_cookie_is_sent_over_tls_or_to_this_machine_only() {
        let jar = jar("https://a.example", &["sid=1; Secure; Path=/", "b=2; Path=/"]);
        assert_eq!(sent(&jar, "http://a.example/"), "b=2");
        assert_eq!(sent(&jar, "ws://a.example/"), "b=2");
        assert_eq!(sent(&jar, "https://a.example/"), "sid=1; b=2");
        assert_eq!(sent(&self::jar("http://localhost", &["sid=1; Secure"]), "/"), "sid=1");
    }

    #[test]
    fn an_expired_cookie_is_not_sent() {
        let (jar, clock) = clocked();
        jar.store(&answer(&["a=1; Max-Age=60; Path=/", "b=1; Path=/"]));
        assert_eq!(sent(&jar, "/"), "a=1; b=1");
        clock.fetch_add(59, Ordering::SeqCst);
        assert_eq!(sent(&jar, "/"), "a=1; b=1");
        clock.fetch_add(1, Ordering::SeqCst);
        assert_eq!(sent(&jar, "/"), "b=1");
        assert_eq!(jar.value("a"), None);
    }

    #[test]
    fn a_deleted_cookie_leaves_nothing_in_the_jar() {
        let jar = jar("https://a.example", &["a=1; Path=/", "b=1; Path=/"]);
        observe(&jar, &["a=; Path=/; Max-Age=0", "c=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT"]);
        assert_eq!(sent(&jar, "/"), "b=1");
        assert_eq!(jar.lock().cookies.len(SystemTime::UNIX_EPOCH), 1);
    }

    #[test]
    fn an_unreadable_cookie_is_ignored() {
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
    fn a_full_jar_takes_no_new_cookie_and_still_updates_old_ones() {
        let jar = jar("https://a.example", &["sid=1; Path=/"]);
        observe(&jar, &[&format!("long={}", "x".repeat(LONGEST_COOKIE))]);
        assert_eq!(jar.value("long"), None);
        for n in 0..2 * MOST_COOKIES {
            observe(&jar, &[&format!("c{n}=1")]);
        }
        assert_eq!(jar.lock().cookies.len(SystemTime::UNIX_EPOCH), MOST_COOKIES);
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
    fn an_answer_of_another_host_sets_no_cookie() {
        for elsewhere in ["https://evil.org/", "http://a.example/", "https://b.a.example/"] {
            let jar = jar("https://a.example", &["sid=1; Path=/"]);
            assert_eq!(sent(&jar, "https://a.example/"), "sid=1");
            observe(&jar, &["sid=2; Path=/"]);
            assert_eq!(sent(&jar, "https://a.example/"), "sid=2");
            observe_from(&jar, elsewhere, &["sid=fixed; Path=/"]);
            assert_eq!(sent(&jar, "https://a.example/"), "sid=2", "{elsewhere}");
            observe(&jar, &["sid=3; Path=/"]);
            assert_eq!(sent(&jar, "/"), "sid=3", "later answers of the upstream still count");
        }
    }

    #[test]
    fn a_renewed_jar_starts_with_the_current_cookies_and_changes_by_itself() {
        let csrf = Csrf::new("csrf", http::HeaderName::from_static("x-csrf"));
        let old = jar("https://a.example", &["sid=1; Path=/", "csrf=1; Path=/"]).with_csrf(csrf);
        observe(&old, &["csrf=2; Path=/"]);
        let new = old.renewed(&answer(&["sid=2; Path=/"])).unwrap();
        assert_eq!(sent(&new, "/"), "sid=2; csrf=2");
        assert_eq!(sent(&old, "/"), "sid=1; csrf=2");
        let (mut head, ()) = Request::post("/").body(()).unwrap().into_parts();
        new.with_expiry_of("sid").apply(&mut head);
        assert_eq!(head.headers["x-csrf"], "2");
    }

    #[test]
    fn a_late_answer_updates_only_cookies_that_no_refresh_has_changed() {
        let first =
            jar("https://a.example", &["sid=1; Path=/", "csrf=1; Path=/", "theme=dark; Path=/"]);
        let second = first.renewed(&answer(&["sid=2; Path=/"])).unwrap();
        let third =
            second.renewed(&answer(&["sid=3; Path=/", "theme=; Path=/; Max-Age=0"])).unwrap();
        observe(&first, &["csrf=late; Path=/", "sid=late; Path=/", "theme=late; Path=/"]);
        assert_eq!(sent(&second, "/"), "sid=2; csrf=late; theme=late");
        assert_eq!(sent(&third, "/"), "sid=3; csrf=late");
        observe(&second, &["csrf=; Path=/; Max-Age=0", "sid=; Path=/; Max-Age=0"]);
        assert_eq!(sent(&third, "/"), "sid=3; csrf=late");

        observe_from(&first, "https://evil.org/", &["csrf=fixed; Path=/"]);
        assert_eq!(sent(&third, "/"), "sid=3; csrf=late");
        third.close();
        observe(&second, &["csrf=late; Path=/"]);
        assert!(third.is_empty());
    }

    #[test]
    fn jars_of_a_login_can_be_used_on_several_threads() {
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
    fn a_success_without_a_usable_cookie_is_ambiguous() {
        let base = "https://a.example";
        let old = jar(base, &["sid=1; Path=/", "b=1; Path=/"]);
        let deletions = [
            "sid=; Path=/; Max-Age=0",
            "sid=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "sid=; Path=/; expires=Sun, 06 Nov 1994 08:49:37 UTC",
            "sid=; Path=/; expires=Sun, 06 Nov 1994 08:49:37",
            "sid=; Path=/; expires=Sun, 6 Nov 1994 08:49:37 GMT",
        ];
        for (jar, cookies) in deletions
            .iter()
            .map(|deletion| (&old, vec![*deletion]))
            .chain([(&old, vec!["sid=s3cr3t; Domain=evil.org"]), (&old, vec!["s3cr3t"])])
            .chain([(&old, vec!["sid=; Path=/; Max-Age=0", "sid=s3cr3t; Domain=evil.org"])])
            .chain([(&jar(base, &[]), vec![]), (&jar(base, &[]), vec![deletions[0]])])
        {
            let error = jar.renewed(&answer(&cookies)).unwrap_err();
            assert_eq!(error.kind(), crate::RefreshErrorKind::Ambiguous, "{cookies:?}");
            assert!(!format!("{error:?}").contains("s3cr3t"));
        }
        assert!(old.renewed(&answer(&["sid=; Path=/; Max-Age=0", "b=2; Path=/"])).is_ok());
        assert!(
            old.renewed(&HeaderMap::new()).unwrap().is_same(&old),
            "which the session will find out"
        );
    }

    #[test]
    fn jars_with_equal_cookies_and_expiries_are_the_same() {
        let base = "https://a.example";
        assert!(jar(base, &["a=1", "b=2"]).is_same(&jar(base, &["b=2", "a=1"])));
        assert!(!jar(base, &["a=1"]).is_same(&jar(base, &["a=2"])));
        assert!(!jar(base, &["a=1; Max-Age=60"]).is_same(&jar(base, &["a=1; Max-Age=3600"])));
        assert!(!jar(base, &["a=1"]).is_same(&jar(base, &[])));
    }

    #[test]
    fn the_expiry_is_that_of_the_named_cookie() {
        let (jar, clock) = clocked();
        jar.store(&answer(&[
            "a=1; Expires=Wed, 18 May 2033 03:33:20 GMT",
            "b=1; Max-Age=5",
            "c=1",
        ]));
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::SeqCst));
        let seconds = |seconds| Duration::from_secs(seconds);
        assert_eq!(jar.expires_at(now), None);
        let jar = jar.with_expiry_of("a");
        assert_eq!(jar.expires_at(now), Some(SystemTime::UNIX_EPOCH + seconds(2_000_000_000)));
        let jar = jar.with_expiry_of("b");
        for session in [now, now - seconds(3600), now + seconds(3600)] {
            assert_eq!(
                jar.expires_at(session),
                Some(session + seconds(5)),
                "by the session's clock"
            );
        }
        clock.fetch_add(2, Ordering::SeqCst);
        assert_eq!(jar.expires_at(now), Some(now + seconds(3)));
        clock.fetch_add(7, Ordering::SeqCst);
        assert_eq!(jar.expires_at(now), Some(now));
        assert_eq!(jar.with_expiry_of("c").expires_at(now), None);
        let endless = self::jar("https://a.example", &["a=1; Max-Age=99999999999999999999"])
            .with_expiry_of("a");
        assert!(endless.expires_at(SystemTime::now()) > Some(SystemTime::now()));
    }

    #[test]
    fn closing_a_jar_empties_and_closes_all_jars_of_its_login() {
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
    fn debug_shows_neither_names_nor_values_of_cookies() {
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

    #[test]
    fn a_redirect_to_another_host_sets_no_cookie() {
        let jar = jar("https://a.example", &["sid=1; Path=/"]);
        let mut extensions = http::Extensions::new();
        extensions.insert(TargetUri("https://evil.org/".parse().unwrap()));
        let headers = answer(&["sid=fixed; Path=/"]);
        jar.observe(&ResponseHead::new(StatusCode::OK, &headers).with_extensions(&extensions));
        assert_eq!(sent(&jar, "/"), "sid=1");
    }

    #[test]
    fn equal_paths_are_sent_in_the_order_of_creation() {
        let jar = jar("https://a.example", &["b=1; Path=/x", "a=1; Path=/y", "c=1; Path=/"]);
        observe(&jar, &["a=1; Path=/x", "b=2; Path=/x", "c=2; Path=/x"]);
        assert_eq!(sent(&jar, "/x"), "b=2; a=1; c=2; c=1", "an update keeps the creation time");
        observe(&jar, &["b=; Path=/x; Max-Age=0"]);
        observe(&jar, &["b=3; Path=/x"]);
        assert_eq!(sent(&jar, "/x"), "a=1; c=2; b=3; c=1", "after a deletion it is a new cookie");
        assert_eq!(
            sent(&jar.renewed(&answer(&["a=2; Path=/x"])).unwrap(), "/x"),
            "a=2; c=2; b=3; c=1"
        );
    }

    #[test]
    fn the_value_and_the_csrf_header_are_those_of_the_cookie_that_is_sent_first() {
        let csrf = Csrf::new("csrf", http::HeaderName::from_static("x-csrf"));
        let base = "https://app.example.com";
        let cookies = ["csrf=wide; Path=/; Domain=example.com", "csrf=host; Path=/"];
        for (cookies, first) in [
            (vec![cookies[0], cookies[1]], "wide"),
            (vec![cookies[1], cookies[0]], "host"),
            (vec![cookies[0], cookies[1], "csrf=deep; Path=/api"], "deep"),
            (vec![cookies[0], cookies[1], cookies[0]], "wide"),
        ] {
            let jar = jar(base, &cookies).with_csrf(csrf.clone());
            let (mut head, ()) = Request::post("/api/x").body(()).unwrap().into_parts();
            jar.apply(&mut head);
            let sent = head.headers[COOKIE].to_str().unwrap();
            assert!(sent.starts_with(&format!("csrf={first}")), "{sent}");
            assert_eq!(head.headers["x-csrf"], first);
            assert_eq!(jar.value("csrf").as_deref(), Some(first));
        }
    }

    fn dated(cookie: &str, date: &str) -> HeaderMap {
        let mut headers = answer(&[cookie]);
        headers.insert(DATE, date.parse().unwrap());
        headers
    }

    #[test]
    fn an_expiry_counts_from_the_date_of_the_answer() {
        // The clock says 2011-07-01 00:00, and the server is 75 minutes behind.
        let date = "Thu, 30 Jun 2011 22:45:00 GMT";
        let cases = [
            ("sid=1; Expires=Thu, 30 Jun 2011 23:45:00 GMT", date, Some(3600)),
            ("sid=1; Expires=Thu, 30 Jun 2011 23:45:00 GMT", "nonsense", None),
            ("sid=1; Expires=Fri, 01 Jul 2011 00:10:00 GMT", "nonsense", Some(600)),
            ("sid=1; Expires=Thu, 30 Jun 2011 22:45:00 GMT", date, None),
            ("sid=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT", date, None),
            ("sid=1; Max-Age=60; Expires=Thu, 30 Jun 2011 23:45:00 GMT", date, Some(60)),
            ("sid=1; Max-Age=x; Expires=Thu, 30 Jun 2011 23:45:00 GMT", date, Some(3600)),
        ];
        for (cookie, date, lifetime) in cases {
            let (jar, clock) = clocked();
            jar.store(&dated(cookie, date));
            let now = clock.load(Ordering::SeqCst);
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
            let expires_at = jar.with_expiry_of("sid").expires_at(now);
            let expected = lifetime.map(|lifetime| now + Duration::from_secs(lifetime));
            assert_eq!(expires_at, expected, "{cookie} {date}");
        }
    }

    proptest! {
        #[test]
        fn cookies_are_sent_in_the_order_of_the_rfc(
            sets in proptest::collection::vec(("[a-c]", "(/[xy]){0,2}", 0..3_u8), 0..20),
        ) {
            let jar = Jar::new("https://a.example").unwrap();
            let mut expected: Vec<(String, String, usize)> = Vec::new();
            for (step, (name, path, action)) in sets.into_iter().enumerate() {
                let path = if path.is_empty() { "/".to_owned() } else { path };
                let position = expected.iter().position(|held| (&held.0, &held.1) == (&name, &path));
                if action == 0 {
                    observe(&jar, &[&format!("{name}=; Path={path}; Max-Age=0")]);
                    position.map(|position| expected.remove(position));
                } else {
                    observe(&jar, &[&format!("{name}={step}; Path={path}")]);
                    match position {
                        Some(position) => expected[position].2 = step,
                        None => expected.push((name, path, step)),
                    }
                }
            }
            expected.retain(|held| ["/", "/x", "/x/y"].contains(&&*held.1));
            expected.sort_by_key(|held| std::cmp::Reverse(held.1.len()));
            let pairs: Vec<_> = expected.iter().map(|held| format!("{}={}", held.0, held.2)).collect();
            prop_assert_eq!(sent(&jar, "/x/y"), pairs.join("; "));
            for name in ["a", "b", "c"] {
                let first = expected.iter().find(|held| held.0 == name).map(|held| held.2.to_string());
                // `value` knows no request, so it also finds cookies of other paths.
                if first.is_some() {
                    prop_assert!(jar.value(name).is_some());
                }
            }
        }

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
        fn a_request_can_carry_any_cookie_that_an_answer_sets(
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
                next.expires_at(SystemTime::now());
                jar.observe(&ResponseHead::new(StatusCode::OK, &answer));
            }
            let Ok(request) = Request::get(path).body(()) else { return Ok(()) };
            let (mut head, ()) = request.into_parts();
            jar.apply(&mut head);
            prop_assert!(head.headers[COOKIE].as_bytes().windows(4).any(|part| part == b"sid="));
        }
    }
}
