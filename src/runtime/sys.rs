//! The raw system calls of the runtime: everything `unsafe` is here, one operation per block.
//!
//! Wrappers take and give owned or borrowed descriptors and `io::Result`. Those that fork must only be called by the
//! shim, which has one thread; the daemon never does.

#![expect(unsafe_code, reason = "the one place of the runtime for raw calls")]

use nix::{
    cmsg_space,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg},
};
use std::{
    ffi::CStr,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// Most descriptors a message of the shim's protocol carries.
pub const FDS_MAX: usize = 4;

/// Which side of a fork is running.
pub enum Forked {
    Parent(i32),
    Child,
}

fn check(result: libc::c_long) -> io::Result<libc::c_long> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

/// Forks with new namespaces (`CLONE_NEW*`). The caller has one thread.
pub fn clone_with(namespaces: u64) -> io::Result<Forked> {
    let mut arguments = [0u64; 11];
    arguments[0] = namespaces;
    arguments[4] = libc::SIGCHLD as u64;
    // SAFETY: the array is a zeroed `struct clone_args` of the size given; without CLONE_VM and with no stack the
    // call behaves like fork, and the process has one thread, so no lock can be held by another.
    let pid = check(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            arguments.as_mut_ptr(),
            size_of_val(&arguments),
        )
    })?;
    Ok(if pid == 0 {
        Forked::Child
    } else {
        Forked::Parent(i32::try_from(pid).expect("the kernel's pids fit"))
    })
}

pub fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers; a negative result is checked.
    let fd = check(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    Ok(owned(fd))
}

fn owned(fd: libc::c_long) -> OwnedFd {
    let fd = RawFd::try_from(fd).expect("descriptors fit");
    // SAFETY: every caller passes the descriptor which the kernel has just given to it and to nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Orphans below this process become its children, so that it can see their ends.
pub fn become_subreaper() -> io::Result<()> {
    // SAFETY: a flag of this process; no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }.into()).map(drop)
}

pub fn set_dumpable(dumpable: bool) -> io::Result<()> {
    // SAFETY: a flag of this process; no memory is involved.
    check(
        unsafe {
            libc::prctl(
                libc::PR_SET_DUMPABLE,
                libc::c_ulong::from(dumpable),
                0,
                0,
                0,
            )
        }
        .into(),
    )
    .map(drop)
}

pub fn set_name(name: &CStr) {
    // SAFETY: the kernel reads at most 16 bytes of a terminated string that lives across the call.
    let _ = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}

pub fn set_no_new_privileges() -> io::Result<()> {
    // SAFETY: a flag of this process; no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into()).map(drop)
}

/// Keeps the permitted capabilities over a change of the user id.
pub fn keep_capabilities() -> io::Result<()> {
    // SAFETY: a flag of this process; no memory is involved.
    check(unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) }.into()).map(drop)
}

/// Removes one capability from the bounding set. `false` when the kernel does not know it.
pub fn drop_bounding(capability: u32) -> bool {
    // SAFETY: integers only.
    unsafe {
        libc::prctl(
            libc::PR_CAPBSET_DROP,
            libc::c_ulong::from(capability),
            0,
            0,
            0,
        ) == 0
    }
}

/// Sets the effective and permitted sets to one bit mask and empties the inheritable set.
pub fn set_capabilities(mask: u64) -> io::Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let (low, high) = ((mask & 0xffff_ffff) as u32, (mask >> 32) as u32);
    let data = [low, low, 0, high, high, 0];
    // SAFETY: version 3 reads a header of two and data of six words, which are these arrays.
    check(unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), data.as_ptr()) }).map(drop)
}

extern "C" fn ignore(_signal: libc::c_int) {}

/// Lets a child's end interrupt `poll`. A handler, not a block: it is reset by exec, so children do not inherit it.
pub fn notice_children() -> io::Result<()> {
    use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
    let action = SigAction::new(
        SigHandler::Handler(ignore),
        SaFlags::SA_RESTART | SaFlags::SA_NOCLDSTOP,
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing, so it may run at any instant.
    unsafe { sigaction(Signal::SIGCHLD, &action) }?;
    Ok(())
}

/// Closes every descriptor from `first` on.
pub fn close_from(first: u32) {
    // SAFETY: only called in a child that will use none of them; nothing in it owns one any more.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) };
}

/// Marks every descriptor from `first` on to be closed by exec.
pub fn close_from_on_exec(first: u32) {
    // SAFETY: changes a flag of descriptors only.
    let _ = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
}

/// Gives freed heap pages back to the kernel: an idle shim should own next to nothing.
pub fn trim_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: no pointers are passed; glibc's allocator allows it at any time.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Sends bytes with descriptors attached to the first of them.
pub fn send_with_fds(socket: BorrowedFd<'_>, bytes: &[u8], fds: &[RawFd]) -> io::Result<usize> {
    let rights = [ControlMessage::ScmRights(fds)];
    let control: &[ControlMessage<'_>] = if fds.is_empty() { &[] } else { &rights };
    let sent = sendmsg::<()>(
        socket.as_raw_fd(),
        &[io::IoSlice::new(bytes)],
        control,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(sent)
}

/// Receives bytes, and the descriptors that came with them (close-on-exec) into `fds`.
pub fn recv_with_fds(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = cmsg_space!([RawFd; FDS_MAX]);
    let mut parts = [io::IoSliceMut::new(buffer)];
    let message = recvmsg::<()>(
        socket.as_raw_fd(),
        &mut parts,
        Some(&mut space),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(received) = part {
            fds.extend(received.into_iter().map(|fd| owned(fd.into())));
        }
    }
    Ok(message.bytes)
}

/// Columns and rows of a terminal, given its master.
pub fn set_window_size(terminal: BorrowedFd<'_>, columns: u16, rows: u16) -> io::Result<()> {
    let size = libc::winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: the kernel reads one `winsize`, which lives across the call.
    check(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) }.into())
        .map(drop)
}

/// The other end of a terminal's master, unlocked and opened without a path.
pub fn open_terminal_peer(master: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    let fd = master.as_raw_fd();
    // SAFETY: the kernel reads one int, which lives across the call.
    let result = unsafe { libc::ioctl(fd, libc::TIOCSPTLCK, &raw const unlocked) };
    check(result.into())?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: integers only; a new descriptor comes back.
    let fd = check(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }.into())?;
    Ok(owned(fd))
}

/// Makes the terminal on `fd` the controlling one of this session's leader.
pub fn control_terminal(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: integers only.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSCTTY, 0) }.into()).map(drop)
}

/// Brings the loopback link of this process' network namespace up.
pub fn raise_loopback() -> io::Result<()> {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
    let socket = socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    // SAFETY: an all-zero `ifreq` is a valid value of that C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = (*from).cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the kernel reads one `ifreq`, which lives across the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) }.into())
        .map(drop)
}

/// Opens a path as if `root` were `/`: neither `..` nor links of any kind lead out of it.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: i32) -> io::Result<OwnedFd> {
    let resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let how = [
        u64::from((flags | libc::O_CLOEXEC).cast_unsigned()),
        0,
        resolve,
    ];
    // SAFETY: `how` has the layout and size of `struct open_how`; the path is terminated and lives across the call.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_openat2,
            root.as_raw_fd(),
            path.as_ptr(),
            how.as_ptr(),
            size_of_val(&how),
        )
    })?;
    Ok(owned(fd))
}

/// Ends the process without running anything registered for its end: the way out of a forked child.
pub fn leave(code: i32) -> ! {
    // SAFETY: never returns; no state of this process is used afterwards.
    unsafe { libc::_exit(code) }
}

/// Gives every signal its default effect and blocks none: what is ignored or blocked would stay so over exec, and
/// both this program's runtime and whoever started it may ignore some.
pub fn restore_signals() {
    // The kernel's `struct sigaction`, whose default action is all zeros: handler, flags, restorer, mask.
    let default = [0u64; 4];
    for signal in 1..=64 {
        // The raw call, because glibc refuses the two signals it keeps for itself.
        // SAFETY: the kernel reads one `struct sigaction` with a mask of 8 bytes, and writes nothing.
        let _ = unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), 0, 8) };
    }
    let none = nix::sys::signal::SigSet::empty();
    let _ = none.thread_set_mask();
}

/// Registers a file with the async runtime's poller.
pub fn register(file: std::fs::File) -> io::Result<tokio::io::unix::AsyncFd<std::fs::File>> {
    // SAFETY: the file owns its descriptor and moves into the result, which deregisters before it closes; nobody gets
    // a mutable reference through which the file could be replaced.
    unsafe { tokio::io::unix::AsyncFd::register(file) }.map_err(Into::into)
}

/// Whether the kernel has a file system of this name, built in or as a module that it can load. Mounts nothing.
pub fn knows_file_system(name: &CStr) -> io::Result<bool> {
    const CLOSE_ON_EXEC: libc::c_uint = 1;
    // SAFETY: the name is terminated and lives across the call; a new descriptor comes back.
    let context = check(unsafe { libc::syscall(libc::SYS_fsopen, name.as_ptr(), CLOSE_ON_EXEC) });
    match context {
        Ok(fd) => {
            drop(owned(fd));
            Ok(true)
        }
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Loads a program that decides about devices.
pub fn load_device_program(code: &[u64]) -> io::Result<OwnedFd> {
    const PROG_LOAD: libc::c_int = 5;
    const CGROUP_DEVICE: u64 = 15;
    let license = c"Apache-2.0";
    // `union bpf_attr` for this command: type and count, instructions, license, then a log that is not wanted.
    let attributes = [
        CGROUP_DEVICE | (code.len() as u64) << 32,
        code.as_ptr() as u64,
        license.as_ptr() as u64,
        0,
        0,
        0,
    ];
    // SAFETY: the pointers in the attributes are to a slice with the count given and to a terminated string; both
    // live across the call, in which the kernel copies them.
    let fd = check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    })?;
    Ok(owned(fd))
}

/// Attaches such a program to a cgroup v2 directory, beside those of its ancestors.
pub fn attach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const PROG_ATTACH: libc::c_int = 8;
    const CGROUP_DEVICE: u32 = 6;
    const ALLOW_MULTI: u32 = 2;
    let attributes = [
        group.as_raw_fd().cast_unsigned(),
        program.as_raw_fd().cast_unsigned(),
        CGROUP_DEVICE,
        ALLOW_MULTI,
    ];
    // SAFETY: the attributes are integers only, in an array of the size given.
    check(unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    })
    .map(drop)
}
