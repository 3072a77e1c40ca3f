//! A proxy as the kernel sees it: its process tree, the CPU time it used, the memory that is its
//! share.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

/// A child process, ended together with its descendants when this is dropped.
pub(crate) struct Process {
    child: Child,
    output: PathBuf,
}

impl Process {
    /// Starts a command; what it says goes to a file.
    pub(crate) fn start(command: &mut Command, output: &Path) -> anyhow::Result<Self> {
        let file = File::create(output)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("start `{}`", command.get_program().display()))?;
        Ok(Self { child, output: output.to_owned() })
    }

    /// Why it is not running any more, with its last words; `None` while it runs.
    pub(crate) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait().ok().flatten()?;
        Some(format!("ended with {status}{}", self.last_words()))
    }

    /// The end of its output.
    pub(crate) fn last_words(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = File::open(&self.output) {
            file.read_to_string(&mut text).ok();
        }
        match text.trim_end().lines().last() {
            Some(line) => format!(": {}", line.chars().take(300).collect::<String>()),
            None => String::new(),
        }
    }

    /// CPU time, user and system, of the whole tree so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.tree().into_iter().map(cpu_of).sum()
    }

    /// Proportional set size of the whole tree, in KiB.
    pub(crate) fn pss_kib(&self) -> anyhow::Result<u64> {
        self.tree().into_iter().map(pss_of).sum()
    }

    /// The child and its descendants.
    fn tree(&self) -> Vec<u32> {
        let mut parents = BTreeMap::<u32, Vec<u32>>::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if let Some(parent) = stat_fields(pid).and_then(|fields| fields.get(1)?.parse().ok()) {
                parents.entry(parent).or_default().push(pid);
            }
        }
        let mut tree = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = tree.get(next) {
            tree.extend(parents.remove(pid).unwrap_or_default());
            next += 1;
        }
        tree
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let tree = self.tree();
        let signal = |pid: u32, signal| Pid::from_raw(pid as i32).map(|pid| kill_process(pid, signal));
        signal(self.child.id(), Signal::TERM);
        let deadline = Instant::now() + Duration::from_secs(1);
        while Instant::now() < deadline {
            if matches!(self.child.try_wait(), Ok(Some(_))) && tree.iter().all(|&pid| stat_fields(pid).is_none()) {
                return;
            }
            sleep(Duration::from_millis(5));
        }
        for pid in tree {
            signal(pid, Signal::KILL);
        }
        self.child.wait().ok();
    }
}

/// `/proc/PID/stat` from its third field (the state) on: the second may hold spaces and
/// parentheses.
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    Some(rest.split_ascii_whitespace().map(str::to_owned).collect())
}

/// `stat` counts threads that have ended but rounds to a clock tick (10 ms); `schedstat` of the
/// living threads has nanoseconds. The larger of the two is off by one tick at most, and by nothing
/// when no thread has ended.
fn cpu_of(pid: u32) -> Duration {
    let Some(fields) = stat_fields(pid) else { return Duration::ZERO };
    let field = |number: usize| fields.get(number - 3).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let tick = Duration::from_secs(1) / rustix::param::clock_ticks_per_second().max(1) as u32;
    let ticks = |count: u64| tick * u32::try_from(count).unwrap_or(u32::MAX);
    // proc_pid_stat(5): 14 and 15 are the process's own time, 16 and 17 that of children waited
    // for.
    let own = ticks(field(14) + field(15));
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let exact = threads.filter_map(|thread| {
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    });
    own.max(exact.sum()) + ticks(field(16) + field(17))
}

fn pss_of(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("read `{path}`"))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix("Pss:")).with_context(|| format!("no Pss in `{path}`"))?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
