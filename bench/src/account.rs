//! What processes cost, from /proc: CPU by thread in nanoseconds, memory, open files.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

/// State of some processes at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    /// Thread name -> CPU, ns. Threads of one name are one.
    pub(crate) threads: BTreeMap<String, u64>,
    /// Proportional share of memory, KiB: what is shared is counted once over all.
    pub(crate) pss_kib: u64,
    /// Resident memory, KiB, shared pages counted for each process.
    pub(crate) rss_kib: u64,
    /// Open descriptors.
    pub(crate) files: u64,
}

impl Snapshot {
    /// Of `processes`; one that is gone counts as nothing.
    pub(crate) fn take(processes: &[u32]) -> Snapshot {
        let mut snapshot = Snapshot::default();
        for process in processes {
            let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for task in tasks.flatten() {
                // schedstat: time on the CPU, time waiting, turns. A thread may end while we look.
                let read = |name: &str| fs::read_to_string(task.path().join(name)).unwrap_or_default();
                let ns = read("schedstat").split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
                *snapshot.threads.entry(read("comm").trim().to_owned()).or_insert(0u64) += ns;
            }
            let memory = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap_or_default();
            snapshot.pss_kib += kib(&memory, "Pss:");
            snapshot.rss_kib += kib(&memory, "Rss:");
            snapshot.files += fs::read_dir(format!("/proc/{process}/fd")).map_or(0, |files| files.count() as u64);
        }
        snapshot
    }

    /// CPU of all threads, ns.
    pub(crate) fn cpu_ns(&self) -> u64 {
        self.threads.values().sum()
    }

    /// What was spent since `before`, and what is held now.
    pub(crate) fn since(&self, before: &Snapshot) -> Value {
        let spent = |name: &String, ns: &u64| ns.saturating_sub(before.threads.get(name).copied().unwrap_or(0));
        let threads: BTreeMap<&String, f64> =
            self.threads.iter().map(|(name, ns)| (name, seconds(spent(name, ns)))).collect();
        json!({
            "cpu_s": seconds(self.cpu_ns().saturating_sub(before.cpu_ns())),
            "threads_cpu_s": threads,
            "pss_kib": self.pss_kib,
            "rss_kib": self.rss_kib,
            "files": self.files,
        })
    }
}

/// CPU of this process so far, ns.
pub(crate) fn own_cpu_ns() -> u64 {
    Snapshot::take(&[std::process::id()]).cpu_ns()
}

/// The most memory that `process` ever had resident, KiB; 0 when it is gone.
pub(crate) fn peak_rss_kib(process: u32) -> u64 {
    kib(&fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default(), "VmHWM:")
}

/// Seconds with six decimals.
pub(crate) fn seconds(ns: u64) -> f64 {
    (ns as f64 / 1e3).round() / 1e6
}

/// A process and all that it started.
pub(crate) fn with_children(process: u32) -> Vec<u32> {
    let mut all = vec![process];
    let mut n = 0;
    while let Some(parent) = all.get(n).copied() {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
        n += 1;
    }
    all
}

fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_cpu_memory_and_files() {
        let before = Snapshot::take(&[std::process::id()]);
        assert!(before.pss_kib > 0 && before.rss_kib >= before.pss_kib && before.files >= 3, "{before:?}");
        // Until the kernel has accounted for some work.
        while Snapshot::take(&[std::process::id()]).cpu_ns() <= before.cpu_ns() {}
        let since = Snapshot::take(&[std::process::id()]).since(&before);
        assert!(since["cpu_s"].as_f64().unwrap() >= 0.0, "{since}");
        assert!(!since["threads_cpu_s"].as_object().unwrap().is_empty());
    }

    #[test]
    fn a_process_that_is_gone_counts_as_nothing() {
        let none = Snapshot::take(&[u32::MAX]);
        assert_eq!((none.cpu_ns(), none.pss_kib, none.files), (0, 0, 0));
    }

    #[test]
    fn memory_lines_are_read_in_kib() {
        assert_eq!(kib("Rss:  12 kB\nPss:\t  345 kB\n", "Pss:"), 345);
        assert_eq!(kib("nothing", "Pss:"), 0);
    }
}
