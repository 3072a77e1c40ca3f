//! Which tenants there are, which applications may use them, and whose accounts sign in there.

use super::refusal::Refusal;
use super::request::{Grant, RequestedScope, Tenant, Version};
use crate::audience::SignInAudience;
use crate::state::SandboxState;
use crate::token::{EXCHANGE_RESOURCES, GRAPH_RESOURCES};

/// The tenant of all personal accounts.
pub(super) const PERSONAL_TENANT: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

/// The resources that personal accounts know.
const PERSONAL_RESOURCES: [&str; 2] = [EXCHANGE_RESOURCES[0], GRAPH_RESOURCES[0]];

/// The tenant of this name, if a grant may be used there.
pub(super) fn check_tenant(shared: &SandboxState, name: &str, grant: Grant) -> Result<Tenant, Refusal> {
    let name = name.to_lowercase();
    let tenant = match name.as_str() {
        "common" => Tenant::Common,
        "organizations" => Tenant::Organizations,
        "consumers" | PERSONAL_TENANT => Tenant::Consumers,
        // Entra lets users have addresses of verified domains only, and each such domain names the tenant.
        name if name == shared.directory.tenant_id || shared.directory.names_tenant(name) => Tenant::Own,
        _ => return Err(Refusal::new(90002)),
    };
    match (tenant, grant) {
        (Tenant::Common | Tenant::Organizations, Grant::ClientCredentials) => Err(Refusal::new(50059)),
        (Tenant::Consumers, Grant::ClientCredentials) => Err(Refusal::new(9_001_023)),
        (Tenant::Common | Tenant::Consumers, Grant::Password) => Err(Refusal::new(9_001_023)),
        _ => Ok(tenant),
    }
}

/// Whether an application was registered for those who sign in at a tenant.
pub(super) fn check_audience(shared: &SandboxState, tenant: Tenant, client_id: &str) -> Result<(), Refusal> {
    match (tenant, shared.audiences.of(client_id)) {
        (Tenant::Consumers, audience) if audience.has_personal() => Ok(()),
        (Tenant::Consumers, _) => Err(Refusal::not_for_consumers()),
        (_, SignInAudience::PersonalOnly) => Err(Refusal::new(9_002_331)),
        (Tenant::Common | Tenant::Organizations, SignInAudience::MyOrganization) => Err(Refusal::new(50194)),
        _ => Ok(()),
    }
}

/// Whether a person may sign in at a tenant, for what an application asks. Entra says so before it
/// looks at the password.
pub(super) fn check_home(
    shared: &SandboxState,
    (tenant, version): (Tenant, Version),
    (client_id, ask): (&str, &RequestedScope),
    user: &str,
) -> Result<(), Refusal> {
    let refused = |code| Err(Refusal::new(code).about(&[("user", user), ("app", client_id)]));
    match (shared.directory.is_personal(user), tenant) {
        (false, Tenant::Consumers) => Err(Refusal::no_such_personal_account()),
        (false, _) => Ok(()),
        (true, Tenant::Own) => refused(50020),
        (true, Tenant::Organizations) => refused(500_200),
        (true, Tenant::Common) if !shared.audiences.of(client_id).has_personal() => refused(500_200),
        (true, _) if version == Version::V1 => refused(500_201),
        (true, _) if !PERSONAL_RESOURCES.contains(&ask.resource.as_str()) => refused(70011),
        (true, _) => Ok(()),
    }
}

/// Whether what a person was given may be used at a tenant.
pub(super) fn check_grant(tenant: Tenant, is_personal: bool) -> Result<(), Refusal> {
    match (is_personal, tenant) {
        (true, Tenant::Own | Tenant::Organizations) => Err(Refusal::new(70_000_121)),
        (false, Tenant::Consumers) => Err(Refusal::new(70000)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::SandboxAccount;
    use crate::provider::AccountKind;
    use crate::state::SandboxConfig;

    const ALICE: &str = "alice@contoso.example";
    const PAT: &str = "pat@outlook.example";

    fn state() -> SandboxState {
        let accounts = vec![SandboxAccount::new(ALICE, "x"), SandboxAccount::of(AccountKind::Personal, PAT, "y")];
        let config = SandboxConfig { accounts, ..SandboxConfig::default() };
        SandboxState::new(config, "https://localhost:1/".to_owned()).unwrap()
    }

    fn code<T>(result: Result<T, Refusal>) -> u32 {
        result.err().map_or(0, |refusal| refusal.code)
    }

    #[test]
    fn each_grant_has_its_tenants() {
        let state = state();
        let check = |tenant: &str, grant| code(check_tenant(&state, tenant, grant));
        for tenant in ["common", "consumers", PERSONAL_TENANT, "organizations", "contoso.example"] {
            assert_eq!(check(tenant, Grant::AuthorizationCode), 0, "{tenant}");
        }
        for (tenant, of_password, of_application) in [
            ("common", 9_001_023, 50059),
            ("Consumers", 9_001_023, 9_001_023),
            (PERSONAL_TENANT, 9_001_023, 9_001_023),
            ("organizations", 0, 50059),
            ("contoso.example", 0, 0),
        ] {
            assert_eq!(check(tenant, Grant::Password), of_password, "{tenant}");
            assert_eq!(check(tenant, Grant::ClientCredentials), of_application, "{tenant}");
        }
        assert_eq!(check("outlook.example", Grant::DeviceCode), 90002, "no tenant has the domain");
    }

    #[test]
    fn an_application_is_for_those_it_was_registered_for() {
        let state = state();
        let check = |audience, tenant| {
            state.audiences.set("App", audience);
            code(check_audience(&state, tenant, "app"))
        };
        use SignInAudience::{AnyOrganization, AnyOrganizationAndPersonal, MyOrganization, PersonalOnly};
        for (audience, of_common, of_organizations, of_consumers, of_own) in [
            (MyOrganization, 50194, 50194, 700_016, 0),
            (AnyOrganization, 0, 0, 700_016, 0),
            (AnyOrganizationAndPersonal, 0, 0, 0, 0),
            (PersonalOnly, 9_002_331, 9_002_331, 0, 9_002_331),
        ] {
            assert_eq!(check(audience, Tenant::Common), of_common, "{audience:?}");
            assert_eq!(check(audience, Tenant::Organizations), of_organizations, "{audience:?}");
            assert_eq!(check(audience, Tenant::Consumers), of_consumers, "{audience:?}");
            assert_eq!(check(audience, Tenant::Own), of_own, "{audience:?}");
        }
        assert_eq!(Refusal::not_for_consumers().error(), "unauthorized_client");
    }

    #[test]
    fn a_person_signs_in_at_home_only() {
        let state = state();
        state.audiences.set("both", SignInAudience::AnyOrganizationAndPersonal);
        let ask = |resource: &str| RequestedScope::everything(resource, Grant::AuthorizationCode).unwrap();
        let check = |tenant, user, app| {
            code(check_home(&state, (tenant, Version::V2), (app, &ask("https://outlook.office.com")), user))
        };
        for (tenant, of_alice, of_pat) in [
            (Tenant::Common, 0, 0),
            (Tenant::Organizations, 0, 500_200),
            (Tenant::Own, 0, 50020),
            (Tenant::Consumers, 50034, 0),
        ] {
            assert_eq!(check(tenant, ALICE, "both"), of_alice, "{tenant:?}");
            assert_eq!(check(tenant, PAT, "both"), of_pat, "{tenant:?}");
        }
        assert_eq!(check(Tenant::Common, PAT, "of organizations"), 500_200);
        let of_consumers =
            |version, resource| code(check_home(&state, (Tenant::Consumers, version), ("both", &ask(resource)), PAT));
        assert_eq!(of_consumers(Version::V1, "https://outlook.office.com"), 500_201);
        assert_eq!(of_consumers(Version::V2, "https://outlook.office365.com"), 70011);
        assert_eq!(of_consumers(Version::V2, "https://graph.microsoft.com"), 0);
    }

    #[test]
    fn what_a_person_was_given_is_used_at_home_only() {
        assert_eq!(code(check_grant(Tenant::Own, true)), 70_000_121);
        assert_eq!(code(check_grant(Tenant::Organizations, true)), 70_000_121);
        assert_eq!(code(check_grant(Tenant::Consumers, false)), 70000);
        for (tenant, is_personal) in [(Tenant::Common, true), (Tenant::Common, false), (Tenant::Consumers, true)] {
            assert_eq!(code(check_grant(tenant, is_personal)), 0);
        }
    }
}
