//! The machine underneath: which CPU is whose, limits, a network namespace of our own, and a line
//! that describes it all.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Set in the second life of the benchmark, inside the namespace.
pub(crate) const INSIDE: &str = "GATEPOST_BENCH_INSIDE";

/// Runs a benchmark in a network namespace, where that is permitted. Fails when it could not measure
/// something or a rule of it is broken (false), or when it could not go on.
pub(crate) fn in_namespace(run: impl FnOnce() -> anyhow::Result<bool>) -> ExitCode {
    enter_namespace();
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Replaces this process by the same one in a network namespace, where that is permitted: its
/// loopback is ours alone, and the system's congestion control (which may pace loopback traffic, as
/// bbr does) can be set aside without touching the system. Returns where it is not permitted, and
/// in the second life.
fn enter_namespace() {
    if std::env::var_os(INSIDE).is_some() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status();
        if !up.is_ok_and(|status| status.success()) {
            eprintln!("loopback could not be brought up: is `ip` (iproute2) installed?");
        }
        // Whatever of this does not work shows in the description.
        for algorithm in ["reno", "cubic"] {
            fs::write("/proc/sys/net/ipv4/tcp_congestion_control", algorithm).ok();
        }
        fs::write("/proc/sys/net/ipv4/ip_local_port_range", "10240 65000").ok();
        return;
    }
    let options: &[&str] =
        if rustix::process::geteuid().is_root() { &["--net"] } else { &["--net", "--map-root-user"] };
    let mut probe = Command::new("unshare");
    probe.args(options).args(["--", "ip", "link", "set", "lo", "up"]).stdout(Stdio::null()).stderr(Stdio::null());
    if let (true, Ok(this)) = (probe.status().is_ok_and(|status| status.success()), std::env::current_exe()) {
        let mut again = Command::new("unshare");
        again.args(options).arg("--").arg(this).args(std::env::args_os().skip(1)).env(INSIDE, "1");
        // `exec` returns only when it failed; then the benchmark runs where it is.
        let error = again.exec();
        eprintln!("running without a network namespace of its own: {error}");
    }
}

/// Raises the limit of open files as far as it goes, or as far as anything here needs, and returns
/// it.
pub(crate) fn raise_open_files() -> usize {
    // Ten thousand sessions, with two ends here and two in the proxy.
    const ENOUGH: u64 = 65_536;
    let limit = getrlimit(Resource::Nofile);
    // Only root may raise the maximum.
    let raised = Rlimit { current: Some(ENOUGH), maximum: Some(ENOUGH) };
    if limit.maximum.is_none_or(|maximum| maximum >= ENOUGH) || setrlimit(Resource::Nofile, raised).is_err() {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
    }
    getrlimit(Resource::Nofile).current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// One CPU for the proxy under test, the others for load and backend.
pub(crate) struct Cpus {
    proxy: CpuSet,
    load: CpuSet,
    separate: bool,
}

impl Cpus {
    /// Divides the CPUs that we may use, and moves this thread (and the threads that it will start)
    /// to those of the load.
    pub(crate) fn divide() -> anyhow::Result<Self> {
        let available = sched_getaffinity(None)?;
        let mut cpus = (0..CpuSet::MAX_CPU).filter(|&cpu| available.is_set(cpu));
        let mut proxy = CpuSet::new();
        proxy.set(cpus.next().unwrap_or(0));
        let mut load = CpuSet::new();
        cpus.for_each(|cpu| load.set(cpu));
        let separate = load.count() > 0;
        if !separate {
            (proxy, load) = (available, available);
        }
        sched_setaffinity(None, &load)?;
        Ok(Self { proxy, load, separate })
    }

    /// Runs something on the proxy's CPU: a process started in it stays there.
    pub(crate) fn on_proxy_cpu<T>(&self, run: impl FnOnce() -> T) -> anyhow::Result<T> {
        sched_setaffinity(None, &self.proxy)?;
        let result = run();
        sched_setaffinity(None, &self.load)?;
        Ok(result)
    }

    fn describe(&self) -> String {
        match self.separate {
            true => format!("proxy on one CPU, load and backend on {} other", self.load.count()),
            false => "proxy, load and backend share one CPU: wall times mean little".to_owned(),
        }
    }
}

/// The line that every table needs above it.
pub(crate) fn describe(cpus: &Cpus) -> String {
    let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu_info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, m)| m.trim()));
    let count = cpu_info.lines().filter(|line| line.starts_with("processor")).count();
    let read = |path: &str| fs::read_to_string(path).map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned());
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("").trim_matches('"');
    format!(
        "{count} x {}, Linux {}, {system}, loopback ({}); {}; TLS 1.3, AES-256-GCM, RSA-2048",
        model.unwrap_or("CPU of unknown model"),
        read("/proc/sys/kernel/osrelease"),
        read("/proc/sys/net/ipv4/tcp_congestion_control"),
        cpus.describe(),
    )
}
