use std::time::{Duration, SystemTime};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use zeroize::Zeroizing;

use crate::json;

/// base64url as in RFC 7515 §2, and with the padding that some issuers add.
const BASE64URL: GeneralPurpose = GeneralPurpose::new(
    &alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The `exp` of a JWT (RFC 7519 §4.1.4), which is not verified. `None` if the token is no JWT or
/// states no usable expiry.
pub(super) fn expiry(token: &str) -> Option<SystemTime> {
    let mut segments = token.split('.');
    let (_, payload, _) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() {
        return None;
    }
    let payload = Zeroizing::new(BASE64URL.decode(payload).ok()?);
    let mut seconds = None;
    json::read(&payload, &mut |name, value| {
        let is_expiry = name == "exp";
        if is_expiry {
            seconds = value.number().and_then(|text| text.parse::<f64>().ok());
        }
        is_expiry
    });
    let seconds = seconds.filter(|seconds| *seconds > 0.0)?;
    let since_epoch = Duration::try_from_secs_f64(seconds.floor()).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since_epoch)
}

#[cfg(test)]
mod tests {
    use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    use super::*;

    fn jwt(payload: &str) -> String {
        let encode = |text: &str| BASE64_URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.c2ln", encode(r#"{"alg":"none"}"#), encode(payload))
    }

    #[test]
    fn the_expiry_is_the_exp_of_the_payload() {
        let cases = [
            (r#"{"exp":2000000000}"#, Some(2_000_000_000)),
            (r#"{"sub":"a","exp" : 2000000000.9,"nbf":1}"#, Some(2_000_000_000)),
            (r#"{"exp":"2000000000"}"#, Some(2_000_000_000)),
            (r#"{"exp":2e9}"#, Some(2_000_000_000)),
            // A string that looks like a member, and a member of a nested object.
            (r#"{"sub":"\"exp\":1","kubernetes.io":{"exp":2},"exp":3}"#, Some(3)),
            (r#"{"kubernetes.io":{"exp":2}}"#, None),
            (r#"{"EXP":1}"#, None),
            (r#"{"exp":0}"#, None),
            (r#"{"exp":-5}"#, None),
            (r#"{"exp":null}"#, None),
            (r#"{"exp":"soon"}"#, None),
            (r#"{"exp":1e300}"#, None),
            (r#"{"exp":NaN}"#, None),
            ("{}", None),
            ("exp", None),
            ("", None),
        ];
        for (payload, expected) in cases {
            let expected =
                expected.map(|seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
            assert_eq!(expiry(&jwt(payload)), expected, "{payload}");
        }
        let padded = format!("e30=.{}.c2ln", BASE64_URL_SAFE.encode(r#"{"exp":1}"#));
        assert!(padded.contains("=."));
        assert!(expiry(&padded).is_some());
    }

    #[test]
    fn an_opaque_token_has_no_expiry() {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(r#"{"exp":2000000000}"#);
        let opaque = [
            String::new(),
            "hvs.CAESIJ".into(),
            payload.clone(),
            format!("a.{payload}"),
            format!("a.{payload}.b.c.d"),
            "a.%%.b".into(),
            "..".into(),
        ];
        for token in opaque {
            assert_eq!(expiry(&token), None, "{token}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_an_expiry_or_none(text in r"[-_.A-Za-z0-9=]{0,60}|\PC{0,40}") {
            expiry(&text);
        }
    }
}
