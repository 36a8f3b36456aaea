//! A bar on the terminal while something large is carried or worked on; nothing at all for programs.

use std::io::{IsTerminal, Write, stderr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tandem_control::request;

use crate::client::Client;

/// Columns of the bar itself.
const WIDTH: u64 = 30;

/// Between two looks at how far the switch is.
const LOOK: Duration = Duration::from_millis(200);

/// Draws on the standard error when that is a terminal.
#[derive(Clone, Copy)]
pub(crate) struct Bar {
    on: bool,
}

impl Bar {
    pub(crate) fn new() -> Bar {
        Bar { on: stderr().is_terminal() }
    }

    /// `what`, and how much of it is done.
    pub(crate) fn show(self, what: &str, done: u64, total: u64) {
        if self.on {
            let _ = write!(stderr(), "\r\x1b[K{}", line(what, done, total));
        }
    }

    /// Leaves an empty line for what comes next.
    pub(crate) fn clear(self) {
        if self.on {
            let _ = write!(stderr(), "\r\x1b[K");
        }
    }
}

fn line(what: &str, done: u64, total: u64) -> String {
    if total == 0 {
        return format!("{what} ...");
    }
    let done = done.min(total);
    let filled = done * WIDTH / total;
    let bar: String = (0..WIDTH).map(|at| if at < filled { '#' } else { '.' }).collect();
    format!("{what} [{bar}] {:3} %", done * 100 / total)
}

/// Shows what the switch says of itself until it is dropped.
pub(crate) struct Watch {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Asks over a connection of its own; nothing on anything but a terminal.
    pub(crate) fn begin(client: &Client) -> Watch {
        let over = Arc::new(AtomicBool::new(false));
        let bar = Bar::new();
        let mut client = client.sibling();
        let ended = Arc::clone(&over);
        let thread = bar.on.then(|| {
            std::thread::spawn(move || {
                while !ended.load(Ordering::Relaxed) {
                    // A switch of before this question has no bar.
                    let Ok(progress) = client.ask(request::RatesProgress {}) else { return };
                    if progress.phase != "idle" && !ended.load(Ordering::Relaxed) {
                        bar.show(&progress.phase, progress.done, progress.total);
                    }
                    std::thread::park_timeout(LOOK);
                }
            })
        });
        Watch { over, thread }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
            Bar::new().clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_and_never_overflows() {
        assert_eq!(line("reading", 0, 4), format!("reading [{}]   0 %", ".".repeat(30)));
        assert_eq!(line("reading", 2, 4), format!("reading [{}{}]  50 %", "#".repeat(15), ".".repeat(15)));
        assert_eq!(line("reading", 9, 4), format!("reading [{}] 100 %", "#".repeat(30)));
        assert_eq!(line("reading", 9, 0), "reading ...");
    }
}
