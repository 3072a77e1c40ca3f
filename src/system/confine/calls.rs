//! Forbids system calls that a mail proxy never makes (Linux, seccomp). The list names what is
//! forbidden, so that a new call of the C library does not end a service that has run for years.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// Whether other programs may be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Programs {
    /// The configuration requires some.
    Allowed,
    /// No program is ever needed.
    Forbidden,
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Forbids the system calls for all threads, permanently.
///
/// # Errors
/// A sentence that says what is missing.
pub(super) fn forbid(programs: Programs) -> Result<String, String> {
    apply(programs).map_err(|error| format!("system calls are open: {error}"))?;
    Ok(match programs {
        Programs::Forbidden => "no programs, no tracing, no mounts, no raw sockets, no kernel modules (seccomp)",
        Programs::Allowed => "no tracing, no mounts, no raw sockets, no kernel modules (seccomp)",
    }
    .to_owned())
}

fn apply(programs: Programs) -> Result<(), Box<dyn std::error::Error>> {
    for filter in filters(programs, std::env::consts::ARCH.try_into()?)? {
        seccompiler::apply_filter_all_threads(&filter)?;
    }
    Ok(())
}

/// Returns the filters. The strictest answer counts (seccomp(2)).
fn filters(programs: Programs, architecture: TargetArch) -> Result<Vec<BpfProgram>, Box<dyn std::error::Error>> {
    let mut filters = Vec::new();
    if architecture == TargetArch::x86_64 {
        filters.push(no_foreign_numbers());
    }
    let mut rules: Rules = always().into_iter().map(|call| (call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, sockets()?);
    if programs == Programs::Forbidden {
        for call in starting_programs() {
            rules.insert(call, Vec::new());
        }
        // A new thread is also a clone. A clone without the thread flag is a new process.
        let thread = libc::CLONE_THREAD.unsigned_abs().into();
        rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![condition(0, SeccompCmpOp::MaskedEq(thread), 0)?])?]);
        // The flags of `clone3` cannot be inspected. The C library uses `clone` if there is no
        // `clone3`.
        let absent: Rules = [(libc::SYS_clone3, Vec::new())].into();
        filters.push(filter(absent, libc::ENOSYS.unsigned_abs(), architecture)?);
    }
    filters.push(filter(rules, libc::EPERM.unsigned_abs(), architecture)?);
    Ok(filters)
}

fn filter(rules: Rules, error: u32, architecture: TargetArch) -> Result<BpfProgram, seccompiler::BackendError> {
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(error), architecture)?.try_into()
}

/// Forbids all system calls of x32. They are those of x86-64 under other numbers, from this one on,
/// which a list of numbers does not match. The kernel counts both as the same architecture
/// (seccomp(2), "Caveats").
fn no_foreign_numbers() -> BpfProgram {
    const X32: u32 = 0x4000_0000;
    let instruction = |code: u32, jf, k| sock_filter { code: u16::try_from(code).unwrap_or_default(), jt: 0, jf, k };
    vec![
        // A filter sees the number first.
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 1, X32),
        instruction(libc::BPF_RET | libc::BPF_K, 0, SeccompAction::Errno(libc::EPERM.unsigned_abs()).into()),
        instruction(libc::BPF_RET | libc::BPF_K, 0, SeccompAction::Allow.into()),
    ]
}

fn condition(argument: u8, is: SeccompCmpOp, value: u64) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is, value)
}

/// Allows only local sockets, IPv4, IPv6, and the one by which the C library asks for the machine's
/// addresses. Raw Internet sockets are forbidden.
fn sockets() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let family = |family: i32| u64::from(family.unsigned_abs());
    let known = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
    let other = known.map(|known| condition(0, SeccompCmpOp::Ne, family(known)));
    let mut rules = vec![SeccompRule::new(other.into_iter().collect::<Result<Vec<_>, _>>()?)?];
    for internet in [libc::AF_INET, libc::AF_INET6] {
        // The low four bits are the type, the others flags.
        let raw = condition(1, SeccompCmpOp::MaskedEq(0xF), u64::from(libc::SOCK_RAW.unsigned_abs()))?;
        rules.push(SeccompRule::new(vec![condition(0, SeccompCmpOp::Eq, family(internet))?, raw])?);
    }
    Ok(rules)
}

fn starting_programs() -> Vec<i64> {
    vec![
        libc::SYS_execve,
        libc::SYS_execveat,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_fork,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_vfork,
    ]
}

fn always() -> Vec<i64> {
    vec![
        // Other processes.
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        // The file system as a whole.
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_move_mount,
        libc::SYS_open_tree,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_mount_setattr,
        libc::SYS_open_by_handle_at,
        libc::SYS_quotactl,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        // Namespaces.
        libc::SYS_unshare,
        libc::SYS_setns,
        // The kernel and the machine.
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_reboot,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_adjtimex,
        libc::SYS_clock_adjtime,
        libc::SYS_acct,
        libc::SYS_syslog,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_fanotify_init,
        libc::SYS_add_key,
        libc::SYS_keyctl,
        libc::SYS_request_key,
        libc::SYS_personality,
        // Other users.
        libc::SYS_setuid,
        libc::SYS_setgid,
        libc::SYS_setreuid,
        libc::SYS_setregid,
        libc::SYS_setresuid,
        libc::SYS_setresgid,
        libc::SYS_setgroups,
        libc::SYS_setfsuid,
        libc::SYS_setfsgid,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_iopl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_ioperm,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the answer of a filter to a system call without arguments, as the kernel evaluates
    /// it.
    fn verdict(filter: &BpfProgram, architecture: u32, number: u32) -> u32 {
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = filter[at].clone();
            let code = u32::from(code);
            at += 1;
            let jump = |is: bool| usize::from(if is { jt } else { jf });
            at += match code & 0x07 {
                libc::BPF_LD => {
                    accumulator = [number, architecture].get(k as usize / 4).copied().unwrap_or_default();
                    0
                }
                libc::BPF_ALU => {
                    assert_eq!(code & 0xF0, libc::BPF_AND);
                    accumulator &= k;
                    0
                }
                libc::BPF_JMP => match code & 0xF0 {
                    libc::BPF_JA => k as usize,
                    libc::BPF_JEQ => jump(accumulator == k),
                    libc::BPF_JGT => jump(accumulator > k),
                    libc::BPF_JGE => jump(accumulator >= k),
                    other => panic!("jump {other:x}"),
                },
                libc::BPF_RET => return k,
                other => panic!("class {other:x}"),
            };
        }
    }

    #[test]
    fn what_is_forbidden_is_so_under_the_numbers_of_x32_too() {
        const X86_64: u32 = 0xC000_003E;
        let allowed: u32 = SeccompAction::Allow.into();
        for programs in [Programs::Allowed, Programs::Forbidden] {
            let filters = filters(programs, TargetArch::x86_64).unwrap();
            let passes = |number: u32| filters.iter().all(|filter| verdict(filter, X86_64, number) == allowed);
            // read, write, openat, futex, getrandom
            for number in [0, 1, 257, 202, 318] {
                assert!(passes(number), "{number}");
                assert!(!passes(number | 0x4000_0000), "{number} of x32");
            }
            for call in always() {
                let number = u32::try_from(call).unwrap();
                assert!(!passes(number) && !passes(number | 0x4000_0000), "{number}");
            }
            // ptrace and execve have numbers of their own there (Linux, syscall_64.tbl).
            for number in [521, 520, 545, 0x3FFF_FFFF] {
                assert!(!passes(number | 0x4000_0000), "{number} of x32");
            }
            assert!(!passes(u32::MAX));
        }
    }
}
