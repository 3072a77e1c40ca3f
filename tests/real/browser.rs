//! Chromium, driven by its own driver (W3C WebDriver).

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::process::{Directory, Server, free_port};

/// How long the browser may take for a step.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the protocol names an element (W3C WebDriver §12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser without a window.
pub(crate) struct Browser<'a> {
    runtime: &'a Runtime,
    client: reqwest::Client,
    session: String,
    _driver: Server,
}

impl<'a> Browser<'a> {
    pub(crate) fn start(runtime: &'a Runtime, directory: &Directory) -> Self {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}")).env("HOME", directory.path()).env("TMPDIR", directory.path());
        let mut driver = Server::start("chromedriver", &mut command, directory.path().join("chromedriver.log"));
        driver.wait_for_port(port);
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let mut browser =
            Self { runtime, client, session: format!("http://127.0.0.1:{port}/session"), _driver: driver };
        // The page of the embedded Entra has a certificate of its own authority. Root has no
        // sandbox within Chromium.
        let arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "acceptInsecureCerts": true, "goog:chromeOptions": {"args": arguments},
        }}});
        let made = browser.post("", &wanted);
        browser.session.push_str(&format!("/{}", made["sessionId"].as_str().unwrap()));
        browser
    }

    fn send(&self, request: reqwest::RequestBuilder) -> Result<Value, String> {
        let answer: Value = self.runtime.block_on(async {
            let text = request.send().await.unwrap().text().await.unwrap();
            serde_json::from_str(&text).unwrap()
        });
        let value = answer["value"].clone();
        if value["error"].is_string() { Err(value.to_string()) } else { Ok(value) }
    }

    fn try_post(&self, path: &str, body: &Value) -> Result<Value, String> {
        self.send(self.client.post(format!("{}{path}", self.session)).body(body.to_string()))
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.try_post(path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn try_get(&self, path: &str) -> Result<Value, String> {
        self.send(self.client.get(format!("{}{path}", self.session)))
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.try_get(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub(crate) fn open(&self, address: &str) {
        self.post("/url", &json!({"url": address}));
    }

    /// The element that a CSS selector finds, as soon as it is there.
    pub(crate) fn element(&self, selector: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.try_post("/element", &json!({"using": "css selector", "value": selector}));
            match found {
                Ok(found) => return format!("/element/{}", found[ELEMENT].as_str().unwrap()),
                Err(_) if Instant::now() < deadline => {
                    self.reload_if_interrupted();
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(error) => panic!("{selector}: {error}\n{}\n{}", self.get("/url"), self.get("/source")),
            }
        }
    }

    /// Loads the page again if Chromium gave it up because a network of this machine came or went, as
    /// those of other tests do.
    fn reload_if_interrupted(&self) {
        let source = self.try_get("/source").unwrap_or_default();
        if source.as_str().is_some_and(|source| source.contains("ERR_NETWORK_CHANGED")) {
            self.post("/refresh", &json!({}));
        }
    }

    /// Does something with the element that a selector finds. Looks for it again where the page was
    /// loaded again in between.
    fn with_element<T>(&self, selector: &str, work: impl Fn(&str) -> Result<T, String>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match work(&self.element(selector)) {
                Ok(done) => return done,
                Err(error) if error.contains("stale element") && Instant::now() < deadline => {}
                Err(error) => panic!("{selector}: {error}"),
            }
        }
    }

    pub(crate) fn click(&self, selector: &str) {
        self.with_element(selector, |element| self.try_post(&format!("{element}/click"), &json!({})));
    }

    pub(crate) fn type_into(&self, selector: &str, text: &str) {
        self.with_element(selector, |element| {
            self.try_post(&format!("{element}/clear"), &json!({}))?;
            self.try_post(&format!("{element}/value"), &json!({"text": text}))
        });
    }

    /// Fills in the form of a sign-in of the sandbox, and accepts.
    pub(crate) fn sign_in(&self, user: &str, password: &str) {
        self.type_into("input[name='username']", user);
        self.type_into("input[name='password']", password);
        self.click("button[value='accept']");
    }

    /// Waits until the page says that.
    pub(crate) fn wait_for_text(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        let script = json!({"script": "return document.body.innerText", "args": []});
        let says = |page: Value| page.as_str().is_some_and(|page| page.contains(text));
        while !self.try_post("/execute/sync", &script).is_ok_and(says) {
            assert!(Instant::now() < deadline, "no `{text}`: {}", self.get("/source"));
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn text(&self, selector: &str) -> String {
        let text = self.with_element(selector, |element| self.try_get(&format!("{element}/text")));
        text.as_str().unwrap().to_owned()
    }

    pub(crate) fn script(&self, script: &str) -> Value {
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        let _gone = self.send(self.client.delete(&self.session));
    }
}
