//! What Kamailio's parser spends on an INVITE: the real process under callgrind, twice with different numbers of messages,
//! and the difference of what its parse functions cost.

use std::collections::HashMap;
use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::functions::callgrind;
use crate::subject::find;

/// Reads the headers a call wants as types, and nothing else.
const CONFIGURATION: &str = include_str!("kamailio.cfg");
/// Where it listens; `kamailio.cfg` says the same.
const ADDRESS: &str = "127.0.0.77:5099";
/// Messages of the two runs.
const MESSAGES: [u32; 2] = [100, 600];
/// Callgrind makes it slow; a start takes seconds on a busy machine.
const START: Duration = Duration::from_secs(60);

/// Instructions for one message.
pub(super) struct Counted {
    /// `parse_msg`, and the index of all headers.
    pub(super) scan: f64,
    /// The same, and the headers as types.
    pub(super) typed: f64,
    /// Whose calls into the parser these are.
    pub(super) edges: Vec<(String, f64)>,
}

/// Counts with the memory manager that operators run (`-x fm -X fm`); freeing the message is left out.
pub(super) fn instructions(invite: &[u8], folder: &Path) -> Result<Counted> {
    let few = measure(invite, MESSAGES[0], folder)?;
    let many = measure(invite, MESSAGES[1], folder)?;
    let mut counted = Counted { scan: 0.0, typed: 0.0, edges: Vec::new() };
    for ((caller, callee), cost) in &many {
        if !is_parser(callee) || is_parser(caller) {
            continue;
        }
        let before = few.get(&(caller.clone(), callee.clone())).copied().unwrap_or(0);
        let each = cost.saturating_sub(before) as f64 / f64::from(MESSAGES[1] - MESSAGES[0]);
        counted.typed += each;
        if callee == "parse_msg" || callee == "parse_headers" {
            counted.scan += each;
        }
        if each >= 1.0 {
            counted.edges.push((format!("{caller} -> {callee}"), each));
        }
    }
    counted.edges.sort_by(|a, b| b.1.total_cmp(&a.1));
    ensure!(counted.typed > 0.0, "Kamailio parsed nothing");
    Ok(counted)
}

fn is_parser(function: &str) -> bool {
    function.starts_with("parse_") || function == "get_hdr_field"
}

fn measure(invite: &[u8], messages: u32, folder: &Path) -> Result<HashMap<(String, String), u64>> {
    let folder = folder.join(format!("kamailio-{messages}"));
    fs::create_dir_all(&folder)?;
    let configuration = folder.join("kamailio.cfg");
    fs::write(&configuration, CONFIGURATION)?;
    let mut child = Command::new(find("valgrind")?)
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}/out.%p", folder.display()))
        .arg(find("kamailio")?)
        .args(["-DD", "-E", "-m", "32", "-M", "8", "-x", "fm", "-X", "fm", "-f"])
        .arg(&configuration)
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("log"))?)
        .spawn()
        .context("cannot start valgrind")?;
    let sent = send(&mut child, invite, messages);
    // It tells its children to end and waits for them; callgrind then writes a file for each process.
    let asked = Pid::from_child(&child);
    kill_process(asked, Signal::TERM)?;
    child.wait()?;
    sent?;
    for entry in fs::read_dir(&folder)? {
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        if text.contains(" parse_msg\n") {
            return Ok(callgrind::edges(&text));
        }
    }
    bail!("no process of Kamailio parsed a message: {}", fs::read_to_string(folder.join("log"))?);
}

fn send(child: &mut Child, invite: &[u8], messages: u32) -> Result<()> {
    let begun = Instant::now();
    // Bound is not yet reading, but the socket keeps what comes early.
    while UdpSocket::bind(ADDRESS).is_ok() {
        ensure!(begun.elapsed() < START, "Kamailio does not listen at {ADDRESS} after {} s", START.as_secs());
        ensure!(child.try_wait()?.is_none(), "Kamailio ended at once");
        thread::sleep(Duration::from_millis(100));
    }
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    for _ in 0..messages {
        socket.send_to(invite, ADDRESS)?;
        // Slower than it reads under callgrind.
        thread::sleep(Duration::from_millis(3));
    }
    // What it has not read when it is told to end is lost to the count, in both runs alike only by chance.
    thread::sleep(Duration::from_secs(3));
    Ok(())
}
