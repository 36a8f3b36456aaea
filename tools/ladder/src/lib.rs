//! Call ladders as text, on virtual time: a story with all its parties in it, played against the real switch.
//!
//! The real `tandem_sip::Endpoint`, `tandem_call::Calls`, `tandem_rater::Rater` and `tandem_media::UserRelay` are joined
//! as the shard joins them; only clock and network are virtual. Far parties are scripted by the text and speak SIP bytes.
//! This crate opens no socket, reads no clock, stores nothing, and knows no protocol but SIP.
#![forbid(unsafe_code)]

mod audit;
mod draw;
mod expect;
pub mod far;
pub mod heard;
mod params;
mod script;
pub mod site;
pub mod story;
pub mod switch;

use std::fmt;

pub use site::Site;
pub use story::Story;
pub use switch::Switch;
use tandem_rating::cdr::Cdr;

/// A story that went as written.
#[derive(Clone, Debug)]
pub struct Report {
    /// Title.
    pub title: String,
    /// What happened, drawn.
    pub drawing: String,
    /// Its CDRs.
    pub cdrs: Vec<Cdr>,
    /// Decisions of the switch: when (`s.ms`), call and words.
    pub decisions: Vec<String>,
}

/// A story that did not.
#[derive(Clone, Debug, thiserror::Error)]
pub struct Failure {
    /// Title; empty when the text could not be read.
    pub title: String,
    /// Line of the text, from 1; 0 when it is about the whole.
    pub line: usize,
    /// What was expected and what happened.
    pub problem: String,
    /// The text with a mark at the line.
    pub expected: String,
    /// What happened until then, drawn.
    pub drawing: String,
    /// Decisions of the switch.
    pub decisions: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "ladder {:?}, line {}: {}", self.title, self.line, self.problem)?;
        writeln!(f, "\nexpected:\n{}", self.expected)?;
        writeln!(f, "happened:\n{}", self.drawing)?;
        writeln!(f, "decisions:")?;
        self.decisions.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// Plays a ladder.
///
/// # Errors
/// The first line that did not go as written, with what happened drawn.
pub fn run(text: &str) -> Result<Report, Box<Failure>> {
    let unread = |problem: String| {
        Box::new(Failure {
            title: String::new(),
            line: 0,
            problem,
            expected: text.to_owned(),
            drawing: String::new(),
            decisions: Vec::new(),
        })
    };
    let script = script::Script::read(text).map_err(unread)?;
    let mut story = Story::new(&script.site).map_err(unread)?;
    let mut finished = false;
    let fail = |line: usize, problem: String, story: &Story| {
        Box::new(Failure {
            title: script.title.clone(),
            line,
            problem,
            expected: marked(text, line),
            drawing: story.drawing(),
            decisions: decisions(story),
        })
    };
    let mut last = 0;
    for line in &script.lines {
        story.run(&line.statement).map_err(|problem| fail(line.number, problem, &story))?;
        finished = matches!(line.statement, script::Statement::NothingLeft);
        last = line.number;
    }
    if !finished {
        story.finish().map_err(|problem| fail(last, problem, &story))?;
    }
    Ok(Report {
        title: script.title.clone(),
        drawing: story.drawing(),
        cdrs: story.switch().cdrs().cloned().collect(),
        decisions: decisions(&story),
    })
}

/// Plays a ladder and draws what happened, whether or not it went as written.
pub fn draw(text: &str) -> String {
    match run(text) {
        Ok(report) => {
            let decisions = report.decisions.join("\n  ");
            format!("{}\n\n{}\ndecisions:\n  {decisions}\n", report.title, report.drawing)
        }
        Err(failure) => failure.to_string(),
    }
}

fn decisions(story: &Story) -> Vec<String> {
    let line = |line: &switch::TraceLine| format!("{:>9}  {}", draw::seconds(line.at), line.event);
    story.switch().trace().iter().map(line).collect()
}

fn marked(text: &str, number: usize) -> String {
    let mark = |(n, line): (usize, &str)| format!("{} {line}\n", if n + 1 == number { ">>" } else { "  " });
    text.lines().enumerate().map(mark).collect()
}
