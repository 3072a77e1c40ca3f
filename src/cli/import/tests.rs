//! The readers against texts of any kind.

use proptest::prelude::*;

use super::answers::Answers;
use super::{davmail, email_oauth2_proxy, genesys, smtp_oauth_relay, source};
use crate::cli::draft::{remarks, yaml};
use crate::cli::options::ImportOptions;

/// In the place of every secret.
const SECRET: &str = "hunter2";

/// Pieces of all formats, so that a random file gets past the first checks.
const LINES: [&str; 49] = [
    "[IMAP-1993]",
    "[POP-1995]",
    "[SMTP-0]",
    "[SMTP-1587]",
    "[emailproxy]",
    "[anna@contoso.com]",
    "[@contoso.com]",
    "[scanner@fabrikam.com]",
    "[pop-client]",
    "[pop-client-2]",
    "[smtp-client]",
    "[secret-x]",
    "server_address = outlook.office365.com",
    "server_address = imap.gmail.com",
    "server_port = 993",
    "server_starttls = True",
    "local_address = ::",
    "token_url = https://login.microsoftonline.com/contoso.com/oauth2/v2.0/token",
    "token_url = https://login.microsoftonline.us/common/oauth2/v2.0/token",
    "client_id = 6f1d2c3b-0a9b-4c8d-b7e6-5a4f3e2d1c0b",
    "token_url = https://oauth2.googleapis.com/token",
    "token_url = https://login.microsoftonline.com/consumers/oauth2/v2.0/token",
    "token_url = https://id.campus.example/token",
    "permission_url = https://id.campus.example/authorize",
    "oauth2_scope = openid mail",
    "client_secret = hunter2",
    "client_secret_encrypted = hunter2",
    "refresh_token = hunter2",
    "oauth2_flow = client_credentials",
    "allow_catch_all_accounts = yes",
    "davmail.imapPort=1143",
    "davmail.smtpPort=1025",
    "davmail.allowRemote=true",
    "davmail.mode=O365Modern",
    "davmail.enableProxy=true",
    "davmail.proxyHost=proxy",
    "davmail.proxyPort=3128",
    "davmail.proxyUser=X\\\\y",
    "davmail.proxyPassword=hunter2",
    "davmail.userWhiteList=@contoso.com,x",
    "directory-id=contoso.com",
    "mailbox=anna@contoso.com",
    "user=\"anna@contoso.com\"",
    "password=hunter2",
    "type=GRAPH",
    "token-expiry-margin-time=00:05:00",
    "TLS_SOURCE=off",
    "USERNAME_DELIMITER=|",
    "\t continued \\",
];

fn line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(LINES.to_vec()).prop_map(str::to_owned),
        1 => "[a-z@.\\[\\]=: \\\\\"'#\u{85}\u{feff}é-]{0,24}",
    ]
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic_and_no_secret_gets_into_the_result(lines in prop::collection::vec(line(), 0..40)) {
        let text = lines.join("\n");
        let options = ImportOptions {
            tenant: Some("contoso.com".to_owned()),
            allow_from: vec!["192.0.2.0/24".parse().unwrap()],
            ..ImportOptions::default()
        };
        let answers = Answers::new(&options);
        let _ = source::detect(&text);
        for read in [email_oauth2_proxy::plan, davmail::plan, genesys::plan, smtp_oauth_relay::plan] {
            match read(&text, &answers) {
                Ok(mut plan) => {
                    super::report::place_secrets(&mut plan, None);
                    let written = yaml::write(&plan, "x", None);
                    let told = remarks::remarks(&plan);
                    prop_assert!(!written.contains(SECRET) && !told.contains(SECRET), "{written}\n{told}");
                    let value: Result<serde_json::Value, _> = serde_saphyr::from_str(&written);
                    prop_assert!(value.is_ok(), "{written}\n{value:?}");
                }
                Err(mistake) => prop_assert!(!mistake.to_string().contains(SECRET), "{mistake}"),
            }
        }
    }
}
