use std::{
    error::Error,
    fmt,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use http::{Uri, uri};

/// An origin to which a credential may go: scheme, host and port ([RFC 6454 §4]).
///
/// Parsed from text like `https://api.example.com` or `http://[::1]:8080`. Parsing normalises case,
/// the default port (80 for `http` and `ws`, 443 for `https` and `wss`) and the text of an IPv6
/// address, and accepts a `/` at the end. Two origins are equal if these three parts are equal:
/// `wss://a` is not `https://a`.
///
/// A host matches as it is written. There are no wildcards and no look-ups: `127.0.0.1` is not
/// `localhost`. A request to `https://api.example.com.`, with the dot that makes a name absolute,
/// matches no origin, because a search domain may complete the name without the dot to another
/// host. For the same reason an origin can't be written with that dot.
///
/// [RFC 6454 §4]: https://www.rfc-editor.org/rfc/rfc6454#section-4
///
/// # Examples
///
/// ```
/// use tower_refresh::Origin;
///
/// # fn main() -> Result<(), tower_refresh::credential::InvalidOrigin> {
/// let origin = Origin::try_from("HTTPS://API.example.com:443/")?;
/// assert_eq!(origin, "https://api.example.com".parse()?);
/// assert_eq!(origin.to_string(), "https://api.example.com");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// The error of a text that is not an [`Origin`].
///
/// The message names the reason and does not show the text, which may contain a password. The text
/// of the message and the output of `Debug` are not stable.
///
/// # Examples
///
/// ```
/// use tower_refresh::Origin;
///
/// let error = Origin::try_from("https://api.example.com/v1").unwrap_err();
/// assert_eq!(error.to_string(), "the origin has a path");
/// ```
#[derive(Clone, Debug)]
pub struct InvalidOrigin {
    kind: InvalidOriginKind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum InvalidOriginKind {
    NoScheme,
    UnknownScheme,
    Userinfo,
    NoHost,
    Wildcard,
    TrailingDot,
    NotAscii,
    Host,
    Port,
    Path,
    Query,
    Fragment,
}

/// The schemes that an origin may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Http,
    Https,
    Ws,
    Wss,
}

/// A normalised host: hosts are the same if and only if they are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    /// A name or an IPv4 address, in lower case.
    Name(Box<str>),
    V6(Ipv6Addr),
}

/// The host and port of an authority, as they are written. An empty port is not the same as none.
#[derive(Clone, Copy)]
struct HostPort<'a> {
    host: &'a str,
    port: Option<&'a str>,
}

/// Whether a request to `uri` would show its credential to the network: the scheme is `http` or
/// `ws`, and the host is not this machine.
///
/// This machine is `localhost`, `127.0.0.0/8` and `[::1]`. Names below `localhost` are not: RFC
/// 6761 §6.3 reserves them, but ordinary resolvers ask the network for them. Nor are other
/// spellings of a loopback address (`127.1`, `0x7f.1`, `2130706433`, `127.0.0.01`), on which
/// resolvers disagree; `[::ffff:127.0.0.1]`, which depends on how the socket was opened; `0.0.0.0`;
/// and `localhost.`, which some resolvers ask the network for.
///
/// A URI without a scheme does not say how it is sent, and is not cleartext. A URI with such a
/// scheme whose host cannot be determined is cleartext.
#[inline]
pub(crate) fn is_cleartext(uri: &Uri) -> bool {
    Scheme::of(uri).is_some_and(Scheme::is_cleartext)
        && !HostPort::of(uri).is_some_and(|to| is_loopback(to.host))
}

fn is_loopback(host: &str) -> bool {
    if let Some(address) = v6(host) {
        return address.is_loopback();
    }
    match host.parse::<Ipv4Addr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

/// The address of a host that is an IPv6 address in brackets.
fn v6(host: &str) -> Option<Ipv6Addr> {
    host.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// The number of a port that consists of digits. `u16::from_str` alone would accept a sign.
fn port_number(port: &str) -> Option<u16> {
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| port.parse().ok()).flatten()
}

// === impl Origin ===

impl Origin {
    /// An origin that is part of the program's text.
    ///
    /// ```
    /// use tower_refresh::Origin;
    ///
    /// let api = Origin::from_static("https://api.example.com");
    /// # drop(api);
    /// ```
    ///
    /// # Panics
    ///
    /// If the text is not an origin. Use [`parse`](str::parse) for a text that comes from outside
    /// the program.
    pub fn from_static(text: &'static str) -> Self {
        match text.parse() {
            Ok(origin) => origin,
            Err(error) => panic!("invalid static origin: {error}"),
        }
    }

    /// The origin as a URI with the path `/`.
    pub(crate) fn to_uri(&self) -> Uri {
        self.to_string().try_into().expect("an origin is a URI")
    }

    /// Whether a request to `uri` goes to this origin.
    ///
    /// A URI without scheme or host goes to no origin. User information is ignored, as connectors
    /// do. An invalid port is not taken for the default port.
    pub(crate) fn matches(&self, uri: &Uri) -> bool {
        let (Some(scheme), Some(to)) = (Scheme::of(uri), HostPort::of(uri)) else {
            return false;
        };
        let port = match to.port {
            // An empty port is the default port (RFC 3986 §6.2.3).
            None | Some("") => Some(scheme.default_port()),
            Some(port) => port_number(port),
        };
        self.scheme == scheme && Some(self.port) == port && self.host.is(to.host)
    }

    fn parse(text: &str) -> Result<Self, InvalidOriginKind> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidOriginKind::NoScheme)?;
        if scheme.is_empty() {
            return Err(InvalidOriginKind::NoScheme);
        }
        let scheme = Scheme::parse(scheme).ok_or(InvalidOriginKind::UnknownScheme)?;

        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        match tail.strip_prefix('/').unwrap_or(tail).chars().next() {
            None => {}
            Some('?') => return Err(InvalidOriginKind::Query),
            Some('#') => return Err(InvalidOriginKind::Fragment),
            Some(_) => return Err(InvalidOriginKind::Path),
        }

        if authority.contains('@') {
            return Err(InvalidOriginKind::Userinfo);
        }
        let HostPort { host, port } = HostPort::split(authority).ok_or(InvalidOriginKind::Host)?;
        let host = Host::parse(host)?;
        let port = match port {
            None => scheme.default_port(),
            Some("") => return Err(InvalidOriginKind::Port),
            Some(port) => {
                port_number(port).filter(|port| *port != 0).ok_or(InvalidOriginKind::Port)?
            }
        };
        Ok(Self { scheme, host, port })
    }
}

/// # Errors
///
/// If one of these holds for the text, which is not trimmed:
///
/// - It has no scheme, or one other than `http`, `https`, `ws` and `wss`. A misspelt scheme would
///   match no request, and none would carry the credential.
/// - It has no host, a wildcard, a name that ends in a dot, or a host that is neither a name of
///   ASCII letters, digits, `-`, `_` and `.` nor an IP address.
/// - It has a port that is not a number from 1 to 65535.
/// - It has user information, a path, a query or a fragment.
impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text).map_err(|kind| InvalidOrigin { kind })
    }
}

/// See [`Origin::from_str`].
impl TryFrom<&str> for Origin {
    type Error = InvalidOrigin;

    fn try_from(text: &str) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// See [`Origin::from_str`].
impl TryFrom<String> for Origin {
    type Error = InvalidOrigin;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme.as_str())?;
        match &self.host {
            Host::Name(name) => f.write_str(name)?,
            Host::V6(address) => write!(f, "[{address}]")?,
        }
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self})")
    }
}

// === impl InvalidOrigin ===

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            InvalidOriginKind::NoScheme => "the origin does not start with a scheme and ://",
            InvalidOriginKind::UnknownScheme => {
                "the scheme of the origin is not one of http, https, ws and wss"
            }
            InvalidOriginKind::Userinfo => "the origin has user information",
            InvalidOriginKind::NoHost => "the origin has no host",
            InvalidOriginKind::Wildcard => {
                "the origin has a wildcard: each host must be listed by itself"
            }
            InvalidOriginKind::TrailingDot => "the host of the origin ends in a dot",
            InvalidOriginKind::NotAscii => {
                "the host of the origin is not ASCII: it must be written in its xn-- form"
            }
            InvalidOriginKind::Host => {
                "the host of the origin is neither a name, nor an IPv4 address, nor an IPv6 address in brackets"
            }
            InvalidOriginKind::Port => {
                "the port of the origin is not a number from 1 to 65535"
            }
            InvalidOriginKind::Path => "the origin has a path",
            InvalidOriginKind::Query => "the origin has a query",
            InvalidOriginKind::Fragment => "the origin has a fragment",
        })
    }
}

impl Error for InvalidOrigin {}

// === impl Scheme ===

impl Scheme {
    const ALL: [Self; 4] = [Self::Http, Self::Https, Self::Ws, Self::Wss];

    /// Checks `https` and `http` first: they need no parsing, and nearly all requests have them.
    fn of(uri: &Uri) -> Option<Self> {
        match uri.scheme()? {
            scheme if *scheme == uri::Scheme::HTTPS => Some(Self::Https),
            scheme if *scheme == uri::Scheme::HTTP => Some(Self::Http),
            other => Self::parse(other.as_str()),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scheme| scheme.as_str().eq_ignore_ascii_case(text))
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    fn default_port(self) -> u16 {
        if self.is_cleartext() { 80 } else { 443 }
    }

    fn is_cleartext(self) -> bool {
        matches!(self, Self::Http | Self::Ws)
    }
}

// === impl Host ===

impl Host {
    fn parse(text: &str) -> Result<Self, InvalidOriginKind> {
        if text.is_empty() {
            return Err(InvalidOriginKind::NoHost);
        }
        if let Some(address) = v6(text) {
            return Ok(Self::V6(address));
        }
        if !text.is_ascii() {
            return Err(InvalidOriginKind::NotAscii);
        }
        if text.contains('*') {
            return Err(InvalidOriginKind::Wildcard);
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            let mut bytes = label.bytes();
            !label.is_empty()
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        };
        if !name.split('.').all(is_label) {
            return Err(InvalidOriginKind::Host);
        }
        if name.len() < text.len() {
            return Err(InvalidOriginKind::TrailingDot);
        }
        Ok(Self::Name(name.to_ascii_lowercase().into()))
    }

    fn is(&self, text: &str) -> bool {
        match self {
            Self::Name(name) => name.eq_ignore_ascii_case(text),
            Self::V6(address) => v6(text).as_ref() == Some(address),
        }
    }
}

// === impl HostPort ===

impl<'a> HostPort<'a> {
    fn of(uri: &'a Uri) -> Option<Self> {
        let authority = uri.authority()?.as_str();
        // After the last `@`, like `Uri::host`, which connectors use.
        let start = authority.bytes().rposition(|byte| byte == b'@').map_or(0, |at| at + 1);
        Self::split(&authority[start..])
    }

    fn split(host_port: &'a str) -> Option<Self> {
        let end = if host_port.starts_with('[') {
            host_port.find(']')? + 1
        } else {
            host_port.bytes().position(|byte| byte == b':').unwrap_or(host_port.len())
        };
        let (host, rest) = host_port.split_at(end);
        let port = match rest {
            "" => None,
            rest => Some(rest.strip_prefix(':')?),
        };
        Some(Self { host, port })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use http::uri::PathAndQuery;
    use proptest::prelude::*;

    use super::*;

    const _: fn() = || {
        fn is_error<T: Error + Clone + Send + Sync + 'static>() {}
        fn is_value<T: Clone + Eq + std::hash::Hash + Send + Sync + 'static>() {}
        is_error::<InvalidOrigin>();
        is_value::<Origin>();
    };

    #[test]
    fn an_origin_is_normalised() {
        let cases = [
            ("https://api.example.com", "https://api.example.com"),
            ("https://api.example.com/", "https://api.example.com"),
            ("HTTPS://Api.EXAMPLE.com:443", "https://api.example.com"),
            ("https://api.example.com:0443/", "https://api.example.com"),
            ("https://api.example.com:80", "https://api.example.com:80"),
            ("http://a:80", "http://a"),
            ("http://a:443", "http://a:443"),
            ("ws://a:80", "ws://a"),
            ("WSS://a:443", "wss://a"),
            ("https://a:65535", "https://a:65535"),
            ("https://a:1", "https://a:1"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]", "http://[::1]"),
            ("http://[::1]:80/", "http://[::1]"),
            ("http://[0:0::0:1]:8080", "http://[::1]:8080"),
            ("https://[2001:DB8::00ab]", "https://[2001:db8::ab]"),
            ("https://my_service-1.ns", "https://my_service-1.ns"),
            ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ];
        for (text, normal) in cases {
            let origin = origin(text);
            assert_eq!(origin.to_string(), normal, "{text}");
            assert_eq!(format!("{origin:?}"), format!("Origin({normal})"));
            assert_eq!(origin, self::origin(normal), "{text}");
            assert_eq!(origin, Origin::try_from(String::from(text)).unwrap());
            assert_eq!(origin, text.parse().unwrap());
        }
    }

    #[test]
    fn origins_are_equal_when_scheme_host_and_port_are() {
        let texts =
            ["https://a", "https://a:443", "HTTPS://A/", "wss://a", "http://a", "http://a:443"];
        let distinct: HashSet<_> = texts.into_iter().map(origin).collect();
        assert_eq!(distinct.len(), 4);
    }

    #[test]
    fn invalid_text_is_refused_with_the_reason() {
        use InvalidOriginKind::*;

        let cases = [
            ("", NoScheme),
            ("api.example.com", NoScheme),
            ("api.example.com:443", NoScheme),
            ("//api.example.com", NoScheme),
            ("://api.example.com", NoScheme),
            ("https:api.example.com", NoScheme),
            ("https:/api.example.com", NoScheme),
            ("null", NoScheme),
            ("htps://a", UnknownScheme),
            ("ftp://a", UnknownScheme),
            ("file:///etc", UnknownScheme),
            (" https://a", UnknownScheme),
            ("*://a", UnknownScheme),
            ("https://user@a", Userinfo),
            ("https://user:hush@a:443", Userinfo),
            ("https://@a", Userinfo),
            ("https://a\\@b", Userinfo),
            ("https://", NoHost),
            ("https:///", NoHost),
            ("https://:443", NoHost),
            ("https://*", Wildcard),
            ("https://*.example.com", Wildcard),
            ("https://api.*.com:443", Wildcard),
            ("https://api.example.com.", TrailingDot),
            ("https://localhost.:8080", TrailingDot),
            ("https://b\u{fc}cher.example", NotAscii),
            ("https://\u{ff41}", NotAscii),
            ("https://.", Host),
            ("https://..", Host),
            ("https://.a", Host),
            ("https://a..b", Host),
            ("https://a..", Host),
            ("https://a b", Host),
            ("https://a ", Host),
            ("https://a\r\n", Host),
            ("https://a%2eb", Host),
            ("https://a\\b", Host),
            ("https://a,b", Host),
            ("https://::1", NoHost),
            ("https://2001:db8::1", Port),
            ("https://[", Host),
            ("https://[]", Host),
            ("https://[::1", Host),
            ("https://::1]", NoHost),
            ("https://[::g]", Host),
            ("https://[127.0.0.1]", Host),
            ("https://[fe80::1%25eth0]", Host),
            ("https://[v1.a]", Host),
            ("https://[::1]a", Host),
            ("https://[::1]443", Host),
            ("https://[[::1]]", Host),
            ("https://a:", Port),
            ("https://a:0", Port),
            ("https://a:00", Port),
            ("https://a:65536", Port),
            ("https://a:4294967739", Port),
            ("https://a:99999999999999999999", Port),
            ("https://a:-1", Port),
            ("https://a:+443", Port),
            ("https://a:443a", Port),
            ("https://a:4 43", Port),
            ("https://a:80:80", Port),
            ("https://a:\u{0664}\u{0664}\u{0663}", Port),
            ("https://a/b", Path),
            ("https://a//", Path),
            ("https://a/ ", Path),
            ("https://a/b?c", Path),
            ("https://a/b@c", Path),
            ("https://a?b", Query),
            ("https://a/?", Query),
            ("https://a?@b", Query),
            ("https://a#b", Fragment),
            ("https://a/#", Fragment),
        ];
        for (text, kind) in cases {
            let error = Origin::try_from(text).expect_err(text);
            assert_eq!(error.kind, kind, "{text:?}");
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("hush"), "{shown}");
        }
    }

    #[test]
    fn a_request_to_an_origin_matches() {
        let cases = [
            ("https://api.example.com", "https://api.example.com"),
            ("https://api.example.com", "https://api.example.com/v1?q#f"),
            ("https://api.example.com", "https://API.Example.COM:443/"),
            ("https://api.example.com", "HTTPS://api.example.com"),
            ("https://api.example.com", "https://api.example.com:/"),
            ("https://api.example.com", "https://api.example.com:0443/"),
            ("https://api.example.com", "https://user:hush@api.example.com/"),
            ("https://api.example.com", "https://evil.com:443@api.example.com/"),
            ("https://api.example.com", "https://a@evil.com@api.example.com/"),
            ("https://api.example.com", "https://api.example.com/@evil.com"),
            ("https://a:8443", "https://a:8443/"),
            ("http://a", "http://a:80/"),
            ("ws://a", "WS://a:80/"),
            ("wss://a", "wss://a/"),
            ("http://[::1]:8080", "http://[::1]:8080/"),
            ("http://[::1]:8080", "http://[0:0:0:0:0:0:0:1]:8080/"),
            ("https://[2001:db8::ab]", "https://u@[2001:DB8::AB]/"),
        ];
        for (text, to) in cases {
            assert!(origin(text).matches(&uri(to)), "{text} {to}");
        }
        let hand_made =
            Uri::builder().scheme("hTTps").authority("API.example.com").path_and_query("/");
        assert!(origin("https://api.example.com").matches(&hand_made.build().unwrap()));
    }

    #[test]
    fn a_request_to_another_origin_does_not_match() {
        let cases = [
            ("https://api.example.com", "/v1"),
            ("https://api.example.com", "*"),
            ("https://api.example.com", "api.example.com:443"),
            ("https://api.example.com", "http://api.example.com/"),
            ("https://api.example.com", "http://api.example.com:443/"),
            ("https://api.example.com", "wss://api.example.com/"),
            ("https://api.example.com", "httpss://api.example.com/"),
            ("https://api.example.com", "https://api.example.com:80/"),
            ("https://api.example.com", "https://api.example.com:8443/"),
            ("https://api.example.com", "https://api.example.com:0/"),
            ("https://api.example.com", "https://api.example.com:65979/"),
            ("https://api.example.com", "https://api.example.com:+443/"),
            ("https://api.example.com", "https://api.example.com./"),
            ("https://api.example.com", "https://example.com/"),
            ("https://api.example.com", "https://sub.api.example.com/"),
            ("https://api.example.com", "https://api.example.com.evil.com/"),
            ("https://api.example.com", "https://evil-api.example.com/"),
            ("https://api.example.com", "https://api.example.comx/"),
            ("https://api.example.com", "https://api.example.com@evil.com/"),
            ("https://api.example.com", "https://api.example.com:443@evil.com/"),
            ("https://api.example.com", "https://a@api.example.com@evil.com/"),
            ("https://api.example.com", "https://a@api.example.com:443@evil.com/"),
            ("https://api.example.com", "https://api.example.com:443[::1]/"),
            ("https://api.example.com", "https://evil.com/api.example.com"),
            ("https://api.example.com", "https://evil.com/@api.example.com"),
            ("https://api.example.com", "https://evil.com?@api.example.com"),
            ("https://localhost", "https://127.0.0.1/"),
            ("https://127.0.0.1", "https://127.1/"),
            ("https://127.0.0.1", "https://[::ffff:127.0.0.1]/"),
            ("https://[::1]", "https://[::2]/"),
            ("https://[::1]", "https://[::1]evil.com/"),
            ("https://[::1]", "https://[::1%25lo]/"),
            ("https://[::1]", "https://[::1]:80/"),
        ];
        for (text, to) in cases {
            assert!(!origin(text).matches(&uri(to)), "{text} {to}");
        }
    }

    #[test]
    fn plain_http_to_another_machine_is_cleartext() {
        let cases = [
            "http://example.com/",
            "HTTP://example.com:443/",
            "ws://example.com/",
            "wS://example.com/",
            "http://127.0.0.1.evil.com/",
            "http://localhost.evil.com/",
            "http://api.localhost/",
            "http://a.LOCALHOST:8080/",
            "http://a.b.localhost/",
            "ws://localhost.localhost/",
            "http://evillocalhost/",
            "http://evil-localhost/",
            "http://.localhost/",
            "http://localhost./",
            "http://localhos/",
            "http://127.0.0.1@evil.com/",
            "http://localhost:80@evil.com/",
            "http://[::1]@evil.com/",
            "http://a@localhost@evil.com/",
            "http://[::1]evil.com/",
            "http://[::1%25lo]/",
            "http://evil.com/@localhost",
            "http://evil.com?@localhost",
            "http://127.1/",
            "http://127.0.1/",
            "http://0x7f.1/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://127.0.0.01/",
            "http://127.0.0.256/",
            "http://127.0.0.1.1/",
            "http://2130706433/",
            "http://126.255.255.255/",
            "http://128.0.0.1/",
            "http://0.0.0.0/",
            "http://10.0.0.1/",
            "http://[::]/",
            "http://[::2]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::127.0.0.1]/",
            "http://[fe80::1]/",
        ];
        for to in cases {
            assert!(is_cleartext(&uri(to)), "{to}");
        }
    }

    #[test]
    fn encrypted_schemes_this_machine_and_relative_uris_are_not_cleartext() {
        let cases = [
            "https://example.com/",
            "HTTPS://example.com:80/",
            "wss://example.com/",
            "http://localhost",
            "ws://localhost:8080/",
            "http://LocalHost/",
            "http://127.0.0.1/",
            "http://127.0.0.1:8080/",
            "http://127.255.255.254/",
            "http://127.0.0.0/",
            "http://user:hush@127.0.0.1/",
            "http://evil.com@localhost/",
            "http://[::1]/",
            "http://[0:0:0:0:0:0:0:1]:8080/",
            "/v1",
            "*",
            "example.com:80",
        ];
        for to in cases {
            assert!(!is_cleartext(&uri(to)), "{to}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_text_is_an_origin_or_an_error(text in r"((https?|wss?|\PC{0,4})://)?([\[\]:.@/?#*a1]|\PC){0,12}") {
            let _ = Origin::try_from(text);
        }

        /// An origin names the host and port that an HTTP client connects to.
        #[test]
        fn an_origin_is_parsed_back_from_its_text(
            text in r"(https?|wss?)://([a-zA-Z0-9._:*-]{1,12}|\[[0-9a-f:.]{2,9}\])(:[0-9]{1,5})?/?",
        ) {
            if let Ok(origin) = Origin::try_from(text.as_str()) {
                prop_assert_eq!(&origin.to_string().parse::<Origin>().unwrap(), &origin);
                prop_assert!(origin.matches(&uri(&text)), "{}", text);
                prop_assert!(origin.matches(&uri(&origin.to_string())), "{}", origin);
            }
        }

        /// A connector takes host and port from the URI. A match with any other host would send it
        /// the credential.
        #[test]
        fn a_request_matches_only_the_origin_that_a_connector_uses(
            authority in r"([ab:@.\[\]1]|a@|:1|\[::1\]){1,8}",
            host in r"(a|b|a\.b|\[::1\])",
            port in r"(1|11|443)",
        ) {
            let parts = Uri::builder().scheme("https").authority(authority).path_and_query(PathAndQuery::from_static("/"));
            if let Ok(uri) = parts.build() {
                let origin = origin(&format!("https://{host}:{port}"));
                let goes = uri.host() == Some(host.as_str())
                    && uri.port_u16().unwrap_or(443).to_string() == port;
                prop_assert!(goes || !origin.matches(&uri), "{} {}", origin, uri);
            }
        }
    }

    fn origin(text: &str) -> Origin {
        Origin::try_from(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn uri(text: &str) -> Uri {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }
}
