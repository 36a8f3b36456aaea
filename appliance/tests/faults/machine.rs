//! What the machine must lend: a small disk of its own, slow or failing system calls. Each says what is missing.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::getuid;

/// Says that a test is skipped; in CI a tool that `tools/setup` installs must be there.
fn skipped(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "missing: {what}");
    eprintln!("skipped: {what}");
}

/// A disk of a few megabytes over one folder, seen by the processes that are started [through](SmallDisk::through) it. It
/// lives in a mount namespace of its own and leaves nothing behind.
pub(crate) struct SmallDisk {
    /// Holds the namespace until its standard input ends.
    keeper: Child,
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one over `folder`; `None`, with the reason printed, where the machine does not allow it.
    pub(crate) fn over(folder: &Path, mib: u32) -> Option<SmallDisk> {
        fs::create_dir_all(folder).unwrap();
        let mut command = Command::new("unshare");
        if !getuid().is_root() {
            command.arg("--map-root-user");
        }
        let script = "mount -t tmpfs -o size=\"$1\"m tandem-test \"$0\" && echo mounted && exec cat";
        let keeper = command
            .args(["--mount", "--propagation", "private", "sh", "-c", script])
            .arg(folder)
            .arg(mib.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut keeper = match keeper {
            Ok(keeper) => keeper,
            Err(error) => {
                skipped(&format!("unshare (util-linux): {error}"));
                return None;
            }
        };
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if line.trim() != "mounted" {
            let _ = keeper.wait();
            eprintln!("skipped: a mount namespace needs root, or namespaces of ordinary users");
            return None;
        }
        Some(SmallDisk { keeper, folder: folder.to_owned() })
    }

    /// What the daemon is started through.
    pub(crate) fn through(&self) -> Vec<String> {
        let pid = self.keeper.id().to_string();
        let mut arguments = vec!["nsenter".to_owned(), "--target".to_owned(), pid, "--mount".to_owned()];
        if !getuid().is_root() {
            arguments.extend(["--user".to_owned(), "--preserve-credentials".to_owned()]);
        }
        arguments
    }

    /// The mounted folder, as it is seen from outside.
    pub(crate) fn path(&self) -> PathBuf {
        let inside = self.folder.strip_prefix("/").unwrap();
        Path::new("/proc").join(self.keeper.id().to_string()).join("root").join(inside)
    }

    fn filler(&self) -> PathBuf {
        self.path().join("filler")
    }

    /// Leaves not a byte.
    pub(crate) fn fill(&self) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.filler()).unwrap();
        for size in [1 << 20, 4096, 1] {
            loop {
                match file.write(&vec![0; size]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => panic!("cannot fill the disk: {error}"),
                }
            }
        }
    }

    /// Gives the space back.
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// What starts the daemon so that some of its system calls are slow or fail: `strace` with `tamper` (its `inject`
/// expressions), on `file` only if one is given. The process is the real one; the kernel's answers are not.
/// `None`, with the reason printed, where that is not possible.
pub(crate) fn tampering(calls: &str, tamper: &str, file: Option<&Path>) -> Option<Vec<String>> {
    let tried = Command::new("strace").args(["-D", "-f", "--seccomp-bpf", "-qq", "-e", "trace=none", "true"]).status();
    match tried {
        Ok(status) if status.success() => {}
        Ok(_) => {
            skipped("strace may not trace here");
            return None;
        }
        Err(_) => {
            skipped("strace (apt-get install strace)");
            return None;
        }
    }
    // -D: the daemon stays our child, strace is a stranger's.
    let mut arguments: Vec<String> =
        ["strace", "-D", "-f", "--seccomp-bpf", "-qq", "-o", "/dev/null"].map(str::to_owned).into();
    arguments.extend(["-e".to_owned(), format!("trace={calls}"), "-e".to_owned(), format!("inject={tamper}")]);
    if let Some(file) = file {
        arguments.extend(["-P".to_owned(), file.display().to_string()]);
    }
    Some(arguments)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap() * 1024
}

/// Opens a file for damage.
pub(crate) fn open_for_damage(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}
