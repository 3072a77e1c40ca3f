//! What waits is on the disk, not in memory.

use std::path::Path;

use gatepost_sandbox::{Service, UpstreamMode};

use super::devices::{Told, send};
use super::world::{Queued, Way};
use crate::life::program::Program;

/// Memory of the process that no other has, in KiB; `None`: it hides that from its own user, and
/// these tests do not run as root.
fn memory(program: &Program) -> Option<u64> {
    let text = std::fs::read_to_string(Path::new("/proc").join(program.pid().to_string()).join("smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).unwrap();
    Some(line.trim().trim_end_matches("kB").trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_messages_of_ten_megabytes_hold_no_memory() {
    const LARGE: usize = 10 << 20;
    let queued = Queued::new(4, Way::Smtp, "  messages_per_minute: 10000").await;
    // A server that answers is no reason to send through Graph, which takes no large messages.
    queued.world.sandbox.set_upstream_mode(Service::Smtp, UpstreamMode::Unavailable);
    let program = queued.start();
    let send_each = async |name: &str| {
        for device in 1..=4 {
            let told = send(device, queued.listener, &format!("<{name}.{device}@devices.example>"), LARGE).await;
            assert_eq!(told, Told::Accepted);
        }
    };
    // Buffers find their size, and each mailbox finds out that Microsoft is away.
    send_each("first").await;
    let before = memory(&program);
    send_each("second").await;
    send_each("third").await;
    assert_eq!(queued.list().len(), 12);
    if let (Some(before), Some(after)) = (before, memory(&program)) {
        let each = after.saturating_sub(before) / 8;
        assert!(each < 512, "{each} KiB a message: {before} KiB before, {after} KiB after");
    }
}
