//! The demo itself, with few calls: on loopback for everybody, in namespaces with the kernel's relay for root, and put away
//! when it is interrupted.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Once;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The demo's program.
const XTASK: &str = env!("CARGO_BIN_EXE_xtask");
const CALLS: u64 = 4;

/// Whether SIPp is there. Without it a test says so and ends; in CI that is a failure.
fn sipp_is_there() -> bool {
    let found = Command::new("sipp").arg("-v").stdin(Stdio::null()).output().is_ok();
    assert!(found || std::env::var_os("CI").is_none(), "sipp is missing (apt-get install sip-tester)");
    if !found {
        println!("skipped: sipp is missing (apt-get install sip-tester)");
    }
    found
}

/// The folder with the switch and its command line, of the same build: with the whole workspace they are there, as in
/// `tools/test`; otherwise they are built, once.
fn programs() -> &'static Path {
    static BUILT: Once = Once::new();
    let folder = Path::new(XTASK).parent().expect("a folder");
    BUILT.call_once(|| {
        if ["tandemd", "tandem"].iter().all(|name| folder.join(name).exists()) {
            return;
        }
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let done = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "tandem", "--package", "tandem-cli", "--profile", profile])
            .arg("--target-dir")
            .arg(folder.parent().expect("the target folder"))
            .status()
            .expect("cargo runs");
        assert!(done.success(), "the switch does not build");
    });
    folder
}

/// A demo with a control socket of its own.
fn demo(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(XTASK);
    command
        .arg("demo")
        .args(arguments)
        .arg("--programs")
        .arg(programs())
        .arg("--socket")
        .arg(folder.join("control.sock"))
        .stdin(Stdio::null());
    command
}

/// Runs a short demo to its end; what it printed, and its summary.
#[track_caller]
fn finished(path: &str) -> (String, Value, Vec<Value>) {
    let folder = TempDir::new().unwrap();
    let out = folder.path().join("out");
    let done = demo(folder.path(), &["--path", path, "--calls", "4", "--rate", "4", "--seconds", "3"])
        .arg("--out")
        .arg(&out)
        .output()
        .expect("the demo runs");
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{}\n{text}\n{}", done.status, String::from_utf8_lossy(&done.stderr));
    let read = |name: &str| serde_json::from_str(&fs::read_to_string(out.join(name)).unwrap()).unwrap();
    let Value::Array(rows) = read("cdr.json") else { panic!("no list of records") };
    (text, read("summary.json"), rows)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// What has to be true by whichever path the audio went.
#[track_caller]
fn assert_complete(text: &str, summary: &Value, rows: &[Value]) {
    for name in ["calls_placed", "calls_answered", "cdrs"] {
        assert_eq!(number(&summary[name]), CALLS, "{name}: {summary:#}");
    }
    assert_eq!(rows.len() as u64, CALLS);
    let audio = &summary["audio"];
    assert_eq!(number(&audio["lost"]), 0, "{summary:#}\n{text}");
    let of_rows = |name: &str| rows.iter().map(|row| number(&row[name])).sum::<u64>();
    let recorded = of_rows("caller_rtp_packets") + of_rows("callee_rtp_packets");
    assert_eq!(number(&audio["packets"]), recorded, "{summary:#}");
    assert_eq!(number(&audio["by_kernel"]) + number(&audio["by_user_space"]), recorded);
    assert!(number(&summary["rtp_relayed_a_to_b"]) > 0 && number(&summary["rtp_relayed_b_to_a"]) > 0, "{summary:#}");

    for row in rows {
        assert_billed(row);
    }
    let sum = |name: &str| rows.iter().map(|row| money(&row[name])).sum::<u64>();
    assert_eq!((money(&summary["fee_total"]), money(&summary["cost_total"])), (sum("fee"), sum("vendor_fee")));
    assert_eq!(money(&summary["margin_total"]), sum("fee") - sum("vendor_fee"));
    for heading in ["== rated calls (4)", "== tandem media show", "== tandem media audit", "== one call"] {
        assert!(text.contains(heading), "{heading} is missing:\n{text}");
    }
}

/// The bill of a call, worked out again from the demo's deck: it is of some three seconds, longer on a busy machine.
#[track_caller]
fn assert_billed(row: &Value) {
    assert_eq!(row["end_reason"], 16, "{row:#}");
    let (ms, held) = (number(&row["hold_ms"]), number(&row["hold_s"]));
    assert!((2900..30_000).contains(&ms) && (held * 1000).abs_diff(ms) < 1000, "{row:#}");
    // Of the first four numbers of tools/sipp/numbers.csv: price of a minute in 0.0001, and the block.
    let (rate, block) = match row["callee_in"].as_str().expect("a number") {
        "12120000000" => (537, 6),
        "12120377919" => (1906, 60),
        "12120745838" => (3275, 1),
        "12121113757" => (1644, 6),
        other => panic!("{other} was not called"),
    };
    let billed = held.div_ceil(block) * block;
    let fee = |rate: u64, seconds: u64| (rate * seconds * 2 + 60) / 120;
    assert_eq!((number(&row["billed_s"]), money(&row["fee"])), (billed, fee(rate, billed)), "{row:#}");
    // The vendor gets six tenths, by the second.
    assert_eq!((number(&row["vendor_s"]), money(&row["vendor_fee"])), (held, fee(rate * 6 / 10, held)), "{row:#}");
}

/// An amount in 0.0001.
#[track_caller]
fn money(amount: &Value) -> u64 {
    let text = amount.as_str().expect("an amount");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    assert!(part.len() <= 4, "{text}");
    format!("{whole}{part:0<4}").parse().expect("an amount")
}

#[test]
fn on_loopback_user_space_relays_everything() {
    if !sipp_is_there() {
        return;
    }
    let (text, summary, rows) = finished("user");
    assert_complete(&text, &summary, &rows);
    assert_eq!((&summary["audio"]["path"], &summary["audio"]["by_kernel"]), (&"user space".into(), &0.into()));
    assert!(text.contains("place: loopback, audio relayed in user space: as --path user asks"), "{text}");
    assert!(text.contains(" packets, all by user space, 0 lost"), "{text}");
}

#[test]
fn in_namespaces_the_kernel_relays_and_nothing_is_lost() {
    if !sipp_is_there() || tandem_netns::kernel_program("relay.o").is_none() {
        return;
    }
    let (text, summary, rows) = finished("xdp");
    assert_complete(&text, &summary, &rows);
    let audio = &summary["audio"];
    let (kernel, user) = (number(&audio["by_kernel"]), number(&audio["by_user_space"]));
    assert!(kernel > user && user > 0, "{summary:#}\n{text}");
    assert_eq!(audio["path"], "XDP native", "{text}");
    for (arrived, relayed) in
        [("rtp_arrived_at_vendor", "rtp_relayed_a_to_b"), ("rtp_arrived_at_customer", "rtp_relayed_b_to_a")]
    {
        assert_eq!(summary[arrived], summary[relayed], "{summary:#}");
    }
    assert!(text.contains("media path: r0 native, r1 native"), "{text}");
    let line =
        format!("audio: {} packets, {kernel} by the kernel (XDP native), {user} by user space, 0 lost", kernel + user);
    assert!(text.contains(&line), "{line} is missing:\n{text}");
    // Live numbers while calls were on.
    assert!(text.lines().any(|line| line.contains(" live ") && line.contains(" kernel ")), "{text}");
}

/// A demo that is killed with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn interrupted_it_leaves_nothing_behind() {
    if !sipp_is_there() || tandem_netns::kernel_program("relay.o").is_none() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let mut command = demo(folder.path(), &["--path", "xdp", "--calls", "100", "--rate", "4", "--seconds", "60"]);
    let mut running = Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the demo runs"));
    let process = running.0.id();
    let namespace = PathBuf::from(format!("/run/netns/tandem-demo-{process}-r"));

    let mut lines = BufReader::new(running.0.stdout.take().unwrap()).lines().map_while(Result::ok);
    let live = lines.find(|line| line.contains(" live "));
    assert!(live.is_some(), "calls are on");
    assert!(namespace.exists());
    let children: Vec<u32> = children_of(process);
    assert!(children.len() >= 3, "the switch and two SIPp: {children:?}");

    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
    // It must go on reading, or the demo could not write.
    lines.for_each(drop);
    let mut said = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = running.0.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.contains("interrupted"), "{said}");
    let left: Vec<_> = fs::read_dir("/run/netns")
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("tandem-demo-{process}-")))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(!Path::new("/tmp/tandem-demo").join(process.to_string()).exists());
    let alive: Vec<u32> = children.into_iter().filter(|child| Path::new(&format!("/proc/{child}")).exists()).collect();
    assert!(alive.is_empty(), "{alive:?} are still there");
}

/// Programs that a process has started, by whichever of its threads.
fn children_of(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    threads
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|text| text.split_whitespace().filter_map(|id| id.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

#[test]
fn addresses_of_this_machine_and_namespaces_exclude_each_other() {
    let folder = TempDir::new().unwrap();
    let done = demo(folder.path(), &["--path", "xdp", "--customer", "127.0.0.99"]).output().expect("the demo runs");
    let said = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && said.contains("--path xdp has the addresses of its namespaces"), "{said}");
}
