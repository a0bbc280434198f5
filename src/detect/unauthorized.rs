use http::{HeaderMap, StatusCode};

use crate::{
    detect::{
        challenge::Challenges,
        verdict::{Detect, Verdict},
    },
    head::ResponseHead,
};

/// Detects HTTP's rejection of a credential: status 401 ([RFC 9110 §15.5.2]), unless its challenge
/// says that a refreshed token would be rejected too.
///
/// | `error` of a `Bearer` or `DPoP` challenge | the request needs |
/// |---|---|
/// | `insufficient_scope` ([RFC 6750 §3.1]) | a token with more scopes |
/// | `insufficient_user_authentication` ([RFC 9470]) | a login with another factor, or a more recent one |
/// | `insufficient_claims` (Microsoft Entra) | a token with other claims |
/// | `use_dpop_nonce` ([RFC 9449 §9]) | the nonce that the response has |
///
/// Such a 401 goes to the caller, and no refresh starts. The condition is that at least one
/// `Bearer` or `DPoP` challenge has an `error`, and that each of their errors is in the table.
/// Every other 401 is a rejection, also one without a challenge. [`Challenges`] reads them.
///
/// [RFC 6750 §3.1]: https://www.rfc-editor.org/rfc/rfc6750#section-3.1
/// [RFC 9110 §15.5.2]: https://www.rfc-editor.org/rfc/rfc9110#section-15.5.2
/// [RFC 9449 §9]: https://www.rfc-editor.org/rfc/rfc9449#section-9
/// [RFC 9470]: https://www.rfc-editor.org/rfc/rfc9470
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
/// let inspect = |challenge| {
///     let challenge = HeaderValue::from_static(challenge);
///     let headers = HeaderMap::from_iter([(header::WWW_AUTHENTICATE, challenge)]);
///     Unauthorized.inspect(&ResponseHead::new(StatusCode::UNAUTHORIZED, &headers))
/// };
/// assert_eq!(inspect(r#"Bearer error="invalid_token""#), Verdict::Rejected);
/// assert_eq!(inspect(r#"Bearer error="insufficient_scope", scope="admin""#), Verdict::Accepted);
/// assert_eq!(inspect(r#"DPoP error="use_dpop_nonce""#), Verdict::Accepted);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct Unauthorized;

/// The errors that a refresh does not cure.
const NOT_CURED_BY_REFRESH: [&str; 4] = [
    "insufficient_scope",
    "insufficient_user_authentication",
    "insufficient_claims",
    "use_dpop_nonce",
];

// === impl Unauthorized ===

impl Detect for Unauthorized {
    fn inspect(&self, response: &ResponseHead<'_>) -> Verdict {
        let rejected = response.status() == StatusCode::UNAUTHORIZED
            && is_cured_by_refresh(response.headers());
        rejected.into()
    }
}

/// Whether a refreshed token may be accepted, as far as the challenges tell.
fn is_cured_by_refresh(headers: &HeaderMap) -> bool {
    let mut errors = Challenges::of(headers)
        .filter(|challenge| challenge.is_scheme("Bearer") || challenge.is_scheme("DPoP"))
        .flat_map(|challenge| challenge.params())
        .filter(|(name, _)| name.eq_ignore_ascii_case("error"))
        .peekable();
    errors.peek().is_none() || errors.any(|(_, error)| !NOT_CURED_BY_REFRESH.contains(&&*error))
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::WWW_AUTHENTICATE};
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
    fn errors_that_no_refresh_cures_are_no_rejection_with_either_scheme() {
        let errors = [
            "insufficient_scope",
            "insufficient_user_authentication",
            "insufficient_claims",
            "use_dpop_nonce",
        ];
        for scheme in ["Bearer", "DPoP", "bearer", "dpop"] {
            for error in errors {
                for line in [
                    format!(r#"{scheme} error="{error}""#),
                    format!(r#"{scheme} error={error}"#),
                    format!(r#"{scheme} realm="api", error="{error}", claims="e30=", max_age=5"#),
                    format!(r#"Bearer, DPoP algs="ES256", {scheme} error="{error}""#),
                    format!(r#"{scheme} error="{error}", {scheme} error="insufficient_scope""#),
                    format!(r#"Negotiate, {scheme} error="{error}", Basic error="invalid_token""#),
                ] {
                    assert_eq!(inspect(&[line.as_bytes()]), Verdict::Accepted, "{line}");
                }
                for line in [
                    format!(r#"Basic error="{error}""#),
                    format!(r#"{scheme} error="{error}2""#),
                    format!(r#"{scheme} error_description="{error}""#),
                    format!(r#"{scheme} error="{error}", Bearer error="invalid_token""#),
                    format!(r#"DPoP error="invalid_token", {scheme} error="{error}""#),
                    format!(r#"DPoP error="invalid_dpop_proof", {scheme} error="{error}""#),
                ] {
                    assert_eq!(inspect(&[line.as_bytes()]), Verdict::Rejected, "{line}");
                }
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
    fn a_malformed_line_has_no_effect() {
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
        fn a_401_without_an_underscore_is_always_a_rejection(
            lines in prop::collection::vec("([ -~&&[^_]]|\t|\u{e9}){0,40}", 0..4),
        ) {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            prop_assert_eq!(inspect(&lines), Verdict::Rejected);
        }
    }
}
