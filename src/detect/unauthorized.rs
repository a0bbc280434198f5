use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};

use crate::{
    detect::{
        challenge::{Challenges, Malformed, Part},
        verdict::{Detect, Verdict},
    },
    head::ResponseHead,
};

/// HTTP's own way to reject a credential: status 401 ([RFC 9110 §15.5.2]), unless a new one would
/// not help.
///
/// It would not when the token is fine and merely lacks a scope. [RFC 6750 §3.1] answers that with
/// 403, which is never a rejection here, but some upstreams say it with a 401 and a challenge:
///
/// ```text
/// WWW-Authenticate: Bearer error="insufficient_scope", scope="admin"
/// ```
///
/// Such a 401 goes to the caller without a refresh. Precisely: at least one `Bearer` challenge of
/// the response has an `error`, and every `error` of every `Bearer` challenge is
/// `insufficient_scope`. Any other 401 is a rejection, also one without a challenge. Challenges are
/// read as [RFC 9110 §11.6.1] has them, several in one header line or several lines; a line that
/// does not follow it tells nothing, as if it were absent.
///
/// [RFC 6750 §3.1]: https://www.rfc-editor.org/rfc/rfc6750#section-3.1
/// [RFC 9110 §11.6.1]: https://www.rfc-editor.org/rfc/rfc9110#section-11.6.1
/// [RFC 9110 §15.5.2]: https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
///
/// # Examples
///
/// ```
/// use http::{HeaderMap, HeaderValue, StatusCode, header};
/// use tower_refresh::{
///     detect::{Detect, Unauthorized, Verdict},
///     head::ResponseHead,
/// };
///
/// let mut headers = HeaderMap::new();
/// let expired = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
/// headers.insert(header::WWW_AUTHENTICATE, expired);
/// assert_eq!(Unauthorized.inspect(&ResponseHead::new(StatusCode::UNAUTHORIZED, &headers)), Verdict::Rejected);
///
/// let forbidden = HeaderValue::from_static(r#"Bearer error="insufficient_scope""#);
/// headers.insert(header::WWW_AUTHENTICATE, forbidden);
/// assert_eq!(Unauthorized.inspect(&ResponseHead::new(StatusCode::UNAUTHORIZED, &headers)), Verdict::Accepted);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Unauthorized;

// === impl Unauthorized ===

impl Detect for Unauthorized {
    fn inspect(&self, response: &ResponseHead<'_>) -> Verdict {
        if response.status() == StatusCode::UNAUTHORIZED && !only_lacks_scope(response.headers()) {
            Verdict::Rejected
        } else {
            Verdict::Accepted
        }
    }
}

/// Whether there are Bearer errors, and all of them say that a scope is missing.
fn only_lacks_scope(headers: &HeaderMap) -> bool {
    let mut lines = headers
        .get_all(WWW_AUTHENTICATE)
        .iter()
        .filter_map(|line| bearer_errors_lack_scope(line.as_bytes()).unwrap_or(None))
        .peekable();
    lines.peek().is_some() && lines.all(|lacks_scope| lacks_scope)
}

/// The same for one header line; `None` if it has no Bearer error.
fn bearer_errors_lack_scope(line: &[u8]) -> Result<Option<bool>, Malformed> {
    let mut in_bearer = false;
    let mut verdict = None;
    for part in Challenges::new(line) {
        match part? {
            Part::Scheme(scheme) => in_bearer = scheme.eq_ignore_ascii_case(b"Bearer"),
            Part::Param(name, value) if in_bearer && name.eq_ignore_ascii_case(b"error") => {
                let lacks_scope = value.is(b"insufficient_scope");
                verdict = Some(verdict.unwrap_or(true) && lacks_scope);
            }
            Part::Param(..) | Part::Token68 => {}
        }
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn inspect(lines: &[&[u8]]) -> Verdict {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(WWW_AUTHENTICATE, HeaderValue::from_bytes(line).unwrap());
        }
        Unauthorized.inspect(&ResponseHead::new(StatusCode::UNAUTHORIZED, &headers))
    }

    #[test]
    fn a_401_is_a_rejection_and_no_other_status_is() {
        for challenged in [false, true] {
            let mut headers = HeaderMap::new();
            if challenged {
                let challenge = HeaderValue::from_static(r#"Bearer error="invalid_token""#);
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            for code in 100..600 {
                let status = StatusCode::from_u16(code).unwrap();
                let rejected =
                    Unauthorized.inspect(&ResponseHead::new(status, &headers)) == Verdict::Rejected;
                assert_eq!(rejected, code == 401, "{code}, challenged: {challenged}");
            }
        }
    }

    #[test]
    fn a_token_that_only_lacks_a_scope_is_not_rejected() {
        let cases: &[&[&[u8]]] = &[
            &[br#"Bearer error="insufficient_scope""#],
            &[br#"Bearer error=insufficient_scope"#],
            &[br#"bEARER ERROR="insufficient_scope""#],
            &[br#"Bearer realm="a, Bearer error=\"invalid_token\"", error="insufficient_scope""#],
            &[br#"Bearer error = "insufficient_scope""#],
            &[b"Bearer error\t=\t\"insufficient_scope\"\t,\tscope=\"a b\""],
            &[b"Bearer \t error=insufficient_scope"],
            &[br#", ,Bearer ,, error="insufficient_scope",, "#],
            &[br#"Bearer error="insufficient\_s\cope""#],
            &[br#"Negotiate abc==, Bearer error="insufficient_scope""#],
            &[br#"Negotiate a+/b, Bearer error="insufficient_scope""#],
            &[br#"Bearer error="insufficient_scope", Negotiate, Basic realm="x""#],
            &[br#"Basic error="invalid_token", Bearer error="insufficient_scope""#],
            &[br#"Bearer realm="x", Bearer error="insufficient_scope""#],
            &[br#"Bearer, Bearer error="insufficient_scope""#],
            &[b"Bearer realm=\"caf\xe9 \xff\", error=\"insufficient_scope\""],
            &[br#"Bearer error="insufficient_scope""#, b"Negotiate"],
            &[b"", br#"Bearer error="insufficient_scope""#, b"Bearer"],
            &[br#"Bearer error="insufficient_scope""#, br#"Bearer error="oops"#],
            &[b"\xff", br#"Bearer error="insufficient_scope""#],
        ];
        for lines in cases {
            assert_eq!(inspect(lines), Verdict::Accepted, "{}", show(lines));
        }
    }

    #[test]
    fn every_other_401_is_a_rejection() {
        let cases: &[&[&[u8]]] = &[
            &[],
            &[b""],
            &[b" , ,"],
            &[b"Bearer"],
            &[br#"Bearer realm="insufficient_scope""#],
            &[br#"Bearer error="invalid_token""#],
            &[br#"Bearer error="""#],
            &[br#"Bearer error="Insufficient_Scope""#],
            &[br#"Bearer error=" insufficient_scope""#],
            &[br#"Bearer error="insufficient_scope2""#],
            &[br#"Bearer error="insufficient_scop""#],
            &[br#"Bearer error_description="x", errors="insufficient_scope""#],
            &[br#"Basic error="insufficient_scope""#],
            &[br#"Bearer realm="x", Basic error="insufficient_scope""#],
            &[br#"Bearers error="insufficient_scope""#],
            &[br#"Bearer error="insufficient_scope", error="invalid_token""#],
            &[br#"Bearer error="invalid_token", error="insufficient_scope""#],
            &[br#"Bearer error="insufficient_scope", Bearer error="invalid_token""#],
            &[br#"Bearer error="insufficient_scope""#, br#"Bearer error="invalid_token""#],
            &[br#"Bearer error="invalid_token""#, br#"Bearer error="insufficient_scope""#],
            &[br#"Basic realm="Bearer error=\"insufficient_scope\"""#],
            &[br#"Basic realm="x, Bearer error=insufficient_scope""#],
        ];
        for lines in cases {
            assert_eq!(inspect(lines), Verdict::Rejected, "{}", show(lines));
        }
    }

    #[test]
    fn a_line_that_does_not_parse_tells_nothing() {
        let cases: &[&[u8]] = &[
            br#"Bearer error="insufficient_scope"#,
            br#"Bearer error="insufficient_scope\"#,
            br#"Bearer error="insufficient_scope" scope="a""#,
            br#"Bearer error="insufficient_scope", realm=https://a"#,
            br#"Bearer error="insufficient_scope", ="a""#,
            br#"Bearer error="insufficient_scope";"#,
            br#"Bearer error="insufficient_scope", Negotiate ab=cd="#,
            br#"error="insufficient_scope""#,
            br#"Bearer=error="insufficient_scope""#,
            br#"Bearer abc==, error="insufficient_scope""#,
            b"Bearer error=\"insufficient_scope\", \xff",
        ];
        for line in cases {
            assert_eq!(inspect(&[line]), Verdict::Rejected, "{}", show(&[line]));
        }
    }

    fn show(lines: &[&[u8]]) -> String {
        let lines: Vec<_> = lines.iter().map(|line| line.escape_ascii().to_string()).collect();
        lines.join(" | ")
    }

    proptest! {
        #[test]
        fn a_401_without_the_words_is_always_a_rejection(
            lines in prop::collection::vec("([ -~&&[^_]]|\t|\u{e9}){0,40}", 0..4),
        ) {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            prop_assert_eq!(inspect(&lines), Verdict::Rejected);
        }
    }
}
