//! One story on one switch: parties, time, what was sent and what is expected of it.
//!
//! [`Story::perform`] takes the lines of a ladder one by one, so that a property test can mix text with its own moves.
//! The network takes no time: what the switch sends is with the far party in the same instant.

mod checks;
mod media;

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use tandem_leg::Time;

use crate::draw::{self, Row, What, seconds};
use crate::expect::{self, Context};
use crate::far::{Datagram, Far, Say};
use crate::heard::media_address;
use crate::script::{Statement, Step, statement};
use crate::site::Site;
use crate::switch::Switch;

/// Virtual time after the last step within which everything must be gone: two rounds of 32 s for BYE and its linger, and
/// the linger of media ports.
const FADE_S: u64 = 200;
/// Between two packets of a stream, microseconds.
const PACKET_US: u64 = 20_000;

/// A packet with a far party.
#[derive(Clone, Debug)]
struct Packet {
    from: SocketAddr,
    payload: Vec<u8>,
}

/// See the module text.
pub struct Story {
    switch: Switch,
    site: Site,
    parties: Vec<Far>,
    customers: usize,
    packets: Vec<VecDeque<Packet>>,
    ignored: BTreeSet<usize>,
    rows: Vec<Row>,
    /// Order of everything sent by anybody.
    seq: u64,
    /// Place of the last step in that order.
    last: u64,
    origin: Time,
    /// Broken whatever the story expects.
    problem: Option<String>,
    cdrs_seen: usize,
    cdrs_wanted: Option<usize>,
}

impl Story {
    /// A switch and its far parties, before the first message.
    ///
    /// # Errors
    /// What is wrong with the site.
    pub fn new(site: &Site) -> Result<Story, String> {
        let mut site = site.clone();
        site.fill();
        let switch = Switch::new(&site)?;
        let mut parties: Vec<Far> = site.customers.iter().map(|c| Far::new(&c.gateway.name, c.address)).collect();
        parties.extend(site.strangers.iter().map(|(name, address)| Far::new(name, *address)));
        let customers = parties.len();
        for vendor in &site.vendors {
            parties.push(Far::new(&vendor.gateway.name, vendor.address));
            // The other addresses of a gateway are parties of their own: b1.2, b1.3.
            for (n, remote) in vendor.gateway.remotes.iter().enumerate().skip(1) {
                parties.push(Far::new(&format!("{}.{}", vendor.gateway.name, n + 1), *remote));
            }
        }
        let packets = parties.iter().map(|_| VecDeque::new()).collect();
        Ok(Story {
            switch,
            site,
            parties,
            customers,
            packets,
            ignored: BTreeSet::new(),
            rows: Vec::new(),
            seq: 0,
            last: 0,
            origin: Time::ZERO,
            problem: None,
            cdrs_seen: 0,
            cdrs_wanted: None,
        })
    }

    /// The switch.
    pub fn switch(&self) -> &Switch {
        &self.switch
    }

    /// A far party by name.
    pub fn party(&self, name: &str) -> Option<&Far> {
        self.parties.iter().find(|p| p.name == name)
    }

    /// What happened so far, drawn.
    pub fn drawing(&self) -> String {
        let names: Vec<String> = self.parties.iter().map(|p| p.name.clone()).collect();
        draw::ladder(&names, self.customers, &self.rows)
    }

    /// Does one line of ladder text.
    ///
    /// # Errors
    /// What was expected and what happened, in a sentence.
    pub fn perform(&mut self, line: &str) -> Result<(), String> {
        let statement = statement(line)?;
        self.run(&statement)
    }

    pub(crate) fn run(&mut self, statement: &Statement) -> Result<(), String> {
        self.run_inner(statement)?;
        match self.problem.take() {
            Some(problem) => Err(problem),
            None => Ok(()),
        }
    }

    fn run_inner(&mut self, statement: &Statement) -> Result<(), String> {
        match statement {
            Statement::Steps(steps) => self.steps(steps),
            Statement::Advance(us) => {
                let to = self.switch.now().mono.plus_micros(*us);
                self.rows.push(Row { at: to, what: What::Note(format!("+ {} s", seconds(Time(*us)))) });
                self.advance(to)
            }
            Statement::At(us, steps) => {
                let to = self.origin.plus_micros(*us);
                if to < self.switch.now().mono {
                    return Err(format!("{} s is past: it is {} s", seconds(to), seconds(self.switch.now().mono)));
                }
                self.advance(to)?;
                self.steps(steps)
            }
            Statement::Between(first, last, steps) => {
                let start = self.switch.now().mono;
                self.advance(start.plus_micros(*first))?;
                while self.waiting().is_empty() && self.problem.is_none() {
                    let more = self.switch.step(start.plus_micros(*last));
                    self.deliver();
                    if !more {
                        break;
                    }
                }
                let took = self.switch.now().mono.since(start);
                if !took.is_multiple_of(10_000) {
                    return Err(format!("{} s is no multiple of 10 ms", seconds(Time(took))));
                }
                self.steps(steps)
            }
            Statement::FromNow => {
                self.origin = self.switch.now().mono;
                Ok(())
            }
            Statement::Rtp { from, to, both, packets } => self.stream(from, to, *both, *packets),
            Statement::Pay { account, amount, key } => {
                let amount = amount.parse().map_err(|e| format!("{amount}: {e}"))?;
                self.note(format!("{account} pays {amount}"));
                self.switch.pay(account, amount, key).map(|_| ()).map_err(|e| format!("payment: {e}"))
            }
            Statement::Kill => {
                self.note("an operator ends every call".to_owned());
                let ended = self.switch.kill_all();
                self.deliver();
                if ended == 0 { Err("there is no call to end".to_owned()) } else { Ok(()) }
            }
            Statement::Shutdown => {
                self.note("shutdown".to_owned());
                self.switch.shutdown();
                self.deliver();
                Ok(())
            }
            Statement::Restart => {
                self.note("the switch dies and is started anew".to_owned());
                self.switch.restart(&self.site)?;
                self.deliver();
                Ok(())
            }
            Statement::Draining(on) => {
                self.switch.set_draining(*on);
                Ok(())
            }
            Statement::Unreachable(name) => {
                let address = self.parties[self.find(name)?].address;
                self.note(format!("{name} is unreachable"));
                self.switch.unreachable(address);
                self.deliver();
                Ok(())
            }
            Statement::Ignore(name) => {
                let at = self.find(name)?;
                self.ignored.insert(at);
                for dialog in &mut self.parties[at].dialogs {
                    dialog.inbox.clear();
                }
                Ok(())
            }
            Statement::WallClock(ms) => {
                self.note(format!("the wall clock steps by {ms} ms"));
                self.switch.step_wall_clock(*ms);
                Ok(())
            }
            Statement::Counts(checks) => self.counts(checks),
            Statement::Gateway(name, checks) => self.gateway(name, checks),
            Statement::Account(name, checks) => self.account(name, checks),
            Statement::Trace { wanted, text } => {
                let lines: Vec<String> = self.switch.trace().iter().map(|line| line.event.to_string()).collect();
                if lines.iter().any(|line| line.contains(text)) == *wanted {
                    return Ok(());
                }
                let word = if *wanted { "no decision says" } else { "a decision says" };
                Err(format!("{word} {text:?}; decisions:\n  {}", lines.join("\n  ")))
            }
            Statement::Cdr(checks) => self.cdr(checks),
            Statement::Cdrs(count) => {
                self.cdrs_wanted = Some(*count);
                let there = self.switch.cdrs().count();
                if there == *count { Ok(()) } else { Err(format!("{count} CDRs expected, there are {there}")) }
            }
            Statement::Ledger(count) => {
                let there = self.switch.ledger().count();
                if there == *count { Ok(()) } else { Err(format!("{count} ledger rows expected, there are {there}")) }
            }
            Statement::NothingLeft => self.finish(),
        }
    }

    /// Lets everything fade, and checks that nothing is left: no message nobody expected, no call, leg, dialog,
    /// transaction, timer, flow, lease, line or reservation; as many CDRs as were looked at; money conserved.
    ///
    /// # Errors
    /// What is left or wrong.
    pub fn finish(&mut self) -> Result<(), String> {
        let mut end = self.switch.now().mono.plus_secs(FADE_S);
        self.quiet()?;
        self.sound()?;
        loop {
            let more = self.switch.step(end);
            self.deliver();
            self.quiet()?;
            if !more {
                break;
            }
            if self.switch.leftovers().is_empty() && self.switch.next_due().is_none() {
                end = self.switch.now().mono;
            }
        }
        let left = self.switch.leftovers();
        if !left.is_empty() {
            return Err(format!("{FADE_S} s after the last step something is left: {}", left.join(", ")));
        }
        self.sound()?;
        let wanted = self.cdrs_wanted.unwrap_or(self.cdrs_seen);
        let there = self.switch.cdrs().count();
        if there != wanted {
            return Err(format!("{wanted} CDRs expected, there are {there}"));
        }
        self.problem.take().map_or(Ok(()), Err)
    }

    fn sound(&self) -> Result<(), String> {
        let problems = self.switch.problems();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("\n")) }
    }

    // --- time -------------------------------------------------------------------------------------------------------

    /// Goes to `to`. What is sent on the way, before `to` itself, nobody expected.
    fn advance(&mut self, to: Time) -> Result<(), String> {
        self.quiet()?;
        loop {
            let more = self.switch.step(to);
            self.deliver();
            if self.switch.now().mono < to {
                self.quiet()?;
            }
            if self.problem.is_some() || !more {
                return Ok(());
            }
        }
    }

    /// Nothing waits to be taken by a step.
    fn quiet(&self) -> Result<(), String> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let waiting = self.waiting();
        if waiting.is_empty() {
            return Ok(());
        }
        Err(format!("nobody expected {}", waiting.join(", ")))
    }

    fn waiting(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        for party in &self.parties {
            for heard in party.dialogs.iter().flat_map(|d| &d.inbox) {
                waiting.push(format!("{} < {} at {} s", party.name, heard.name(), seconds(heard.at)));
            }
        }
        waiting
    }

    // --- steps ------------------------------------------------------------------------------------------------------

    fn steps(&mut self, steps: &[Step]) -> Result<(), String> {
        for step in steps {
            let at = if step.sends { self.say(step) } else { self.expect(step) };
            let at = at.map_err(|problem| format!("{}: {problem}", step.text))?;
            if let Some(problem) = self.problem.take() {
                return Err(problem);
            }
            if step.then && at < self.last {
                return Err(format!("{}: it came before the step it was to follow", step.text));
            }
            self.last = at;
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<usize, String> {
        self.parties.iter().position(|p| p.name == name).ok_or_else(|| format!("there is no party {name:?}"))
    }

    /// The dialog with that label in which the next step happens: the youngest.
    fn dialog(&self, party: usize, label: &str) -> Option<usize> {
        self.parties[party].dialogs.iter().rposition(|d| d.label.as_deref() == Some(label))
    }

    fn say(&mut self, step: &Step) -> Result<u64, String> {
        let at = self.find(&step.party)?;
        let name = step.words[0].as_str();
        if name == "RTP" {
            return self.say_rtp(at, step);
        }
        let (mut say, mut method, mut again, mut raw) = (Say::default(), None, false, None);
        let mut no_new = false;
        for word in &step.words[1..] {
            match word.split_once('=') {
                None if word == "again" => again = true,
                None if word == "in-dialog" => no_new = true,
                None => method = Some(word.as_str()),
                Some(("sdp", value)) => {
                    say.sdp = Some(value.parse().map_err(|_| format!("sdp={value} is no address"))?)
                }
                Some(("dir", value)) => say.direction = Some(value.to_owned()),
                Some(("codecs", value)) => value.clone_into(&mut say.codecs),
                Some(("body", value)) => {
                    let (kind, body) = value.split_once(':').ok_or("body=TYPE:TEXT")?;
                    say.body = Some((kind.to_owned(), body.replace("\\r\\n", "\r\n")));
                }
                Some(("header", value)) => {
                    let (header, value) = value.split_once(':').ok_or("header=NAME:VALUE")?;
                    say.headers.push((header.to_owned(), value.trim().to_owned()));
                }
                Some(("reason", value)) => say.headers.push(("Reason".to_owned(), format!("Q.850;cause={value}"))),
                Some(("retry-after", value)) => say.headers.push(("Retry-After".to_owned(), value.to_owned())),
                Some(("expires", value)) => say.headers.push(("Expires".to_owned(), value.to_owned())),
                Some(("contacts", value)) => {
                    let list: Vec<String> = value.split(',').map(|c| format!("<sip:{c}>")).collect();
                    say.headers.push(("Contact".to_owned(), list.join(", ")));
                }
                Some(("tag", value)) => value.clone_into(&mut say.tag),
                Some(("max-forwards", value)) => {
                    say.max_forwards = Some(value.parse().map_err(|_| format!("max-forwards={value}"))?);
                }
                Some(("from", value)) => say.from = Some(value.to_owned()),
                Some(("to", value)) => say.to = Some(value.to_owned()),
                Some(("text", value)) => raw = Some(value.replace("\\r\\n", "\r\n")),
                Some((key, _)) => return Err(format!("no attribute {key} to send")),
            }
        }
        let known = self.dialog(at, &step.label);
        let status = name.parse::<u16>().ok();
        let datagram = if name == "RAW" {
            let from = self.parties[at].address;
            Datagram { from, text: raw.unwrap_or_default(), name: "raw bytes".to_owned() }
        } else if again {
            let dialog = known.ok_or("there is no call in which it was said")?;
            let wanted = method.map_or(name.to_owned(), |m| format!("{name} {m}"));
            self.parties[at].again(dialog, &wanted)?
        } else if let Some(status) = status {
            let dialog = known.ok_or("there is no call to answer")?;
            self.parties[at].respond(dialog, status, method, &say)?
        } else {
            let inside =
                known.filter(|d| no_new || !self.parties[at].dialogs[*d].over || matches!(name, "ACK" | "BYE"));
            match inside {
                Some(dialog) => self.parties[at].request(dialog, name, &say),
                None if matches!(name, "ACK" | "CANCEL" | "BYE") => return Err("there is no call".to_owned()),
                None => {
                    let (dialog, datagram) = self.parties[at].call(name, &say);
                    self.parties[at].dialogs[dialog].label = Some(step.label.clone());
                    datagram
                }
            }
        };
        let detail = describe(&datagram.text, &datagram.name, &step.label);
        Ok(self.send(at, &datagram, detail))
    }

    fn send(&mut self, party: usize, datagram: &Datagram, detail: String) -> u64 {
        self.rows.push(Row { at: self.switch.now().mono, what: What::In(party, detail) });
        self.seq += 1;
        let at = self.seq;
        self.switch.signalling(datagram.from, datagram.text.as_bytes());
        self.deliver();
        at
    }

    fn expect(&mut self, step: &Step) -> Result<u64, String> {
        let at = self.find(&step.party)?;
        if step.words[0] == "RTP" {
            return self.expect_rtp(at, step);
        }
        let party = &self.parties[at];
        let first = |label: Option<&str>| {
            let mine = party.dialogs.iter().enumerate().filter(|(_, d)| d.label.as_deref() == label);
            mine.filter_map(|(n, d)| Some((d.inbox.front()?.seq, n))).min().map(|(_, n)| n)
        };
        let Some(dialog) = first(Some(&step.label)).or_else(|| first(None)) else {
            let waiting = self.waiting();
            let others = if waiting.is_empty() { "nothing".to_owned() } else { waiting.join(", ") };
            return Err(format!("nothing came; what waits elsewhere: {others}"));
        };
        let Some(heard) = self.parties[at].dialogs[dialog].inbox.pop_front() else {
            return Err("nothing came".to_owned());
        };
        self.parties[at].dialogs[dialog].label = Some(step.label.clone());
        let others: Vec<&str> = self
            .parties
            .iter()
            .enumerate()
            .filter(|(n, _)| *n != at)
            .flat_map(|(_, p)| p.dialogs.iter().filter(|d| d.label.as_deref() == Some(&step.label)))
            .filter_map(|d| d.last_sdp())
            .collect();
        let cx = Context {
            dialog: &self.parties[at].dialogs[dialog],
            others,
            ours: self.parties[at].switch(),
            ports: self.site.ports.clone(),
        };
        expect::check(&cx, &heard, &step.words)?;
        Ok(heard.seq)
    }

    /// Takes what the switch sent to where it goes.
    fn deliver(&mut self) {
        while let Some(sent) = self.switch.poll_sent() {
            self.seq += 1;
            if sent.media {
                self.deliver_media(sent.from, sent.to, sent.bytes);
                continue;
            }
            let Some(at) = self.parties.iter().position(|p| p.address == sent.to) else {
                self.problem.get_or_insert(format!("something was sent to {}, where nobody is", sent.to));
                continue;
            };
            let text = String::from_utf8_lossy(&sent.bytes).into_owned();
            let secrets = self.secrets(at);
            match self.parties[at].hear(self.seq, sent.at, &sent.bytes, &secrets) {
                Ok(dialog) => {
                    let dialog = &mut self.parties[at].dialogs[dialog];
                    let label = dialog.label.clone().unwrap_or_else(|| "1".to_owned());
                    let heard = dialog.heard.last();
                    let again = heard.is_some_and(|h| dialog.is_repeated(h));
                    let name = heard.map(crate::heard::Heard::name).unwrap_or_default();
                    let name = if again { format!("{name} again") } else { name };
                    if self.ignored.contains(&at) {
                        dialog.inbox.clear();
                    }
                    self.rows.push(Row { at: sent.at, what: What::Out(at, describe(&text, &name, &label)) });
                }
                Err(problem) => {
                    let first = text.lines().next().unwrap_or("").to_owned();
                    self.rows.push(Row { at: sent.at, what: What::Out(at, first) });
                    self.problem.get_or_insert(format!("{problem}\n{text}"));
                }
            }
        }
    }

    /// What must not be seen by `party`: addresses and Call-IDs of the others, and what they are made of.
    fn secrets(&self, party: usize) -> Vec<String> {
        let own = self.parties[party].address.ip();
        let mut secrets = vec!["far-".to_owned()];
        for (at, other) in self.parties.iter().enumerate().filter(|(at, _)| *at != party) {
            if other.address.ip() != own {
                secrets.push(other.address.ip().to_string());
            }
            // A few are enough: a leak leaks every time.
            let recent = other.dialogs.iter().rev().take(8);
            secrets.extend(recent.map(|d| d.call_id.clone()));
            debug_assert_ne!(at, party);
        }
        secrets
    }

    fn note(&mut self, text: String) {
        self.rows.push(Row { at: self.switch.now().mono, what: What::Note(text) });
    }
}

/// A message in a few words for the drawing.
fn describe(text: &str, name: &str, label: &str) -> String {
    let mut words = name.to_owned();
    if let Some((_, body)) = text.split_once("\r\n\r\n")
        && let Some(address) = media_address(body)
    {
        words.push_str(&format!(" {address}"));
        let direction = crate::heard::direction(body);
        if direction != "sendrecv" {
            words.push_str(&format!(" {direction}"));
        }
    }
    if label != "1" {
        words.push_str(&format!(" /{label}"));
    }
    words
}
