//! Whether the kernel gives SIP datagrams to the shard of their call, and why not.
//!
//! A short cut: what comes to another shard all the same is handed over once, and the counter `sip_handed_over` tells how
//! often. Each shard puts its own sockets into the program, when it opens them and when it opens them again.

use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use tandem_datapath::{Refusal, SteeringOptions};

use crate::config::{Config, SteeringMode};
use crate::log;

/// The object file among the kernel programs.
const OBJECT: &str = "steer.o";

/// See the module text.
#[derive(Debug)]
pub struct Steering {
    program: Option<tandem_datapath::Steering>,
    /// Why not all of it is steered; the last reason.
    refused: Mutex<Option<String>>,
}

impl Steering {
    /// Loads the program if there is something to steer. Never fails: without it shards hand over.
    pub fn start(config: &Config, key: (u64, u64)) -> Steering {
        let refused = |why: &str| Steering { program: None, refused: Mutex::new(Some(why.to_owned())) };
        if config.threads.shards < 2 {
            return refused("one shard needs none");
        }
        if config.threads.steering == SteeringMode::Off {
            return refused("threads.steering");
        }
        let options = SteeringOptions {
            object: kernel_programs(config).join(OBJECT),
            listeners: config.listen.len(),
            shards: config.threads.shards as u8,
            key,
        };
        match tandem_datapath::Steering::load(&options) {
            Ok(program) => Steering { program: Some(program), refused: Mutex::new(None) },
            Err(refusal) => {
                let why = told(&refusal);
                log::warning(&format!("the kernel does not give SIP to the shard of its call: {why}"));
                refused(&why)
            }
        }
    }

    /// Puts the socket of a shard on a listener in its place.
    pub fn join(&self, listener: usize, shard: u8, socket: BorrowedFd<'_>) {
        let Some(program) = &self.program else { return };
        if let Err(refusal) = program.join(listener, shard, socket) {
            let why = told(&refusal);
            log::warning(&why);
            *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        }
    }

    /// `on`, or why not, or how far.
    pub fn status(&self) -> String {
        let refused = || self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone().unwrap_or_default();
        match self.program.as_ref().map(tandem_datapath::Steering::missing) {
            Some(0) => "on".to_owned(),
            Some(missing) => format!("on, but not for {missing} sockets: {}", refused()),
            None => format!("off: {}", refused()),
        }
    }
}

/// A refusal with its cure, in one line.
pub fn told(refusal: &Refusal) -> String {
    format!("{refusal}; {}", refusal.cure()).replace('\n', " | ")
}

/// The folder of the kernel programs: the configured one, else beside this program, else where `cargo xtask ebpf` puts them.
pub fn kernel_programs(config: &Config) -> PathBuf {
    if let Some(folder) = &config.kernel_programs {
        return folder.clone();
    }
    let beside = std::env::current_exe().ok().and_then(|exe| exe.parent().map(PathBuf::from)).unwrap_or_default();
    if beside.join(OBJECT).exists() { beside } else { beside.join("../ebpf") }
}
