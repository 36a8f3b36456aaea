//! `cargo xtask fuzz`: hostile input from libFuzzer, one target at a time, and how much of a room it reaches.
//!
//! The targets are in `tools/fuzz`, a workspace of its own for nightly. New inputs are collected under the target folder;
//! a finding is left there too, and is to be checked in with the fix (`tools/fuzz/README.md`).

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::build;

/// Seconds a target runs unless told otherwise: long enough to see that it works, short enough to wait for.
const SECONDS_DEFAULT: u32 = 60;
/// Memory a target may take, MiB: the largest input is 64 KiB, so anything near this is a finding.
const RSS_LIMIT_MB: u32 = 1024;
/// One input may take this long, seconds; anything near it is a finding too.
const TIMEOUT_S: u32 = 10;

/// A target as the command line knows it.
struct Target {
    name: &'static str,
    about: &'static str,
    dictionary: Option<&'static str>,
    /// Inputs kept elsewhere that it takes as well.
    shared: Option<&'static str>,
    /// Largest input, bytes.
    len_max: u32,
    /// Files whose coverage counts.
    covers: &'static [&'static str],
}

const TORTURE: Option<&str> = Some("appliance/sip/tests/rfc4475/messages");

const TARGETS: [Target; 10] = [
    Target {
        name: "config",
        about: "machine configuration, site, parameters",
        dictionary: Some("config"),
        shared: None,
        len_max: 4096,
        covers: &[
            "appliance/src/config.rs",
            "appliance/src/params.rs",
            "appliance/src/site.rs",
            "appliance/src/site/build.rs",
        ],
    },
    Target {
        name: "deck_csv",
        about: "rate sheets: read, export, import",
        dictionary: Some("deck_csv"),
        shared: None,
        len_max: 4096,
        covers: &["rating/src/deck_csv.rs", "rating/src/import.rs", "rating/src/iso_time.rs", "rating/src/prefix.rs"],
    },
    Target {
        name: "journal",
        about: "journal after damage: open, read, recover",
        dictionary: Some("journal"),
        shared: None,
        len_max: 2048,
        covers: &[
            "appliance/store/src/frame.rs",
            "appliance/store/src/segment.rs",
            "appliance/store/src/reader.rs",
            "appliance/store/src/journal.rs",
            "appliance/store/src/recover.rs",
        ],
    },
    Target {
        name: "json_rpc",
        about: "control socket: frames, requests, responses",
        dictionary: Some("json_rpc"),
        shared: None,
        len_max: 6000,
        covers: &["appliance/control/src"],
    },
    Target {
        name: "rtp",
        about: "RTP, RTCP and Ethernet frames through relay and latching",
        dictionary: None,
        shared: None,
        len_max: 4096,
        covers: &[
            "ebpf/forward/src",
            "appliance/media/src/rtp.rs",
            "appliance/media/src/rtcp.rs",
            "appliance/media/src/relay.rs",
            "appliance/media/src/latch.rs",
        ],
    },
    Target {
        name: "sdp",
        about: "session descriptions: read, write, offer and answer",
        dictionary: Some("sdp"),
        shared: None,
        len_max: 8192,
        covers: &["appliance/media/src/sdp.rs", "appliance/media/src/offer_answer.rs"],
    },
    Target {
        name: "sip_endpoint",
        about: "a whole endpoint under datagrams, orders and time",
        dictionary: Some("sip"),
        shared: TORTURE,
        len_max: 16384,
        covers: &["appliance/sip/src"],
    },
    Target {
        name: "sip_headers",
        about: "typed headers of what the scanner took; write and read again",
        dictionary: Some("sip"),
        shared: TORTURE,
        len_max: 8192,
        covers: &[
            "appliance/sip/src/header.rs",
            "appliance/sip/src/uri.rs",
            "appliance/sip/src/message.rs",
            "appliance/sip/src/write.rs",
        ],
    },
    Target {
        name: "sip_rsip",
        about: "the scanner beside rsip",
        dictionary: Some("sip"),
        shared: TORTURE,
        len_max: 8192,
        covers: &["appliance/sip/src/scan.rs", "appliance/sip/src/uri.rs"],
    },
    Target {
        name: "sip_scan",
        about: "the scanner, and the answer to what it refuses",
        dictionary: Some("sip"),
        shared: TORTURE,
        len_max: 8192,
        covers: &["appliance/sip/src/scan.rs", "appliance/sip/src/mint.rs", "appliance/sip/src/method.rs"],
    },
];

/// What can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The target; without one they are listed
    target: Option<String>,
    /// How long, seconds
    #[arg(long, default_value_t = SECONDS_DEFAULT)]
    seconds: u32,
    /// List the targets
    #[arg(long)]
    list: bool,
    /// Report how much of its room the target's inputs reach, instead of looking for new ones
    #[arg(long)]
    coverage: bool,
}

/// # Errors
/// When something is missing, which is named with the command that brings it, or when the target found something.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let name = match &arguments.target {
        Some(name) if !arguments.list => name,
        _ => {
            TARGETS.iter().for_each(|target| println!("{:<14} {}", target.name, target.about));
            return Ok(());
        }
    };
    let names = || TARGETS.map(|target| target.name).join(", ");
    let Some(target) = TARGETS.iter().find(|target| target.name == name) else {
        bail!("{name} is no fuzz target; there are {}", names());
    };
    ready()?;
    if arguments.coverage { coverage(target) } else { fuzz(target, arguments.seconds) }
}

/// Whether nightly and cargo-fuzz are there.
fn ready() -> Result<()> {
    let output = nightly(["fuzz", "--version"]).output().context("cannot run rustup; get it from https://rustup.rs")?;
    ensure!(
        output.status.success(),
        "nightly or cargo-fuzz is missing; install them with\n  rustup toolchain install nightly --component llvm-tools\n  \
         cargo install cargo-fuzz --locked"
    );
    Ok(())
}

/// `cargo` of nightly, whichever started us.
fn nightly<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo"]).args(arguments).current_dir(build::root());
    // They name the tool chain that started this program.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

fn target_folder() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR")
        .map_or_else(|| build::root().join("target"), |path| build::root().join(path))
        .join("fuzz")
}

fn folders() -> [PathBuf; 2] {
    [build::root().join("tools/fuzz"), target_folder()]
}

/// The checked-in inputs.
fn seeds(target: &Target) -> Vec<PathBuf> {
    let own = build::root().join("tools/fuzz/corpus").join(target.name);
    std::iter::once(own).chain(target.shared.map(|folder| build::root().join(folder))).collect()
}

fn make(folder: PathBuf) -> Result<PathBuf> {
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

fn fuzz(target: &Target, seconds: u32) -> Result<()> {
    let [fuzz_dir, target_dir] = folders();
    let found = make(target_dir.join("corpus").join(target.name))?;
    let artifacts = make(target_dir.join("artifacts").join(target.name))?;
    println!("{}: {} for {seconds} s", target.name, target.about);
    let mut command = nightly(["fuzz", "run", "--sanitizer", "none", "--fuzz-dir"]);
    command
        .arg(&fuzz_dir)
        .arg("--target-dir")
        .arg(&target_dir)
        .arg(target.name)
        .arg(&found)
        .args(seeds(target))
        .arg("--");
    command.arg(format!("-max_total_time={seconds}"));
    command.arg(format!("-rss_limit_mb={RSS_LIMIT_MB}"));
    command.arg(format!("-timeout={TIMEOUT_S}"));
    command.arg(format!("-max_len={}", target.len_max));
    command.arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg("-print_final_stats=1");
    if let Some(dictionary) = target.dictionary {
        command.arg(format!("-dict={}", fuzz_dir.join(format!("dictionaries/{dictionary}.dict")).display()));
    }
    let status = command.status().context("cannot start cargo fuzz")?;
    ensure!(
        status.success(),
        "{} found something: the input is in {}; see tools/fuzz/README.md for what to do with it",
        target.name,
        artifacts.display()
    );
    Ok(())
}

/// Replays the target's inputs (checked in, and found here before) instrumented, and prints what llvm-cov says of its room.
///
/// The replay test is one program for all targets and is not optimised: it is built once, in a fraction of the time that
/// the targets themselves would take.
fn coverage(target: &Target) -> Result<()> {
    let folder = make(target_folder().join("coverage"))?;
    let (profile, merged) =
        (folder.join(format!("{}.profraw", target.name)), folder.join(format!("{}.profdata", target.name)));
    let cargo = || {
        let mut command = nightly(["test", "--package", "tandem-fuzz-bodies", "--test", "replay"]);
        command.env("CARGO_TARGET_DIR", &folder).env("RUSTFLAGS", "-Cinstrument-coverage");
        command.env("LLVM_PROFILE_FILE", &profile).env("TANDEM_FUZZ_FOUND", target_folder().join("corpus"));
        command
    };
    let built = cargo().args(["--no-run", "--message-format", "json"]).stderr(Stdio::inherit()).output()?;
    ensure!(built.status.success(), "the replay test does not build");
    let program = String::from_utf8_lossy(&built.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .context("cargo does not say where the replay test is")?;
    let status = cargo().args(["--", "--exact", target.name]).status()?;
    ensure!(status.success(), "the inputs of {} did not run through", target.name);
    let tools = llvm_tools()?;
    let merge = Command::new(tools.join("llvm-profdata")).args(["merge", "-o"]).arg(&merged).arg(&profile).status();
    ensure!(merge.context("cannot start llvm-profdata")?.success(), "llvm-profdata failed");
    let status = Command::new(tools.join("llvm-cov"))
        .args(["report", "--use-color=false", "--show-branch-summary=false"])
        .arg(format!("--instr-profile={}", merged.display()))
        .arg(program)
        .args(target.covers.iter().map(|path| build::root().join(path)))
        .status()
        .context("cannot start llvm-cov")?;
    ensure!(status.success(), "llvm-cov failed");
    Ok(())
}

/// The folder of nightly's llvm-cov and llvm-profdata.
fn llvm_tools() -> Result<PathBuf> {
    let ask = |arguments: &[&str]| -> Result<String> {
        let output = Command::new("rustup").args(["run", "nightly", "rustc"]).args(arguments).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let host = ask(&["-vV"])?
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc of nightly does not say which machine this is")?;
    let tools = Path::new(ask(&["--print", "sysroot"])?.trim()).join("lib/rustlib").join(host).join("bin");
    ensure!(
        tools.join("llvm-cov").is_file(),
        "llvm-cov is missing; run: rustup component add llvm-tools --toolchain nightly"
    );
    Ok(tools)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn every_target_has_its_files_and_every_file_its_target() {
        for target in &TARGETS {
            let dictionary =
                target.dictionary.map(|name| build::root().join(format!("tools/fuzz/dictionaries/{name}.dict")));
            for path in seeds(target).into_iter().chain(dictionary) {
                assert!(path.exists(), "{} is missing", path.display());
            }
            for path in target.covers {
                assert!(build::root().join(path).exists(), "{path}, which {} covers, is missing", target.name);
            }
        }
        let mut files: Vec<String> = fs::read_dir(build::root().join("tools/fuzz/fuzz_targets"))
            .unwrap()
            .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        files.sort();
        assert_eq!(files, TARGETS.map(|target| target.name));
    }
}
