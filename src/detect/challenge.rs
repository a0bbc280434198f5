//! The challenges of one `WWW-Authenticate` header line, [RFC 9110 §11.6.1].
//!
//! ```text
//! line       = [ element ] *( OWS "," OWS [ element ] )
//! element    = auth-scheme [ 1*( SP / HTAB ) ( auth-param / token68 ) ]   ; opens a challenge
//!            / auth-param                                                ; belongs to the open one
//! auth-param = token BWS "=" BWS ( token / quoted-string )
//! token68    = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
//! ```
//!
//! The RFC's grammar is a list of lists with the same separator at both levels. Read element by
//! element it needs no look-ahead beyond the element, and so no allocation and no more than a few
//! passes over each byte.
//!
//! [RFC 9110 §11.6.1]: https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1

use std::iter;

/// Yields the parts of a header line in their order, and after the first error nothing.
#[derive(Clone, Debug)]
pub(crate) struct Challenges<'a> {
    rest: &'a [u8],
    next: Next,
}

/// A scheme opens a challenge; what follows, up to the next scheme, belongs to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'a> {
    Scheme(&'a [u8]),
    Param(&'a [u8], Value<'a>),
    Token68,
}

/// A parameter's value without its quotes, but still with its escapes. A token has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Value<'a>(&'a [u8]);

/// The line does not follow the grammar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Malformed;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Next {
    /// An element that opens a challenge.
    Scheme,
    /// The same, or a parameter of the challenge that is open.
    SchemeOrParam,
    /// What follows a scheme and white space in the same element.
    ParamOrToken68,
}

// === impl Challenges ===

impl<'a> Challenges<'a> {
    pub(crate) fn new(line: &'a [u8]) -> Self {
        Self { rest: line, next: Next::Scheme }
    }

    // ## ParamOrToken68 => (SchemeOrParam | Scheme)
    fn param_or_token68(&mut self) -> Result<Part<'a>, Malformed> {
        // `a=b` is a parameter and `a=` is not, so the parameter has the first try
        if let Some((name, value, rest)) = param(self.rest) {
            self.end_element(rest, Next::SchemeOrParam)?;
            return Ok(Part::Param(name, value));
        }
        let (_, rest) = token68(self.rest).ok_or(Malformed)?;
        self.end_element(rest, Next::Scheme)?;
        Ok(Part::Token68)
    }

    // ## (Scheme | SchemeOrParam) => (ParamOrToken68 | SchemeOrParam)
    fn element(&mut self) -> Result<Part<'a>, Malformed> {
        let (token, rest) = token(self.rest).ok_or(Malformed)?;
        if let Some((value, rest)) = assigned(rest) {
            if self.next == Next::Scheme {
                return Err(Malformed);
            }
            self.end_element(rest, Next::SchemeOrParam)?;
            return Ok(Part::Param(token, value));
        }
        let inner = skip_whitespace(rest);
        if inner.len() < rest.len() && !matches!(inner, [] | [b',', ..]) {
            self.rest = inner;
            self.next = Next::ParamOrToken68;
        } else {
            self.end_element(rest, Next::SchemeOrParam)?;
        }
        Ok(Part::Scheme(token))
    }

    fn end_element(&mut self, rest: &'a [u8], next: Next) -> Result<(), Malformed> {
        self.rest = skip_whitespace(rest);
        self.next = next;
        match self.rest {
            [] | [b',', ..] => Ok(()),
            _ => Err(Malformed),
        }
    }
}

impl<'a> Iterator for Challenges<'a> {
    type Item = Result<Part<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let part = if self.next == Next::ParamOrToken68 {
            self.param_or_token68()
        } else {
            self.rest = skip_while(self.rest, |byte| is_whitespace(byte) || byte == b',');
            if self.rest.is_empty() {
                return None;
            }
            self.element()
        };
        if part.is_err() {
            (self.rest, self.next) = (&[], Next::Scheme);
        }
        Some(part)
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    pub(crate) fn is(self, text: &[u8]) -> bool {
        self.bytes().eq(text.iter().copied())
    }

    fn bytes(self) -> impl Iterator<Item = u8> + 'a {
        let mut bytes = self.0.iter().copied();
        iter::from_fn(move || match bytes.next() {
            Some(b'\\') => bytes.next(),
            byte => byte,
        })
    }
}

// Each takes what it is named for from the front, and returns it with the rest.

fn param(input: &[u8]) -> Option<(&[u8], Value<'_>, &[u8])> {
    let (name, rest) = token(input)?;
    let (value, rest) = assigned(rest)?;
    Some((name, value, rest))
}

/// The value of a parameter whose name was taken.
fn assigned(input: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let rest = skip_whitespace(input).strip_prefix(b"=")?;
    let rest = skip_whitespace(rest);
    let (value, rest) = quoted_string(rest).or_else(|| token(rest))?;
    Some((Value(value), rest))
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

fn token(input: &[u8]) -> Option<(&[u8], &[u8])> {
    take_while(input, is_token)
}

fn token68(input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (token, rest) = take_while(input, is_token68)?;
    Some((token, skip_while(rest, |byte| byte == b'=')))
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

/// What may stand between quotes; a quote and a backslash only after a backslash.
fn is_text(byte: u8) -> bool {
    byte == b'\t' || (byte >= b' ' && byte != 0x7f)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug, PartialEq)]
    struct Challenge {
        scheme: String,
        content: Content,
    }

    #[derive(Clone, Debug, PartialEq)]
    enum Content {
        Token68,
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
    fn a_token68_and_a_parameter_are_told_apart() {
        let cases: &[(&str, Challenge)] = &[
            ("Negotiate a", token68("Negotiate")),
            ("Negotiate a=", token68("Negotiate")),
            ("Negotiate a==", token68("Negotiate")),
            ("Negotiate a/+._~-9== ,", token68("Negotiate")),
            ("Negotiate \ta= ", token68("Negotiate")),
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
    fn what_breaks_the_grammar_is_malformed() {
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
    fn nothing_is_read_after_an_error() {
        let mut parts = Challenges::new(b"A a=b c, B d=e");
        assert!(matches!(parts.next(), Some(Ok(Part::Scheme(b"A")))));
        assert!(matches!(parts.next(), Some(Err(Malformed))));
        assert!(parts.next().is_none());
        assert!(parts.next().is_none());
    }

    /// Ends in no time, unless something is read again and again.
    #[test]
    fn a_long_line_is_read_in_linear_time() {
        for pattern in ["a", "a ", "a,", ",", " ", "\t,", "a b,", "A a=b,", "a=", "=", "\"", "\\"] {
            for prefix in ["", "A ", "A a=\"", "A a=b, ", "A a", "A a="] {
                let line = format!("{prefix}{}", pattern.repeat((1 << 18) / pattern.len()));
                Challenges::new(line.as_bytes()).for_each(drop);
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_end_without_a_panic(line in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(Challenges::new(&line).count() <= line.len());
        }

        #[test]
        fn almost_challenges_end_without_a_panic(line in r#"([Aa=", \t\\/\x00\x7f]|a=|a="|A a){0,30}"#) {
            prop_assert!(Challenges::new(line.as_bytes()).count() <= line.len());
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
    }

    /// A challenge, and the elements that write it down.
    fn challenge() -> impl Strategy<Value = (Challenge, Vec<Vec<u8>>)> {
        let white = || "[ \t]{1,3}";
        let opaque = ("[A-Za-z0-9+/._~-]{1,9}={0,2}", white()).prop_map(|(text, white)| {
            (Content::Token68, vec![format!("{white}{text}").into_bytes()])
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
                (Challenge { scheme, content }, elements)
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

    /// The elements with commas in between, and empty elements and white space wherever they may
    /// be.
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

    fn params(scheme: &str, params: &[(&str, &str)]) -> Challenge {
        let params =
            params.iter().map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
        Challenge { scheme: scheme.to_owned(), content: Content::Params(params.collect()) }
    }

    fn token68(scheme: &str) -> Challenge {
        Challenge { scheme: scheme.to_owned(), content: Content::Token68 }
    }

    fn parse(line: &[u8]) -> Option<Vec<Challenge>> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut challenges: Vec<Challenge> = Vec::new();
        for part in Challenges::new(line) {
            match part.ok()? {
                Part::Scheme(scheme) => challenges.push(params(&text(scheme), &[])),
                Part::Token68 => {
                    let open = challenges.last_mut().unwrap();
                    assert_eq!(open.content, Content::Params(Vec::new()));
                    open.content = Content::Token68;
                }
                Part::Param(name, value) => match &mut challenges.last_mut().unwrap().content {
                    Content::Params(params) => params.push((text(name), value.bytes().collect())),
                    Content::Token68 => panic!("a parameter after a token68"),
                },
            }
        }
        Some(challenges)
    }
}
