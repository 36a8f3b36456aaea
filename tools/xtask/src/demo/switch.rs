//! The running switch and its command line.

use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tandem_netns::Place;

use super::folder::Folder;
use super::interrupt::Interrupt;
use super::scene::Scene;
use super::{Arguments, Relay, packets};
use crate::build::Binaries;
use crate::process::Process;

/// Longest start: an empty store takes milliseconds, two decks a moment more.
const START: Duration = Duration::from_secs(30);
/// Between two questions while it starts.
const LOOK: Duration = Duration::from_millis(50);

/// A switch in service.
pub(super) struct Switch {
    /// The daemon.
    pub(super) process: Process,
    tandem: PathBuf,
    socket: PathBuf,
}

impl Switch {
    /// Starts it and waits until it answers.
    ///
    /// # Errors
    /// The end of its log when it ends or does not answer in time; or when interrupted.
    pub(super) fn start(
        arguments: &Arguments,
        binaries: &Binaries,
        folder: &Folder,
        scene: &Scene,
        interrupt: &Interrupt,
    ) -> Result<Switch> {
        let mut command = scene.command(Place::Relay, "TERM", &binaries.tandemd);
        command.arg("--config").arg(folder.file("tandemd.toml"));
        let process = Process::start("tandemd", &mut command, &folder.file("tandemd.log"))?;
        let mut switch = Switch { process, tandem: binaries.tandem.clone(), socket: arguments.socket.clone() };
        let deadline = Instant::now() + START;
        loop {
            interrupt.check()?;
            if let Some(status) = switch.process.ended() {
                bail!("tandemd did not start ({status})\n{}", switch.process.tail());
            }
            // Another switch may answer at this socket until ours has taken it; ours tells its addresses.
            if switch.status().is_ok_and(|status| status["listen"][0] == scene.addresses.sip.to_string()) {
                return Ok(switch);
            }
            if Instant::now() >= deadline {
                bail!("tandemd does not answer within {} s\n{}", START.as_secs(), switch.process.tail());
            }
            sleep(LOOK);
        }
    }

    /// What `tandem` prints.
    ///
    /// # Errors
    /// What it complained about.
    pub(super) fn tandem(&self, arguments: &[&str]) -> Result<String> {
        let done = Command::new(&self.tandem)
            .args(arguments)
            .env("TANDEM_SOCKET", &self.socket)
            .output()
            .with_context(|| format!("cannot run {}", self.tandem.display()))?;
        if !done.status.success() {
            bail!("tandem {}: {}", arguments.join(" "), String::from_utf8_lossy(&done.stderr).trim());
        }
        String::from_utf8(done.stdout).context("tandem wrote something that is no text")
    }

    /// The same as JSON.
    ///
    /// # Errors
    /// As [`Switch::tandem`].
    pub(super) fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.tandem(&[arguments, &["-o", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("tandem {} wrote no JSON", arguments.join(" ")))
    }

    /// Whether it relays by the path that was asked for.
    ///
    /// # Errors
    /// With `--path xdp`, when user space relays, and why.
    pub(super) fn check_path(&self, arguments: &Arguments) -> Result<()> {
        let status = self.status()?;
        let user = arguments.path == Relay::Xdp && status["media"] != "xdp";
        ensure!(!user, "--path xdp cannot be: {}", packets::interfaces(&status));
        Ok(())
    }

    /// How it is.
    ///
    /// # Errors
    /// As [`Switch::tandem`].
    pub(super) fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }
}
