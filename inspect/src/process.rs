//! Another process: its memory, its mappings, its threads.
//!
//! Nothing here stops the process. The kernel copies what is asked for, and
//! refuses to where the process is another user's.

use crate::{
    memory::{self, Fd, Memory, Part},
    objects::Mapping,
    regs::Registers,
};
use libc::c_int;
use std::{ffi::CString, fmt, fs, io, os::unix::fs::MetadataExt};

/// What went wrong, in words for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// The memory of another process.
#[derive(Debug)]
pub struct ProcessMemory {
    pid: c_int,
    /// Where the kernel has no `process_vm_readv`.
    file: Option<Fd>,
}

impl ProcessMemory {
    /// Looks whether the process can be read.
    ///
    /// # Errors
    /// There is no such process, or it may not be read.
    pub fn open(pid: u32) -> Result<Self, Error> {
        let number = c_int::try_from(pid).map_err(|_| no_process(pid))?;
        if !fs::exists(format!("/proc/{pid}")).unwrap_or(false) {
            return Err(no_process(pid));
        }
        // Address 0 is not mapped; a process that may be read says so.
        let mut byte = [0];
        let part = Part { at: 0, to: &mut byte };
        match memory::read_process(number, &mut [part]) {
            Ok(_) | Err(libc::EFAULT) => Ok(Self { pid: number, file: None }),
            Err(libc::ESRCH) => Err(no_process(pid)),
            Err(libc::ENOSYS) => Self::by_file(number),
            Err(error) => Err(refused(pid, error)),
        }
    }

    fn by_file(pid: c_int) -> Result<Self, Error> {
        let path = format!("/proc/{pid}/mem");
        let name = CString::new(path).unwrap_or_default();
        match Fd::open(&name) {
            Some(file) => Ok(Self { pid, file: Some(file) }),
            None => Err(refused(pid.unsigned_abs(), memory::errno())),
        }
    }

    /// The process's number.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// What is mapped in the process.
    ///
    /// # Errors
    /// The process has ended, or may not be read.
    pub fn mappings(&self) -> Result<Vec<Mapping>, Error> {
        let pid = self.pid();
        let maps = fs::read(format!("/proc/{pid}/maps"));
        let maps = maps.map_err(|e| failed(pid, &e))?;
        let lines = maps.split(|&byte| byte == b'\n');
        let all: Vec<_> = lines.filter_map(Mapping::parse).collect();
        if all.is_empty() { Err(no_process(pid)) } else { Ok(all) }
    }

    /// Where the files are that are mapped in the process: it may live in a
    /// container.
    #[must_use]
    pub fn root(&self) -> String {
        format!("/proc/{}/root", self.pid)
    }

    /// What is known of the registers of a thread without stopping it: where
    /// it waits in a system call, its pc and stack pointer.
    #[must_use]
    pub fn waiting_at(&self, thread: u32) -> Option<Registers> {
        let path = format!("/proc/{}/task/{thread}/syscall", self.pid);
        let text = fs::read_to_string(path).ok()?;
        let mut words = text.split_whitespace().rev();
        let mut word = || {
            let digits = words.next()?.strip_prefix("0x")?;
            u64::from_str_radix(digits, 16).ok()
        };
        let pc = word()?;
        let sp = word()?;
        Some(Registers::at(pc, sp))
    }
}

impl Memory for ProcessMemory {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        self.read_many(&mut [Part { at, to }]) == 1
    }

    fn read_many(&self, parts: &mut [Part<'_>]) -> usize {
        if let Some(file) = &self.file {
            return memory::read_file(file, parts);
        }
        let mut done = 0;
        for batch in parts.chunks_mut(memory::BATCH) {
            let read = memory::read_process(self.pid, batch).unwrap_or(0);
            done += read;
            if read < batch.len() {
                break;
            }
        }
        done
    }
}

fn no_process(pid: u32) -> Error {
    Error(format!("there is no process {pid}"))
}

fn failed(pid: u32, error: &io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENOENT | libc::ESRCH) => no_process(pid),
        Some(number) => refused(pid, number),
        None => Error(format!("process {pid}: {error}")),
    }
}

/// Why the kernel does not let this process be read.
fn refused(pid: u32, error: c_int) -> Error {
    let owner = fs::metadata(format!("/proc/{pid}")).map(|m| m.uid());
    // SAFETY: no arguments.
    let me = unsafe { libc::geteuid() };
    let reason = match owner {
        Err(_) => return no_process(pid),
        Ok(owner) if owner != me && me != 0 => format!(
            "it belongs to {}: only that user or root may look inside",
            user(owner)
        ),
        Ok(_) => match ptrace_scope() {
            Some(scope @ 1..) => format!(
                "/proc/sys/kernel/yama/ptrace_scope is {scope}: \
                 run as root, or set it to 0"
            ),
            _ => format!(
                "{} (a sandbox, or the process has forbidden it)",
                io::Error::from_raw_os_error(error)
            ),
        },
    };
    Error(format!("process {pid} cannot be read: {reason}"))
}

fn ptrace_scope() -> Option<u32> {
    let scope = fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    scope.ok()?.trim().parse().ok()
}

/// A user's name, or number.
fn user(id: u32) -> String {
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let number = id.to_string();
    let mut lines = known.lines().map(|line| line.split(':'));
    let name = lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == number).then_some(name)
    });
    match name {
        Some(name) => format!("user {name}"),
        None => format!("user {id}"),
    }
}
