//! What the journal of systemd gets to read: the priority of each line, and why nothing comes.

use std::path::Path;

use rustix::process::Signal;

use super::program::{GATEPOST, IN_JOURNAL, Program, World};
use crate::common::again::again;

/// Each line without its priority. Panics when a line has none, or one that is none of ours.
fn without_priorities(text: &str) -> Vec<(u8, &str)> {
    let line = |line: &'_ str| -> Option<(u8, usize)> {
        let (priority, _) = line.strip_prefix('<')?.split_once('>')?;
        Some((priority.parse().ok()?, priority.len() + 2))
    };
    text.lines()
        .map(|text| {
            let (priority, at) = line(text).unwrap_or_else(|| panic!("no priority: {text}"));
            (priority, &text[at..])
        })
        .collect()
}

fn refused_reload(world: &World, program: &mut Program) {
    world.configure_with("  reload_check: 0s\n  nonsense: 1", "");
    program.signal(Signal::HUP);
    program.says("not-reloaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_of_the_log_has_the_priority_of_its_level() {
    let world = World::new().await;
    for format in ["text", "json"] {
        world.configure_with("  reload_check: 0s", &format!("log: {{format: {format}}}\n"));
        let mut program = world.begin_in_journal();
        program.says("ready");
        refused_reload(&world, &mut program);
        program.signal(Signal::TERM);
        program.ended();
        let log = program.log();
        let lines = without_priorities(&log);
        let of = |what: &str| lines.iter().find(|(_, line)| line.contains(what)).unwrap_or_else(|| panic!("{what}"));
        assert_eq!((of("pid").0, of("not-reloaded").0), (6, 3), "{format}");
        if format == "json" {
            assert!(lines.iter().all(|(_, line)| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_line_about_a_start_that_fails_is_an_error() {
    let world = World::new().await;
    world.configure_with("  nonsense: 1", "log: {format: txt}\n");
    let mut program = world.begin_in_journal();
    assert_eq!(program.ended().code(), Some(3));
    program.says_times("2 mistakes in the configuration", 1);
    let log = program.log();
    let lines = without_priorities(&log);
    assert!(lines.iter().all(|(priority, _)| *priority == 3), "{log}");
    assert!(lines.iter().any(|(_, line)| line.contains("hint: ")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_command_line_is_an_error_too() {
    let world = World::new().await;
    let output = world.command("sh", &["-c", IN_JOURNAL, GATEPOST, "run", "--nonsense"]).output();
    let output = output.unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = without_priorities(&text);
    assert!(lines.iter().all(|(priority, _)| *priority == 3) && text.contains("--nonsense"), "{text}");
}

#[test]
fn each_line_of_a_panic_is_an_error() {
    let again = again(module_path!(), "panics");
    let output = std::process::Command::new("sh")
        .args(["-c", IN_JOURNAL])
        .arg(again.get_program())
        .args(again.get_args())
        .env("GATEPOST_TEST_PANIC", "1")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let at = text.find("<3>").unwrap_or_else(|| panic!("{text}"));
    let lines = without_priorities(&text[at..]);
    for wanted in ["panics", "journal.rs", "the reason", "its second line"] {
        let found = lines.iter().any(|(priority, line)| *priority == 3 && line.contains(wanted));
        assert!(found, "{wanted}: {text}");
    }
}

#[test]
#[ignore = "the body of another test's child process"]
fn panics() {
    if std::env::var_os("GATEPOST_TEST_PANIC").is_some() {
        gatepost_telemetry::stderr::mark_panics();
        panic!("the reason\nits second line");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standard_error_that_leads_elsewhere_gets_no_priorities() {
    let world = World::new().await;
    for stream in ["1:1", "", "nonsense"] {
        let mut program = world.start_in(&[], &[("JOURNAL_STREAM", stream)]);
        program.kill();
        assert!(!program.log().contains('<'), "{}", program.log());
    }
}

/// On a machine with a journal the tests would write into it.
fn has_journal() -> bool {
    Path::new("/run/systemd/journal/socket").exists()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_journal_its_format_is_refused_with_place_and_remedy() {
    if has_journal() {
        return;
    }
    let world = World::new().await;
    let wanted = ["`/run/systemd/journal/socket`", "`log.format: text`"];
    world.configure_with("  reload_check: 0s", "log: {format: journal}\n");
    let checked = world.run(&["check"]);
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let mut program = world.begin(&[]);
    assert_eq!(program.ended().code(), Some(1));
    wanted.iter().for_each(|wanted| program.says_times(wanted, 1));

    world.configure_with("  reload_check: 0s", "");
    let mut program = world.start(&[]);
    world.configure_with("  reload_check: 0s", "log: {format: journal}\n");
    program.signal(Signal::HUP);
    program.says("not-reloaded");
    wanted.iter().for_each(|wanted| program.says(wanted));
    assert!(program.runs());
}
