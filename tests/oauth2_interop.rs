//! Against oidc-provider. Run by `tests/interop/oidc.sh`, which installs it.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    env,
    error::Error as _,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tower::{BoxError, Layer, ServiceExt};
use tower_refresh::{
    Error, ErrorKind, Origins, Refresh, RefreshContext, RefreshError, RefreshErrorKind,
    RefreshLayer, Refresher, ReplayBody, Session, Token,
    oauth2::{
        self, ClientCredentialsGrant, EndpointUrl, RefreshTokenGrant, Revocation, TokenEndpoint,
    },
    refresher::Cause,
    session::{EndReason, EndedLogin, Phase},
};

/// The process of the provider. It ends when its standard input does.
struct Provider {
    child: Child,
    address: String,
    beside: String,
}

type Api = Refresh<Client<HttpConnector, ReplayBody<Full<Bytes>>>>;

const SECRET: &str = "correct-horse";
const PATIENCE: Duration = Duration::from_secs(120);
const EXPIRIES: usize = 200;
const CLIENTS: usize = 64;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn no_refresh_token_is_used_twice_over_200_expiries_under_64_clients_that_come_and_go() {
    let provider = Provider::start();
    let ended = Arc::new(AtomicUsize::new(0));
    let session = provider.user_session(&ended).await;
    let api = api(&session);
    let (mut answered, mut cancelled) = (0, 0);
    in_time(async {
        for _ in 0..EXPIRIES {
            provider.say("expire").await;
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let ask = provider.ask(&api);
                    let client = tokio::spawn(ask);
                    // Some leave at once, and some in the middle of it.
                    let steps = if fastrand::u8(..3) == 0 { 0 } else { fastrand::usize(..40) };
                    tokio::spawn(async move {
                        if steps > 0 {
                            for _ in 0..steps {
                                tokio::task::yield_now().await;
                            }
                            client.abort();
                        }
                        client.await
                    })
                })
                .collect();
            for client in clients {
                match client.await.unwrap() {
                    Ok(answer) => {
                        assert_eq!(answer.unwrap(), StatusCode::OK);
                        answered += 1;
                    }
                    Err(aborted) => {
                        assert!(aborted.is_cancelled());
                        cancelled += 1;
                    }
                }
            }
        }
    })
    .await;
    assert!(
        answered > EXPIRIES && cancelled > EXPIRIES,
        "{answered} answered, {cancelled} cancelled"
    );
    println!(
        "{EXPIRIES} expiries: {EXPIRIES} refreshes, {answered} requests answered, {cancelled} cancelled"
    );
    let books = provider.say("books").await;
    assert!(books.contains("most 1\n"), "{books}");
    assert!(books.contains(&format!("200 refresh_token {EXPIRIES}")), "{books}");
    assert!(!books.contains("invalid"), "{books}");
    assert_eq!(ended.load(SeqCst), 0);
    assert!(session.credential().is_some());
}

/// The provider detects reuse, so the test above proves something.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn the_provider_notices_a_refresh_token_that_is_used_twice() {
    let provider = Provider::start();
    let first = Token::bearer("none-yet").unwrap().with_refresh_token(provider.say("login").await);
    let first = Arc::new(first);
    let tokens = RefreshTokenGrant::new(provider.tokens(SECRET));
    let refresh = |token: &Arc<Token>| {
        tokens.refresh(RefreshContext::new(Cause::Forced).with_current(token.clone()))
    };
    in_time(async {
        let second = Arc::new(refresh(&first).await.unwrap());
        assert_ne!(second.refresh_token(), first.refresh_token());
        assert!(refresh(&first).await.unwrap_err().is_terminal());
        assert!(refresh(&second).await.unwrap_err().is_terminal(), "it has ended the whole grant");
    })
    .await;
    assert!(provider.say("books").await.contains("most 2\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn a_grant_that_is_revoked_from_outside_ends_the_login_once() {
    let provider = Provider::start();
    let ended = Arc::new(AtomicUsize::new(0));
    let session = provider.user_session(&ended).await;
    let api = api(&session);
    in_time(async {
        assert_eq!(provider.ask(&api).await.unwrap(), StatusCode::OK);
        provider.say("revoke").await;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(provider.ask(&api));
        }
        while let Some(answer) = clients.join_next().await {
            let error = answer.unwrap().unwrap_err();
            assert_eq!(error.downcast_ref::<Error>().unwrap().kind(), ErrorKind::LoggedOut);
        }
        let state = session.state();
        let Phase::LoggedOut(EndReason::Refused(error)) = state.phase() else {
            panic!("{state:?}")
        };
        assert!(error.is_terminal());
        session.logout().await;
        while ended.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let books = provider.say("books").await;
    assert!(books.contains("400 invalid_grant 1"), "{books}");
    assert_eq!(ended.load(SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn a_logout_revokes_the_newest_refresh_token() {
    let provider = Provider::start();
    let refresh_token = provider.say("login").await;
    let revocation = Revocation::new(http(), provider.url("/token/revocation"), me(SECRET));
    let tokens = RefreshTokenGrant::new(provider.tokens(SECRET));
    let session = Session::builder(tokens.clone())
        .credential(Token::bearer("none-yet").unwrap().with_refresh_token(refresh_token))
        .on_login_end(revocation.into_hook())
        .build();
    in_time(async {
        let newest = session.refresh().await.unwrap();
        session.logout().await;
        let context = RefreshContext::new(Cause::Forced).with_current(newest);
        assert!(tokens.refresh(context).await.unwrap_err().is_terminal());
    })
    .await;
    let books = provider.say("books").await;
    assert!(books.contains("400 invalid_grant 1"), "{books}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn client_credentials_cost_one_request_each_expiry() {
    let provider = Provider::start();
    let session = Session::<Token>::builder(ClientCredentialsGrant::new(
        provider.tokens(SECRET).scope("read"),
    ))
    .acquire_on_demand(true)
    .refresh_limit(1000, Duration::ZERO)
    .build();
    let api = api(&session);
    in_time(async {
        for _ in 0..20 {
            let mut clients = JoinSet::new();
            for _ in 0..CLIENTS {
                clients.spawn(provider.ask(&api));
            }
            while let Some(answer) = clients.join_next().await {
                assert_eq!(answer.unwrap().unwrap(), StatusCode::OK);
            }
            provider.say("expire").await;
        }
    })
    .await;
    let books = provider.say("books").await;
    assert!(books.contains("200 client_credentials 20"), "{books}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn a_wrong_client_secret_ends_no_login() {
    let provider = Provider::start();
    let refresh_token = provider.say("login").await;
    let session = Session::builder(RefreshTokenGrant::new(provider.tokens("wrong")))
        .credential(Token::bearer("none-yet").unwrap().with_refresh_token(refresh_token))
        .on_login_end(|_| async { panic!("it is no logout") })
        .build();
    in_time(async {
        let error = session.refresh().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RefreshFailed);
        assert_eq!(failure(&session).kind(), RefreshErrorKind::Transient);
    })
    .await;
    assert!(provider.say("books").await.contains("401 invalid_client 1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Node.js: run tests/interop/oidc.sh"]
async fn a_provider_that_is_away_for_a_while_ends_no_login() {
    let provider = Arc::new(Provider::start());
    let ended = Arc::new(AtomicUsize::new(0));
    let session = provider.user_session(&ended).await;
    let api = api(&session);
    in_time(async {
        assert_eq!(provider.ask(&api).await.unwrap(), StatusCode::OK);
        let failed = Arc::new(Semaphore::new(0));
        let mut clients = JoinSet::new();
        for _ in 0..8 {
            let (provider, api, failed) = (provider.clone(), api.clone(), failed.clone());
            clients.spawn(async move {
                // Until it has failed, and then until it has recovered.
                let mut has_failed = false;
                loop {
                    match provider.ask(&api).await {
                        Ok(status) => {
                            assert_eq!(status, StatusCode::OK);
                            if has_failed {
                                return;
                            }
                        }
                        Err(error) => {
                            let error = error.downcast_ref::<Error>().unwrap();
                            assert_eq!(error.kind(), ErrorKind::RefreshFailed);
                            let cause = error.source().and_then(|cause| cause.downcast_ref());
                            let kind = cause.map(RefreshError::kind);
                            assert_eq!(kind, Some(RefreshErrorKind::Transient));
                            if !has_failed {
                                failed.add_permits(1);
                            }
                            has_failed = true;
                        }
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        provider.say("stop").await;
        provider.say("expire").await;
        let _ = failed.acquire_many(8).await.unwrap();
        provider.say("start").await;
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
    })
    .await;
    assert_eq!(ended.load(SeqCst), 0);
    let books = provider.say("books").await;
    assert!(books.contains("most 1\n") && !books.contains("invalid"), "{books}");
}

fn failure(session: &Session) -> RefreshError {
    match session.state().phase() {
        Phase::Failed(failure) => failure.error().clone(),
        phase => panic!("{phase:?}"),
    }
}

fn http<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

fn me(secret: &str) -> oauth2::ClientAuth {
    oauth2::ClientAuth::basic("app", secret)
}

fn api(session: &Session) -> Api {
    RefreshLayer::new(session.clone(), Origins::any()).layer(http())
}

async fn in_time<F: Future>(everything: F) -> F::Output {
    timeout(PATIENCE, everything).await.expect("it hangs")
}

impl Provider {
    fn start() -> Self {
        let script =
            env::var_os("OIDC_PROVIDER").expect("OIDC_PROVIDER is set by tests/interop/oidc.sh");
        let mut child = Command::new("node")
            .arg(script)
            .arg(SECRET)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is Node.js");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ports: Vec<_> = line.split_whitespace().collect();
        let [_, port, beside] = ports[..] else { panic!("it does not start: {line:?}") };
        let (address, beside) =
            (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{beside}"));
        Self { child, address, beside }
    }

    fn url(&self, path: &str) -> EndpointUrl {
        EndpointUrl::new(&format!("{}{path}", self.address)).unwrap()
    }

    fn tokens(&self, secret: &str) -> TokenEndpoint {
        TokenEndpoint::new(http(), self.url("/token"), me(secret))
    }

    /// A login whose access token has expired already.
    async fn user_session(&self, ended: &Arc<AtomicUsize>) -> Session {
        let (refresh_token, ended) = (self.say("login").await, ended.clone());
        Session::builder(RefreshTokenGrant::new(self.tokens(SECRET)))
            .credential(Token::bearer("none-yet").unwrap().with_refresh_token(refresh_token))
            .refresh_limit(1000, Duration::ZERO)
            .backoff(Duration::from_millis(1), Duration::from_millis(50))
            .on_login_end(move |_: EndedLogin| {
                ended.fetch_add(1, SeqCst);
                std::future::ready(())
            })
            .build()
    }

    /// Gives a command.
    async fn say(&self, command: &str) -> String {
        let request = Request::post(format!("{}/{command}", self.beside));
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let answer = in_time(http().oneshot(request)).await.unwrap();
        let status = answer.status();
        let text = answer.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(text.to_vec()).unwrap();
        assert_eq!(status, StatusCode::OK, "{command}: {text}");
        text
    }

    /// Asks the API.
    fn ask(&self, api: &Api) -> impl Future<Output = Result<StatusCode, BoxError>> + use<> {
        let request = Request::get(format!("{}/api", self.beside)).body(Full::default()).unwrap();
        let api = api.clone();
        async move { Ok(api.oneshot(request).await?.status()) }
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
