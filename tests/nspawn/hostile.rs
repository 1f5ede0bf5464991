//! A daemon that was taken over, in the sandbox of its unit: tries what it must not be able to do, each act in a process
//! of its own, and prints `act: NAME = OUTCOME`. Run by `acts.rs`; `hostile (network|profile) [all]`.
//!
//! No act harms where it succeeds: it sets what is set already, hands in arguments that the kernel refuses after it has
//! granted permission, or undoes itself.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use libc::{c_long, c_void};

/// One act.
struct Act {
    name: &'static str,
    /// Only where the unit has no business with it at all: the profiling service may do some of these.
    only: Option<&'static str>,
    run: fn() -> io::Result<()>,
    /// Errors that come after permission was granted.
    granted: &'static [i32],
}

/// What a sandbox answers.
const REFUSALS: &[i32] = &[libc::EPERM, libc::EACCES, libc::EROFS, libc::EAFNOSUPPORT, libc::ENOENT];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let list = args.first().map_or("network", String::as_str);
    let all = args.get(1).is_some_and(|it| it == "all");
    for act in ACTS.iter().filter(|it| all || it.only.is_none_or(|only| only == list)) {
        let outcome = apart(act);
        // Where nobody reads there is nobody to tell.
        let _ = writeln!(io::stdout(), "act: {} = {outcome}", act.name);
    }
}

/// Runs an act in a process of its own, whose exit code is the error.
fn apart(act: &Act) -> String {
    let error = match in_child(act.run) {
        Ok(error) => error,
        Err(error) => return format!("no process: {error}"),
    };
    let name = name_of(error);
    if error == 0 || act.granted.contains(&error) {
        return if error == 0 { "done".to_owned() } else { format!("done, then {name}") };
    }
    if REFUSALS.contains(&error) { format!("refused {name}") } else { format!("failed {name}") }
}

fn name_of(error: i32) -> String {
    let names = [
        (libc::EPERM, "EPERM"),
        (libc::EACCES, "EACCES"),
        (libc::EROFS, "EROFS"),
        (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
        (libc::ENOENT, "ENOENT"),
        (libc::EINVAL, "EINVAL"),
        (libc::EFAULT, "EFAULT"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::ENOEXEC, "ENOEXEC"),
        (libc::EBADF, "EBADF"),
        (libc::ESRCH, "ESRCH"),
    ];
    names
        .iter()
        .find(|(it, _)| *it == error)
        .map_or_else(|| format!("error {error}"), |(_, it)| (*it).to_owned())
}

fn in_child(run: fn() -> io::Result<()>) -> io::Result<i32> {
    // SAFETY: this program has one thread, so the child may do whatever its parent might.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    if pid == 0 {
        let code = run().err().map_or(0, |error| error.raw_os_error().unwrap_or(255));
        // SAFETY: ends the child at once; nothing of the parent's is flushed twice.
        unsafe { libc::_exit(code) }
    }
    let mut status = 0;
    // SAFETY: `status` is ours and outlives the call.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // A child that a signal ended has not succeeded either.
    Ok(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 255 })
}

/// One system call, by number: the acts are about calls, not about what a library makes of them.
fn call(number: c_long, arguments: [c_long; 5]) -> io::Result<c_long> {
    let [a, b, c, d, e] = arguments;
    // SAFETY: numbers and addresses of values that live in the caller's frame until this returns; this process exists for
    // this one call.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, 0 as c_long) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn done(result: io::Result<c_long>) -> io::Result<()> {
    result.map(drop)
}

fn address<T>(value: &T) -> c_long {
    std::ptr::from_ref(value) as c_long
}

fn text(value: &str) -> CString {
    CString::new(value).unwrap_or_default()
}

fn create(path: &str) -> io::Result<()> {
    File::create(path)?;
    std::fs::remove_file(path)
}

fn socket(family: i32, kind: i32, protocol: i32) -> io::Result<()> {
    done(call(libc::SYS_socket, [family.into(), kind.into(), protocol.into(), 0, 0]))
}

fn map(protection: i32) -> io::Result<c_long> {
    let flags = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    call(libc::SYS_mmap, [0, 4096, protection.into(), flags, -1])
}

const fn act(name: &'static str, run: fn() -> io::Result<()>, granted: &'static [i32]) -> Act {
    Act { name, only: None, run, granted }
}

const fn act_of(
    only: &'static str,
    name: &'static str,
    run: fn() -> io::Result<()>,
    granted: &'static [i32],
) -> Act {
    Act { name, only: Some(only), run, granted }
}

const ACTS: &[Act] = &[
    act("read /etc/shadow", || File::open("/etc/shadow").map(drop), &[]),
    act("write to /etc", || create("/etc/hostile"), &[]),
    act("write to /usr/bin", || create("/usr/bin/hostile"), &[]),
    act("write to another's state", || create("/var/lib/hostile"), &[]),
    act("look into the home folders", || std::fs::read_dir("/home").map(drop), &[]),
    act("look into root's home folder", || std::fs::read_dir(concat!("/ro", "ot")).map(drop), &[]),
    act(
        "change a kernel setting",
        || OpenOptions::new().write(true).open("/proc/sys/kernel/printk_ratelimit").map(drop),
        &[],
    ),
    act(
        "make a control group",
        || {
            let path = Path::new("/sys/fs/cgroup/hostile");
            std::fs::create_dir(path).or_else(|_| std::fs::create_dir("/sys/fs/cgroup/systemd/hostile"))?;
            std::fs::remove_dir(path).or_else(|_| std::fs::remove_dir("/sys/fs/cgroup/systemd/hostile"))
        },
        &[],
    ),
    act_of("network", "see other processes", || File::open("/proc/1/status").map(drop), &[]),
    act("signal another's process", || done(call(libc::SYS_kill, [1, 0, 0, 0, 0])), &[]),
    act("trace a process", || done(call(libc::SYS_ptrace, [libc::PTRACE_TRACEME.into(), 0, 0, 0, 0])), &[]),
    act(
        "read another's memory",
        || {
            let (byte, remote) = (0_u8, 1_u8);
            let local =
                libc::iovec { iov_base: std::ptr::from_ref(&byte).cast_mut().cast::<c_void>(), iov_len: 1 };
            let other =
                libc::iovec { iov_base: std::ptr::from_ref(&remote).cast_mut().cast::<c_void>(), iov_len: 1 };
            done(call(libc::SYS_process_vm_readv, [1, address(&local), 1, address(&other), 1]))
        },
        &[libc::EFAULT],
    ),
    act("packet socket", || socket(libc::AF_PACKET, libc::SOCK_RAW, 0), &[]),
    act("raw IP socket", || socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_ICMP), &[]),
    act("netlink socket", || socket(libc::AF_NETLINK, libc::SOCK_RAW, 0), &[]),
    act_of("profile", "IPv4 socket", || socket(libc::AF_INET, libc::SOCK_DGRAM, 0), &[]),
    act_of("profile", "IPv6 socket", || socket(libc::AF_INET6, libc::SOCK_STREAM, 0), &[]),
    act(
        "memory to write and execute",
        || done(map(libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC)),
        &[],
    ),
    act(
        "execute memory that was written",
        || {
            let at = map(libc::PROT_READ | libc::PROT_WRITE)?;
            done(call(libc::SYS_mprotect, [at, 4096, c_long::from(libc::PROT_READ | libc::PROT_EXEC), 0, 0]))
        },
        &[],
    ),
    act("run a shell", || std::process::Command::new("/bin/sh").args(["-c", ":"]).status().map(drop), &[]),
    act(
        "mount a file system",
        || {
            let (kind, place) = (text("tmpfs"), text("/mnt"));
            let at = place.as_ptr() as c_long;
            call(libc::SYS_mount, [kind.as_ptr() as c_long, at, kind.as_ptr() as c_long, 0, 0])?;
            done(call(libc::SYS_umount2, [at, 0, 0, 0, 0]))
        },
        &[],
    ),
    act(
        "change the root folder",
        || done(call(libc::SYS_chroot, [text("/").as_ptr() as c_long, 0, 0, 0, 0])),
        &[],
    ),
    act(
        "new user namespace",
        || done(call(libc::SYS_unshare, [libc::CLONE_NEWUSER.into(), 0, 0, 0, 0])),
        &[],
    ),
    act(
        "new network namespace",
        || done(call(libc::SYS_unshare, [libc::CLONE_NEWNET.into(), 0, 0, 0, 0])),
        &[],
    ),
    act_of(
        "network",
        "load a BPF program",
        || {
            // BPF_MAP_CREATE: an array of one number.
            let (mut attributes, kind) = ([0_u32; 32], 2);
            attributes[..4].copy_from_slice(&[kind, 4, 4, 1]);
            done(call(libc::SYS_bpf, [0, address(&attributes), 128, 0, 0]))
        },
        &[],
    ),
    act_of(
        "network",
        "count another's events",
        || done(call(libc::SYS_perf_event_open, [0, 1, -1, -1, 0])),
        &[libc::EFAULT, libc::EINVAL],
    ),
    act("become root", || done(call(libc::SYS_setresuid, [0, 0, 0, 0, 0])), &[]),
    act(
        "load a kernel module",
        || done(call(libc::SYS_init_module, [0, 0, 0, 0, 0])),
        &[libc::EFAULT, libc::ENOEXEC, libc::EINVAL],
    ),
    act(
        "set the clock",
        || {
            // Asks for the status, then sets that very status.
            // SAFETY: all zeros is a value of this structure of numbers.
            let mut time: libc::timex = unsafe { std::mem::zeroed() };
            // SAFETY: `time` is ours and outlives the call.
            unsafe { libc::adjtimex(&raw mut time) };
            time.modes = libc::ADJ_STATUS;
            done(call(libc::SYS_adjtimex, [address(&time), 0, 0, 0, 0]))
        },
        &[],
    ),
    act(
        "real-time scheduling",
        || {
            let priority = libc::sched_param { sched_priority: 1 };
            done(call(libc::SYS_sched_setscheduler, [0, libc::SCHED_RR.into(), address(&priority), 0, 0]))
        },
        &[],
    ),
    act("raise the own priority", || done(call(libc::SYS_setpriority, [0, 0, -5, 0, 0])), &[]),
    act(
        "kernel keyring",
        || {
            let (kind, name) = (text("user"), text("hostile"));
            // Into the process's own keyring, which ends with it.
            done(call(
                libc::SYS_add_key,
                [kind.as_ptr() as c_long, name.as_ptr() as c_long, address(&1_u8), 1, -2],
            ))
        },
        &[],
    ),
    act("another execution domain", || done(call(libc::SYS_personality, [0x0008, 0, 0, 0, 0])), &[]),
    act("io_uring", || done(call(libc::SYS_io_uring_setup, [0, 0, 0, 0, 0])), &[libc::EINVAL, libc::EFAULT]),
    act("load another kernel", || done(call(libc::SYS_kexec_load, [0, 0, 0, -1, 0])), &[libc::EINVAL]),
    // Without the magic numbers: refused for them, once it is allowed at all.
    act("reboot", || done(call(libc::SYS_reboot, [0, 0, 0, 0, 0])), &[libc::EINVAL]),
    act(
        "swap to a file",
        || done(call(libc::SYS_swapon, [text("/dev/null").as_ptr() as c_long, 0, 0, 0, 0])),
        &[libc::EINVAL],
    ),
    act(
        "rename the machine",
        || {
            // SAFETY: all zeros is a value of this structure of characters.
            let mut names: libc::utsname = unsafe { std::mem::zeroed() };
            call(libc::SYS_uname, [(&raw mut names) as c_long, 0, 0, 0, 0])?;
            let len = names.nodename.iter().position(|&it| it == 0).unwrap_or(0);
            done(call(libc::SYS_sethostname, [address(&names.nodename), len as c_long, 0, 0, 0]))
        },
        &[],
    ),
    act(
        "make a device node",
        || {
            let path = text("/run/hostile-null");
            let mode = c_long::from(libc::S_IFCHR | 0o600);
            call(libc::SYS_mknodat, [libc::AT_FDCWD.into(), path.as_ptr() as c_long, mode, 0x103, 0])?;
            std::fs::remove_file("/run/hostile-null")
        },
        &[],
    ),
    act(
        "set-uid file",
        || {
            // Where the daemon may write; the profiling service may nowhere but in its private /tmp.
            let path = "/tmp/hostile-suid";
            File::create(path)?;
            let outcome = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o4755));
            std::fs::remove_file(path)?;
            outcome
        },
        &[],
    ),
    act(
        "open a file by its handle",
        || done(call(libc::SYS_open_by_handle_at, [libc::AT_FDCWD.into(), 0, 0, 0, 0])),
        &[libc::EFAULT],
    ),
    act("lock memory", || done(call(libc::SYS_mlockall, [1, 0, 0, 0, 0])), &[]),
    act(
        "process accounting",
        || done(call(libc::SYS_acct, [text("/nowhere/acct").as_ptr() as c_long, 0, 0, 0, 0])),
        &[libc::ENOENT],
    ),
];
