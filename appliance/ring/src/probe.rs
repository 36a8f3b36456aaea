//! Whether this kernel can run a shard: every feature tried once at start, the missing one named with its cure.

use std::fs;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::ptr;

use io_uring::types::{BufRingEntry, Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, cqueue, opcode};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::memory::{PAGE_BYTES, Region};

const SYSCTL: &str = "/proc/sys/kernel/io_uring_disabled";

/// What was found, for the start-up log.
#[derive(Clone, Debug)]
pub struct Features {
    /// As `uname -r` tells it.
    pub kernel_release: String,
    /// Soft limit of open descriptors; each media port takes one.
    pub descriptors_max: u64,
}

/// What is missing, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Switched off by the administrator.
    #[error(
        "io_uring is switched off: kernel.io_uring_disabled is {value}; \
         run `sysctl -w kernel.io_uring_disabled=0` and keep it in /etc/sysctl.d"
    )]
    Disabled {
        /// 1: only for privileged processes and kernel.io_uring_group; 2: for everybody.
        value: u32,
    },
    /// Not switched off, and still refused.
    #[error(
        "io_uring is refused (EPERM) although kernel.io_uring_disabled allows it: a seccomp filter or container profile \
         forbids it; allow io_uring_setup, io_uring_enter and io_uring_register \
         (systemd: SystemCallFilter=@io-uring, docker: --security-opt seccomp=PROFILE)"
    )]
    Refused,
    /// No such system call.
    #[error(
        "this kernel ({release}) has no io_uring, or a seccomp filter hides it: \
         a kernel from 6.1 built with CONFIG_IO_URING=y is needed"
    )]
    NoSystemCall {
        /// Kernel release.
        release: String,
    },
    /// The set-up flags are unknown to the kernel.
    #[error(
        "this kernel ({release}) does not know IORING_SETUP_SINGLE_ISSUER with IORING_SETUP_DEFER_TASKRUN: \
         a kernel from 6.1 is needed"
    )]
    SetupFlags {
        /// Kernel release.
        release: String,
    },
    /// No memory for the rings.
    #[error(
        "the kernel gives no memory for io_uring ({source}): raise the memory limit of the service, or the limit of \
         locked memory on kernels that count it (`ulimit -l`, LimitMEMLOCK=)"
    )]
    Memory {
        /// What the kernel said.
        source: io::Error,
    },
    /// No descriptors left.
    #[error("the limit of open files is reached; raise it (`ulimit -n`, LimitNOFILE= of the service, fs.file-max)")]
    Descriptors,
    /// One feature is missing.
    #[error("this kernel ({release}) lacks {feature} of io_uring: a kernel from {since} is needed")]
    Missing {
        /// The feature.
        feature: &'static str,
        /// Kernel release.
        release: String,
        /// First kernel with it.
        since: &'static str,
    },
    /// One feature is there and does not work.
    #[error("{feature} of io_uring does not work on this kernel ({release}): {source}")]
    Broken {
        /// The feature.
        feature: &'static str,
        /// Kernel release.
        release: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Tries everything a [`crate::Ring`] uses, on a ring of its own and without the network.
///
/// Takes well under a millisecond; to be called once at start, on any thread.
///
/// # Errors
///
/// The first thing missing, as a sentence with its cure.
pub fn probe() -> Result<Features, ProbeError> {
    let mut ring = setup(8, 16)?;
    features(&ring)?;
    opcodes(&ring)?;
    multishot_and_addressed_send(&mut ring)?;
    Ok(Features { kernel_release: release(), descriptors_max: descriptors_max() })
}

/// Sets a ring up as shards need it, or says why that cannot be.
pub(crate) fn setup(submission_entries: u32, completion_entries: u32) -> Result<IoUring, ProbeError> {
    let mut builder = IoUring::builder();
    builder
        // One thread owns the ring, and completions are made only when it asks for them: no interrupts of the shard,
        // and batches as large as the wait. DEFER_TASKRUN includes what COOP_TASKRUN would give.
        .setup_single_issuer()
        .setup_defer_taskrun()
        // One bad submission must not hold up the ones behind it.
        .setup_submit_all()
        .setup_clamp()
        .dontfork()
        .setup_cqsize(completion_entries);
    builder.build(submission_entries).map_err(|error| explain(error, disabled(), release()))
}

/// What a failed io_uring_setup means.
fn explain(error: io::Error, disabled: u32, release: String) -> ProbeError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) if disabled != 0 => ProbeError::Disabled { value: disabled },
        Some(libc::EPERM | libc::EACCES) => ProbeError::Refused,
        Some(libc::ENOSYS) => ProbeError::NoSystemCall { release },
        Some(libc::EINVAL) => ProbeError::SetupFlags { release },
        Some(libc::ENOMEM) => ProbeError::Memory { source: error },
        Some(libc::EMFILE | libc::ENFILE) => ProbeError::Descriptors,
        _ => ProbeError::Broken { feature: "io_uring_setup", release, source: error },
    }
}

fn features(ring: &IoUring) -> Result<(), ProbeError> {
    let parameters = ring.params();
    for (there, feature, since) in [
        (parameters.is_feature_ext_arg(), "timeouts in io_uring_enter (EXT_ARG)", "5.11"),
        (parameters.is_feature_nodrop(), "lossless completion overflow (NODROP)", "5.5"),
        (parameters.is_feature_submit_stable(), "stable submissions (SUBMIT_STABLE)", "5.5"),
    ] {
        if !there {
            return Err(missing(feature, since));
        }
    }
    Ok(())
}

fn opcodes(ring: &IoUring) -> Result<(), ProbeError> {
    let mut known = Probe::new();
    ring.submitter().register_probe(&mut known).map_err(|error| broken("IORING_REGISTER_PROBE", error))?;
    for (code, feature, since) in [
        (opcode::RecvMsgMulti::CODE, "RECVMSG", "5.3"),
        (opcode::Send::CODE, "SEND", "5.6"),
        (opcode::Read::CODE, "READ", "5.6"),
        (opcode::AsyncCancel2::CODE, "ASYNC_CANCEL", "5.5"),
    ] {
        if !known.is_supported(code) {
            return Err(missing(feature, since));
        }
    }
    Ok(())
}

const BUFFERS: &str = "provided buffer rings (IORING_REGISTER_PBUF_RING)";
const MULTISHOT: &str = "RECVMSG multishot";
const ADDRESSED: &str = "SEND with a destination address";
const DONE_WITHIN_S: u64 = 2;

/// No flag tells these two, so a datagram is sent to ourselves, through a Unix socket because that needs no network.
fn multishot_and_addressed_send(ring: &mut IoUring) -> Result<(), ProbeError> {
    const RECEIVE: u64 = 1;
    const SEND: u64 = 2;
    let local = |error| broken("a Unix socket for the trial", error);

    let receiver = Socket::new(Domain::UNIX, Type::DGRAM, None).map_err(local)?;
    let sender = Socket::new(Domain::UNIX, Type::DGRAM, None).map_err(local)?;
    receiver.bind(&unnamed()).map_err(local)?;
    let to = receiver.local_addr().map_err(local)?;

    // Page 0 holds the ring of one entry, page 1 its buffer.
    let memory = Region::map(2 * PAGE_BYTES, false).map_err(local)?;
    let entry = memory.at(0, size_of::<BufRingEntry>()).cast::<BufRingEntry>();
    // SAFETY: the entry lies in the fresh mapping, which the kernel does not know yet; the tail is inside of it.
    unsafe {
        (*entry).set_addr(memory.at(PAGE_BYTES, PAGE_BYTES) as u64);
        (*entry).set_len(PAGE_BYTES as u32);
        (*entry).set_bid(0);
        BufRingEntry::tail(entry).cast_mut().write(1);
    }
    // SAFETY: the entry is mapped until the end of this function and unregistered before that.
    unsafe { ring.submitter().register_buf_ring_with_flags(entry as u64, 1, 0, 0) }.map_err(|error| {
        match error.raw_os_error() {
            Some(libc::EINVAL) => missing(BUFFERS, "5.19"),
            Some(libc::ENOMEM) => ProbeError::Memory { source: error },
            _ => broken(BUFFERS, error),
        }
    })?;

    // SAFETY: zero is a valid value of every field of this plain C struct.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    header.msg_namelen = size_of::<libc::sockaddr_un>() as u32;
    let text = b"tandem";
    let receive =
        opcode::RecvMsgMulti::new(Fd(receiver.as_raw_fd()), ptr::from_ref(&header), 0).build().user_data(RECEIVE);
    let send = opcode::Send::new(Fd(sender.as_raw_fd()), text.as_ptr(), text.len() as u32)
        .dest_addr(to.as_ptr().cast())
        .dest_addr_len(to.len())
        .build()
        .user_data(SEND);
    // SAFETY: header, text, address and buffer outlive both operations: the loop below waits for the send's completion,
    // and `cancel` for the receive's.
    let pushed = unsafe { ring.submission().push_multiple(&[receive, send]) };
    if pushed.is_err() {
        return Err(broken("the submission queue", io::ErrorKind::WouldBlock.into()));
    }

    let deadline = Timespec::new().sec(DONE_WITHIN_S);
    let arguments = SubmitArgs::new().timespec(&deadline);
    let (mut received, mut sent) = (None, None);
    // It may well end by itself, because the only buffer is used up.
    let mut ended = false;
    while received.is_none() || sent.is_none() {
        if let Err(error) = ring.submitter().submit_with_args(1, &arguments) {
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            break;
        }
        for completion in ring.completion() {
            match completion.user_data() {
                RECEIVE => {
                    ended |= !cqueue::more(completion.flags());
                    received = received.or(Some((completion.result(), completion.flags())));
                }
                _ => sent = Some(completion.result()),
            }
        }
        // Either failure may keep the other from ever completing.
        if received.is_some_and(|(result, _)| result < 0) || sent.is_some_and(|result| result < 0) {
            break;
        }
    }
    let ended = ended || cancel(ring, RECEIVE);
    let unregistered = ring.submitter().unregister_buf_ring(0);
    if !ended || unregistered.is_err() {
        // The kernel may still write there. Two pages once at start are the cheaper loss.
        mem::forget(memory);
    }

    match (received, sent) {
        (Some((result, flags)), _) if result >= 0 && !cqueue::more(flags) => Err(missing(MULTISHOT, "6.0")),
        (Some((result, _)), _) if result == -libc::EINVAL => Err(missing(MULTISHOT, "6.0")),
        (Some((result, _)), _) if result < 0 => Err(broken(MULTISHOT, io::Error::from_raw_os_error(-result))),
        (_, Some(result)) if result < 0 => match -result {
            // Without the address the socket is simply not connected.
            libc::EINVAL | libc::ENOTCONN | libc::EDESTADDRREQ => Err(missing(ADDRESSED, "6.1")),
            errno => Err(broken(ADDRESSED, io::Error::from_raw_os_error(errno))),
        },
        (Some(_), Some(_)) => Ok(()),
        (None, _) | (_, None) => Err(broken(MULTISHOT, io::ErrorKind::TimedOut.into())),
    }
}

/// Ends the trial receive and waits for its last completion; false when it would not end in time.
fn cancel(ring: &mut IoUring, name: u64) -> bool {
    let entry = opcode::AsyncCancel::new(name).build();
    // SAFETY: a cancellation by name refers to no memory and no descriptor.
    if unsafe { ring.submission().push(&entry) }.is_err() {
        return false;
    }
    let deadline = Timespec::new().sec(DONE_WITHIN_S);
    let arguments = SubmitArgs::new().timespec(&deadline);
    // The cancellation itself completes as well, and a signal may end a wait: a few turns.
    for _ in 0..4 {
        let waited = ring.submitter().submit_with_args(1, &arguments);
        let ended =
            ring.completion().any(|completion| completion.user_data() == name && !cqueue::more(completion.flags()));
        if ended {
            return true;
        }
        if waited.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
            return false;
        }
    }
    false
}

/// A Unix address without a name: binding it lets the kernel choose one (unix(7), autobind).
fn unnamed() -> SockAddr {
    // SAFETY: the closure sets the family and the length that covers it, which is a complete autobind address.
    let made = unsafe {
        SockAddr::try_init(|storage, len| {
            (*storage.cast::<libc::sockaddr_un>()).sun_family = libc::AF_UNIX as libc::sa_family_t;
            *len = size_of::<libc::sa_family_t>() as libc::socklen_t;
            Ok(())
        })
    };
    match made {
        Ok(((), address)) => address,
        Err(error) => unreachable!("the closure above does not fail: {error}"),
    }
}

fn missing(feature: &'static str, since: &'static str) -> ProbeError {
    ProbeError::Missing { feature, release: release(), since }
}

fn broken(feature: &'static str, source: io::Error) -> ProbeError {
    ProbeError::Broken { feature, release: release(), source }
}

/// The sysctl, 0 where the kernel is older than it (6.6).
fn disabled() -> u32 {
    fs::read_to_string(SYSCTL).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn release() -> String {
    fs::read_to_string("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_else(|_| "unknown release".to_owned())
}

fn descriptors_max() -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the kernel fills the struct on this stack frame.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    limit.rlim_cur
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_names_its_cause_and_its_cure() {
        let told =
            |errno, disabled| explain(io::Error::from_raw_os_error(errno), disabled, "5.15.0".into()).to_string();
        let cases = [
            (libc::EPERM, 2, ["kernel.io_uring_disabled is 2", "sysctl -w kernel.io_uring_disabled=0"]),
            (libc::EPERM, 0, ["EPERM", "seccomp"]),
            (libc::ENOSYS, 0, ["5.15.0", "CONFIG_IO_URING"]),
            (libc::EINVAL, 0, ["DEFER_TASKRUN", "6.1"]),
            (libc::ENOMEM, 0, ["memory", "LimitMEMLOCK"]),
            (libc::EMFILE, 0, ["open files", "LimitNOFILE"]),
            (libc::EIO, 0, ["io_uring_setup", "5.15.0"]),
        ];
        for (errno, disabled, words) in cases {
            let sentence = told(errno, disabled);
            for word in words {
                assert!(sentence.contains(word), "{word} in: {sentence}");
            }
        }
    }
}
