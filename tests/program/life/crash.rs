//! A process that is killed: the next one knows what the one before had to remember, and is ready
//! soon.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gatepost_sandbox::SandboxAccount;

use crate::common::wait::wait_for;
use crate::life::client::Client;
use crate::life::load::amount;
use crate::life::program::{ALICE, ALICES, World};
use crate::life::restart::{Call, Callers};

/// Wrong passwords of one account that may be forwarded to Entra in two hours, from a source that
/// has never succeeded.
const UNFAMILIAR: u64 = 5;

async fn guess(world: &World, password: &str) -> String {
    guess_for(world, ALICE, password).await
}

async fn guess_for(world: &World, user: &str, password: &str) -> String {
    let mut client = Client::greeted(world.imap).await.unwrap();
    client.ask(&format!("a LOGIN {user} \"{password}\""), "a ").await.unwrap()
}

/// Kills the service so many times while Alice logs in over and over, each time after two wrong
/// passwords that were not presented before. Every five times, they are for another account.
async fn guesses_between_crashes(crashes: usize) {
    const EACH: usize = 5;
    let world = World::new().await;
    let guessed = |number: usize| format!("guessed{number}@contoso.example");
    let logins = Callers::start(Call::Login, [world.imap], Duration::from_millis(5));
    for crash in 0..crashes {
        let user = guessed(crash / EACH);
        if crash % EACH == 0 {
            world.sandbox.add_account(SandboxAccount::new(&user, ALICES));
        }
        let before = logins.served();
        let mut program = world.start(&[]);
        for number in 0..2 {
            let reply = guess_for(&world, &user, &format!("guess-{crash}-{number}")).await;
            assert!(reply.starts_with("a NO "), "{reply}");
        }
        wait_for("Alice logs in", || (logins.served() > before).then_some(()));
        program.kill();
    }
    let logged_in = logins.served();
    // Those in whose middle it was killed.
    let _failures = logins.failures().await;
    for first in (0..crashes).step_by(EACH) {
        let user = guessed(first / EACH);
        let forwarded = world.sandbox.counters().token_requests_of("password", &user).refused;
        let presented = 2 * EACH.min(crashes - first) as u64;
        assert_eq!(forwarded, UNFAMILIAR.min(presented), "{user}");
    }
    println!("figure: {logged_in} logins, {} wrong passwords", 2 * crashes);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_does_not_refill_the_budget_of_wrong_passwords() {
    guesses_between_crashes(5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_unlocked_in_the_service_that_runs_and_in_the_store_when_none_does() {
    let world = World::new().await;
    world.configure_with("", "log: {audit: {file: audit.jsonl}}\n");
    let spend = async |budget: u64| {
        for number in 0..budget {
            let reply = guess(&world, &format!("guess-{number}-of-{budget}")).await;
            assert!(reply.contains("[AUTHENTICATIONFAILED]"), "{reply}");
        }
        let reply = guess(&world, "one more").await;
        assert!(reply.contains("[UNAVAILABLE]"), "{reply}");
    };
    let unlock = |budget: u64| {
        let said = world.run(&["account", "unlock", "ALICE@contoso.example"]);
        assert_eq!(said.status.code(), Some(0), "{}", String::from_utf8_lossy(&said.stderr));
        let told = format!("`{ALICE}` is unlocked: {budget} wrong passwords no longer count.\n");
        assert_eq!(String::from_utf8_lossy(&said.stdout), told);
    };
    let mut program = world.start(&[]);
    spend(UNFAMILIAR).await;
    unlock(UNFAMILIAR);
    assert!(guess(&world, ALICES).await.starts_with("a OK"));
    // From a source that is known by now, and with it after a restart.
    spend(8).await;
    assert!(program.log().contains(&format!("gatepost account unlock {ALICE}")));
    program.kill();
    unlock(8);
    let mut program = world.start(&[]);
    assert!(guess(&world, ALICES).await.starts_with("a OK"));

    let said = world.run(&["account", "unlock", "nobody"]);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("no entry of `accounts` fits `nobody`"));
    program.kill();
    let said = world.run(&["account", "unlock", "nobody"]);
    assert_eq!(said.status.code(), Some(1));
    assert_eq!(world.run(&["account", "unlock", ALICE, "--socket", "absent.sock"]).status.code(), Some(1));
    assert_eq!(world.run(&["account", "unlock", ALICE, "--config", "absent.yaml"]).status.code(), Some(3));
    assert_eq!(world.run(&["account", "unlock", "a\tb"]).status.code(), Some(2));

    let audit = std::fs::read_to_string(world.path("audit.jsonl")).unwrap();
    let by = format!("\"by\":\"command-line (uid {})\"", rustix::process::getuid().as_raw());
    let acts: Vec<_> = audit.lines().filter(|line| line.contains("\"account-unlocked\"")).collect();
    assert_eq!(acts.len(), 2, "{audit}");
    assert!(acts.iter().all(|act| act.contains(&by) && act.contains(ALICE)), "{acts:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a minute; tests/run runs it"]
async fn a_hundred_crashes_do_not_either() {
    guesses_between_crashes(amount("KILLS", 100)).await;
}

/// Measured by a start that no crash came before.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures time; tests/run runs it"]
async fn with_ten_thousand_accounts_it_is_ready_soon_after_a_crash() {
    let world = World::new().await;
    let configuration = std::fs::read_to_string(world.path("proxy.yaml")).unwrap();
    let mut accounts = String::from("accounts:\n");
    for number in 0..10_000 {
        writeln!(accounts, "  - login: mailbox{number}@contoso.example").unwrap();
    }
    writeln!(accounts, "  - login: {ALICE}").unwrap();
    world.write("proxy.yaml", &configuration.replace("accounts: [{login: '*'}]\n", &accounts));
    let begin = Instant::now();
    let mut program = world.start(&[]);
    let soon = begin.elapsed() * 4 + Duration::from_secs(5);
    for _ in 0..5 {
        let mut session = Client::imap(world.imap).await;
        session.works().await;
        program.kill();
        let begin = Instant::now();
        program = world.start(&[]);
        let took = begin.elapsed();
        assert!(took < soon, "{took:?}, and {soon:?} would be soon");
        println!("ready after {took:?}");
    }
}
