//! A person with a browser, as far as forms and redirects go.

use std::time::Duration;

use gatepost_sandbox::Sandbox;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use url::Url;

/// What the person does on the page.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer<'a> {
    /// Signs in with user name and password, and accepts.
    SignIn(&'a str, &'a str),
    /// Cancels.
    Decline,
}

pub(crate) struct Browser(reqwest::Client);

impl Browser {
    pub(crate) fn new(sandbox: &Sandbox) -> Self {
        Self::trusting(sandbox.ca_pem())
    }

    /// One that knows this authority.
    pub(crate) fn trusting(ca_pem: &str) -> Self {
        let ca = reqwest::Certificate::from_pem(ca_pem.as_bytes()).unwrap();
        let builder = reqwest::Client::builder().no_proxy().tls_certs_merge([ca]).timeout(Duration::from_secs(30));
        Self(builder.redirect(reqwest::redirect::Policy::none()).build().unwrap())
    }

    /// Fills in the form at `address`; where it leads, or the page that comes instead.
    pub(crate) async fn answer(&self, address: &str, answer: Answer<'_>) -> Result<Url, String> {
        let page = self.get(address).await;
        assert!(page.contains("<form method=\"post\">"), "no form: {page}");
        let sent = self.post(address, &fields(answer)).await;
        match sent.headers().get(LOCATION) {
            Some(location) => Ok(Url::parse(location.to_str().unwrap()).unwrap()),
            None => Err(sent.text().await.unwrap()),
        }
    }

    /// Types the code of a device in; the page that comes then.
    pub(crate) async fn enter(&self, address: &str, code: &str, answer: Answer<'_>) -> String {
        self.get(address).await;
        let mut fields = fields(answer);
        fields.push(("user_code", code));
        self.post(address, &fields).await.text().await.unwrap()
    }

    /// A page.
    pub(crate) async fn get(&self, address: &str) -> String {
        self.0.get(address).send().await.unwrap().text().await.unwrap()
    }

    /// Whatever comes back.
    pub(crate) async fn post(&self, address: &str, fields: &[(&str, &str)]) -> reqwest::Response {
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = self.0.post(address).header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        request.send().await.unwrap()
    }
}

fn fields(answer: Answer<'_>) -> Vec<(&str, &str)> {
    match answer {
        Answer::SignIn(user, password) => vec![("username", user), ("password", password), ("answer", "accept")],
        Answer::Decline => vec![("answer", "decline")],
    }
}
