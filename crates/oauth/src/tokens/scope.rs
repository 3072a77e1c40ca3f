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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use url::Url;

    use super::*;
    use crate::fake;
    use crate::tokens::tests;
    use gatepost_config::{
        Accounts, Application, ClientAuthentication, Entra, Grant, Limits, Listener, ListenerTls, LoginPattern, Origin,
        SendAs, SenderRule, Submission, Upstream, UpstreamTls,
    };
    use gatepost_core::protocol::{MailProtocol, Protocol};
    use gatepost_proto::http::rules::GraphRules;
    use gatepost_proto::mail::TokenExchange;
    use gatepost_proto::sasl::ClientTokens;

    const EXCHANGE: &str = "https://outlook.office.com/";
    const GRAPH: &str = "https://graph.microsoft.com/";

    fn origin() -> Origin {
        Origin { host: "graph.example".into(), port: 443, name: "graph.example".into() }
    }

    fn upstream(protocol: MailProtocol, name: &str) -> Upstream {
        let tls = UpstreamTls::Implicit;
        Upstream {
            protocol,
            host: name.into(),
            port: 993,
            tls,
            name: name.into(),
            exchange: TokenExchange::EXCHANGE_ONLINE,
        }
    }

    fn relay(protocol: MailProtocol) -> ListenerBackend {
        ListenerBackend::Relay(upstream(protocol, "outlook.example"))
    }

    fn submission(deliver: Deliver, graph_large: GraphLarge) -> ListenerBackend {
        ListenerBackend::Submission(Submission {
            deliver,
            smtp: (deliver != Deliver::Graph).then(|| upstream(MailProtocol::Smtp, "smtp.example")),
            graph: origin(),
            sender: SenderRule::Free,
            trusted_senders: Vec::new(),
            graph_large,
            queue: false,
        })
    }

    fn http(service: HttpService) -> ListenerBackend {
        ListenerBackend::Http(Http { service, origin: origin(), hosts: Vec::new(), graph: GraphRules::default() })
    }

    fn config(backends: Vec<ListenerBackend>) -> Config {
        let listeners = backends.into_iter().map(|serves| Listener {
            name: "mail".into(),
            protocol: Protocol::Imap,
            bind: Vec::new(),
            tls: ListenerTls::None,
            allow_from: Vec::new(),
            allow_plaintext_from: Vec::new(),
            proxy_protocol_from: Vec::new(),
            bare_lf: false,
            legacy: false,
            client_tokens: ClientTokens::default(),
            serves,
            others: Vec::new(),
        });
        Config { listeners: listeners.collect(), ..fake::config(Accounts::default(), Limits::default()) }
    }

    fn account(grant: Grant, cloud: Cloud) -> Account {
        let entra =
            Entra { authority: Url::parse("https://login.example/").unwrap(), tenant: "contoso.example".into(), cloud };
        let application =
            Application { issuer: Issuer::Entra(entra), client_id: "app".into(), credential: Arc::default() };
        tests::account(LoginPattern::Domain("contoso.example".into()), grant, &Arc::new(application))
    }

    fn asked(account: &Account, backends: &[ListenerBackend], resource: Resource) -> String {
        of(account, resource, &config(backends.to_vec())).into_owned()
    }

    #[test]
    fn a_person_is_asked_for_what_the_listeners_need_and_no_more() {
        let plain = account(Grant::DeviceCode, Cloud::Worldwide);
        let mut shared = account(Grant::DeviceCode, Cloud::Worldwide);
        shared.sending.send_as =
            SendAs { addresses: vec![tests::address("info@contoso.example")], ..SendAs::default() };
        let high_volume = ListenerBackend::Relay(upstream(MailProtocol::Smtp, "smtp.hve.mx.microsoft"));
        let (draft, refuse) = (GraphLarge::Draft, GraphLarge::Refuse);
        for (account, backend, exchange, graph) in [
            (&plain, relay(MailProtocol::Imap), "IMAP.AccessAsUser.All", ""),
            (&plain, relay(MailProtocol::Pop3), "POP.AccessAsUser.All", ""),
            (&plain, high_volume, "Mail.Send", ""),
            (&plain, submission(Deliver::Smtp, draft), "SMTP.Send", ""),
            (&plain, submission(Deliver::Auto, refuse), "SMTP.Send", "Mail.Send"),
            (&plain, submission(Deliver::Graph, refuse), "", "Mail.Send"),
            (&plain, submission(Deliver::Graph, draft), "", "Mail.Send Mail.ReadWrite"),
            (&shared, submission(Deliver::Smtp, draft), "SMTP.Send", ""),
            (&shared, submission(Deliver::Graph, refuse), "", "Mail.Send Mail.Send.Shared"),
            (
                &shared,
                submission(Deliver::Graph, draft),
                "",
                "Mail.Send Mail.Send.Shared Mail.ReadWrite Mail.ReadWrite.Shared",
            ),
            (&plain, ListenerBackend::Maildrop(origin()), "", "Mail.ReadWrite"),
            (&plain, http(HttpService::Ews), "EWS.AccessAsUser.All", ""),
            (&plain, http(HttpService::Graph), "", "Mail.ReadWrite Mail.Send User.Read"),
        ] {
            let whole = |prefix: &str, names: &str| {
                names.split_whitespace().map(|name| format!("{prefix}{name}")).collect::<Vec<_>>().join(" ")
            };
            // A second listener of the same kind asks for nothing twice.
            for backends in [vec![backend.clone()], vec![backend.clone(), backend.clone()]] {
                let told = format!("{backend:?}");
                assert_eq!(asked(account, &backends, Resource::Exchange), whole(EXCHANGE, exchange), "{told}");
                assert_eq!(asked(account, &backends, Resource::Graph), whole(GRAPH, graph), "{told}");
            }
        }
        let both = [relay(MailProtocol::Imap), submission(Deliver::Smtp, draft)];
        assert_eq!(
            asked(&plain, &both, Resource::Exchange),
            "https://outlook.office.com/IMAP.AccessAsUser.All https://outlook.office.com/SMTP.Send"
        );
    }

    #[test]
    fn a_grant_without_a_person_takes_all_that_was_consented_to() {
        let backends = [relay(MailProtocol::Imap)];
        for (grant, cloud, exchange, graph) in [
            (Grant::Password, Cloud::Worldwide, "https://outlook.office.com/.default", GRAPH),
            (Grant::ClientCredentials, Cloud::Worldwide, "https://outlook.office365.com/.default", GRAPH),
            (
                Grant::ClientCredentials,
                Cloud::UsGovDod,
                "https://outlook.office365.us/.default",
                "https://dod-graph.microsoft.us/",
            ),
        ] {
            let account = account(grant, cloud);
            assert_eq!(asked(&account, &backends, Resource::Exchange), exchange);
            assert_eq!(asked(&account, &backends, Resource::Graph), format!("{graph}.default"));
        }
        // Version 1.0 knows resources only, for persons as well.
        let account = account(Grant::DeviceCode, Cloud::China);
        assert_eq!(asked(&account, &backends, Resource::Exchange), "https://partner.outlook.cn");
        assert_eq!(asked(&account, &backends, Resource::Graph), "https://microsoftgraph.chinacloudapi.cn");
    }

    #[test]
    fn a_configured_scope_holds_for_the_resource_that_it_names_only() {
        let backends = [relay(MailProtocol::Imap), ListenerBackend::Maildrop(origin())];
        let imap = "https://outlook.office.com/IMAP.AccessAsUser.All";
        for (scope, is_graph) in [
            ("https://graph.microsoft.com", true),
            ("https://graph.microsoft.com/Mail.Read", true),
            ("offline_access https://graph.microsoft.com/Mail.Read", true),
            ("https://graph.microsoft.com.evil.example/Mail.Read", false),
            ("https://outlook.office.com/Own.All", false),
        ] {
            let account = Account { scope: Some(scope.into()), ..account(Grant::DeviceCode, Cloud::Worldwide) };
            let (exchange, graph) =
                if is_graph { (imap, scope) } else { (scope, "https://graph.microsoft.com/Mail.ReadWrite") };
            assert_eq!(asked(&account, &backends, Resource::Exchange), exchange, "{scope}");
            assert_eq!(asked(&account, &backends, Resource::Graph), graph, "{scope}");
        }
        // Another provider has one scope for all of mail.
        let application = fake::provider_application(ClientAuthentication::Post, &[]);
        let account = tests::account(LoginPattern::Any, Grant::DeviceCode, &application);
        assert_eq!(asked(&account, &backends, Resource::Exchange), "mail");
        let account = Account { scope: Some("own".into()), ..account };
        assert_eq!(asked(&account, &backends, Resource::Graph), "own");
    }

    #[test]
    fn a_sign_in_is_for_graph_only_where_nothing_needs_exchange() {
        let (imap, graph) = (relay(MailProtocol::Imap), ListenerBackend::Maildrop(origin()));
        for (backends, resource) in [
            (vec![], Resource::Exchange),
            (vec![imap.clone()], Resource::Exchange),
            (vec![graph.clone()], Resource::Graph),
            (vec![imap, graph], Resource::Exchange),
            (vec![submission(Deliver::Auto, GraphLarge::Draft)], Resource::Exchange),
        ] {
            assert_eq!(of_sign_in(&config(backends.clone())), resource, "{backends:?}");
        }
    }
}
