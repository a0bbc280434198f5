use std::time::SystemTime;

use http::Uri;
use url::{Host, Url};

use crate::{
    cookies::{
        base::Base,
        set_cookie::{Arrival, SetCookie},
    },
    credential::{Secret, origin::is_cleartext},
};

/// The cookies of a jar (RFC 6265 §5.3), in the order of their creation.
#[derive(Clone, Default)]
pub(super) struct CookieStore {
    cookies: Vec<Cookie>,
}

/// A cookie as RFC 6265 §5.3 stores it.
#[derive(Clone)]
pub(super) struct Cookie {
    key: CookieKey,
    value: Secret,
    /// The cookie goes to its domain only, and not to the hosts below it.
    is_host_only: bool,
    is_secure: bool,
    expires_at: Option<SystemTime>,
}

/// The identity of a cookie: a later cookie with the same key replaces it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct CookieKey {
    domain: String,
    path: String,
    name: String,
}

/// A name and a value, as they are sent.
pub(super) type Pair = (String, Secret);

/// Browsers refuse a longer cookie (RFC 6265 §6.1).
pub(super) const LONGEST_COOKIE: usize = 4096;
/// Browsers keep no more cookies of one domain.
pub(super) const MOST_COOKIES: usize = 180;

// === impl CookieStore ===

impl CookieStore {
    /// Stores a cookie, or deletes the one that it replaces if it has expired. Returns whether the
    /// cookie is in the store then.
    pub(super) fn set(&mut self, cookie: Cookie, now: SystemTime) -> bool {
        let position = self.cookies.iter().position(|held| held.key == cookie.key);
        match position {
            Some(position) if cookie.is_expired(now) => {
                self.cookies.remove(position);
                false
            }
            // The place in the order stays (RFC 6265 §5.3, step 11.3).
            Some(position) => {
                self.cookies[position] = cookie;
                true
            }
            None if cookie.is_expired(now) || self.cookies.len() >= MOST_COOKIES => false,
            None => {
                self.cookies.push(cookie);
                true
            }
        }
    }

    /// The cookies for a request, in the order of RFC 6265 §5.4: longer paths first, then in the
    /// order of creation.
    pub(super) fn matching(&self, url: &Url, now: SystemTime) -> Vec<Pair> {
        self.in_order(now, |cookie| cookie.goes_to(url)).map(Cookie::pair).collect()
    }

    /// The value of the cookie of this name that is sent first.
    pub(super) fn value(&self, name: &str, now: SystemTime) -> Option<Secret> {
        let mut named = self.in_order(now, |cookie| cookie.key.name == name);
        named.next().map(|cookie| cookie.value.clone())
    }

    /// The earliest expiry of the cookies of this name, expired ones included.
    pub(super) fn expires_at(&self, name: &str) -> Option<SystemTime> {
        let named = self.cookies.iter().filter(|cookie| cookie.key.name == name);
        named.filter_map(|cookie| cookie.expires_at).min()
    }

    pub(super) fn contains(&self, key: &CookieKey) -> bool {
        self.cookies.iter().any(|cookie| cookie.key == *key)
    }

    pub(super) fn len(&self, now: SystemTime) -> usize {
        self.cookies.iter().filter(|cookie| !cookie.is_expired(now)).count()
    }

    pub(super) fn clear(&mut self) {
        self.cookies.clear();
    }

    pub(super) fn forget_expired(&mut self, now: SystemTime) {
        self.cookies.retain(|cookie| !cookie.is_expired(now));
    }

    /// Whether both hold the same cookies until the same time, in whatever order.
    pub(super) fn is_same(&self, other: &Self, now: SystemTime) -> bool {
        self.summary(now) == other.summary(now)
    }

    fn summary(&self, now: SystemTime) -> Vec<(&CookieKey, &str, Option<SystemTime>)> {
        let held = self.cookies.iter().filter(|cookie| !cookie.is_expired(now));
        let mut summary: Vec<_> =
            held.map(|cookie| (&cookie.key, cookie.value.expose(), cookie.expires_at)).collect();
        summary.sort();
        summary
    }

    fn in_order(
        &self,
        now: SystemTime,
        is_meant: impl Fn(&Cookie) -> bool,
    ) -> impl Iterator<Item = &Cookie> {
        let meant = self.cookies.iter().filter(|cookie| !cookie.is_expired(now));
        let mut meant: Vec<_> = meant.filter(|cookie| is_meant(cookie)).collect();
        // A stable sort keeps the order of creation.
        meant.sort_by_key(|cookie| std::cmp::Reverse(cookie.key.path.len()));
        meant.into_iter()
    }
}

// === impl Cookie ===

impl Cookie {
    /// The cookie that the upstream sets. `None` if it may not: the cookie is too long, or is for
    /// another domain.
    pub(super) fn new(set: SetCookie<'_>, base: &Base, arrival: Arrival) -> Option<Self> {
        if set.name.len() + set.value.len() > LONGEST_COOKIE {
            return None;
        }
        let host = base.url().host_str()?;
        let expires_at = set.expires_at(arrival);
        let is_host_only = set.domain.is_none();
        let domain = set.domain.unwrap_or_else(|| host.to_owned());
        let is_allowed =
            is_host_only || base.allows_domain(&domain) && is_below(base.url(), &domain);
        is_allowed.then(|| Self {
            key: CookieKey {
                domain,
                path: set.path.unwrap_or_else(|| base.default_path()).to_owned(),
                name: set.name.to_owned(),
            },
            value: Secret::from(set.value),
            is_host_only,
            is_secure: set.is_secure,
            expires_at,
        })
    }

    pub(super) fn key(&self) -> &CookieKey {
        &self.key
    }

    pub(super) fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    fn goes_to(&self, url: &Url) -> bool {
        let is_for_host = if self.is_host_only {
            url.host_str() == Some(&*self.key.domain)
        } else {
            is_below(url, &self.key.domain)
        };
        is_for_host && is_on_path(url.path(), &self.key.path) && (!self.is_secure || is_safe(url))
    }

    fn pair(&self) -> Pair {
        (self.key.name.clone(), self.value.clone())
    }
}

/// Whether the host of a URL is `domain`, or a name below it (RFC 6265 §5.1.3).
fn is_below(url: &Url, domain: &str) -> bool {
    let Some(host) = url.host_str() else { return false };
    let is_name = matches!(url.host(), Some(Host::Domain(_)));
    let below = host.strip_suffix(domain);
    host == domain || is_name && below.is_some_and(|below| below.ends_with('.'))
}

/// Whether `path` is `prefix`, or a path below it (RFC 6265 §5.1.4).
fn is_on_path(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
}

/// Whether a request is sent over TLS, or to this machine.
fn is_safe(url: &Url) -> bool {
    url.scheme() == "https" || Uri::try_from(url.as_str()).is_ok_and(|uri| !is_cleartext(&uri))
}
