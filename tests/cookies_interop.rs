//! Against an application on Flask-JWT-Extended. Run by `tests/interop/flask.sh`, which installs
//! it.

#![allow(clippy::unwrap_used, reason = "a test may unwrap")]

use std::{
    env,
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, Request, StatusCode, header::COOKIE};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;
use tower::{BoxError, Layer, ServiceExt};
use tower_refresh::{
    Error, ErrorKind, Refresh, RefreshLayer, ReplayBody, Session,
    cookies::{Csrf, Jar, LogoutEndpoint, RefreshEndpoint},
};

type Http<B> = legacy::Client<HttpConnector, B>;
type Client = Refresh<Http<ReplayBody<Full<Bytes>>>, Jar>;

const CSRF: HeaderName = HeaderName::from_static("x-csrf-token");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Python: run tests/interop/flask.sh"]
async fn flask_jwt_extended() {
    let flask = Flask::start();
    tokio::time::timeout(Duration::from_secs(120), live(&flask)).await.expect("it hangs");
}

async fn live(flask: &Flask) {
    let session = flask.session();
    let layer =
        RefreshLayer::new(session.clone(), flask.base.parse::<tower_refresh::Origin>().unwrap());
    let client: Client = layer.layer(http());

    session.login(flask.log_in("?stale").await);
    let mut requests = JoinSet::new();
    for n in 0..50 {
        let request =
            if n % 2 == 0 { flask.get("/api/user") } else { flask.post("/api/orders", "one") };
        requests.spawn(send(client.clone(), request));
    }
    while let Some(answer) = requests.join_next().await {
        let (status, body) = answer.unwrap().unwrap();
        assert_eq!(status, StatusCode::OK, "{body}");
        assert!(body.contains("ada"), "{body}");
    }
    assert_eq!(flask.count("POST /auth/refresh").await, 1);
    assert!(flask.count("GET /api/user 401").await > 0, "the access token is good no more");
    println!("50 requests with a stale cookie, half of them with CSRF: 50 answers, 1 refresh");

    let mut bare = flask.post("/api/orders", "forged");
    let jar = session.credential().unwrap();
    bare.headers_mut().insert(
        COOKIE,
        format!("access_token_cookie={}", jar.value("access_token_cookie").unwrap())
            .parse()
            .unwrap(),
    );
    assert_eq!(http().request(bare).await.unwrap().status(), StatusCode::UNAUTHORIZED);
    println!("the same with the cookie and without CSRF: refused");

    for n in 2..=20 {
        session.refresh().await.unwrap();
        assert_eq!(
            send(client.clone(), flask.post("/api/orders", "two")).await.unwrap().0,
            StatusCode::OK
        );
        assert_eq!(flask.count("POST /auth/refresh 200").await, n);
    }
    println!("refresh tokens of one use: 20 refreshes, none refused");

    let jar = session.credential().unwrap();
    session.logout().await;
    assert_eq!(flask.count("POST /auth/logout 200").await, 1);
    assert!(jar.is_empty());
    assert_eq!(kind(send(client.clone(), flask.get("/api/user")).await), ErrorKind::LoggedOut);
    println!("logout: the application has agreed, the jar is empty");

    session.login(flask.log_in("?stale").await);
    assert_eq!(send(client.clone(), flask.get("/api/user")).await.unwrap().0, StatusCode::OK);
    let (status, _) = send(client.clone(), flask.post("/revoke", "")).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    assert_eq!(kind(send(client.clone(), flask.get("/api/user")).await), ErrorKind::LoggedOut);
    assert_eq!(flask.count("POST /auth/refresh 401").await, 1);
    println!("a new login, and its end by the application: over after one refresh");
}

/// An application of its own. It ends when its input does: with this, whatever happens.
struct Flask {
    process: Child,
    base: String,
}

impl Flask {
    fn start() -> Self {
        let python = env::var("FLASK_PYTHON").expect("needs Python: run tests/interop/flask.sh");
        let mut process = Command::new(python)
            .arg("tests/interop/flask/server.py")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("tests/interop/flask.sh has made that Python");
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Self { process, base: format!("http://127.0.0.1:{}", port.trim()) }
    }

    fn session(&self) -> Session<Jar> {
        let csrf = Csrf::new("csrf_refresh_token", CSRF);
        let refresh = RefreshEndpoint::new(http(), "/auth/refresh").unwrap().csrf(csrf.clone());
        let logout = LogoutEndpoint::new(http(), "/auth/logout").unwrap().csrf(csrf);
        Session::builder(refresh).on_login_end(logout.into_hook()).build()
    }

    async fn log_in(&self, query: &str) -> Jar {
        let request = Request::post(format!("{}/auth/login{query}", self.base))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(Full::<Bytes>::from("user=ada"))
            .unwrap();
        let answer = http().request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let jar = Jar::new(&self.base).unwrap().with_csrf(Csrf::new("csrf_access_token", CSRF));
        jar.store(answer.headers());
        jar
    }

    async fn count(&self, line: &str) -> usize {
        let url = format!("{}/stats/{}", self.base, line.replace(' ', "%20"));
        let request = Request::get(url).body(Full::<Bytes>::default()).unwrap();
        let answer = http().request(request).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        str::from_utf8(&body).unwrap().parse().unwrap()
    }

    fn get(&self, path: &str) -> Request<Full<Bytes>> {
        Request::get(format!("{}{path}", self.base)).body(Full::default()).unwrap()
    }

    fn post(&self, path: &str, body: &'static str) -> Request<Full<Bytes>> {
        Request::post(format!("{}{path}", self.base)).body(Full::from(body)).unwrap()
    }
}

impl Drop for Flask {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}

fn http<B>() -> Http<B>
where
    B: http_body::Body + Send,
    B::Data: Send,
{
    legacy::Client::builder(TokioExecutor::new()).build_http()
}

async fn send(
    client: Client,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, String), BoxError> {
    let answer = client.oneshot(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}

fn kind<T>(result: Result<T, BoxError>) -> ErrorKind {
    let error = result.err().expect("it fails");
    error.downcast_ref::<Error>().expect("it is the session's").kind()
}
