use std::{
    env,
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
use tokio::time::timeout;
use tower::{BoxError, Layer, ServiceExt};
use tower_refresh::{
    Origins, Refresh, RefreshLayer, ReplayBody, Session, Token,
    oauth2::{self, EndpointUrl, RefreshTokenGrant, TokenEndpoint},
    session::EndedLogin,
};

/// The process of the provider. It ends when its standard input does.
pub(crate) struct Provider {
    child: Child,
    address: String,
    beside: String,
}

pub(crate) type Api = Refresh<Client<HttpConnector, ReplayBody<Full<Bytes>>>>;

pub(crate) const SECRET: &str = "correct-horse";
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn http<B>() -> Client<HttpConnector, B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    Client::builder(TokioExecutor::new()).build_http()
}

pub(crate) fn me(secret: &str) -> oauth2::ClientAuth {
    oauth2::ClientAuth::basic("app", secret)
}

pub(crate) fn api(session: &Session) -> Api {
    RefreshLayer::new(session.clone(), Origins::any()).layer(http())
}

pub(crate) async fn in_time<F: Future>(everything: F) -> F::Output {
    timeout(PATIENCE, everything).await.expect("it hangs")
}

// === impl Provider ===

impl Provider {
    pub(crate) fn start() -> Self {
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

    pub(crate) fn url(&self, path: &str) -> EndpointUrl {
        EndpointUrl::new(&format!("{}{path}", self.address)).unwrap()
    }

    pub(crate) fn tokens(&self, secret: &str) -> TokenEndpoint {
        TokenEndpoint::new(http(), self.url("/token"), me(secret))
    }

    /// A login whose access token has expired already.
    pub(crate) async fn user_session(&self, ended: &Arc<AtomicUsize>) -> Session {
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
    pub(crate) async fn say(&self, command: &str) -> String {
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
    pub(crate) fn ask(
        &self,
        api: &Api,
    ) -> impl Future<Output = Result<StatusCode, BoxError>> + use<> {
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
