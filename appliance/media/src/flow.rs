//! What the fast path is told. The same commands go to the user-space table and, later, to the maps of the XDP program.

pub use tandem_ebpf_abi::{FlowKey, FlowValue, RemoveReason};

/// One change of the fast path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // Drained at once and copied into a map; boxing would allocate on that way.
pub enum FlowCommand {
    /// Writes the entry of `key`. If there was one, it is replaced in one step and its counters go on.
    Install {
        /// Which port.
        key: FlowKey,
        /// What to do there.
        value: FlowValue,
    },
    /// Deletes the entry of `key`; its counters are final then.
    Remove {
        /// Which port.
        key: FlowKey,
        /// Why.
        reason: RemoveReason,
    },
}

impl FlowCommand {
    /// The entry this command is about.
    pub fn key(&self) -> FlowKey {
        match self {
            FlowCommand::Install { key, .. } | FlowCommand::Remove { key, .. } => *key,
        }
    }
}
