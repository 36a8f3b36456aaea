//! A result is a folder: what ran where (`setup.md`), everything measured (`raw.jsonl`), what it comes to (`summary.md`),
//! and plots.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::common::Common;
use crate::subject::{files, find};

/// What one command measured.
pub(crate) struct Results {
    command: &'static str,
    name: Option<String>,
    realtime: bool,
    /// Of the switch, as the command began: the checkout may move on meanwhile.
    revision: String,
    load_before: String,
    rows: Vec<Value>,
    summary: String,
    files: Vec<(String, String)>,
}

impl Results {
    /// Nothing yet.
    pub(crate) fn new(command: &'static str, common: &Common) -> Result<Results> {
        if let Some(name) = &common.name {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            ensure!(!name.is_empty() && name.bytes().all(plain), "--name {name:?} takes letters, digits and - only");
        }
        Ok(Results {
            command,
            name: common.name.clone(),
            realtime: common.realtime,
            revision: revision(common.tandemd.is_some()),
            load_before: load_average(),
            rows: Vec::new(),
            summary: String::new(),
            files: Vec::new(),
        })
    }

    /// Keeps a measured row.
    pub(crate) fn row(&mut self, row: Value) {
        self.rows.push(row);
    }

    /// The rows so far.
    pub(crate) fn rows(&self) -> &[Value] {
        &self.rows
    }

    /// Prints a line of the summary and keeps it.
    pub(crate) fn say(&mut self, line: &str) {
        println!("{line}");
        self.summary.push_str(line);
        self.summary.push('\n');
    }

    /// Keeps a further file.
    pub(crate) fn file(&mut self, name: &str, text: String) {
        self.files.push((name.to_owned(), text));
    }

    /// Writes the folder, when it has a name.
    ///
    /// # Errors
    /// The file that cannot be written.
    pub(crate) fn save(self) -> Result<()> {
        let Some(name) = &self.name else { return Ok(()) };
        let date = jiff::Timestamp::now().strftime("%Y-%m-%d");
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let folder = root.join("results").join(format!("{date}-{name}")).join(self.command);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
        };
        let raw: String = self.rows.iter().map(|row| format!("{row}\n")).collect();
        write("setup.md", &self.setup())?;
        write("raw.jsonl", &raw)?;
        write("summary.md", &format!("# {}\n\n{}", self.command, self.summary))?;
        for (name, text) in &self.files {
            write(name, text)?;
        }
        println!("results are in bench/results/{date}-{name}/{}", self.command);
        Ok(())
    }

    fn setup(&self) -> String {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = value_of(&read("/proc/cpuinfo"), "model name", ':');
        let memory = value_of(&read("/proc/meminfo"), "MemTotal", ':');
        let system = value_of(&read("/etc/os-release"), "PRETTY_NAME", '=');
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut text = String::from("# Setup\n\n");
        for (what, value) in [
            ("command", command_line(std::env::args())),
            ("date", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()),
            ("tandem", self.revision.clone()),
            ("Kamailio", version("kamailio", "-v")),
            ("rtpengine", version("rtpengine", "--version")),
            ("processor", format!("{cpu}, {cores} cores")),
            ("memory", memory),
            ("system", system),
            ("kernel", read("/proc/sys/kernel/osrelease").trim().to_owned()),
            ("scheduling", if self.realtime { "SCHED_RR 10".into() } else { "ordinary, autogroup nice -15".into() }),
            ("open files of targets, at most", files().to_string()),
            ("load average before, after", format!("{}, {}", self.load_before, load_average())),
        ] {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "- {what}: {}", if value.is_empty() { "unknown" } else { &value });
        }
        text
    }
}

/// The command as one would type it, without paths of this machine.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let mut words = vec!["cargo xtask bench".to_owned()];
    let mut arguments = arguments.skip(1);
    while let Some(word) = arguments.next() {
        if ["--tandemd", "--program", "--folder"].contains(&word.as_str()) {
            let _ = arguments.next();
        } else if !["--tandemd=", "--program=", "--folder="].iter().any(|option| word.starts_with(option)) {
            words.push(word);
        }
    }
    words.join(" ")
}

fn value_of(text: &str, key: &str, between: char) -> String {
    let mut pairs = text.lines().filter_map(|line| line.split_once(between));
    let found = pairs.find(|(name, _)| name.trim() == key);
    found.map(|(_, value)| value.trim().trim_matches('"').to_owned()).unwrap_or_default()
}

fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or_default().to_owned()
}

fn version(program: &str, option: &str) -> String {
    let Ok(path) = find(program) else { return "not installed".to_owned() };
    let done = Command::new(path).arg(option).output();
    let text = done.map(|done| [done.stdout, done.stderr].concat()).unwrap_or_default();
    String::from_utf8_lossy(&text).lines().next().unwrap_or_default().trim().to_owned()
}

fn revision(given: bool) -> String {
    let git = |arguments: &[&str]| {
        let done = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
        done.ok()
            .filter(|done| done.status.success())
            .map(|done| String::from_utf8_lossy(&done.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return String::new() };
    if given {
        return format!("a binary given by --tandemd; the checkout is at {commit}");
    }
    let changed =
        git(&["status", "--porcelain", "--", "../appliance", "../rating"]).is_some_and(|text| !text.is_empty());
    if changed { format!("{commit}, with changes that are not committed") } else { commit }
}

/// Where a file of an earlier result is, for tests and readers.
#[cfg(test)]
fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_is_told_without_paths() {
        let words = [
            "/x/tandem-bench",
            "peers",
            "--tandemd",
            "/y/tandemd",
            "--rounds",
            "5",
            "--tandemd=/z",
            "--program",
            "/w",
            "--folder=/v",
        ];
        assert_eq!(command_line(words.into_iter().map(str::to_owned)), "cargo xtask bench peers --rounds 5");
    }

    #[test]
    fn values_are_found_in_system_files() {
        assert_eq!(value_of("a\t: 1\nmodel name\t: Xeon: x\n", "model name", ':'), "Xeon: x");
        assert_eq!(value_of("PRETTY_NAME=\"Debian\"\n", "PRETTY_NAME", '='), "Debian");
        assert_eq!(value_of("", "x", ':'), "");
    }

    #[test]
    fn committed_results_name_no_path_of_a_machine() {
        let mut folders = vec![folder()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = fs::read_to_string(&path).unwrap_or_default();
                for word in ["/home/", "/root/", "/tmp/", "/work/"] {
                    assert!(!text.contains(word), "{} has {word}", path.display());
                }
            }
        }
    }
}
