//! Each mistake has its sentence and its hint.

use crate::support::{HASH, account, listener, microsoft, mistakes};

#[test]
fn every_mistake_of_a_listener_has_its_sentence() {
    for (lines, expected) in [
        ("bnid: 1", "listeners.imap.bnid: `bnid` is not a known key; did you mean `bind`?"),
        ("port: 1", "listeners.imap.port: `port` is not a known key; did you mean `bind`?"),
        (
            "protocol: imap4",
            "listeners.imap.protocol: `imap4` is not one of `imap`, `pop3`, `smtp`, `ews`, `graph`; did you mean `imap`?",
        ),
        (
            "tls: ssl",
            "listeners.imap.tls: `ssl` is not one of `none`, `starttls`, `implicit`; write `none`, `starttls` or `implicit`",
        ),
        (
            "client_tokens: anounce",
            "listeners.imap.client_tokens: `anounce` is not one of `refuse`, `accept`, `announce`; did you mean `announce`?",
        ),
        (
            "certificate: server.pem",
            "listeners.imap.certificate: a certificate is given, but `tls` is `none`; write `tls: starttls` or \
             `tls: implicit`, or remove the certificate",
        ),
        (
            "upstream: outlook.office365.com",
            "listeners.imap.upstream: `outlook.office365.com` has no port; write host and port, such as \
             `outlook.office365.com:993`",
        ),
        (
            "upstream: https://u:hunter2@outlook.office365.com/",
            "listeners.imap.upstream: a URL does not belong here; write host and port, such as `outlook.office365.com:993`",
        ),
        ("upstream: a:99999", "listeners.imap.upstream: `99999` is not a port; ports go from 1 to 65535"),
        (
            "upstream: '127.0.0.1:1143'",
            "listeners.imap.upstream: this upstream is Gatepost itself, which listens on `127.0.0.1:1143`; name the server of Microsoft, or remove `upstream`",
        ),
        (
            "upstream_tls: none",
            "listeners.imap.upstream_tls: towards the upstream TLS cannot be switched off; write `implicit` or `starttls`",
        ),
        (
            "upstream_tls: starttls",
            "listeners.imap.upstream_tls: port 993 expects TLS at once, so `starttls` cannot work; write `upstream_tls: implicit`, or \
             name another port",
        ),
        (
            "upstream_name: 'a b'",
            "listeners.imap.upstream_name: `a b` is not a host name; write the name in ASCII letters, digits, `-` and `.`",
        ),
        (
            "allow_from: [10.0.0.1/8]",
            "listeners.imap.allow_from[0]: `10.0.0.1/8` has bits set behind its prefix; write `10.0.0.0/8`",
        ),
        (
            "allow_from: []",
            "listeners.imap: `allow_from` is empty, so nobody could connect; name the networks of the clients",
        ),
        (
            "allow_plaintext_from: everywhere",
            "listeners.imap.allow_plaintext_from: `everywhere` is not a network; write an address or a network, such as \
             `192.168.7.0/24` or `::1`",
        ),
        (
            "allow_plaintext_from: []",
            "listeners.imap: without TLS passwords would cross the network in the clear, so nobody could log in; write `tls: \
             starttls` with a certificate, or name the networks that you trust in `allow_plaintext_from`",
        ),
        ("bare_lf: yes", "listeners.imap.bare_lf: `yes` is not one of `true`, `false`; write `true` or `false`"),
        (
            "allow_from: [192.0.2.0/24]\nproxy_protocol_from: [10.0.0.5, '::/0']\nallow_plaintext_from: [192.0.2.0/24]",
            "listeners.imap.proxy_protocol_from[1]: this is everybody, and every address listed here is believed; name the addresses \
             of the load balancers",
        ),
        (
            "proxy_protocol_from: [10.0.0.5]\nallow_plaintext_from: [192.0.2.0/24]",
            "listeners.imap.allow_from: `allow_from` is missing, which a listener behind a load balancer needs; name the \
             networks of the clients behind it: their addresses count, not the balancer's",
        ),
        (
            "allow_from: [192.0.2.0/24]\nproxy_protocol_from: [10.0.0.5]",
            "listeners.imap: without TLS passwords would cross the network in the clear, so nobody could log in; write `tls: \
             starttls` with a certificate, or name the networks that you trust in `allow_plaintext_from`",
        ),
        (
            "upstream:\n  host: a",
            "listeners.imap.upstream: one value is expected here, not keys with values; write one value behind the key",
        ),
        (
            "upstream: hve",
            "listeners.imap.upstream: High Volume Email (`hve`) only sends, so only SMTP listeners can lead to it; remove the key",
        ),
        (
            "protocol: smtp\nupstream: hve\ndeliver: auto",
            "listeners.imap: accounts of High Volume Email (HVE) have no mailbox, so Graph cannot send for them; remove `deliver: \
             auto`",
        ),
        ("upstream: ''", "listeners.imap.upstream: the value is empty; write a value, or remove the key"),
    ] {
        assert_eq!(mistakes(&listener(lines)), [expected], "{lines}");
    }
}

#[test]
fn every_mistake_between_listeners_has_its_sentence() {
    for (yaml, expected) in [
        (
            "listeners: {}",
            "listeners: there is no listener; add one, such as `listeners: {smtp: {bind: \"localhost:1587\"}}`",
        ),
        (
            "listeners: 5",
            "listeners: keys with values are expected here, not one value; write the keys below, each on its own line and \
             further to the right",
        ),
        (
            "listeners: {smtp: }",
            "listeners.smtp.bind: `bind` is missing; write the address and port to listen on, such as \
             `bind: localhost:1143`",
        ),
        (
            "listeners: {smtp: {bind: []}}",
            "listeners.smtp.bind: no address is listed; write an address and port, such as `localhost:1143`",
        ),
        (
            "listeners: {smtp: {bind: '::1'}}",
            "listeners.smtp.bind: `::1` has no port; write address and port, such as `[::1]:1143`",
        ),
        (
            "listeners: {smtp: {bind: ['127.0.0.1:1', 'mail.example:25']}}",
            "listeners.smtp.bind[1]: `mail.example:25` is not an address with a port; write `localhost` or a numeric address, and a \
             port, such as `localhost:1143` or `192.0.2.7:143`",
        ),
        (
            "listeners: {smtp: {bind: 'localhost:25'}, imap: {bind: '[::1]:25'}}",
            "listeners.imap.bind: `[::1]:25` is taken already by `[::1]:25` of listeners.smtp.bind; give each listener a port of its \
             own",
        ),
        (
            "listeners: {mail: {bind: '127.0.0.1:25'}}",
            "listeners.mail.protocol: `protocol` is missing; write `protocol: imap`, `pop3`, `smtp`, `ews` or `graph`, or name the listener so",
        ),
        (
            "listeners: {'a b': {bind: '127.0.0.1:25', protocol: smtp}}",
            "listeners.\"a b\": the name of a listener appears in the log and must be plain; use up to 64 ASCII letters, \
             digits, `-` and `_`",
        ),
        (
            "listeners: {smtp: {bind: '127.0.0.1:25'}, imap: {bind: '127.0.0.1:25'}}",
            "listeners.imap.bind: `127.0.0.1:25` is taken already by `127.0.0.1:25` of listeners.smtp.bind; give each \
             listener a port of its own",
        ),
        (
            "listeners: {smtp: {bind: '0.0.0.0:25', allow_from: 10.0.0.0/8}}",
            "listeners.smtp: without TLS passwords would cross the network in the clear, so nobody could log in; write \
             `tls: starttls` with a certificate, or name the networks that you trust in `allow_plaintext_from`",
        ),
        (
            "listeners: {smtp: {bind: '192.0.2.1:25', allow_plaintext_from: 192.0.2.0/24}}",
            "listeners.smtp.allow_from: `allow_from` is missing, which an address other than loopback needs; name the \
             networks of the clients, such as `allow_from: [192.168.7.0/24]`",
        ),
        (
            "listeners: {smtp: {bind: '127.0.0.1:25', tls: implicit, certificate: x}}",
            "listeners.smtp.private_key: `private_key` is missing, which TLS needs; name a PEM file. `gatepost cert` makes one for tests",
        ),
        (
            "listeners:\n  smtp:\n    bind: '127.0.0.1:25'\n    bind: '127.0.0.1:26'\n",
            "listeners.smtp.bind: the key is written twice; keep one of them. The first stands at line 3",
        ),
        (
            "listeners:\n  smtp:\n    bind: !port '127.0.0.1:25'\n",
            "listeners.smtp.bind: what begins with `!` is a tag of YAML, and no part of the value; write the whole value \
             in quotes if it is text, and take the tag away if it is not",
        ),
    ] {
        assert_eq!(mistakes(yaml), [expected], "{yaml}");
    }
}

#[test]
fn every_mistake_about_microsoft_has_its_sentence() {
    for (yaml, expected) in [
        (
            "microsoft: {tenant: contoso.com}".to_owned(),
            "microsoft.client_id: `client_id` is missing; write the application (client) id that Entra shows",
        ),
        (
            "microsoft: {tenant: contoso.com, client_id: x}".to_owned(),
            "microsoft.client_id: `x` is not an application id; copy the application (client) id from Entra, such as \
             `00000000-0000-0000-0000-000000000000`",
        ),
        (
            "microsoft: {tenant: common, client_id: 00000000-0000-0000-0000-000000000000}".to_owned(),
            "microsoft.tenant: passwords cannot be exchanged for tokens at `common` (AADSTS9001023); write `grant: \
             authorization_code` or `grant: device_code`, or name the tenant of the users",
        ),
        (
            "microsoft: {tenant: contoso, client_id: 00000000-0000-0000-0000-000000000000}".to_owned(),
            "microsoft.tenant: `contoso` is neither a directory id nor a domain; write the directory id or a verified \
             domain, such as `contoso.com`",
        ),
        (
            microsoft("directory-id: x"),
            "microsoft.directory-id: `directory-id` is not a known key; did you mean `tenant`?",
        ),
        (
            microsoft("grant: ropc"),
            "microsoft.grant: `ropc` is not one of `password`, `client_credentials`, `authorization_code`, `device_code`; \
             write `password`, `client_credentials`, `authorization_code` or `device_code`",
        ),
        (
            microsoft("grant: device-code"),
            "microsoft.grant: `device-code` is not one of `password`, `client_credentials`, \
             `authorization_code`, `device_code`; did you mean `device_code`?",
        ),
        (
            microsoft("cloud: germany"),
            "microsoft.cloud: `germany` is not one of `worldwide`, `us-gov-gcc-high`, `us-gov-dod`, `china`; write \
             `worldwide`, `us-gov-gcc-high`, `us-gov-dod` or `china`",
        ),
        (
            microsoft("authority: http://login.microsoftonline.com/"),
            "microsoft.authority: the authority must use `https`, not `http`; write `https://login.microsoftonline.com/`, \
             or remove the key",
        ),
        (
            microsoft("authority: https://login.microsoftonline.com/contoso.com/"),
            "microsoft.authority: the authority holds more than the host; put the tenant into `tenant`, and leave the path \
             out here",
        ),
        (
            microsoft("authority: https://login.microsoftonline.us/"),
            "microsoft: the authority `https://login.microsoftonline.us/` belongs to another cloud than the one \
             configured; write `cloud: us-gov-gcc-high`, or remove `authority`",
        ),
        (
            microsoft("token_expiry_margin: 2h"),
            "microsoft.token_expiry_margin: `2h` is out of range; write a time from 0s to 50m",
        ),
        (
            microsoft("token_expiry_margin: 300"),
            "microsoft.token_expiry_margin: `300` has no unit; write `300s` for seconds, or use `ms`, `m`, `h`, `d`",
        ),
        (
            microsoft("scope: https://graph.microsoft.com/.default"),
            "microsoft.scope: a token for Microsoft Graph opens no mailbox over IMAP, POP3 or SMTP; write \
             `https://outlook.office.com/.default`, or remove the key",
        ),
        (
            microsoft(
                "scope: https://outlook.office.com/SMTP.Send https://graph.microsoft.com/Mail.Send offline_access",
            ),
            "microsoft.scope: the scope names two resources, `https://outlook.office.com` and \
             `https://graph.microsoft.com`; ask for one resource. The mail protocols need \
             `https://outlook.office.com/.default`",
        ),
        (
            microsoft("scope: https://outlook.office.com/.default https://outlook.office.com/SMTP.Send"),
            "microsoft.scope: `/.default` cannot be asked for together with other scopes; keep `/.default`, or the others",
        ),
        (
            microsoft("scope: offline_access"),
            "microsoft.scope: the scope names no resource; write `https://outlook.office.com/.default`, or remove the key",
        ),
        (
            microsoft("client_secret: {env: NOT_SET}"),
            "microsoft.client_secret.env: the environment variable `NOT_SET` is not set; set it where Gatepost is started, \
             or use `{file: PATH}`",
        ),
        (
            microsoft("client_secret: {file: missing}"),
            "microsoft.client_secret.file: `missing` cannot be read: entity not found; name a file that the user who runs \
             Gatepost can read",
        ),
        (
            microsoft("client_secret: {command: [false]}"),
            "microsoft.client_secret.command: the command did not give a secret: it failed (exit status: 1); run it by \
             hand as the user who runs Gatepost",
        ),
        (
            microsoft("client_secret: {env: A, file: B}"),
            "microsoft.client_secret: exactly one source of the secret is expected; write `{env: NAME}`, `{file: PATH}`, \
             `{credential: NAME}` or `{command: [PROGRAM, ARGUMENT]}`",
        ),
        (
            microsoft("client_secret: {credential: app.secret}"),
            "microsoft.client_secret.credential: there are no credentials: Gatepost was not started by systemd with any; \
             write `LoadCredentialEncrypted=app.secret` or `LoadCredential=app.secret:PATH` into the unit",
        ),
        (
            microsoft("client_secret: {credential: ../app.secret}"),
            "microsoft.client_secret.credential: `../app.secret` is not the name of a credential; use up to 255 ASCII \
             letters, digits, `.`, `_`, `-` and `@`, as in the unit's `LoadCredential=`",
        ),
        (
            microsoft("client_secret: \"hunter2\\nhunter3\""),
            "microsoft.client_secret: the secret holds a line break or another control character; a secret is one line of text. One line break at its end is left out",
        ),
    ] {
        assert_eq!(mistakes(&yaml), [expected], "{yaml}");
    }
}

#[test]
fn what_belongs_to_another_cloud_is_refused() {
    let with_scope = |cloud: &str, scope: &str| microsoft(&format!("cloud: {cloud}\nscope: {scope}"));
    let upstream = |cloud: &str, host: &str| {
        format!("{}{}", microsoft(&format!("cloud: {cloud}")), listener(&format!("upstream: {host}:993")))
    };
    for (yaml, expected) in [
        (
            with_scope("us-gov-dod", "https://outlook.office.com/.default"),
            "microsoft.scope: the scope belongs to the cloud `worldwide`, and the one configured is `us-gov-dod`; write \
             `cloud: worldwide`, or remove the key",
        ),
        (
            with_scope("worldwide", "https://outlook.office365.us/SMTP.Send offline_access"),
            "microsoft.scope: the scope belongs to the cloud `us-gov-gcc-high`, and the one configured is `worldwide`; \
             write `cloud: us-gov-gcc-high`, or remove the key",
        ),
        (
            with_scope("us-gov-gcc-high", "SMTP.Send"),
            "microsoft.scope: a token for Microsoft Graph opens no mailbox over IMAP, POP3 or SMTP; write \
             `https://outlook.office365.us/.default`, or remove the key",
        ),
        (
            with_scope(
                "us-gov-gcc-high",
                "https://outlook.office365.us/SMTP.Send https://graph.microsoft.us/Mail.Send",
            ),
            "microsoft.scope: the scope names two resources, `https://outlook.office365.us` and \
             `https://graph.microsoft.us`; ask for one resource. The mail protocols need \
             `https://outlook.office365.us/.default`",
        ),
        (
            with_scope("china", "https://partner.outlook.cn/.default"),
            "microsoft.scope: in this cloud the scope is one resource, without permissions or `/.default`; write \
             `https://partner.outlook.cn`, or remove the key",
        ),
        (
            with_scope("china", "https://partner.outlook.cn https://microsoftgraph.chinacloudapi.cn"),
            "microsoft.scope: in this cloud the scope is one resource, without permissions or `/.default`; write \
             `https://partner.outlook.cn`, or remove the key",
        ),
        (
            with_scope("china", "https://microsoftgraph.chinacloudapi.cn"),
            "microsoft.scope: a token for Microsoft Graph opens no mailbox over IMAP, POP3 or SMTP; write \
             `https://partner.outlook.cn`, or remove the key",
        ),
        (
            upstream("china", "outlook.office365.com"),
            "listeners.imap.upstream: tokens of the account `*` are for the cloud `china`, to which \
             `outlook.office365.com` does not belong; name an upstream of that cloud, such as `partner.outlook.cn`, or correct `cloud`. Accounts of two clouds need a Gatepost each",
        ),
        (
            upstream("us-gov-gcc-high", "webmail.apps.mil"),
            "listeners.imap.upstream: tokens of the account `*` are for the cloud `us-gov-gcc-high`, to which \
             `webmail.apps.mil` does not belong; name an upstream of that cloud, such as `outlook.office365.us`, or correct `cloud`. Accounts of two clouds need a Gatepost each",
        ),
        (
            format!("{}{}", microsoft("cloud: us-gov-gcc-high"), listener("protocol: smtp\nupstream: hve")),
            "listeners.imap.upstream: the cloud `us-gov-gcc-high` has no High Volume Email (`hve`); remove the key. Only the cloud \
             `worldwide` has it",
        ),
        (
            account("cloud: us-gov-dod\nauthority: https://login.microsoftonline.us/"),
            "listeners.smtp: tokens of the account `scanner@contoso.com` are for the cloud `us-gov-dod`, to which \
             `smtp.office365.com` does not belong; name an upstream of that cloud, such as `outlook-dod.office365.us`, or correct `cloud`. Accounts of two clouds need a Gatepost each",
        ),
    ] {
        assert_eq!(mistakes(&yaml), [expected], "{yaml}");
    }
}

#[test]
fn every_mistake_about_a_tenant_has_its_sentence() {
    let client = "client_id: 00000000-0000-0000-0000-000000000000";
    let by_application = format!("grant: client_credentials\nclient_secret: s\npasswords: ['{HASH}']\n");
    for (yaml, expected) in [
        (
            account(&format!("{by_application}tenant: organizations")),
            "accounts[0].tenant: with `client_credentials` an application signs in at one tenant, and `organizations` \
             names none (AADSTS50059); write the directory id or a verified domain, or `tenant: auto` for the domain of \
             each login",
        ),
        (
            format!("microsoft: {{tenant: organizations, {client}}}\n{}", account(&by_application)),
            "microsoft.tenant: with `client_credentials` an application signs in at one tenant, and `organizations` \
             names none (AADSTS50059); write the directory id or a verified domain, or `tenant: auto` for the domain of \
             each login",
        ),
        (
            format!("microsoft: {{tenant: auto, {client}}}\naccounts: [{{login: 'a@bücher.example'}}]"),
            "microsoft.tenant: `tenant: auto` means `bücher.example` here, which is no domain of a tenant; write the \
             directory id or a verified domain into the entry's own `tenant`",
        ),
        (
            format!("microsoft: {{tenant: auto, {client}}}\naccounts: [{{login: '*@intern'}}]"),
            "microsoft.tenant: `tenant: auto` means `intern` here, which is no domain of a tenant; write the directory id \
             or a verified domain into the entry's own `tenant`",
        ),
    ] {
        assert_eq!(mistakes(&yaml), [expected], "{yaml}");
    }
}

#[test]
fn every_mistake_of_an_account_has_its_sentence() {
    let with = |lines: &str| account(&format!("grant: client_credentials\nclient_secret: hunter2\n{lines}"));
    for (yaml, expected) in [
        (
            "accounts: []".to_owned(),
            "accounts: no account is listed, so nobody could log in; add an entry with `login`, or remove `accounts`",
        ),
        (
            "accounts: {login: a@b}".to_owned(),
            "accounts: a list is expected here, not keys with values; write each entry on its own line behind `- `",
        ),
        (
            "accounts: [{mailbox: a@b}]".to_owned(),
            "accounts[0].login: `login` is missing; write an address, `*@domain`, or `*` for everybody else",
        ),
        (
            "accounts: [{login: scan7}]".to_owned(),
            "accounts[0].login: `scan7` is not an address; write the whole address here, and short names under `aliases`",
        ),
        (
            "accounts: [{login: 'a*@contoso.com'}]".to_owned(),
            "accounts[0].login: `a*@contoso.com` is not a pattern that is known; write an address, `*@contoso.com`, or `*` \
             for everybody else",
        ),
        (
            "accounts: [{login: 'a b@contoso.com'}]".to_owned(),
            "accounts[0].login: the name holds a character that is not allowed in an address; write an address such as \
             `scanner@contoso.com`",
        ),
        (
            "accounts: [{login: A@contoso.com}, {login: a@CONTOSO.com}]".to_owned(),
            "accounts[1].login: `a@contoso.com` is listed twice. Names compare without regard to case; keep one. The \
             other stands at accounts[0].login",
        ),
        (
            "accounts: [{login: a@b.c, aliases: [scan]}, {login: d@b.c, aliases: SCAN}]".to_owned(),
            "accounts[1].aliases: `scan` is listed twice. Names compare without regard to case; keep one. The other \
             stands at accounts[0].aliases[0]",
        ),
        (
            account("aliases: ['scan\u{202e}7']"),
            "accounts[0].aliases[0]: the name holds a character that cannot be printed; write an address such as \
             `scanner@contoso.com`",
        ),
        (
            "accounts: [{login: '*@b/c'}]".to_owned(),
            "accounts[0].login: `b/c` is not a domain; write the domain of the addresses, such as `contoso.com`",
        ),
        (
            microsoft("netbios_domains: {CONTOSO@x: contoso.com}"),
            "microsoft.netbios_domains.\"CONTOSO@x\": `CONTOSO@x` is not the prefix of a user name; write the part before the \
             backslash of `CONTOSO\\anna`, such as `CONTOSO`",
        ),
        (
            microsoft("netbios_domains: {CONTOSO: '@contoso.com'}"),
            "microsoft.netbios_domains.CONTOSO: `@contoso.com` is not a domain; write the domain of the addresses, such as \
             `contoso.com`",
        ),
        (
            "accounts: [{login: '*@b.c', aliases: [scan]}]".to_owned(),
            "accounts[0].aliases: an alias stands for one address, but `login` is a pattern; give the address an entry of \
             its own, and the alias there",
        ),
        (
            account("mailboxes: [office@contoso.com, '*']"),
            "accounts[0].mailboxes[1]: the name is not an address of the form user@domain; write an address, or only \
             `\"*\"` for every mailbox",
        ),
        (
            account("mailboxes: '*'\ngrant: client_credentials\nclient_secret: s"),
            "accounts[0].mailboxes: with `client_credentials` this login could open every mailbox of the application; list \
             the mailboxes, such as `[office@contoso.com]`",
        ),
        (
            account("sender: fixed"),
            "accounts[0].sender: `fixed` is not one of `free`, `forced`, `checked`; write `free`, `forced` or `checked`",
        ),
        (
            account("send_as: [contoso.com, '*@fabrikam.com']"),
            "accounts[0].send_as[1]: `*@fabrikam.com` is neither an address nor a domain; write mailboxes such as \
             `sales@contoso.com`, or a domain such as `contoso.com` for all in it",
        ),
        (
            account("mailbox: reception"),
            "accounts[0].mailbox: the name is not an address of the form user@domain; write an address such as `scanner@contoso.com`",
        ),
        (
            account("signs_in_as: anna@contoso.com"),
            "accounts[0].signs_in_as: nobody signs in with this grant; remove `signs_in_as`, or write `grant: \
             authorization_code` or `grant: device_code`",
        ),
        (
            account("grant: device_code\nsigns_in_as: anna"),
            "accounts[0].signs_in_as: the name is not an address of the form user@domain; write an address such as \
             `scanner@contoso.com`",
        ),
        (
            "accounts: [{login: '*@contoso.com', grant: device_code, signs_in_as: anna@contoso.com}]".to_owned(),
            "accounts[0].signs_in_as: one person would sign in for every mailbox that the pattern stands for; give each \
             shared mailbox an entry of its own, and `signs_in_as` there",
        ),
        (
            account(&format!("passwords: ['{HASH}']")),
            "accounts[0]: `passwords` are given, but with `grant: password` it is Entra that knows the password; remove \
             `passwords`, or write `grant: client_credentials`",
        ),
        (
            with("passwords: [hunter2hunter2]"),
            "accounts[0].passwords[0]: this is not a hash. A password must not stand here in plain text; make a hash with \
             `gatepost password hash`",
        ),
        (
            with(&format!("passwords: ['{}']", HASH.replace("m=19456", "m=4096"))),
            "accounts[0].passwords[0]: this Argon2id hash is too weak: at least `m=19456` and `t=2` are needed; make a hash \
             with `gatepost password hash`",
        ),
        (
            with(&format!("passwords: ['{}']", HASH.replace("argon2id", "argon2i"))),
            "accounts[0].passwords[0]: this is another variant of Argon2, only Argon2id is accepted; make a hash with \
             `gatepost password hash`",
        ),
        (
            with(&format!("passwords: ['{HASH}']\nscope: https://outlook.office365.com/IMAP.AccessAsApp")),
            "accounts[0].scope: with `client_credentials` the scope must be one that ends in `/.default`; write \
             `https://outlook.office365.com/.default`, or remove the key",
        ),
        (
            account(&format!("grant: client_credentials\npasswords: ['{HASH}']")),
            "accounts[0].client_secret: `client_secret` is missing, which `grant: client_credentials` needs; write \
             `client_secret: {env: GATEPOST_CLIENT_SECRET}`, here or under `microsoft`, or one of `client_certificate`, \
             `federated_token_file` and `managed_identity`",
        ),
    ] {
        assert_eq!(mistakes(&yaml), [expected], "{yaml}");
    }
}

#[test]
fn every_other_mistake_has_its_sentence() {
    for (yaml, expected) in [
        (
            "admin: {bind: '10.0.0.1:9180'}",
            "admin.bind: the page would be open to other machines; bind it to loopback, such as `127.0.0.1:9180`, or write \
             `certificate`, `private_key` and `token`",
        ),
        (
            "admin: {bind: '127.0.0.1:9180', token: aaaaaaaaaaaaaaaaaaaaaaaaaaaa}",
            "admin.token: the token can be guessed: it has to be random, and 22 characters or longer; make one with `openssl rand \
             -base64 24`",
        ),
        (
            "admin: {bind: '127.0.0.1:9180', token: 3xhEwCwvyTtjNnH0gXhTQ}",
            "admin.token: the token can be guessed: it has to be random, and 22 characters or longer; make one with `openssl rand \
             -base64 24`",
        ),
        (
            "admin: {hosts: 'https://gatepost.example'}",
            "admin.hosts: `https://gatepost.example` is not a host name; write the name in ASCII letters, digits, `-` and `.`",
        ),
        (
            "server_name: gate.contoso.com.",
            "server_name: `gate.contoso.com.` is no name that mail servers accept in EHLO; write a host name in letters, digits, `-` \
             and `.`, without a dot at the end, such as `gatepost.contoso.com`, or an address such as `[192.0.2.7]`",
        ),
        (
            "confinement: strict",
            "confinement: `strict` is not one of `try`, `require`, `off`; write `try`, `require` or `off`",
        ),
        (
            "log: {audit: file}",
            "log.audit: this is no place for the audit log; write `audit: journal` or `audit: {file: PATH}`",
        ),
        (
            "log: {audit: {}}",
            "log.audit.file: `file` is missing; name the file, such as `audit: {file: /var/log/gatepost/audit.jsonl}`",
        ),
        (
            "frobnicate: 1",
            "frobnicate: `frobnicate` is not a known key; the keys here are accounts, admin, confinement, forward_proxy, limits, listeners, \
             log, microsoft, providers, queue, sendmail, server_name, state, trust",
        ),
        (
            "log: {level: loud}",
            "log.level: `loud` is not one of `error`, `warn`, `info`, `debug`, `trace`; write `error`, `warn`, `info`, `debug` or `trace`",
        ),
        ("log: {format: jsn}", "log.format: `jsn` is not one of `text`, `json`, `journal`; did you mean `json`?"),
        (
            "trust: {system_roots: false}",
            "trust: nobody would be trusted; write `system_roots: true`, or name an `additional_ca`",
        ),
        (
            "trust: {additional_ca: missing.pem}",
            "trust.additional_ca: `missing.pem` cannot be read: entity not found; name a PEM file with the certificates of \
             the authorities to trust",
        ),
        (
            "trust: {destinations: [{host: outlook.office365.com, additional_ca: missing.pem}]}",
            "trust.destinations[0].additional_ca: `missing.pem` cannot be read: entity not found; name a PEM file with the \
             certificates of the authorities to trust",
        ),
        (
            "trust: {destinations: [{host: outlook.office365.com}]}",
            "trust.destinations[0].additional_ca: `additional_ca` is missing; name a PEM file with the certificates of the \
             authorities to trust",
        ),
        (
            "trust: {destinations: {host: outlook.office365.com}}",
            "trust.destinations: a list is expected here, not keys with values; write each entry on its own line behind `- `",
        ),
        (
            "forward_proxy: {}",
            "forward_proxy.url: `url` is missing; write `url: http://proxy.corp.example:3128`, or remove `forward_proxy`",
        ),
        (
            "forward_proxy: {url: 'socks5://proxy:1080'}",
            "forward_proxy.url: `socks5://` would resolve names here, before the proxy is asked; write `socks5h://`: the \
             proxy resolves the names",
        ),
        (
            "forward_proxy: {url: ['http://a:3128', 'socks4://b:1080']}",
            "forward_proxy.url[1]: SOCKS version 4 is not spoken; name a proxy that speaks SOCKS version 5, by `socks5h://`",
        ),
        (
            "forward_proxy: {url: 'ftp://proxy'}",
            "forward_proxy.url: the proxy's address has another scheme than `http`, `https` and `socks5h`; write `http://`, \
             `https://` or `socks5h://` with host and port, such as `http://proxy.corp.example:3128`",
        ),
        (
            "forward_proxy: {url: 'socks5h://:1080'}",
            "forward_proxy.url: the proxy's address is not a URL; write `http://`, `https://` or `socks5h://` with host and \
             port, such as `http://proxy.corp.example:3128`",
        ),
        #[cfg(feature = "pac")]
        (
            "forward_proxy: {pac: 'http://wpad.corp.example/proxy.pac', authentication: basic, username: u, password: p}",
            "forward_proxy.authenticate_to: `authenticate_to` is missing, which `pac` together with `authentication` needs; \
             list the proxies that may be shown the credentials, such as `[.corp.example]`: a script could name any",
        ),
        #[cfg(feature = "pac")]
        (
            "forward_proxy: {pac: 'ftp://wpad/proxy.pac'}",
            "forward_proxy.pac: a script cannot be had by `ftp://`; write a path, or a URL that begins with `http://` or \
             `https://`",
        ),
        (
            "forward_proxy: {url: 'http://a', pac: proxy.pac}",
            "forward_proxy.pac: `url` and `pac` are both given; keep the one that shall decide, and remove the other",
        ),
        (
            "forward_proxy: {url: 'socks5h://proxy', authentication: ntlm, username: 'CORP\\u', password: p}",
            "forward_proxy: a SOCKS proxy takes a user name and a password, or nothing; write `authentication: basic` or \
             `authentication: none`",
        ),
        (
            "forward_proxy: {url: []}",
            "forward_proxy.url: the list is empty; write at least one proxy, such as `http://proxy.corp.example:3128`",
        ),
        (
            "forward_proxy: {url: 'socks5h://proxy', authentication: basic, username: u, password: ''}",
            "forward_proxy.password: the value is empty; write a value, or remove the key",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', no_proxy: ['mail.corp.example:x']}",
            "forward_proxy.no_proxy[0]: `mail.corp.example:x` has no port from 1 to 65535 behind its colon; write \
             `host:port`, or the host alone for every port",
        ),
        (
            "forward_proxy: {url: 'http://u:hunter2@proxy:3128'}",
            "forward_proxy.url: the URL holds a user name or a password; put them into `username` and `password`",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: ntlmv2}",
            "forward_proxy.authentication: `ntlmv2` is not one of `none`, `basic`, `digest`, `ntlm`, `negotiate`; did you \
             mean `ntlm`?",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: ntlm, username: u}",
            "forward_proxy.password: `password` is missing, which `authentication: ntlm` needs; add it, or write \
             `authentication: none`",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: ntlm, username: 'CORP\\u', domain: CORP, password: p}",
            "forward_proxy.username: the user name holds a domain, and `domain` is given too; write `username: u`",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: ntlm, username: 'CORP\\', password: p}",
            "forward_proxy.username: there is nothing before or behind the backslash; write `DOMAIN\\user` or `user@domain`",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: digest, username: u, password: p, domain: CORP}",
            "forward_proxy.domain: this is given, but `authentication` is `digest`; remove the key, or write the \
             `authentication` that it belongs to",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: basic, username: u}",
            "forward_proxy.password: `password` is missing, which `authentication: basic` needs; add it, or write \
             `authentication: none`",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', username: u}",
            "forward_proxy.username: this is given, but `authentication` is `none`; write `authentication: basic`, or \
             another kind, or remove the key",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', authentication: basic, username: 'a:b', password: c}",
            "forward_proxy.username: the user name holds a colon or a control character; Basic authentication cannot carry \
             it",
        ),
        (
            "forward_proxy: {url: 'http://proxy:3128', no_proxy: [10.0.0.0/33]}",
            "forward_proxy.no_proxy[0]: `10.0.0.0/33` is not a network; write an address or a network, such as \
             `192.168.7.0/24` or `::1`",
        ),
        (
            "limits: {connections: many}",
            "limits.connections: `many` is not a whole number; write a whole number from 1 to 1000000",
        ),
        ("limits: {conections: 5}", "limits.conections: `conections` is not a known key; did you mean `connections`?"),
        ("limits: {imap_line: 64KiB}", "limits.imap_line: `64KiB` is out of range; write a size from 512B to 32KiB"),
        (
            "limits: {imap_line: 8192}",
            "limits.imap_line: `8192` has no unit; write `8192B` for bytes, or use `KiB`, `MiB`, `GiB`",
        ),
        (
            "limits: {replicas: 3, replica_index: 3}",
            "limits.replica_index: with `replicas: 3` there is no replica 3: they count from 0; write how many there are, \
             and in each replica another number below that",
        ),
        (
            "limits: {replicas: 6}",
            "limits.replicas: 6 replicas share 5 refused passwords of each account, which is less than one each; write \
             `replica_index`, another one in each replica, so that each account has one that forwards its passwords",
        ),
        (
            "limits: {replicas: 100, replica_index: 7}",
            "limits.replicas: `replicas` is greater than `refused_passwords_per_minute`, which is 60; lower `replicas` or \
             raise `refused_passwords_per_minute`",
        ),
        (
            "limits: {penalty_threshold: 11m}",
            "limits.penalty_threshold: `penalty_threshold` is greater than `penalty_cap`, which is 10m; lower \
             `penalty_threshold` or raise `penalty_cap`",
        ),
        ("limits: {attempts: 13}", "limits.attempts: 13 is out of range; write a whole number from 1 to 12"),
        (
            "limits: {token_request: 1m}",
            "limits.token_request: `token_request` is greater than `token_total`, which is 50s; lower `token_request` or \
             raise `token_total`",
        ),
        (
            "limits: {imap_sessions_per_mailbox: unlimited}",
            "limits.imap_sessions_per_mailbox: `unlimited` is not a whole number; write a whole number from 1 to 1000000, or `none`",
        ),
        (
            "limits: {pop3_sessions_per_mailbox: 0}",
            "limits.pop3_sessions_per_mailbox: 0 is out of range; write a whole number from 1 to 1000000, or `none`",
        ),
        (
            "limits: {upstream_login: 56s}",
            "limits.upstream_login: `upstream_login` is greater than `login`, which is 55s; lower `upstream_login` or raise `login`",
        ),
        (
            "limits: {mailbox_wait: 2m}",
            "limits.mailbox_wait: `mailbox_wait` is greater than `login`, which is 55s; lower `mailbox_wait` or raise `login`",
        ),
        (
            "limits: {connections: 100}",
            "limits.connections: `pre_auth_connections` is greater than `connections`, which is 100; lower \
             `pre_auth_connections` or raise `connections`",
        ),
    ] {
        assert_eq!(mistakes(yaml), [expected], "{yaml}");
    }
}
