//! Whether the media that the kernel leaves to user space comes by one socket a shard, and why not.
//!
//! Otherwise every leased port has a socket of its own. Each shard opens its sockets itself and gives them to the program.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use tandem_datapath::{PuntOptions, Punts};

use crate::config::{Config, SocketsMode};
use crate::log;
use crate::steering::{kernel_programs, told};

/// The object file among the kernel programs.
const OBJECT: &str = "punts.o";

/// See the module text.
#[derive(Debug)]
pub struct OneSocket {
    program: Option<Arc<Punts>>,
    /// Why there is none, or what a shard said that cannot use it; the last reason.
    refused: Mutex<Option<String>>,
}

impl OneSocket {
    /// Loads and attaches the program, when it is wanted. Never fails: without it every port has a socket.
    pub fn start(config: &Config, ports: RangeInclusive<u16>, kernel_relays: bool) -> OneSocket {
        let refused = |why: String| OneSocket { program: None, refused: Mutex::new(Some(why)) };
        match config.media.sockets {
            SocketsMode::Port => return refused("media.sockets".to_owned()),
            // What binds a port is known to others on this machine; here it would be known to nobody, so only where
            // interfaces are ours.
            SocketsMode::Auto if !kernel_relays => return refused("user space relays".to_owned()),
            SocketsMode::Auto | SocketsMode::Shared => {}
        }
        let options = PuntOptions {
            object: kernel_programs(config).join(OBJECT),
            addresses: config.media.addresses().collect(),
            ports,
            shards: config.threads.shards as u8,
        };
        match Punts::attach(&options) {
            Ok(program) => OneSocket { program: Some(Arc::new(program)), refused: Mutex::new(None) },
            Err(refusal) => {
                let why = told(&refusal);
                log::warning(&format!("media: every port has a socket of its own: {why}"));
                refused(why)
            }
        }
    }

    /// The program, when there is one.
    pub fn program(&self) -> Option<&Arc<Punts>> {
        self.program.as_ref()
    }

    /// A shard cannot use it and opens a socket for every port.
    pub fn refuse(&self, shard: u8, why: &str) {
        let why = format!("shard {shard}: {why}");
        log::warning(&format!("media: every port has a socket of its own, {why}"));
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
    }

    /// `one socket a shard`, or `a socket a port: ` and why.
    pub fn status(&self) -> String {
        match &*self.refused.lock().unwrap_or_else(PoisonError::into_inner) {
            None => "one socket a shard".to_owned(),
            Some(why) => format!("a socket a port: {why}"),
        }
    }
}
