//! A browser without scripts: it keeps cookies, follows no redirects, and sends what a page would.

use std::sync::Arc;

use bff::{Demo, DemoOptions};
use reqwest::{
    Client, RequestBuilder, Response, StatusCode, Url,
    cookie::{CookieStore, Jar},
    header::{LOCATION, SET_COOKIE},
    redirect::Policy,
};
use serde_json::Value;

pub(crate) struct Browser {
    pub(crate) app: String,
    pub(crate) auth: String,
    pub(crate) http: Client,
    jar: Arc<Jar>,
}

pub(crate) async fn demo() -> Demo {
    Demo::start(&DemoOptions::default()).await.unwrap()
}

pub(crate) fn location(response: &Response) -> &str {
    response.headers().get(LOCATION).map_or("", |value| value.to_str().unwrap())
}

/// The `Set-Cookie` lines of a response.
pub(crate) fn set_cookies(response: &Response) -> Vec<String> {
    let lines = response.headers().get_all(SET_COOKIE).iter();
    lines.map(|line| line.to_str().unwrap().to_owned()).collect()
}

// === impl Browser ===

impl Browser {
    pub(crate) fn new(demo: &Demo) -> Self {
        let jar = Arc::new(Jar::default());
        let http =
            Client::builder().cookie_provider(jar.clone()).redirect(Policy::none()).no_proxy();
        Self {
            app: demo.address().to_owned(),
            auth: demo.auth_address().to_owned(),
            http: http.build().unwrap(),
            jar,
        }
    }

    /// A browser in which a user has logged in.
    pub(crate) async fn logged_in(demo: &Demo, user: &str) -> Self {
        let browser = Self::new(demo);
        browser.log_in(user).await;
        browser
    }

    pub(crate) async fn log_in(&self, user: &str) {
        let callback = self.authorize(user).await;
        let done = self.get(&callback).await;
        assert_eq!((done.status(), location(&done)), (StatusCode::SEE_OTHER, "/"));
    }

    /// Logs in at the auth server. Returns the address that it sends the browser to.
    pub(crate) async fn authorize(&self, user: &str) -> String {
        let form = self.begin().await;
        let answer = self.send_password(&form, user, "tower").await;
        assert_eq!(answer.status(), StatusCode::SEE_OTHER);
        location(&answer).to_owned()
    }

    /// Begins a login. Returns the address of the form at the auth server.
    pub(crate) async fn begin(&self) -> String {
        let begun = self.post_form("/login").send().await.unwrap();
        assert_eq!(begun.status(), StatusCode::SEE_OTHER);
        location(&begun).to_owned()
    }

    pub(crate) async fn send_password(&self, form: &str, user: &str, password: &str) -> Response {
        let fields = [("name", user), ("password", password)];
        let request = self.http.post(form).header("origin", &self.auth).form(&fields);
        request.send().await.unwrap()
    }

    pub(crate) async fn get(&self, url: &str) -> Response {
        self.http.get(self.absolute(url)).send().await.unwrap()
    }

    /// A form of a page of the back-end.
    pub(crate) fn post_form(&self, path: &str) -> RequestBuilder {
        let request = self.http.post(self.absolute(path)).header("origin", &self.app);
        request.header("sec-fetch-site", "same-origin")
    }

    /// A call of the page's script.
    pub(crate) fn call(&self, path: &str) -> RequestBuilder {
        let request = self.http.get(self.absolute(path)).header("x-bff", "1");
        request.header("sec-fetch-site", "same-origin")
    }

    /// The status and the body of a call.
    pub(crate) async fn answer(&self, path: &str) -> (StatusCode, Value) {
        let response = self.call(path).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    pub(crate) async fn log_out(&self) -> Response {
        self.post_form("/logout").header("x-bff", "1").send().await.unwrap()
    }

    /// Uses the administrator's page of the auth server.
    pub(crate) async fn administer(&self, path: &str, fields: &[(&str, &str)]) {
        let url = format!("{}/admin/{path}", self.auth);
        let request = self.http.post(url).header("origin", &self.auth).form(fields);
        assert_eq!(request.send().await.unwrap().status(), StatusCode::SEE_OTHER);
    }

    /// A counter of the auth server.
    pub(crate) async fn counter(&self, name: &str) -> u64 {
        let counters = self.get(&format!("{}/admin/counters", self.auth)).await;
        counters.json::<Value>().await.unwrap()[name].as_u64().unwrap()
    }

    pub(crate) async fn status(&self) -> Value {
        self.get("/status.json").await.json().await.unwrap()
    }

    /// The cookies for the back-end, as a browser sends them.
    pub(crate) fn cookies(&self) -> String {
        let cookies = self.jar.cookies(&self.app.parse().unwrap());
        cookies.map_or_else(String::new, |cookies| cookies.to_str().unwrap().to_owned())
    }

    /// The value of a cookie for the back-end.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.cookies();
        let mut pairs = cookies.split("; ").filter_map(|pair| pair.split_once('='));
        pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
    }

    pub(crate) fn set_cookie(&self, name: &str, value: &str) {
        let app: Url = self.app.parse().unwrap();
        self.jar.add_cookie_str(&format!("{name}={value}; Path=/"), &app);
    }

    fn absolute(&self, url: &str) -> String {
        if url.starts_with('/') { format!("{}{url}", self.app) } else { url.to_owned() }
    }
}
