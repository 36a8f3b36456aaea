//! SIP datagrams to the shard of their call: a program for the sockets that share a listener's port.
//!
//! Every shard has a socket on the port; the program finds the Call-ID and chooses the one of its home shard. It is a
//! short cut: without it the kernel spreads datagrams by address and port of their sender, and shards hand over what is
//! another's. Nothing is pinned; it ends with the last socket of the port.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use aya::maps::{MapData, ReusePortSockArray};
use aya::programs::SkReuseport;
use aya::{Ebpf, EbpfError, EbpfLoader};

use crate::error::Refusal;
use crate::object::{errno, kernel, missing, read, refused};

/// The program in the object.
const PROGRAM: &str = "steer";

/// What to steer.
#[derive(Clone, Debug)]
pub struct SteeringOptions {
    /// The object file (`cargo xtask ebpf` makes `target/ebpf/steer.o`).
    pub object: PathBuf,
    /// Ports that the shards share, each with a socket a shard.
    pub listeners: usize,
    /// Shards.
    pub shards: u8,
    /// Key of the hash of Call-IDs that are not ours: the one that the shards use.
    pub key: (u64, u64),
}

/// The programs, one for each listener, loaded. Every thread may use it; what it does is rare.
///
/// Dropping it leaves the programs with the sockets that they are attached to.
pub struct Steering {
    groups: Mutex<Vec<Group>>,
    shards: u8,
}

/// The sockets of one port.
struct Group {
    ebpf: Ebpf,
    sockets: ReusePortSockArray<MapData>,
    /// Shards whose socket is in the array.
    joined: Vec<bool>,
}

impl fmt::Debug for Steering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steering").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl Steering {
    /// Loads the program for every listener. Sockets come one by one: [`Steering::join`].
    ///
    /// # Errors
    /// Why it cannot be; the shards then hand over.
    pub fn load(options: &SteeringOptions) -> Result<Steering, Refusal> {
        let object = read(&options.object)?;
        let groups: Result<_, _> = (0..options.listeners).map(|_| load(options, &object)).collect();
        Ok(Steering { groups: Mutex::new(groups?), shards: options.shards })
    }

    /// Puts the socket of a shard in its place, instead of an earlier one, and has the program choose for its port.
    /// The socket is bound with `SO_REUSEPORT`.
    ///
    /// # Errors
    /// What the kernel did not take. The sockets that joined before are steered to; for this shard the others hand over.
    pub fn join(&self, listener: usize, shard: u8, socket: BorrowedFd<'_>) -> Result<(), Refusal> {
        let mut groups = self.groups();
        let Some(group) = groups.get_mut(listener).filter(|group| usize::from(shard) < group.joined.len()) else {
            let error = "it has no place in the program".to_owned();
            return Err(Refusal::NotSteered { listener, shard, error });
        };
        let not_steered = |error: &(dyn std::error::Error + 'static)| match errno(error) {
            Some(libc::EPERM) => Refusal::NoCapability { what: "steering a socket" },
            _ => Refusal::NotSteered { listener, shard, error: crate::object::chain(error) },
        };
        group.joined[usize::from(shard)] = false;
        group.sockets.set(shard.into(), &socket, 0).map_err(|error| not_steered(&error))?;
        let program = program(&mut group.ebpf, Path::new(PROGRAM))?;
        // Attached anew with every socket: the group may have ended with its last one and begun again.
        program.attach(socket.as_fd()).map_err(|error| not_steered(&error))?;
        group.joined[usize::from(shard)] = true;
        Ok(())
    }

    /// Sockets that are not steered to, of all listeners and shards: 0 when everything is.
    pub fn missing(&self) -> usize {
        self.groups().iter().flat_map(|group| &group.joined).filter(|joined| !**joined).count()
    }

    /// Instructions of the program after the verifier, and how many it looked at.
    pub fn instructions(&self) -> (u32, u32) {
        let mut groups = self.groups();
        let Some(group) = groups.first_mut() else { return (0, 0) };
        let info = program(&mut group.ebpf, Path::new(PROGRAM)).ok().and_then(|program| program.info().ok());
        let translated = info.as_ref().and_then(|info| info.size_translated()).unwrap_or(0) / 8;
        (translated, info.and_then(|info| info.verified_instruction_count()).unwrap_or(0))
    }

    fn groups(&self) -> MutexGuard<'_, Vec<Group>> {
        // Nothing in here is left half-changed by a panic.
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn load(options: &SteeringOptions, object: &[u8]) -> Result<Group, Refusal> {
    let path = &options.object;
    let constants = [options.key.0, options.key.1, u64::from(options.shards)];
    let mut loader = EbpfLoader::new();
    loader.override_global("STEERING", &constants, true);
    loader.map_max_entries("SOCKETS", options.shards.into());
    let mut ebpf = loader.load(object).map_err(|error| refused(error, path))?;
    program(&mut ebpf, path)?.load().map_err(|error| refused(EbpfError::ProgramError(error), path))?;
    let sockets = ebpf.take_map("SOCKETS").ok_or_else(|| missing(path, "the map SOCKETS"))?;
    let sockets = ReusePortSockArray::try_from(sockets).map_err(|error| kernel("opening the map SOCKETS", &error))?;
    Ok(Group { ebpf, sockets, joined: vec![false; options.shards.into()] })
}

fn program<'a>(ebpf: &'a mut Ebpf, path: &Path) -> Result<&'a mut SkReuseport, Refusal> {
    let program = ebpf.program_mut(PROGRAM).ok_or_else(|| missing(path, "the program"))?;
    program.try_into().map_err(|_| missing(path, "a program that chooses sockets"))
}
