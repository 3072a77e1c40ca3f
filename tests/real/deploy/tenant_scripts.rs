//! The scripts that `gatepost setup` makes for a tenant: parsers of their languages understand them,
//! each command and parameter is known, and the one for the Azure CLI does its work.

use std::path::PathBuf;

use crate::deploy::support::{repository, succeed, tool};

/// The scripts of all cases of the tests of `gatepost setup`.
fn scripts() -> Vec<PathBuf> {
    let cases = std::fs::read_dir(repository("tests/program/cli/setup")).unwrap().map(|entry| entry.unwrap().path());
    let files = cases.filter(|path| path.is_dir()).flat_map(|case| std::fs::read_dir(case).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "ps1" || extension == "sh")).collect()
}

#[test]
#[ignore = "needs the programs that judge deploy/: run tests/run"]
fn scripts_for_a_tenant_have_only_commands_and_parameters_that_are_known() {
    let scripts = scripts();
    assert!(scripts.len() >= 8, "{scripts:?}");
    let judge = [vec![repository("tests/deploy/tenant_scripts.py")], scripts.clone()].concat();
    let said = succeed(tool("python"), &judge);
    assert!(said.ends_with(&format!("{} scripts, 0 flaws\n", scripts.len())), "{said}");
    let of_shell: Vec<&PathBuf> = scripts.iter().filter(|path| path.extension().unwrap() == "sh").collect();
    succeed("shellcheck", &of_shell);
}

#[cfg(feature = "sandbox")]
mod azure {
    use std::process::{Command, Output};

    use gatepost_sandbox::{Sandbox, SandboxConfig};

    use crate::deploy::support::{repository, said, tool};
    use crate::process::Directory;

    /// Runs a script with the stand-in for the Azure CLI.
    fn run(directory: &Directory, sandbox: &Sandbox, script: &str) -> Output {
        let token = sandbox.issue_administrator_token(&["Directory.AccessAsUser.All"]).unwrap();
        let path = format!("{}:{}", directory.file("bin").display(), std::env::var("PATH").unwrap());
        Command::new("bash")
            .arg(directory.file(script))
            .env("PATH", path)
            .env("GRAPH", format!("https://localhost:{}", sandbox.graph().port()))
            .env("TOKEN", token.expose())
            .env("CA", directory.file("ca.pem"))
            .env("LATE", directory.file("late"))
            .output()
            .unwrap()
    }

    fn with_answers(sandbox: &Sandbox, tenant: &str, more: &[&str]) -> Directory {
        let directory = Directory::new();
        directory.write("ca.pem", sandbox.ca_pem());
        std::fs::create_dir(directory.file("bin")).unwrap();
        let stand_in = format!(
            "#!/bin/sh\nexec '{}' '{}' \"$@\"\n",
            tool("python").display(),
            repository("tests/deploy/az.py").display()
        );
        directory.write("bin/az", stand_in);
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.file("bin/az"), executable).unwrap();
        let setup = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args([
                "setup",
                "--tenant",
                tenant,
                "--mailbox",
                "scanner@contoso.example",
                "--state",
                "state",
                "--script",
                "az",
            ])
            .args(more)
            .current_dir(directory.path())
            .output()
            .unwrap();
        assert!(setup.status.success(), "{}", said(&setup));
        directory
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs the programs that judge deploy/: run tests/run"]
    async fn the_script_for_the_azure_cli_sets_up_entra_twice_and_undoes_it() {
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let directory = with_answers(
            &sandbox,
            sandbox.tenant_id(),
            &["--protocol", "imap", "--protocol", "pop3", "--protocol", "smtp", "--sign-in", "nobody"],
        );
        directory.write("late", "");
        let first = run(&directory, &sandbox, "tenant-setup.sh");
        assert!(first.status.success(), "{}", said(&first));
        assert!(!directory.file("late").exists());
        let applications = sandbox.applications();
        let [application] = applications.as_slice() else { panic!("{applications:?}") };
        assert_eq!((application.certificates, application.public), (1, false));
        // More than the sandbox shows on one page.
        assert_eq!(application.roles, ["IMAP.AccessAsApp", "POP.AccessAsApp", "SMTP.SendAsApp"]);
        let told = said(&first);
        let next =
            format!("-Application {} -Principal {}", application.client_id, application.principal.clone().unwrap());
        assert!(told.contains(&next), "{told}");
        let yaml = std::fs::read_to_string(directory.file("proxy.yaml")).unwrap();
        assert!(yaml.contains(&application.client_id), "{yaml}");

        let second = run(&directory, &sandbox, "tenant-setup.sh");
        assert!(second.status.success() && !said(&second).contains("created"), "{}", said(&second));
        assert_eq!(sandbox.applications(), applications);

        // Without the note of the setup script, nobody knows whose the application is.
        let record = directory.file("tenant-created.txt");
        let noted = std::fs::read_to_string(&record).unwrap();
        assert_eq!(noted, format!("{} the application\n", application.client_id));
        std::fs::remove_file(&record).unwrap();
        let left = run(&directory, &sandbox, "tenant-undo.sh");
        assert!(left.status.success() && said(&left).contains("is left as it is"), "{}", said(&left));
        assert_eq!(sandbox.applications(), applications);

        std::fs::write(&record, noted).unwrap();
        let undone = run(&directory, &sandbox, "tenant-undo.sh");
        assert!(undone.status.success(), "{}", said(&undone));
        let exchange = format!("pwsh exchange-undo.ps1 -Application {}", application.client_id);
        assert!(said(&undone).contains(&exchange), "{}", said(&undone));
        assert_eq!(sandbox.applications(), Vec::new());
        let absent = run(&directory, &sandbox, "tenant-undo.sh");
        assert!(
            absent.status.success() && said(&absent).contains("the application does not exist"),
            "{}",
            said(&absent)
        );
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "needs the programs that judge deploy/: run tests/run"]
    async fn the_script_for_the_azure_cli_consents_for_people_and_stops_at_another_tenant() {
        let sandbox = Sandbox::start(SandboxConfig::default()).await.unwrap();
        let people = ["--protocol", "imap", "--sign-in", "person"];
        let directory = with_answers(&sandbox, sandbox.tenant_id(), &people);
        for _ in 0..2 {
            let output = run(&directory, &sandbox, "tenant-setup.sh");
            assert!(output.status.success(), "{}", said(&output));
        }
        // One more protocol adds to what was consented to.
        let directory = with_answers(&sandbox, sandbox.tenant_id(), &[&people[..], &["--protocol", "smtp"]].concat());
        let output = run(&directory, &sandbox, "tenant-setup.sh");
        assert!(
            said(&output).contains("changed: consent for all users of the tenant to SMTP.Send"),
            "{}",
            said(&output)
        );
        let applications = sandbox.applications();
        let [application] = applications.as_slice() else { panic!("{applications:?}") };
        assert!(application.public && application.certificates == 0);
        assert_eq!(application.scopes, ["IMAP.AccessAsUser.All", "SMTP.Send", "offline_access"]);

        let elsewhere = with_answers(&sandbox, "11111111-2222-4333-8444-555555555555", &people);
        let output = run(&elsewhere, &sandbox, "tenant-setup.sh");
        assert!(!output.status.success() && said(&output).contains("signed in at another tenant"), "{}", said(&output));
        assert_eq!(sandbox.applications(), applications);
        let of_china = with_answers(&sandbox, sandbox.tenant_id(), &[&people[..], &["--cloud", "china"]].concat());
        let output = run(&of_china, &sandbox, "tenant-setup.sh");
        assert!(said(&output).contains("az cloud set --name AzureChinaCloud"), "{}", said(&output));
        // The script for Exchange needs the application only where it names it.
        let exchange = std::fs::read_to_string(directory.file("exchange-setup.ps1")).unwrap();
        assert!(!exchange.contains("param("), "{exchange}");
    }
}
