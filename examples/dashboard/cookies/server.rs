//! The server side: tokens in `HttpOnly` cookies.

use std::time::SystemTime;

use bytes::Bytes;
use http::{
    HeaderMap, Response,
    header::{COOKIE, HeaderValue, SET_COOKIE},
};
use http_body_util::Full;

use crate::{
    cookies::{ACCESS, REFRESH},
    server::wire::{Pair, Wire},
};

pub(crate) struct Cookies;

impl Wire for Cookies {
    fn access_token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        cookie(headers, ACCESS)
    }

    fn refresh_token<'a>(&self, headers: &'a HeaderMap, _: &'a [u8]) -> Option<&'a str> {
        cookie(headers, REFRESH)
    }

    /// Each cookie has the path of the server that reads it, so the API never gets a refresh token.
    /// Over TLS both cookies would be `Secure` as well.
    fn issue(&self, pair: &Pair, _: SystemTime) -> Response<Full<Bytes>> {
        let Pair { access_token, refresh_token, lifetime } = pair;
        let seconds = lifetime.as_secs();
        let mut response = Response::new(Full::default());
        for cookie in [
            format!(
                "{ACCESS}={access_token}; Path=/api; HttpOnly; SameSite=Lax; Max-Age={seconds}"
            ),
            format!("{REFRESH}={refresh_token}; Path=/auth; HttpOnly; SameSite=Strict"),
        ] {
            let cookie = HeaderValue::try_from(cookie).expect("tokens and dates are ASCII");
            response.headers_mut().append(SET_COOKIE, cookie);
        }
        response
    }

    /// `None`: no authentication scheme exists for cookies.
    fn challenge(&self, _: bool) -> Option<&'static str> {
        None
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs =
        values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(named, value)| (named == name).then_some(value))
}
