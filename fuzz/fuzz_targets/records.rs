//! Stored records: what is written is read again, and a record that was damaged is refused.

#![no_main]

use std::time::{Duration, SystemTime};

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use tower_refresh::{
    Credential, Token,
    store::{Codec, TokenCodec},
};

#[derive(Arbitrary, Debug)]
enum Input<'a> {
    /// Any bytes: they are refused, or they are a token that is written and read again.
    Raw(&'a [u8]),
    Token {
        access: &'a str,
        refresh: Option<&'a str>,
        expires_in: Option<u32>,
        damage: Damage,
    },
}

#[derive(Arbitrary, Clone, Copy, Debug)]
enum Damage {
    None,
    Flip { at: u16, bits: u8 },
    Cut(u16),
    Append(u8),
}

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fuzz_target!(|input: Input| match input {
    Input::Raw(bytes) => {
        if let Ok(token) = TokenCodec.decode(bytes) {
            let written = TokenCodec.encode(&token, NOW).expect("it fitted before");
            let read = TokenCodec.decode(&written).expect("it was just written");
            assert_eq!(content(&read), content(&token));
        }
    }
    Input::Token { access, refresh, expires_in, damage } => {
        let Ok(mut token) = Token::bearer(access) else { return };
        if let Some(refresh) = refresh {
            token = token.with_refresh_token(refresh);
        }
        if let Some(seconds) = expires_in {
            token = token.with_expires_in(Duration::from_secs(seconds.into()));
        }
        let mut written = TokenCodec.encode(&token, NOW).expect("the token is short").to_vec();
        match damage {
            Damage::None => {}
            Damage::Flip { at, bits } => {
                let at = usize::from(at) % written.len();
                written[at] ^= bits.max(1);
            }
            Damage::Cut(length) => written.truncate(usize::from(length) % written.len()),
            Damage::Append(byte) => written.push(byte),
        }
        let read = TokenCodec.decode(&written);
        if let Damage::None = damage {
            assert_eq!(content(&read.expect("it is as it was written")), content(&token));
        } else {
            assert!(read.is_err(), "{damage:?} is noticed");
        }
    }
});

fn content(token: &Token) -> (&str, Option<&str>, Option<SystemTime>) {
    (token.access_token(), token.refresh_token(), token.expires_at(NOW))
}
