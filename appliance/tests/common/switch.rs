//! A running `tandemd` and its command line.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use rust_decimal::Decimal;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{Net, PATIENCE, Plan, decimal, until};

/// A switch in a folder of its own. Ends with the test; after a failure the folder stays and the log is shown.
pub(crate) struct Switch {
    pub(crate) net: Net,
    pub(crate) folder: PathBuf,
    /// What the daemon is started through: a program and its arguments that end in running it as the same process.
    through: Vec<String>,
    child: Child,
    log: Arc<Mutex<String>>,
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// The daemon's program: of this build, or the one that `TANDEM_DAEMON` names, so that long runs can take an optimised one.
pub(crate) fn daemon() -> &'static Path {
    static OTHER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let other = OTHER.get_or_init(|| std::env::var_os("TANDEM_DAEMON").map(PathBuf::from));
    other.as_deref().unwrap_or(Path::new(BUILT))
}

/// The daemon of this build.
const BUILT: &str = env!("CARGO_BIN_EXE_tandemd");

/// The command line's program, of the same build.
fn command_line() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let folder = Path::new(BUILT).parent().unwrap();
        // Cargo knows the programs of this package only; the profile is the name of the folder.
        let profile = match folder.file_name().and_then(|name| name.to_str()) {
            Some("debug") | None => "dev",
            Some(profile) => profile,
        };
        let done = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "tandem-cli", "--profile", profile, "--target-dir"])
            .arg(folder.parent().unwrap())
            .status()
            .expect("cargo runs");
        assert!(done.success(), "tandem-cli does not build");
        folder.join("tandem")
    })
}

impl Switch {
    /// Starts one that takes calls when this returns.
    #[track_caller]
    pub(crate) fn start(plan: &Plan) -> Switch {
        Switch::start_through(plan, |_| Vec::new())
    }

    /// Starts one through other programs, as `nsenter` or `strace -D`; the closure is given the folder.
    #[track_caller]
    pub(crate) fn start_through(plan: &Plan, through: impl FnOnce(&Path) -> Vec<String>) -> Switch {
        Switch::start_at(plan, Net::new(), through)
    }

    /// Starts one at the addresses of `net`.
    #[track_caller]
    pub(crate) fn start_at(plan: &Plan, net: Net, through: impl FnOnce(&Path) -> Vec<String>) -> Switch {
        let folder = std::env::temp_dir().join(format!("tandem-e2e-{}-{}", std::process::id(), net.name()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in [
            ("tandemd.toml", plan.machine(net).as_str()),
            ("site.toml", &plan.site(net)),
            ("retail.csv", plan.decks[0]),
            ("wholesale.csv", plan.decks[1]),
        ] {
            fs::write(folder.join(name), text).unwrap();
        }
        let log = Arc::new(Mutex::new(String::new()));
        let through = through(&folder);
        let child = spawn(&folder, &through, &log);
        Switch { net, folder, through, child, log }
    }

    /// Starts it again with what it left.
    #[track_caller]
    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.folder, &self.through, &self.log);
    }

    /// Starts it again through other programs, or none.
    #[track_caller]
    pub(crate) fn start_again_through(&mut self, through: Vec<String>) {
        self.through = through;
        self.start_again();
    }

    /// The daemon's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the daemon a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Starts it and kills it `after` that, most likely before it is ready.
    pub(crate) fn start_and_kill(&mut self, after: Duration) {
        self.child = command(&self.folder, &self.through).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(after);
        self.kill();
    }

    /// Kills it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ends it as a service manager would; it must end well.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::TERM);
        let status = until("the daemon ends after TERM", || self.child.try_wait().unwrap());
        assert!(status.success(), "{status}\n{}", self.log());
    }

    /// How it ended, once it has.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        until("the daemon ends by itself", || self.child.try_wait().unwrap())
    }

    /// What it has written.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The program of the command line.
    pub(crate) fn program(&self) -> &'static Path {
        command_line()
    }

    /// Runs `tandem`.
    #[track_caller]
    pub(crate) fn tandem(&self, arguments: &[&str]) -> Done {
        let done = Command::new(command_line())
            .args(arguments)
            .current_dir(&self.folder)
            .env("TANDEM_SOCKET", self.folder.join("control.sock"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Done {
            code: done.status.code().unwrap_or(-1),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }

    /// Runs `tandem`, which must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        // On a machine that is busy with other things a thread of the daemon may get no time for seconds; the answer to that is
        // to ask again.
        let done = until("an answer of the switch", || {
            Some(self.tandem(arguments)).filter(|done| !done.err.contains("did not answer within"))
        });
        assert_eq!(done.code, 0, "tandem {arguments:?}: {}{}", done.out, done.err);
        done.out
    }

    /// The same as JSON.
    #[track_caller]
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["-o", "json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("tandem {arguments:?}: {error}: {text}"))
    }

    /// Every record, oldest first.
    #[track_caller]
    pub(crate) fn cdrs(&self) -> Vec<Value> {
        match self.json(&["cdr", "list", "--all", "--oldest-first"]) {
            Value::Array(rows) => rows,
            other => panic!("{other} is no list"),
        }
    }

    /// The records, once there are `count` of them, and never more.
    #[track_caller]
    pub(crate) fn cdrs_once(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} records"), || {
            let found = self.json(&["cdr", "totals"])["calls"].as_u64().unwrap() as usize;
            (found >= count && self.is_idle()).then_some(())
        });
        let rows = self.cdrs();
        assert_eq!(rows.len(), count, "{rows:#?}");
        rows
    }

    /// The answered calls' records, once there are `count` of them; other calls may be on.
    #[track_caller]
    pub(crate) fn cdrs_of_answered_once(&self, count: usize) -> Vec<Value> {
        until(&format!("{count} records of answered calls"), || {
            let rows = self.json(&["cdr", "list", "--all", "--oldest-first", "--answered"]);
            rows.as_array().filter(|rows| rows.len() >= count).cloned()
        })
    }

    /// Waits until every answered call would go on after a kill: its caller's ACK has come, and its first heartbeat is written.
    #[track_caller]
    pub(crate) fn written_down(&self) {
        until("every answered call is acknowledged and has its first heartbeat", || {
            let counters = &self.json(&["status"])["counters"];
            (counters["calls_unacknowledged"] == 0 && counters["calls_first_heartbeat_due"] == 0).then_some(())
        });
        // What the rating thread was told is written before its next turn, in which it answers the second of these.
        for _ in 0..2 {
            self.json(&["account", "list"]);
        }
    }

    /// Whether no call is on and every record is in the database.
    #[track_caller]
    pub(crate) fn is_idle(&self) -> bool {
        let status = self.json(&["status"]);
        ["calls_setup", "calls_ringing", "calls_talking", "cdr_queue"].iter().all(|name| status[*name] == 0)
    }

    /// Checks the books: per account the ledger adds up to the balance, and what calls cost is what their records say.
    /// Nothing stays reserved.
    #[track_caller]
    pub(crate) fn assert_the_books_agree(&self, rows: &[Value]) {
        let mut charged: BTreeMap<String, Decimal> = BTreeMap::new();
        for row in rows {
            let account = row["account"].as_str().unwrap().to_owned();
            *charged.entry(account).or_default() +=
                decimal(&row["fee"]) + decimal(&row["tax"]) - decimal(&row["suite_fee"]);
            // Agents above the direct one stand in the proofs alone.
            let legs = row["legs"].as_str().filter(|text| !text.is_empty()).map_or(Value::Null, |text| {
                serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
            });
            for leg in legs.as_array().into_iter().flatten().filter(|leg| leg["leg"] == "agent") {
                let amount = |name: &str| leg["charge"].get(name).map_or(Decimal::ZERO, decimal);
                let agent = leg["account"].as_str().unwrap().to_owned();
                *charged.entry(agent).or_default() += amount("fee") + amount("tax") - amount("suite_fee");
            }
            let vendor = row["vendor_account"].as_str().unwrap().to_owned();
            *charged.entry(vendor).or_default() += decimal(&row["vendor_fee"]) + decimal(&row["vendor_tax"]);
        }
        for account in self.json(&["account", "list"]).as_array().unwrap() {
            let name = account["name"].as_str().unwrap();
            let (mut sum, mut calls) = (Decimal::ZERO, Decimal::ZERO);
            for movement in self.ledger(name) {
                let amount = decimal(&movement["amount"]);
                sum += amount;
                if movement["kind"] == "call" {
                    calls += amount;
                }
            }
            assert_eq!(sum, decimal(&account["balance"]), "ledger and balance of {name}");
            assert_eq!(-calls, charged.get(name).copied().unwrap_or_default(), "ledger and records of {name}");
            assert_eq!(decimal(&account["reserved"]), Decimal::ZERO, "reserved of {name}");
        }
    }

    /// Every movement of an account.
    #[track_caller]
    fn ledger(&self, account: &str) -> Vec<Value> {
        let mut rows = Vec::new();
        loop {
            let offset = rows.len().to_string();
            let page = self.json(&["ledger", "list", account, "--limit", "5000", "--offset", &offset]);
            let page = page.as_array().unwrap().clone();
            if page.is_empty() {
                return rows;
            }
            rows.extend(page);
        }
    }

    /// Balance of an account.
    #[track_caller]
    pub(crate) fn balance(&self, account: &str) -> Decimal {
        decimal(&self.json(&["account", "show", account])["account"]["balance"])
    }

    /// The number of the only call in progress, once it is in `state`.
    #[track_caller]
    pub(crate) fn call_in(&self, state: &str) -> String {
        until(&format!("a call that is {state}"), || {
            let rows = self.json(&["calls", "list", "--state", state]);
            rows.as_array().and_then(|rows| rows.first()).map(|row| row["call"].to_string())
        })
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("the folder of the switch stays: {}\nits log:\n{}", self.folder.display(), self.log());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn command(folder: &Path, through: &[String]) -> Command {
    let mut command = match through {
        [] => Command::new(daemon()),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(daemon());
            command
        }
    };
    command.arg("--config").arg(folder.join("tandemd.toml")).current_dir(folder).stdin(Stdio::null());
    command
}

/// Starts the daemon and returns when it says that it is ready.
#[track_caller]
fn spawn(folder: &Path, through: &[String], log: &Arc<Mutex<String>>) -> Child {
    let mut child = command(folder, through).stderr(Stdio::piped()).spawn().unwrap();
    let lines = follow(BufReader::new(child.stderr.take().unwrap()), log.clone());
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) if line.contains("ready: ") => return child,
            Ok(_) => {}
            Err(error) => {
                let _ = child.kill();
                // Not inside the panic: it would take the lock with it.
                let log = log.lock().unwrap().clone();
                panic!("the daemon is not ready ({error}):\n{log}");
            }
        }
    }
}

/// Reads lines to the end, so that the daemon never waits for us.
fn follow(reader: impl BufRead + Send + 'static, log: Arc<Mutex<String>>) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in reader.lines().map_while(Result::ok) {
            log.lock().unwrap().push_str(&format!("  {line}\n"));
            // Nobody listens after the start.
            let _ = sender.send(line);
        }
    });
    lines
}
