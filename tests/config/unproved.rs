//! Accounts that nothing in the configuration proves: what is wrong with them, as long as the store
//! has nothing either.

use gatepost_core::account::MailAddress;
use gatepost_core::clock::UnixTime;
use gatepost_store::{DevicePassword, DevicePasswordId, Verifier};

use crate::support::{HASH, config, microsoft, told};

fn of(login: &str) -> DevicePassword {
    DevicePassword {
        id: DevicePasswordId("k7m2p4xq".into()),
        login: MailAddress::parse(login).unwrap(),
        name: "Scanner".into(),
        protocols: Vec::new(),
        from: Vec::new(),
        created_at: UnixTime(0),
        expires_at: None,
        verifier: Verifier::Generated([0; 32]),
        last_use: None,
    }
}

#[test]
fn without_a_password_an_applications_account_needs_a_device_password() {
    let accounts = format!(
        "accounts:\n  - login: '*'\n  - login: '*@contoso.com'\n  - {{login: scanner@contoso.com, aliases: [scan7]}}\n  \
         - {{login: fax@contoso.com, passwords: ['{HASH}']}}\n  - {{login: alice@contoso.com, grant: password}}\n"
    );
    let config = config(&(microsoft("grant: client_credentials\nclient_secret: hunter2") + &accounts));
    let open = |logins: &[&str]| {
        let passwords: Vec<DevicePassword> = logins.iter().map(|login| of(login)).collect();
        let problems = config.unproved_accounts(passwords.iter().map(|password| &password.login));
        problems.iter().flatten().map(|problem| problem.key.clone()).collect::<Vec<_>>()
    };
    assert_eq!(open(&[]), ["accounts[0]", "accounts[1]", "accounts[2]"]);
    // Each opens the one entry that its login belongs to.
    assert_eq!(open(&["scanner@contoso.com"]), ["accounts[0]", "accounts[1]"]);
    assert_eq!(open(&["fax@contoso.com", "alice@contoso.com"]), ["accounts[0]", "accounts[1]", "accounts[2]"]);
    assert_eq!(open(&["somebody@contoso.com"]), ["accounts[0]", "accounts[2]"]);
    assert_eq!(open(&["a@fabrikam.com", "b@contoso.com", "scanner@contoso.com"]), [""; 0]);

    let problems = config.unproved_accounts([]).unwrap();
    assert_eq!(
        told(&problems)[2],
        "accounts[2]: `scanner@contoso.com` has no password: with `client_credentials` anybody who reaches the port would \
         own the mailbox; make a device password with `gatepost password add scanner@contoso.com --name …`"
    );
    assert!(problems.to_string().contains("  9 |   - {login: scanner@contoso.com"), "{problems}");
}

#[test]
fn everybody_through_an_application_needs_one_too() {
    let config = config(&microsoft("grant: client_credentials\nclient_secret: hunter2"));
    assert_eq!(
        told(&config.unproved_accounts([]).unwrap()),
        [
            "microsoft: `*` has no password: with `client_credentials` anybody who reaches the port would own the mailbox; \
          make a device password with `gatepost password add LOGIN --name …`"
        ]
    );
    assert!(config.unproved_accounts([&of("a@contoso.com").login]).is_none());
}
