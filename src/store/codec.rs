use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};

use crate::{
    credential::{contract::Credential, token::Token},
    store::{
        error::StoreError,
        frame::{self, Fields, Kind, Reader, put_field},
    },
};

/// Translates a credential to the bytes that a store keeps, and back.
///
/// A codec decides how its format changes: a program must read what its older versions wrote, and
/// refuse what it cannot read as [incompatible](StoreError::incompatible).
///
/// ```
/// use std::time::SystemTime;
///
/// use bytes::Bytes;
/// use http::{HeaderValue, request};
/// use tower_refresh::{Credential, store::{Codec, StoreError}};
///
/// #[derive(Clone)]
/// struct ApiKey(HeaderValue);
/// # impl Credential for ApiKey { fn apply(&self, _: &mut request::Parts) {} }
///
/// struct ApiKeyCodec;
///
/// impl Codec<ApiKey> for ApiKeyCodec {
///     fn encode(&self, key: &ApiKey, _: SystemTime) -> Result<Bytes, StoreError> {
///         Ok([b"key 1 ", key.0.as_bytes()].concat().into())
///     }
///
///     fn decode(&self, bytes: &[u8]) -> Result<ApiKey, StoreError> {
///         let key = bytes.strip_prefix(b"key 1 ").ok_or_else(|| {
///             StoreError::incompatible("not an API key of the first format")
///         })?;
///         HeaderValue::from_bytes(key).map(ApiKey).map_err(StoreError::corrupt)
///     }
/// }
/// # let key = ApiKey(HeaderValue::from_static("31d4"));
/// # let bytes = ApiKeyCodec.encode(&key, SystemTime::now()).unwrap();
/// # assert_eq!(ApiKeyCodec.decode(&bytes).unwrap().0, "31d4");
/// ```
pub trait Codec<C>: Send + Sync + 'static {
    /// The bytes of a credential that arrived at that time.
    ///
    /// A credential that knows its lifetime, and not its end, is written with its end.
    ///
    /// # Errors
    ///
    /// The credential cannot be written, or is too large.
    fn encode(&self, credential: &C, received_at: SystemTime) -> Result<Bytes, StoreError>;

    /// The credential of these bytes.
    ///
    /// # Errors
    ///
    /// [Corrupt](StoreError::corrupt) or [incompatible](StoreError::incompatible) content.
    fn decode(&self, bytes: &[u8]) -> Result<C, StoreError>;
}

/// The [`Codec`] of a [`Token`].
///
/// The format, little-endian: `trfr`, the type `tokn`, the format number as one byte (1), the
/// length of the body (`u32`), the body, and the FNV-1a sum of everything before it (`u64`). The
/// body is a list of fields: a tag of one byte, a length (`u32`), and the content.
///
/// | tag | content |
/// |---|---|
/// | 1 | the access token; required |
/// | 2 | the refresh token |
/// | 3 | the expiry: seconds since 1970 (`i64`) and nanoseconds (`u32`) |
///
/// A reader skips tags below 128 that it does not know, and refuses others as incompatible. A later
/// version may thus add fields without a new format number. The body is at most 1 MiB long. An
/// expiry that the clock of the reader cannot express is dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenCodec;

const KIND: Kind = Kind { tag: *b"tokn", format: 1 };
const ACCESS_TOKEN: u8 = 1;
const REFRESH_TOKEN: u8 = 2;
const EXPIRES_AT: u8 = 3;

// === impl TokenCodec ===

impl Codec<Token> for TokenCodec {
    fn encode(&self, token: &Token, received_at: SystemTime) -> Result<Bytes, StoreError> {
        let mut body = BytesMut::new();
        put_field(&mut body, ACCESS_TOKEN, token.access_token().as_bytes())?;
        if let Some(refresh_token) = token.refresh_token() {
            put_field(&mut body, REFRESH_TOKEN, refresh_token.as_bytes())?;
        }
        if let Some((seconds, nanos)) = token.expires_at(received_at).and_then(to_unix) {
            let mut time = [0; 12];
            time[..8].copy_from_slice(&seconds.to_le_bytes());
            time[8..].copy_from_slice(&nanos.to_le_bytes());
            put_field(&mut body, EXPIRES_AT, &time)?;
        }
        frame::seal(KIND, &body)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Token, StoreError> {
        let body = frame::open(KIND, bytes)?;
        let (mut access_token, mut refresh_token, mut expires_at) = (None, None, None);
        for field in Fields(body) {
            let (tag, content) = field?;
            match tag {
                ACCESS_TOKEN => access_token = Some(text(content)?),
                REFRESH_TOKEN => refresh_token = Some(text(content)?),
                EXPIRES_AT => expires_at = from_unix(content)?,
                unknown => frame::skip_field(unknown)?,
            }
        }
        let access_token =
            access_token.ok_or_else(|| StoreError::corrupt("it has no access token"))?;
        let mut token = Token::bearer(access_token).map_err(StoreError::corrupt)?;
        if let Some(refresh_token) = refresh_token {
            token = token.with_refresh_token(refresh_token);
        }
        if let Some(expires_at) = expires_at {
            token = token.with_expires_at(expires_at);
        }
        Ok(token)
    }
}

fn text(content: &[u8]) -> Result<&str, StoreError> {
    // The cause of `Utf8Error` is a position, and no secret.
    str::from_utf8(content).map_err(StoreError::corrupt)
}

fn to_unix(time: SystemTime) -> Option<(i64, u32)> {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Some((i64::try_from(after.as_secs()).ok()?, after.subsec_nanos())),
        Err(before) => {
            let before = before.duration();
            let seconds = -i64::try_from(before.as_secs()).ok()?;
            match before.subsec_nanos() {
                0 => Some((seconds, 0)),
                nanos => Some((seconds - 1, 1_000_000_000 - nanos)),
            }
        }
    }
}

fn from_unix(content: &[u8]) -> Result<Option<SystemTime>, StoreError> {
    let mut reader = Reader(content);
    let (Some(seconds), Some(nanos)) = (reader.u64(), reader.u32()) else {
        return Err(frame::cut_off());
    };
    let (seconds, nanos) = (seconds.cast_signed(), Duration::from_nanos(nanos.into()));
    let whole = match u64::try_from(seconds) {
        Ok(after) => SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(after)),
        Err(_) => SystemTime::UNIX_EPOCH.checked_sub(Duration::from_secs(seconds.unsigned_abs())),
    };
    Ok(whole.and_then(|whole| whole.checked_add(nanos)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::error::StoreErrorKind;

    fn decoded(body: &[u8]) -> Result<Token, StoreErrorKind> {
        let frame = frame::seal(KIND, body).unwrap();
        TokenCodec.decode(&frame).map_err(|error| error.kind())
    }

    #[test]
    fn the_format_is_fixed() {
        let token = Token::bearer("at")
            .unwrap()
            .with_refresh_token("rt")
            .with_expires_at(SystemTime::UNIX_EPOCH + Duration::new(2, 3));
        let bytes = TokenCodec.encode(&token, SystemTime::now()).unwrap();
        let body = b"\x01\x02\0\0\0at\x02\x02\0\0\0rt\x03\x0c\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0";
        assert_eq!(&bytes[..13], b"trfrtokn\x01\x1f\0\0\0");
        assert_eq!(&bytes[13..bytes.len() - 8], body);
    }

    #[test]
    fn unknown_fields_are_skipped_and_unknown_critical_fields_are_incompatible() {
        let token = decoded(b"\x7f\x01\0\0\0?\x01\x02\0\0\0at").unwrap();
        assert_eq!(token.access_token(), "at");
        let critical = decoded(b"\x80\x01\0\0\0?\x01\x02\0\0\0at");
        assert_eq!(critical.unwrap_err(), StoreErrorKind::Incompatible);
    }

    #[test]
    fn damaged_content_is_corrupt() {
        let bodies: [&[u8]; 7] = [
            b"",
            b"\x02\x02\0\0\0rt",
            b"\x01\x00\0\0\0",
            b"\x01\x02\0\0\0a",
            b"\x01\x02\0\0",
            b"\x01\x02\0\0\0a\xff",
            b"\x01\x02\0\0\0at\x03\x02\0\0\0\0\0",
        ];
        for body in bodies {
            assert_eq!(decoded(body).unwrap_err(), StoreErrorKind::Corrupt, "{body:?}");
        }
    }

    #[test]
    fn a_lifetime_is_written_as_an_end() {
        let token = Token::bearer("at").unwrap().with_expires_in(Duration::from_secs(60));
        let arrival = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let back = TokenCodec.decode(&TokenCodec.encode(&token, arrival).unwrap()).unwrap();
        let end = arrival + Duration::from_secs(60);
        assert_eq!(back.expires_at(SystemTime::now()), Some(end));
    }

    #[test]
    fn a_token_of_10_mb_is_too_large() {
        let token = Token::bearer("t").unwrap().with_refresh_token("r".repeat(10_000_000));
        let error = TokenCodec.encode(&token, SystemTime::now()).unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::TooLarge);
    }

    #[test]
    fn no_error_shows_a_token() {
        let frame = TokenCodec.encode(&Token::bearer("hush").unwrap(), SystemTime::now()).unwrap();
        for end in 0..frame.len() {
            let error = TokenCodec.decode(&frame[..end]).unwrap_err();
            assert!(!format!("{error} {error:?} {error:#?}").contains("hush"));
        }
    }

    proptest! {
        #[test]
        fn a_token_comes_back_as_it_was(
            access in "[!-~]{1,40}",
            refresh in proptest::option::of("\\PC{1,40}"),
            expiry in proptest::option::of((-9_000_000_000_i64..9_000_000_000, 0_u32..1_000_000_000)),
        ) {
            let at = SystemTime::now();
            let mut token = Token::bearer(&access).unwrap();
            if let Some(refresh) = &refresh {
                token = token.with_refresh_token(refresh.clone());
            }
            if let Some((seconds, nanos)) = expiry {
                let shift = Duration::from_secs(seconds.unsigned_abs());
                let whole = if seconds < 0 {
                    SystemTime::UNIX_EPOCH - shift
                } else {
                    SystemTime::UNIX_EPOCH + shift
                };
                token = token.with_expires_at(whole + Duration::from_nanos(nanos.into()));
            }
            let back = TokenCodec.decode(&TokenCodec.encode(&token, at).unwrap()).unwrap();
            prop_assert_eq!(back.access_token(), access);
            prop_assert_eq!(back.refresh_token(), refresh.as_deref());
            prop_assert_eq!(back.expires_at(at), token.expires_at(at));
        }

        #[test]
        fn no_input_makes_the_decoder_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = decoded(&body);
            let _ = TokenCodec.decode(&body);
        }
    }
}
