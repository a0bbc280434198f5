//! The memory of a secret is overwritten when the secret is dropped. Reading freed memory would be
//! undefined behaviour, so the kernel reads it: on Linux, from `/proc/self/mem`.

#![cfg(all(target_os = "linux", target_env = "gnu"))]
#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{fs::File, os::unix::fs::FileExt};

use tower_refresh::{Token, credential::Secret};

/// The place of a text in memory, also after it was freed.
struct Place {
    address: u64,
    length: usize,
}

/// The secret. It is far from the ends of each text, where an allocator may write.
const HUSH: &str = "hush-4f9b1c7e-hush";

/// A new text with the secret in its middle.
fn text() -> String {
    format!("{:.<256}{HUSH}{:.<256}", "", "")
}

/// A plain string stays readable, so the tests below prove something.
#[test]
fn a_plain_string_can_be_read_after_it_was_freed() {
    let plain = text();
    let place = Place::of(&plain);
    drop(plain);
    assert!(place.has_secret());
}

#[test]
fn a_secret_is_wiped_when_its_last_clone_is_dropped() {
    let string = text();
    let place = Place::of(&string);
    let secret = Secret::from(string);
    let copied = Secret::from(secret.expose());
    let copy = Place::of(copied.expose());
    let clone = secret.clone();
    drop(secret);
    assert!(place.has_secret() && copy.has_secret());
    assert_eq!(clone.expose(), copied.expose());
    drop(clone);
    assert!(!place.has_secret());
    drop(copied);
    assert!(!copy.has_secret());
}

#[test]
fn a_token_wipes_its_refresh_token_when_it_is_dropped_or_gets_another() {
    let refresh_token = text();
    let first = Place::of(&refresh_token);
    let token = Token::bearer("at-1").unwrap().with_refresh_token(refresh_token);
    assert!(first.has_secret());
    let token = token.with_refresh_token(&*text());
    assert!(!first.has_secret());

    let second = Place::of(token.refresh_token().unwrap());
    let clone = token.clone();
    drop(token);
    assert!(second.has_secret());
    drop(clone);
    assert!(!second.has_secret());
}

#[cfg(feature = "oauth2")]
mod oauth2 {
    use std::{
        convert::Infallible,
        future::ready,
        sync::{Arc, Mutex},
    };

    use bytes::Bytes;
    use http::{Request, Response};
    use http_body_util::Full;
    use tower::service_fn;
    use tower_refresh::{
        RefreshContext, Refresher,
        exchange::RequestBody,
        oauth2::{ClientAuth, EndpointUrl, RefreshTokenGrant, TokenEndpoint},
        refresher::Cause,
    };

    use super::*;

    #[test]
    fn a_client_wipes_its_secret() {
        for client in
            [|secret| ClientAuth::basic("me", secret), |secret| ClientAuth::post("me", secret)]
        {
            let secret = text();
            let place = Place::of(&secret);
            drop::<ClientAuth>(client(secret));
            assert!(!place.has_secret());
        }
    }

    #[tokio::test]
    async fn the_body_of_a_request_is_wiped() {
        let sent = Arc::new(Mutex::new(None));
        let sending = sent.clone();
        let http = service_fn(move |request: Request<RequestBody>| {
            let form = request.into_body().into_bytes();
            assert!(str::from_utf8(&form).unwrap().contains(HUSH));
            *sending.lock().unwrap() = Some(form);
            let answer = Full::<Bytes>::from(r#"{"access_token":"at-2"}"#);
            ready(Ok::<_, Infallible>(Response::new(answer)))
        });
        let url = EndpointUrl::new("https://login.example.com/token").unwrap();
        let refresher =
            RefreshTokenGrant::new(TokenEndpoint::new(http, url, ClientAuth::public("me")));
        let token = Token::bearer("at-1").unwrap().with_refresh_token(text());
        let context = RefreshContext::new(Cause::Rejected).with_current(Arc::new(token));
        refresher.refresh(context).await.unwrap();

        let form = sent.lock().unwrap().take().unwrap();
        let place = Place::of(str::from_utf8(&form).unwrap());
        assert!(place.has_secret());
        drop(form);
        assert!(!place.has_secret());
    }
}

// === impl Place ===

impl Place {
    fn of(text: &str) -> Self {
        Self { address: text.as_ptr() as u64, length: text.len() }
    }

    fn has_secret(&self) -> bool {
        // Not a `Vec`: the allocator could give it the memory that is to be read.
        let mut bytes = [0; 1024];
        let bytes = &mut bytes[..self.length];
        File::open("/proc/self/mem").unwrap().read_exact_at(bytes, self.address).unwrap();
        bytes.windows(HUSH.len()).any(|part| part == HUSH.as_bytes())
    }
}
