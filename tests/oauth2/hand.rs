//! A token endpoint with canned answers and a log of its requests.

use std::{
    error::Error,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, request::Parts};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tower::{BoxError, util::BoxCloneSyncService};
use tower_refresh::{
    RefreshContext, RefreshError, Refresher, Token,
    exchange::RequestBody,
    oauth2::{ClientAuth, ClientCredentialsGrant, EndpointUrl, RefreshTokenGrant, TokenEndpoint},
    refresher::Cause,
};
use url::form_urlencoded;

pub(crate) type Answer = Response<UnsyncBoxBody<Bytes, BoxError>>;
pub(crate) type Http = BoxCloneSyncService<Request<RequestBody>, Answer, BoxError>;

/// The requests that were sent, in order.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Seen>>>);

#[derive(Clone)]
pub(crate) struct Seen {
    pub(crate) head: Parts,
    pub(crate) body: String,
}

pub(crate) const URL: &str = "https://login.example.com/token?tenant=7";
pub(crate) const CLIENT_SECRET: &str = "hush-client";
pub(crate) const OLD_REFRESH: &str = "hush-old-refresh";
pub(crate) const NEW_REFRESH: &str = "hush-new-refresh";
pub(crate) const NEW_ACCESS: &str = "hush-new-access";
pub(crate) const GOOD: &str = r#"{"access_token":"hush-new-access","token_type":"Bearer","expires_in":3600,"refresh_token":"hush-new-refresh","scope":"a b"}"#;

pub(crate) fn answer(status: u16, body: impl Into<Bytes>) -> Answer {
    let body = Full::new(body.into()).map_err(|never| match never {}).boxed_unsync();
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

/// An HTTP client that reads the body to its end, and then answers.
pub(crate) fn http(answer: impl Fn() -> Answer + Clone + Send + Sync + 'static) -> (Http, Log) {
    let log = Log::default();
    let noting = log.clone();
    let service = tower::service_fn(move |request: Request<RequestBody>| {
        let (noting, answer) = (noting.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
            noting.0.lock().unwrap().push(Seen { head, body });
            Ok::<_, BoxError>(answer())
        }
    });
    (BoxCloneSyncService::new(service), log)
}

pub(crate) fn me() -> ClientAuth {
    ClientAuth::basic("me", CLIENT_SECRET)
}

pub(crate) fn at(http: Http) -> TokenEndpoint {
    TokenEndpoint::new(http, EndpointUrl::new(URL).unwrap(), me())
}

pub(crate) fn answering(status: u16, body: impl Into<Bytes>) -> TokenEndpoint {
    let body = body.into();
    at(http(move || answer(status, body.clone())).0)
}

pub(crate) fn stale() -> Token {
    Token::bearer("hush-old-access").unwrap().with_refresh_token(OLD_REFRESH)
}

/// One refresh by a refresh token, without a wait.
pub(crate) fn refresh(endpoint: TokenEndpoint) -> Result<Token, RefreshError> {
    let context = RefreshContext::new(Cause::Rejected).with_current(Arc::new(stale()));
    now(RefreshTokenGrant::new(endpoint).refresh(context))
}

pub(crate) fn obtain(endpoint: TokenEndpoint) -> Result<Token, RefreshError> {
    now(ClientCredentialsGrant::new(endpoint).refresh(RefreshContext::new(Cause::Missing)))
}

pub(crate) fn now<F: Future>(future: F) -> F::Output {
    match tokio_test::task::spawn(future).poll() {
        std::task::Poll::Ready(output) => output,
        std::task::Poll::Pending => panic!("the future is pending"),
    }
}

/// All texts that an error can be printed as.
pub(crate) fn all_texts(error: &(dyn Error + 'static)) -> String {
    let mut texts = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        texts += &format!("{error}\n{error:?}\n{error:#?}\n");
        next = error.source();
    }
    texts
}

pub(crate) fn cause(error: &RefreshError) -> String {
    error.source().unwrap().to_string()
}

pub(crate) fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap()
}

impl Log {
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn only(&self) -> Seen {
        let seen = self.0.lock().unwrap();
        assert_eq!(seen.len(), 1);
        seen[0].clone()
    }
}

impl Seen {
    /// The value of a form field that is there once or not at all.
    pub(crate) fn field(&self, name: &str) -> Option<String> {
        let mut values = self.fields(name);
        assert!(values.len() < 2, "{name} is there twice");
        values.pop()
    }

    pub(crate) fn fields(&self, name: &str) -> Vec<String> {
        form_urlencoded::parse(self.body.as_bytes())
            .filter(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
            .collect()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.headers.get(name).map(|value| value.to_str().unwrap())
    }
}
