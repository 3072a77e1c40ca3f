//! Answers that are missing, wrong, or contradict each other. Nothing is written then.

use super::*;

const WHOLE: [&str; 9] =
    ["setup", "--tenant", "contoso.com", "--protocol", "smtp", "--mailbox", "scan@contoso.com", "--sign-in", "nobody"];

#[test]
fn without_a_terminal_each_missing_answer_is_named_with_its_flag() {
    let directory = Directory::new();
    let output = directory.gatepost_with(&["setup"], "contoso.com\nsmtp\n", &[]);
    assert_eq!((code(&output), stdout(&output)), (2, ""));
    let told = stderr(&output);
    assert_eq!(told.lines().count(), 4, "{told}");
    for flag in ["`--tenant TENANT`", "`--protocol PROTOCOL`", "`--mailbox ADDRESS`", "`--sign-in WHO`"] {
        assert!(told.contains(flag), "{flag}: {told}");
    }
    assert_eq!(names(&directory), Vec::<String>::new());
}

#[test]
fn answers_that_do_not_fit_end_with_2_and_name_the_remedy() {
    let directory = Directory::new();
    directory.write("answers.yaml", "tenant: contoso.com\nprotocol: telnet\n");
    directory.write("odd.yaml", "tenants: [contoso.com]\n");
    for (more, told) in [
        (&["--protocol", "imap", "--send-only"][..], "`--send-only` and `--protocol imap` contradict each other"),
        (&["--host", "mail.contoso.com"], "Add `--tls implicit`, or remove it"),
        (&["--protocol", "ews", "--tls", "starttls"], "HTTP has no STARTTLS. Use `--tls implicit`"),
        (&["--cloud", "china", "--name", "x;y"], "`--name` has at most 30 letters"),
        (&["--answers", "answers.yaml"], "answers.yaml: invalid value 'telnet' for '--protocol <PROTOCOL>'"),
        (&["--answers", "odd.yaml"], "odd.yaml: unexpected argument '--tenants' found"),
        (&["--answers", "absent.yaml"], "`absent.yaml` cannot be read: no such file or directory"),
        (&["--yes"], "--graph-token"),
        (&["--sign-in", "somebody"], "invalid value 'somebody'"),
        (&["--mailbox", "scan"], "--mailbox"),
    ] {
        let arguments = match more[0] {
            // A value that is given twice is another mistake.
            "--sign-in" => [&WHOLE[..7], more].concat(),
            _ => [&WHOLE[..], more].concat(),
        };
        let output = directory.gatepost(&arguments);
        assert_eq!((code(&output), stdout(&output)), (2, ""), "{more:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(told), "{more:?}: {}", stderr(&output));
    }
    assert_eq!(names(&directory), ["answers.yaml", "odd.yaml"]);
}

#[test]
fn a_configuration_that_check_would_refuse_is_not_written() {
    let directory = Directory::new();
    let output = directory.gatepost(&[
        "setup",
        "--tenant",
        "contoso.test",
        "--protocol",
        "smtp",
        "--mailbox",
        "a@contoso.test",
        "--sign-in",
        "nobody",
    ]);
    assert_eq!(code(&output), 3, "{}", stderr(&output));
    assert!(stderr(&output).contains("is a domain that nobody can own"), "{}", stderr(&output));
    assert!(!directory.file("proxy.yaml").exists());
}
