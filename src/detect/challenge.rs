use std::{borrow::Cow, fmt, str};

use http::{
    HeaderMap, HeaderValue,
    header::{ValueIter, WWW_AUTHENTICATE},
};

/// The challenges in the `WWW-Authenticate` lines of a response ([RFC 9110 §11.6.1]): the
/// credential that the upstream asks for, and why it rejected the one it got.
///
/// An iterator over the challenges of all lines, in order. A line that does not follow the grammar
/// yields none, and does not affect the other lines. Reading takes time linear in the length of the
/// lines, and allocates only for values with escapes.
///
/// [RFC 9110 §11.6.1]: https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
///
/// # Examples
///
/// A step-up challenge ([RFC 9470]), and another scheme before it:
///
/// ```
/// use http::{HeaderMap, HeaderValue, header::WWW_AUTHENTICATE};
/// use tower_refresh::detect::Challenges;
///
/// let mut headers = HeaderMap::new();
/// headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(concat!(
///     r#"Basic realm="staff \"only\"", "#,
///     r#"Bearer error="insufficient_user_authentication", acr_values="urn:example:mfa""#,
/// )));
///
/// let challenges: Vec<_> = Challenges::of(&headers).collect();
/// assert_eq!(challenges.len(), 2);
/// assert_eq!(challenges[0].scheme(), "Basic");
/// assert_eq!(challenges[0].realm().as_deref(), Some(r#"staff "only""#));
/// assert!(challenges[1].is_scheme("bearer"));
/// assert_eq!(challenges[1].error().as_deref(), Some("insufficient_user_authentication"));
/// assert_eq!(challenges[1].param("acr_values").as_deref(), Some("urn:example:mfa"));
/// ```
///
/// The claims challenge of Microsoft Entra, which a new login has to answer:
///
/// ```
/// use http::HeaderMap;
/// use tower_refresh::detect::Challenges;
///
/// fn requested_claims(headers: &HeaderMap) -> Option<String> {
///     Challenges::of(headers)
///         .filter(|challenge| challenge.is_scheme("Bearer"))
///         .find_map(|challenge| challenge.claims())
///         .map(String::from)
/// }
/// # assert_eq!(requested_claims(&HeaderMap::new()), None);
/// ```
///
/// [RFC 9470]: https://www.rfc-editor.org/rfc/rfc9470
#[must_use = "iterators do nothing unless consumed"]
pub struct Challenges<'a> {
    lines: ValueIter<'a, HeaderValue>,
    /// The rest of the line that is being read. It was checked and is well-formed.
    line: ChallengeParser<'a>,
}

/// A challenge: a scheme with parameters or, for schemes such as `Negotiate`, with an opaque text.
///
/// See [`Challenges`].
#[derive(Clone)]
pub struct Challenge<'a> {
    scheme: &'a str,
    /// The rest of the line after the scheme.
    rest: ChallengeParser<'a>,
}

/// The parameters of a [`Challenge`], in order: the names as they are written, and the values
/// without quotes and escapes.
#[derive(Clone)]
#[must_use = "iterators do nothing unless consumed"]
pub struct ChallengeParams<'a> {
    rest: ChallengeParser<'a>,
}

/// The elements of one header line.
///
/// ```text
/// line       = [ element ] *( OWS "," OWS [ element ] )
/// element    = auth-scheme [ 1*( SP / HTAB ) ( auth-param / token68 ) ]   ; opens a challenge
///            / auth-param                                     ; belongs to the open challenge
/// auth-param = token BWS "=" BWS ( token / quoted-string )
/// token68    = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
/// ```
///
/// The RFC's grammar is a list of lists with the same separator at both levels. Read by element, it
/// needs no look-ahead beyond the element: no allocation, and a few passes over each byte.
///
/// Yields nothing after an error.
#[derive(Clone)]
struct ChallengeParser<'a> {
    rest: &'a [u8],
    expected: ExpectedElement,
}

/// One element of a `WWW-Authenticate` header line.
#[derive(Clone, Copy)]
enum ChallengeElement<'a> {
    Scheme(&'a str),
    Param(&'a str, ParamValue<'a>),
    Token68(&'a str),
}

/// A value without its quotes, but with its escapes.
#[derive(Clone, Copy)]
struct ParamValue<'a>(&'a [u8]);

/// The error of a line that does not follow the grammar.
#[derive(Clone, Copy, Debug)]
struct MalformedChallenge;

/// The elements that the grammar allows next.
#[derive(Clone, Copy, PartialEq)]
enum ExpectedElement {
    /// An element that opens a challenge.
    Scheme,
    /// An element that opens a challenge, or a parameter of the open one.
    SchemeOrParam,
    /// The part of an element after a scheme and white space.
    ParamOrToken68,
}

// === impl Challenges ===

impl<'a> Challenges<'a> {
    /// The challenges in the `WWW-Authenticate` lines of a response with these headers.
    pub fn of(headers: &'a HeaderMap) -> Self {
        let lines = headers.get_all(WWW_AUTHENTICATE).iter();
        Self { lines, line: ChallengeParser::new(&[]) }
    }
}

impl<'a> Iterator for Challenges<'a> {
    type Item = Challenge<'a>;

    fn next(&mut self) -> Option<Challenge<'a>> {
        loop {
            if let Some(challenge) = self.line.next_challenge() {
                return Some(challenge);
            }
            // The whole line is checked before its first challenge is yielded: if a part of it is
            // malformed, the boundaries of the other parts are uncertain too.
            let line = ChallengeParser::new(self.lines.next()?.as_bytes());
            if line.clone().all(|element| element.is_ok()) {
                self.line = line;
            }
        }
    }
}

impl fmt::Debug for Challenges<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").finish_non_exhaustive()
    }
}

// === impl Challenge ===

impl<'a> Challenge<'a> {
    /// The scheme, as it is written. [`is_scheme`](Self::is_scheme) compares it without regard to
    /// case.
    pub fn scheme(&self) -> &'a str {
        self.scheme
    }

    /// Whether the challenge is of this scheme. Case is ignored.
    pub fn is_scheme(&self, scheme: &str) -> bool {
        self.scheme.eq_ignore_ascii_case(scheme)
    }

    /// The opaque text of a challenge without parameters: `abc==` in `Negotiate abc==`.
    pub fn token68(&self) -> Option<&'a str> {
        match self.rest.clone().next() {
            Some(Ok(ChallengeElement::Token68(text))) => Some(text),
            _ => None,
        }
    }

    /// The parameters, in order. A name may occur more than once.
    pub fn params(&self) -> ChallengeParams<'a> {
        ChallengeParams { rest: self.rest.clone() }
    }

    /// The value of the first parameter with this name. Case is ignored.
    ///
    /// Bytes that are not UTF-8 become U+FFFD.
    pub fn param(&self, name: &str) -> Option<Cow<'a, str>> {
        self.params().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    /// The parameter `realm`: the part of the upstream that the credential is for (RFC 9110 §11.5).
    pub fn realm(&self) -> Option<Cow<'a, str>> {
        self.param("realm")
    }

    /// The parameter `error`: the reason why the request was rejected, such as `invalid_token`
    /// (RFC 6750 §3.1, RFC 9449 §7.1).
    pub fn error(&self) -> Option<Cow<'a, str>> {
        self.param("error")
    }

    /// The parameter `scope`: the scopes that the request needs, separated by spaces (RFC 6750 §3).
    pub fn scope(&self) -> Option<Cow<'a, str>> {
        self.param("scope")
    }

    /// The parameter `claims`: the claims that Microsoft Entra asks for, as base64 of a JSON
    /// object.
    pub fn claims(&self) -> Option<Cow<'a, str>> {
        self.param("claims")
    }
}

/// Shows the scheme and the parameters. An opaque text is a step of a handshake and not shown.
impl fmt::Debug for Challenge<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge")
            .field("scheme", &self.scheme)
            .field("params", &self.params())
            .finish_non_exhaustive()
    }
}

// === impl ChallengeParams ===

impl<'a> Iterator for ChallengeParams<'a> {
    type Item = (&'a str, Cow<'a, str>);

    fn next(&mut self) -> Option<Self::Item> {
        match self.rest.next() {
            Some(Ok(ChallengeElement::Param(name, value))) => Some((name, value.unescaped())),
            // The end of the line, the next challenge, or the opaque text of this one.
            _ => {
                self.rest = ChallengeParser::new(&[]);
                None
            }
        }
    }
}

impl fmt::Debug for ChallengeParams<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.clone()).finish()
    }
}

// === impl ChallengeParser ===

impl<'a> ChallengeParser<'a> {
    fn new(line: &'a [u8]) -> Self {
        Self { rest: line, expected: ExpectedElement::Scheme }
    }

    /// Skips what is left of the challenge before.
    fn next_challenge(&mut self) -> Option<Challenge<'a>> {
        let scheme = self.by_ref().find_map(|element| match element {
            Ok(ChallengeElement::Scheme(scheme)) => Some(scheme),
            _ => None,
        })?;
        Some(Challenge { scheme, rest: self.clone() })
    }

    // ## ParamOrToken68 => (SchemeOrParam | Scheme)
    //
    // `a=b` is a parameter, while `a=` and `a` are opaque texts: the parameter is tried first. No
    // parameter may follow an opaque text.
    fn param_or_token68(&mut self) -> Result<ChallengeElement<'a>, MalformedChallenge> {
        if let Some((name, value, rest)) = param(self.rest) {
            self.end_element(rest, ExpectedElement::SchemeOrParam)?;
            return Ok(ChallengeElement::Param(name, value));
        }
        let (text, rest) = token68(self.rest).ok_or(MalformedChallenge)?;
        self.end_element(rest, ExpectedElement::Scheme)?;
        Ok(ChallengeElement::Token68(text))
    }

    // ## (Scheme | SchemeOrParam) => (ParamOrToken68 | SchemeOrParam)
    //
    // A token before an equals sign is the name of a parameter, any other token is a scheme. A
    // scheme ends its element, or is followed by white space and a parameter or an opaque text.
    fn scheme_or_param(&mut self) -> Result<ChallengeElement<'a>, MalformedChallenge> {
        let (token, rest) = token(self.rest).ok_or(MalformedChallenge)?;
        if let Some((value, rest)) = assigned(rest) {
            if self.expected == ExpectedElement::Scheme {
                return Err(MalformedChallenge);
            }
            self.end_element(rest, ExpectedElement::SchemeOrParam)?;
            return Ok(ChallengeElement::Param(token, value));
        }
        let inner = skip_whitespace(rest);
        if inner.len() < rest.len() && !matches!(inner, [] | [b',', ..]) {
            self.rest = inner;
            self.expected = ExpectedElement::ParamOrToken68;
        } else {
            self.end_element(rest, ExpectedElement::SchemeOrParam)?;
        }
        Ok(ChallengeElement::Scheme(token))
    }

    fn end_element(
        &mut self,
        rest: &'a [u8],
        expected: ExpectedElement,
    ) -> Result<(), MalformedChallenge> {
        self.rest = skip_whitespace(rest);
        self.expected = expected;
        match self.rest {
            [] | [b',', ..] => Ok(()),
            _ => Err(MalformedChallenge),
        }
    }
}

impl<'a> Iterator for ChallengeParser<'a> {
    type Item = Result<ChallengeElement<'a>, MalformedChallenge>;

    fn next(&mut self) -> Option<Self::Item> {
        let element = if self.expected == ExpectedElement::ParamOrToken68 {
            self.param_or_token68()
        } else {
            self.rest = skip_while(self.rest, |byte| is_whitespace(byte) || byte == b',');
            if self.rest.is_empty() {
                return None;
            }
            self.scheme_or_param()
        };
        if element.is_err() {
            *self = Self::new(&[]);
        }
        Some(element)
    }
}

// === impl ParamValue ===

impl<'a> ParamValue<'a> {
    fn unescaped(self) -> Cow<'a, str> {
        if !self.0.contains(&b'\\') {
            return String::from_utf8_lossy(self.0);
        }
        let mut text = Vec::with_capacity(self.0.len());
        let mut bytes = self.0.iter().copied();
        while let Some(byte) = bytes.next() {
            // A quoted string never ends in a lone backslash.
            text.push(if byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte });
        }
        Cow::Owned(String::from_utf8_lossy(&text).into_owned())
    }
}

// Each of these functions takes a part from the front of the input, and returns it with the rest.

fn param(input: &[u8]) -> Option<(&str, ParamValue<'_>, &[u8])> {
    let (name, rest) = token(input)?;
    let (value, rest) = assigned(rest)?;
    Some((name, value, rest))
}

/// The equals sign and the value of a parameter.
fn assigned(input: &[u8]) -> Option<(ParamValue<'_>, &[u8])> {
    let rest = skip_whitespace(input).strip_prefix(b"=")?;
    let rest = skip_whitespace(rest);
    let (value, rest) = quoted_string(rest).or_else(|| take_while(rest, is_token))?;
    Some((ParamValue(value), rest))
}

fn quoted_string(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = input.strip_prefix(b"\"")?;
    let mut rest = start;
    loop {
        rest = match rest {
            [b'"', after @ ..] => return Some((&start[..start.len() - rest.len()], after)),
            [b'\\', escaped, after @ ..] if is_text(*escaped) => after,
            [byte, after @ ..] if is_text(*byte) && *byte != b'\\' => after,
            _ => return None,
        }
    }
}

fn token(input: &[u8]) -> Option<(&str, &[u8])> {
    let (token, rest) = take_while(input, is_token)?;
    Some((ascii(token), rest))
}

fn token68(input: &[u8]) -> Option<(&str, &[u8])> {
    let (_, rest) = take_while(input, is_token68)?;
    let rest = skip_while(rest, |byte| byte == b'=');
    Some((ascii(&input[..input.len() - rest.len()]), rest))
}

fn take_while(input: &[u8], take: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let rest = skip_while(input, take);
    let taken = input.len() - rest.len();
    (taken > 0).then(|| input.split_at(taken))
}

fn skip_whitespace(input: &[u8]) -> &[u8] {
    skip_while(input, is_whitespace)
}

fn skip_while(input: &[u8], skip: impl Fn(u8) -> bool) -> &[u8] {
    let end = input.iter().position(|byte| !skip(*byte));
    &input[end.unwrap_or(input.len())..]
}

fn ascii(text: &[u8]) -> &str {
    str::from_utf8(text).expect("tokens are ASCII")
}

fn is_whitespace(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

/// A byte of a quoted string. A quote and a backslash must be escaped.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A challenge, and how it was written.
    #[derive(Clone, Debug, PartialEq)]
    struct Written {
        scheme: String,
        content: Content,
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Content {
        Token68(String),
        Params(Vec<(String, Vec<u8>)>),
    }

    #[test]
    fn the_example_of_the_rfc_is_read() {
        let line =
            br#"Basic realm="simple", Newauth realm="apps", type=1, title="Login to \"apps\"""#;
        let expected = vec![
            params("Basic", &[("realm", "simple")]),
            params("Newauth", &[("realm", "apps"), ("type", "1"), ("title", r#"Login to "apps""#)]),
        ];
        assert_eq!(parse(line), Some(expected));
    }

    #[test]
    fn the_parameters_that_have_a_meaning_are_read_by_name() {
        let line = r#"Bearer realm="a", error=b, scope="c d", claims=e"#;
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, line.parse().unwrap())]);
        let challenge = Challenges::of(&headers).next().unwrap();
        let named = [challenge.realm(), challenge.error(), challenge.scope(), challenge.claims()];
        assert_eq!(named.map(Option::unwrap), ["a", "b", "c d", "e"]);

        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, "Bearer".parse().unwrap())]);
        let challenge = Challenges::of(&headers).next().unwrap();
        let named = [challenge.realm(), challenge.error(), challenge.scope(), challenge.claims()];
        assert_eq!(named, [None, None, None, None]);
    }

    #[test]
    fn a_token68_and_a_parameter_are_told_apart() {
        let cases: &[(&str, Written)] = &[
            ("Negotiate a", opaque("a")),
            ("Negotiate a=", opaque("a=")),
            ("Negotiate a==", opaque("a==")),
            ("Negotiate a/+._~-9== ,", opaque("a/+._~-9==")),
            ("Negotiate \ta= ", opaque("a=")),
            ("Negotiate a=b", params("Negotiate", &[("a", "b")])),
            ("Negotiate a = b", params("Negotiate", &[("a", "b")])),
            ("Negotiate a=\"\"", params("Negotiate", &[("a", "")])),
            ("Negotiate a=\"\t \\\t\"", params("Negotiate", &[("a", "\t \t")])),
            ("Negotiate , a=b", params("Negotiate", &[("a", "b")])),
            ("Negotiate", params("Negotiate", &[])),
            ("Negotiate \t ", params("Negotiate", &[])),
        ];
        for (line, challenge) in cases {
            let expected = Some(vec![challenge.clone()]);
            assert_eq!(parse(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn a_line_that_breaks_the_grammar_yields_no_challenge() {
        let cases: &[&[u8]] = &[
            b"=",
            b"\"",
            b"a=b",
            b"A/b",
            b"A\"b\"",
            b"A =",
            b"A a=b c=d",
            b"A a=b c",
            b"A a b",
            b"A a=, b=c",
            b"A a =",
            b"A a/=b",
            b"A a==b",
            b"A a=b=",
            b"A a=\"b",
            b"A a=\"b\\\"",
            b"A a=\"b\\",
            b"A a=\"b\"c",
            b"A a=\"\x7f\"",
            b"A a=\"\\\x00\"",
            b"A a=\xe9",
            b"\xe9 a=b",
            b"A; a=b",
            b"A\x0ba=b",
        ];
        for line in cases {
            assert_eq!(parse(line), None, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_challenge_shows_its_parameters_and_not_its_opaque_text() {
        let line = HeaderValue::from_static(r#"Bearer realm="a\"b", Negotiate YIIhush==, Basic"#);
        let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, line)]);
        assert_eq!(
            format!("{:?}", Challenges::of(&headers).collect::<Vec<_>>()),
            r#"[Challenge { scheme: "Bearer", params: {"realm": "a\"b"}, .. }, "#.to_owned()
                + r#"Challenge { scheme: "Negotiate", params: {}, .. }, "#
                + r#"Challenge { scheme: "Basic", params: {}, .. }]"#
        );
    }

    #[test]
    fn nothing_is_read_after_an_error() {
        let mut elements = ChallengeParser::new(b"A a=b c, B d=e");
        assert!(matches!(elements.next(), Some(Ok(ChallengeElement::Scheme("A")))));
        assert!(matches!(elements.next(), Some(Err(MalformedChallenge))));
        assert!(elements.next().is_none());
        assert!(elements.next().is_none());
    }

    /// Takes minutes if a part of the line is read once per element.
    #[test]
    fn a_long_line_is_read_in_linear_time() {
        for pattern in ["a", "a ", "a,", ",", " ", "\t,", "a b,", "A a=b,", "a=", "=", "\"", "\\"] {
            for prefix in ["", "A ", "A a=\"", "A a=b, ", "A a", "A a="] {
                let line = format!("{prefix}{}", pattern.repeat((1 << 18) / pattern.len()));
                ChallengeParser::new(line.as_bytes()).for_each(drop);
                let line = HeaderValue::try_from(line).unwrap();
                let headers = HeaderMap::from_iter([(WWW_AUTHENTICATE, line)]);
                Challenges::of(&headers).flat_map(|challenge| challenge.params()).for_each(drop);
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_end_without_a_panic(line in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(ChallengeParser::new(&line).count() <= line.len());
        }

        #[test]
        fn almost_challenges_end_without_a_panic(line in r#"([Aa=", \t\\/\x00\x7f]|a=|a="|A a){0,30}"#) {
            prop_assert!(ChallengeParser::new(line.as_bytes()).count() <= line.len());
        }

        #[test]
        fn generated_challenges_are_read_back(
            (challenges, line) in prop::collection::vec(challenge(), 0..5).prop_flat_map(|drawn| {
                let (challenges, elements): (Vec<_>, Vec<_>) = drawn.into_iter().unzip();
                (Just(challenges), joined(elements.concat()))
            }),
        ) {
            prop_assert_eq!(parse(&line), Some(challenges));
        }

        #[test]
        fn the_lines_of_a_response_are_read_one_by_one(
            drawn in prop::collection::vec(
                (prop::collection::vec(challenge(), 0..3), any::<bool>()).prop_flat_map(
                    |(drawn, is_malformed)| {
                        let (challenges, elements): (Vec<_>, Vec<_>) = drawn.into_iter().unzip();
                        (Just(challenges), joined(elements.concat()), Just(is_malformed))
                    },
                ),
                0..5,
            ),
        ) {
            let mut headers = HeaderMap::new();
            let mut expected = Vec::new();
            for (challenges, mut line, is_malformed) in drawn {
                if is_malformed {
                    line.extend_from_slice(b", a b c");
                } else {
                    expected.extend(challenges);
                }
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(&line).unwrap());
            }
            let read: Vec<_> = Challenges::of(&headers).map(|challenge| written(&challenge)).collect();
            prop_assert_eq!(&read, &expected.iter().map(lossy).collect::<Vec<_>>());
            // Parameters are found by name as they are by iteration.
            for challenge in Challenges::of(&headers) {
                for (name, _) in challenge.params() {
                    let first = challenge.params().find(|(other, _)| other.eq_ignore_ascii_case(name));
                    let upper = name.to_ascii_uppercase();
                    prop_assert_eq!(challenge.param(&upper), first.map(|(_, value)| value));
                }
            }
        }
    }

    /// A challenge, and the elements that it is written with.
    fn challenge() -> impl Strategy<Value = (Written, Vec<Vec<u8>>)> {
        let white = || "[ \t]{1,3}";
        let opaque = ("[A-Za-z0-9+/._~-]{1,9}={0,2}", white()).prop_map(|(text, white)| {
            (Content::Token68(text.clone()), vec![format!("{white}{text}").into_bytes()])
        });
        let params =
            (prop::collection::vec(param_text(), 0..5), white()).prop_map(|(drawn, white)| {
                let (params, mut elements): (Vec<_>, Vec<_>) = drawn.into_iter().unzip();
                if let Some(first) = elements.first_mut() {
                    first.splice(..0, white.into_bytes());
                } else {
                    elements.push(Vec::new());
                }
                (Content::Params(params), elements)
            });
        (token_text(), prop_oneof![1 => opaque, 4 => params]).prop_map(
            |(scheme, (content, mut elements))| {
                elements[0].splice(..0, scheme.bytes());
                (Written { scheme, content }, elements)
            },
        )
    }

    fn param_text() -> impl Strategy<Value = ((String, Vec<u8>), Vec<u8>)> {
        let bare = token_text().prop_map(|text| (text.clone().into_bytes(), text.into_bytes()));
        let byte = any::<u8>().prop_filter("no text", |byte| is_text(*byte));
        let quoted = prop::collection::vec((byte, any::<bool>()), 0..12).prop_map(|text| {
            let mut written = vec![b'"'];
            for (byte, escape) in &text {
                if *escape || matches!(byte, b'"' | b'\\') {
                    written.push(b'\\');
                }
                written.push(*byte);
            }
            written.push(b'"');
            (text.into_iter().map(|(byte, _)| byte).collect(), written)
        });
        let equals = "[ \t]{0,2}=[ \t]{0,2}";
        (token_text(), equals, prop_oneof![bare, quoted]).prop_map(
            |(name, equals, (value, written))| {
                let element = [name.as_bytes(), equals.as_bytes(), &written].concat();
                ((name, value), element)
            },
        )
    }

    fn token_text() -> &'static str {
        "[A-Za-z0-9!#$%&'*+.^_`|~-]{1,8}"
    }

    /// The elements with commas in between, and with empty elements and white space where the
    /// grammar allows them.
    fn joined(elements: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
        let count = elements.len();
        let commas = prop::collection::vec("[ \t]{0,2}(,[ \t]{0,2}){1,3}", count);
        ("[ \t,]{0,3}", commas, "[ \t,]{0,3}").prop_map(move |(start, commas, end)| {
            let mut line = start.into_bytes();
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    line.extend_from_slice(commas[index].as_bytes());
                }
                line.extend_from_slice(element);
            }
            line.extend_from_slice(end.as_bytes());
            line
        })
    }

    fn params(scheme: &str, params: &[(&str, &str)]) -> Written {
        let params =
            params.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        Written { scheme: scheme.to_owned(), content: Content::Params(params.collect()) }
    }

    fn opaque(text: &str) -> Written {
        Written { scheme: "Negotiate".to_owned(), content: Content::Token68(text.to_owned()) }
    }

    /// The challenges of a line, by its elements: `None` if it is malformed.
    fn parse(line: &[u8]) -> Option<Vec<Written>> {
        let mut challenges: Vec<Written> = Vec::new();
        for element in ChallengeParser::new(line) {
            match element.ok()? {
                ChallengeElement::Scheme(scheme) => challenges.push(params(scheme, &[])),
                ChallengeElement::Token68(text) => {
                    let open = challenges.last_mut().unwrap();
                    assert_eq!(open.content, Content::Params(Vec::new()));
                    open.content = Content::Token68(text.to_owned());
                }
                ChallengeElement::Param(name, value) => {
                    match &mut challenges.last_mut().unwrap().content {
                        Content::Params(params) => {
                            params.push((name.to_owned(), unescaped(value.0)));
                        }
                        Content::Token68(_) => panic!("a parameter after an opaque text"),
                    }
                }
            }
        }
        Some(challenges)
    }

    /// The bytes of a value, which [`ParamValue::unescaped`] makes a text of.
    fn unescaped(value: &[u8]) -> Vec<u8> {
        let mut bytes = value.iter().copied();
        let unescape = || match bytes.next() {
            Some(b'\\') => bytes.next(),
            byte => byte,
        };
        std::iter::from_fn(unescape).collect()
    }

    fn written(challenge: &Challenge<'_>) -> Written {
        let content = match challenge.token68() {
            Some(text) => Content::Token68(text.to_owned()),
            None => Content::Params(
                challenge
                    .params()
                    .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
                    .collect(),
            ),
        };
        Written { scheme: challenge.scheme().to_owned(), content }
    }

    fn lossy(challenge: &Written) -> Written {
        let mut challenge = challenge.clone();
        if let Content::Params(params) = &mut challenge.content {
            for (_, value) in params {
                *value = String::from_utf8_lossy(value).as_bytes().to_vec();
            }
        }
        challenge
    }
}
