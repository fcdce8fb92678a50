//! System calls that a block server never makes, refused by seccomp (seccomp(2)).

use std::collections::BTreeMap;
use std::fmt;

use libc::c_long;
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

use super::Way;

/// The calls that are refused, with `EPERM`. All others are let through: a list of what is allowed would have to follow
/// every version of the C library, and of what the kernel calls on its behalf.
#[derive(Debug)]
pub(super) struct Seccomp;

/// Into other processes.
const PROCESSES: &[c_long] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
];

/// Into the kernel, or with a history of ways into it.
const KERNEL: &[c_long] = &[
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_syslog,
];

/// Other views of the file system, and ways around paths.
const MOUNTS: &[c_long] = &[
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_unshare,
    libc::SYS_setns,
];

/// What belongs to the machine.
const MACHINE: &[c_long] = &[
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_vhangup,
];

/// What only this architecture has.
#[cfg(target_arch = "x86_64")]
const OF_ARCHITECTURE: &[c_long] =
    &[libc::SYS_kexec_file_load, libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(not(target_arch = "x86_64"))]
const OF_ARCHITECTURE: &[c_long] = &[];

/// The bit of a call of the x32 ABI, which reaches the same calls by other numbers (syscall_64.tbl of Linux).
#[cfg(target_arch = "x86_64")]
const X32: c_long = 0x4000_0000;

/// Calls that have a number of their own in the x32 ABI: ptrace, kexec_load, process_vm_readv, process_vm_writev.
#[cfg(target_arch = "x86_64")]
const X32_ALONE: [c_long; 4] = [521, 528, 539, 540];

fn refused() -> impl Iterator<Item = c_long> {
    let calls = [PROCESSES, KERNEL, MOUNTS, MACHINE, OF_ARCHITECTURE].into_iter().flatten().copied();
    #[cfg(target_arch = "x86_64")]
    let calls = calls.clone().chain(X32_ALONE).map(|call| call | X32).chain(calls);
    calls
}

fn filter() -> Result<BpfProgram, String> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| error.to_string())?;
    let rules: BTreeMap<_, _> = refused().map(|call| (call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture);
    filter.and_then(BpfProgram::try_from).map_err(|error| error.to_string())
}

impl Way for Seccomp {
    fn missing(&self) -> Option<String> {
        const ACTIONS: &str = "/proc/sys/kernel/seccomp/actions_avail";
        match std::fs::read_to_string(ACTIONS) {
            Ok(actions) if actions.split_whitespace().any(|action| action == "errno") => None,
            Ok(_) => Some("this kernel cannot refuse calls with an error".to_owned()),
            Err(error) => Some(format!("this kernel has no seccomp filters: {ACTIONS}: {error}")),
        }
    }

    fn enforce(&self) -> Result<(), String> {
        seccompiler::apply_filter(&filter()?)
            .map_err(|error| format!("seccomp cannot be put in force: {error}"))
    }
}

/// As an operator reads it.
impl fmt::Display for Seccomp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = PROCESSES.len() + KERNEL.len() + MOUNTS.len() + MACHINE.len() + OF_ARCHITECTURE.len();
        write!(f, "{calls} system calls are refused (ptrace, mount, bpf, io_uring_setup and others)")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rustix::io::Errno;
    use rustix::process::chroot;

    use super::*;

    #[test]
    fn no_call_stands_twice_and_the_filter_is_small_enough_for_the_kernel() {
        let calls: Vec<_> = refused().collect();
        assert_eq!(calls.iter().collect::<BTreeSet<_>>().len(), calls.len());
        // BPF_MAXINSNS of linux/bpf_common.h.
        assert!(filter().unwrap().len() <= 4096);
    }

    #[test]
    fn kernel_refuses_a_call_of_the_list_and_lets_others_through() {
        if let Some(reason) = Seccomp.missing() {
            println!("skipped: {reason}");
            return;
        }
        if let Err(error) = chroot("/") {
            println!("skipped: this user may not call chroot anyway: {error}");
            return;
        }
        // A filter holds for the thread that asks for it.
        let thread = std::thread::spawn(|| {
            Seccomp.enforce().unwrap();
            assert_eq!(chroot("/"), Err(Errno::PERM));
            drop(std::fs::read_to_string("/proc/self/status").unwrap());
        });
        thread.join().unwrap();
        assert_eq!(chroot("/"), Ok(()), "other threads are as before");
    }
}
