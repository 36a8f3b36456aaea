//! CDRs on their way out: files and another server, while the switch is killed, a disk is full and the server fails.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::{Value, json};

use crate::books;
use crate::common::{Plan, Switch, until};
use crate::machine::SmallDisk;
use crate::peer::{Peer, Stage};

/// Places calls, half of them answered, and ends them.
#[track_caller]
fn calls(switch: &Switch, customer: &Peer, vendor: &Peer, first: u32, count: u32) {
    let numbers: Vec<String> = (first..first + count).map(|n| format!("1212777{n:04}")).collect();
    for (n, number) in numbers.iter().enumerate() {
        if n % 2 == 0 {
            customer.connect(number);
        } else {
            // No vendor takes it.
            customer.refused(&format!("1999{number}"));
        }
    }
    numbers.iter().step_by(2).for_each(|number| customer.hang_up(number));
    customer.all(Stage::Ended);
    vendor.all(Stage::Ended);
    books::settle(switch);
}

/// The flow numbers of the records, in the order of booking.
#[track_caller]
fn booked(switch: &Switch) -> Vec<u64> {
    switch.cdrs().iter().map(|row| row["flow_no"].as_u64().unwrap()).collect()
}

/// The files of `folder` whose names begin so, in order.
fn files(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix));
    files.sort();
    files
}

/// What stands in the backup files: flow numbers in order. Fields have no quotes or commas in these tests.
fn backed_up(folder: &Path) -> Vec<u64> {
    let mut flow_nos = Vec::new();
    for path in files(folder, "backup_") {
        let text = fs::read_to_string(&path).unwrap();
        let mut lines = text.lines();
        let header: Vec<&str> = lines.next().unwrap().split(',').collect();
        assert_eq!((header.len(), header[0], header[51], header[57]), (58, "callere164", "agentcdr_id", "margin"));
        let at = header.iter().position(|name| *name == "flowno").unwrap();
        let before = flow_nos.len();
        flow_nos.extend(lines.map(|line| line.split(',').nth(at).unwrap().parse::<u64>().unwrap()));
        assert!(flow_nos.len() > before, "{}: an interval without calls makes no file", path.display());
    }
    flow_nos
}

/// What stands in the hourly files.
fn hourly(folder: &Path) -> Vec<u64> {
    let mut flow_nos = Vec::new();
    for path in files(folder, "20") {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.is_empty() || text.ends_with('\n'), "half a line: {text}");
        for line in text.lines() {
            let fields: Vec<&str> = line.split('|').collect();
            assert_eq!(fields.len(), 18, "{line}");
            flow_nos.push(fields[17].parse().unwrap());
        }
    }
    flow_nos
}

fn sorted(mut flow_nos: Vec<u64>) -> Vec<u64> {
    flow_nos.sort_unstable();
    flow_nos
}

#[test]
fn files_have_each_call_once_however_often_the_switch_is_killed() {
    let params = vec![
        ("SERVER_CDR_FILE_WRITE_INTERVAL", "1"),
        ("SS_CDR_RECORD_TO_FILE", "On"),
        ("SS_CDR_RECORD_NONCONNECT", "On"),
    ];
    let mut switch = Switch::start(&Plan { params, ..Plan::default() });
    let folder = switch.folder.join("data/cdr");
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    for round in 0..4 {
        calls(&switch, &customer, &vendor, round * 10, 10);
        // Each time somewhere else in the writing of the files: before any, when the first tells of this round, when both do.
        let before = round as usize * 10;
        match round {
            0 => {}
            1 => until("the hourly file goes on", || (hourly(&folder).len() > before).then_some(())),
            2 => until("a backup file goes on", || (backed_up(&folder).len() > before).then_some(())),
            _ => until("both go on", || {
                (hourly(&folder).len() > before && backed_up(&folder).len() > before).then_some(())
            }),
        }
        switch.kill();
        switch.start_again();
    }
    let all = booked(&switch);
    assert_eq!(all.len(), 40);
    until("every call is in a backup file", || (backed_up(&folder).len() >= all.len()).then_some(()));
    until("every call is in an hourly file", || (hourly(&folder).len() >= all.len()).then_some(()));
    assert_eq!(sorted(backed_up(&folder)), sorted(all.clone()));
    assert_eq!(sorted(hourly(&folder)), sorted(all.clone()));

    // Live: fewer files are kept from the next one on, and only calls with hold time are exported.
    let mut all = all;
    while files(&folder, "backup_").len() <= 2 {
        calls(&switch, &customer, &vendor, 40 + all.len() as u32, 2);
        all = booked(&switch);
        until("every call is in a file", || {
            (backed_up(&folder).len() == all.len() && hourly(&folder).len() == all.len()).then_some(())
        });
    }
    switch.ok(&["param", "set", "SERVER_CDR_FILE_WRITE_MAX", "2"]);
    switch.ok(&["param", "set", "SS_CDR_RECORD_TO_FILE", "Off"]);
    calls(&switch, &customer, &vendor, 200, 4);
    until("old files are removed", || (files(&folder, "backup_").len() <= 2).then_some(()));
    let newest = *booked(&switch).last().unwrap();
    until("the newest call is in a backup file", || backed_up(&folder).contains(&newest).then_some(()));
    assert_eq!(hourly(&folder).len(), all.len(), "the hourly export is off");
    switch.ok(&["param", "set", "SS_CDR_RECORD_NONCONNECT", "Off"]);
    switch.ok(&["param", "set", "SS_CDR_RECORD_TO_FILE", "On"]);
    calls(&switch, &customer, &vendor, 300, 4);
    until("the calls with hold time are exported", || {
        (hourly(&folder).len() >= all.len() + held(&switch, 4)).then_some(())
    });
    assert_eq!(hourly(&folder).len(), all.len() + held(&switch, 4), "what ended while it was off stays out");
}

/// How many of the last `count` records have hold time.
#[track_caller]
fn held(switch: &Switch, count: usize) -> usize {
    switch.cdrs().iter().rev().take(count).filter(|row| row["hold_s"].as_i64() > Some(0)).count()
}

#[test]
fn a_full_disk_of_the_files_costs_no_call_and_nothing_is_lost() {
    let params = vec![
        ("SERVER_CDR_FILE_WRITE_INTERVAL", "1"),
        ("SS_CDR_RECORD_TO_FILE", "On"),
        ("SS_CDR_RECORD_NONCONNECT", "On"),
    ];
    let plan = Plan { params, ..Plan::default() };
    let mut disk = None;
    let missing = std::cell::Cell::new(false);
    let mut switch = Switch::start_through(&plan, |folder| {
        disk = SmallDisk::over(&folder.join("data/cdr"), 1);
        missing.set(disk.is_none());
        disk.as_ref().map(SmallDisk::through).unwrap_or_default()
    });
    let Some(disk) = disk else { return };
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    // Before the first file: what is left of the last block of a file would still take a line or two.
    disk.fill();
    calls(&switch, &customer, &vendor, 0, 10);
    let warned = |what: &str| switch.json(&["status"])["warnings"].to_string().contains(what);
    until("both kinds of files stand still", || {
        (warned("CDR backup files stand still") && warned("hourly CDR files stand still")).then_some(())
    });
    assert!(switch.log().contains("alarm: CDR backup files"), "{}", switch.log());
    assert!(books::counter(&switch, "cdr_output_alarms") >= 2);
    calls(&switch, &customer, &vendor, 30, 6);
    assert_eq!(switch.json(&["status"])["state"], "running");
    // The place is kept on another disk, so also a kill loses nothing.
    switch.kill();
    switch.start_again();
    disk.free();
    let all = booked(&switch);
    assert_eq!(all.len(), 16);
    until("the files catch up", || {
        (backed_up(&disk.path()).len() >= all.len() && hourly(&disk.path()).len() >= all.len()).then_some(())
    });
    assert_eq!(sorted(backed_up(&disk.path())), sorted(all.clone()));
    assert_eq!(sorted(hourly(&disk.path())), sorted(all));
    until("the warnings are over", || (switch.json(&["status"])["warnings"] == json!([])).then_some(()));
    books::settle(&switch);
}

/// How the other server behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Takes,
    /// Takes the records, but the answer is never heard.
    TakesAndHangsUp,
    Refuses,
    /// Answers 200, and says in the answer that it has not taken them.
    RefusesInWords,
    /// Says nothing until its mood changes.
    Stalls,
}

/// The mood, and who waits for another.
#[derive(Debug)]
struct Moods {
    now: Mutex<Mood>,
    changed: Condvar,
}

/// A server that takes reports, at a port of its own that stays the same.
struct Server {
    mood: Arc<Moods>,
    taken: Arc<Mutex<Vec<Value>>>,
    requests: Arc<Mutex<BTreeMap<String, usize>>>,
    address: String,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let mut server = Server {
            mood: Arc::new(Moods { now: Mutex::new(Mood::Takes), changed: Condvar::new() }),
            taken: Arc::default(),
            requests: Arc::default(),
            address,
            closed: Arc::default(),
            thread: None,
        };
        server.listen(listener);
        server
    }

    fn listen(&mut self, listener: TcpListener) {
        let (mood, taken, requests, closed) =
            (self.mood.clone(), self.taken.clone(), self.requests.clone(), self.closed.clone());
        closed.store(false, Ordering::SeqCst);
        self.thread = Some(thread::spawn(move || {
            for stream in listener.incoming() {
                if closed.load(Ordering::SeqCst) {
                    return;
                }
                let (mood, taken, requests) = (mood.clone(), taken.clone(), requests.clone());
                thread::spawn(move || serve(&stream.unwrap(), &mood, &taken, &requests));
            }
        }));
    }

    /// Closes its port.
    fn close(&mut self) {
        self.closed.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(&self.address);
        self.thread.take().unwrap().join().unwrap();
    }

    /// Opens it again.
    fn open(&mut self) {
        let listener = until("the port is free", || TcpListener::bind(&self.address).ok());
        self.listen(listener);
    }

    fn set(&self, mood: Mood) {
        *self.mood.now.lock().unwrap() = mood;
        self.mood.changed.notify_all();
    }

    fn requests(&self, mood: Mood) -> usize {
        self.requests.lock().unwrap().get(&format!("{mood:?}")).copied().unwrap_or(0)
    }

    #[track_caller]
    fn once_met(&self, mood: Mood) {
        self.set(mood);
        let before = self.requests(mood);
        until(&format!("the server is asked while it {mood:?}"), || (self.requests(mood) > before).then_some(()));
    }

    /// Flow numbers as they came first, in order.
    fn first_taken(&self) -> Vec<u64> {
        let mut seen = Vec::new();
        for row in self.taken.lock().unwrap().iter() {
            let flow_no = row["flowNo"].as_u64().unwrap();
            if !seen.contains(&flow_no) {
                seen.push(flow_no);
            }
        }
        seen
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.set(Mood::Takes);
        if self.thread.is_some() {
            self.close();
        }
    }
}

fn serve(stream: &TcpStream, mood: &Moods, taken: &Mutex<Vec<Value>>, requests: &Mutex<BTreeMap<String, usize>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let (mut length, mut line) = (0, String::new());
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let message: Value = serde_json::from_slice(&body).unwrap();
        let rows = message["infoCdrs"].as_array().unwrap().clone();
        assert!(message["retCode"] == 0 && (1..=500).contains(&rows.len()), "{} rows", rows.len());
        let now = *mood.now.lock().unwrap();
        *requests.lock().unwrap().entry(format!("{now:?}")).or_default() += 1;
        let answer = |text: &str| {
            let _ = write!(&*stream, "HTTP/1.1 {text}");
        };
        match now {
            Mood::Takes => {
                taken.lock().unwrap().extend(rows);
                answer("200 OK\r\nContent-Length: 13\r\n\r\n{\"retCode\":0}");
            }
            Mood::TakesAndHangsUp => {
                taken.lock().unwrap().extend(rows);
                return;
            }
            Mood::Refuses => answer("503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
            Mood::RefusesInWords => answer("200 OK\r\nContent-Length: 18\r\n\r\n{\"retCode\":-10007}"),
            Mood::Stalls => {
                let stalled = mood.now.lock().unwrap();
                let _other = mood.changed.wait_while(stalled, |now| *now == Mood::Stalls).unwrap();
                return;
            }
        }
    }
}

#[test]
fn each_call_reaches_the_other_server_however_it_fails_and_whenever_the_switch_is_killed() {
    let mut server = Server::start();
    let mut switch = Switch::start(&Plan::default());
    let (vendor, customer) = (Peer::vendor(&switch), Peer::customer(&switch));
    calls(&switch, &customer, &vendor, 0, 4);
    let name = "SERVER_CDR_REAL_TIME_REPORT_SERVER";
    let refused = switch.tandem(&["param", "set", name, "https://x/"]);
    assert!(refused.code == 2 || refused.code == 1, "{refused:?}");
    assert!(refused.err.contains("without TLS"), "{refused:?}");
    switch.ok(&["param", "set", name, &format!("http://{}/cdrs", server.address)]);
    let before = booked(&switch);
    let wait_for_all = |switch: &Switch, server: &Server| {
        let all: Vec<u64> = booked(switch).split_off(before.len());
        until("the server has every call since it was named", || {
            let taken = server.first_taken();
            (taken.len() >= all.len()).then_some(())
        });
        assert_eq!(server.first_taken(), all, "in the order of booking, and what ended before it was named stays out");
    };
    calls(&switch, &customer, &vendor, 10, 6);
    wait_for_all(&switch, &server);

    // It refuses, is gone, stalls: calls go on, and it gets everything later.
    server.set(Mood::Refuses);
    calls(&switch, &customer, &vendor, 20, 4);
    server.once_met(Mood::Refuses);
    server.once_met(Mood::RefusesInWords);
    let status = switch.json(&["status"]);
    assert!(status["warnings"].to_string().contains("real-time CDR reports stand still"), "{status:#}");
    server.close();
    switch.kill();
    switch.start_again();
    calls(&switch, &customer, &vendor, 30, 4);
    server.set(Mood::Stalls);
    server.open();
    server.once_met(Mood::Stalls);
    calls(&switch, &customer, &vendor, 40, 4);
    // Killed while a request is under way.
    switch.kill();
    server.set(Mood::TakesAndHangsUp);
    switch.start_again();
    server.once_met(Mood::TakesAndHangsUp);
    switch.kill();
    server.set(Mood::Takes);
    switch.start_again();
    calls(&switch, &customer, &vendor, 50, 4);
    wait_for_all(&switch, &server);
    let told = server.taken.lock().unwrap().len();
    assert!(told > server.first_taken().len(), "what was not confirmed came again");
    until("the warning is over", || (switch.json(&["status"])["warnings"] == json!([])).then_some(()));

    // The record as the API has it.
    let row = server.taken.lock().unwrap().last().unwrap().clone();
    let cdr = switch.json(&["cdr", "show", &row["flowNo"].to_string()])["cdr"].clone();
    for (api, field) in [
        ("callerE164", "caller_billed"),
        ("calleeE164", "callee_billed"),
        ("fee", "fee"),
        ("stop", "end_ms"),
        ("holdTime", "hold_s"),
        ("endReason", "end_reason"),
        ("customerAccount", "account"),
    ] {
        assert_eq!(row[api], cdr[field], "{api}: {row:#}");
    }

    // Off: nothing goes, and what ended meanwhile stays out.
    switch.ok(&["param", "set", name, ""]);
    let taken = server.first_taken();
    calls(&switch, &customer, &vendor, 60, 2);
    switch.ok(&["param", "set", name, &server.address]);
    calls(&switch, &customer, &vendor, 70, 2);
    let last_two = booked(&switch).split_off(booked(&switch).len() - 2);
    until("the last two calls are told", || (server.first_taken().len() >= taken.len() + 2).then_some(()));
    assert_eq!(server.first_taken(), [taken, last_two].concat());
}
