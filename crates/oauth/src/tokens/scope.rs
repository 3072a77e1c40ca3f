//! The scope of a token request: the configured one, or the least that the protocols need.

use std::borrow::Cow;

use crate::claims::MailAccess;
use crate::grant::default_scope;
use gatepost_config::cloud::Preset;
use gatepost_config::{Account, Cloud, Config, Deliver, GraphLarge, Http, Issuer, ListenerBackend, Resource};
use gatepost_proto::http::rules::HttpService;

/// The scope (v1.0: resource) of an account's tokens for `resource`.
///
/// A configured scope applies to the resource that it names. A person who signs in is asked only
/// for what the configuration has listeners for. The grants without a person take everything that
/// was consented to (`.default`), because nobody can be asked for less. Another provider has one
/// scope for all of mail.
pub fn of<'a>(account: &'a Account, resource: Resource, config: &Config) -> Cow<'a, str> {
    let cloud = match &account.application.issuer {
        Issuer::Entra(entra) => entra.cloud,
        Issuer::Provider(provider) => return Cow::Borrowed(account.scope.as_deref().unwrap_or(&provider.scope)),
    };
    let preset = cloud.preset();
    if let Some(scope) = &account.scope
        && resource_of(scope, preset) == resource
    {
        return Cow::Borrowed(scope);
    }
    let everything: Cow<'static, str> = match resource {
        Resource::Exchange => default_scope(cloud, account.grant.is_of_user()).into(),
        Resource::Graph => of_graph(cloud).into(),
    };
    match everything.strip_suffix(".default") {
        Some(prefix) if account.grant.is_sign_in() => Cow::Owned(permissions(account, prefix, resource, config)),
        _ => everything,
    }
}

/// The scope (v1.0: resource) of everything that was consented to at Graph.
pub fn of_graph(cloud: Cloud) -> String {
    let graph = cloud.preset().graph;
    // The v1.0 endpoint knows resources only.
    if cloud == Cloud::China { graph.to_owned() } else { format!("{graph}/.default") }
}

/// The resource that a sign-in is for. Its refresh token gives tokens for the other one too, where
/// that was consented to.
pub fn of_sign_in(config: &Config) -> Resource {
    let needs = |resource| config.listeners.iter().any(|listener| listener.resources().contains(&resource));
    if needs(Resource::Graph) && !needs(Resource::Exchange) { Resource::Graph } else { Resource::Exchange }
}

fn resource_of(scope: &str, preset: &Preset) -> Resource {
    let is_graph = |scope: &str| scope == preset.graph || scope.starts_with(&format!("{}/", preset.graph));
    if scope.split(' ').any(is_graph) { Resource::Graph } else { Resource::Exchange }
}

fn permissions(account: &Account, prefix: &str, resource: Resource, config: &Config) -> String {
    let mut needed = Vec::new();
    let mut ask = |permission: &'static str| {
        if !needed.contains(&permission) {
            needed.push(permission);
        }
    };
    let of = |access: MailAccess| access.permission(account.grant);
    for listener in &config.listeners {
        match (&listener.serves, resource) {
            (ListenerBackend::Relay(upstream), Resource::Exchange) => ask(of(upstream.into())),
            (ListenerBackend::Submission(submission), Resource::Exchange) if submission.deliver != Deliver::Graph => {
                ask(of(submission.smtp.as_ref().map_or(MailAccess::Smtp, MailAccess::from)));
            }
            (ListenerBackend::Submission(submission), Resource::Graph) if submission.deliver != Deliver::Smtp => {
                ask(of(MailAccess::GraphSend));
                if !account.sending.send_as.is_empty() {
                    ask("Mail.Send.Shared");
                }
                if submission.graph_large == GraphLarge::Draft {
                    ask(of(MailAccess::GraphDraft));
                    if !account.sending.send_as.is_empty() {
                        ask("Mail.ReadWrite.Shared");
                    }
                }
            }
            (ListenerBackend::Maildrop(_), Resource::Graph) => ask(of(MailAccess::GraphReadWrite)),
            (ListenerBackend::Http(Http { service: HttpService::Ews, .. }), Resource::Exchange) => {
                ask(of(MailAccess::Ews));
            }
            // What its clients do is not known; most read and send mail.
            (ListenerBackend::Http(Http { service: HttpService::Graph, .. }), Resource::Graph) => {
                for permission in [of(MailAccess::GraphReadWrite), of(MailAccess::GraphSend), "User.Read"] {
                    ask(permission);
                }
            }
            _ => {}
        }
    }
    needed.iter().map(|permission| format!("{prefix}{permission}")).collect::<Vec<_>>().join(" ")
}
