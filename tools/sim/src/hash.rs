//! A running hash of everything that happens: two runs of one seed must end with the same one.

/// FNV-1a over 64 bits: order matters, and it is the same in every build and on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventHash(u64);

impl Default for EventHash {
    fn default() -> Self {
        EventHash(0xcbf2_9ce4_8422_2325)
    }
}

impl EventHash {
    /// Adds one event: its kind, when, and what belongs to it.
    pub fn add(&mut self, kind: u8, at_us: u64, bytes: &[u8]) {
        self.bytes(&[kind]);
        self.bytes(&at_us.to_le_bytes());
        self.bytes(&(bytes.len() as u64).to_le_bytes());
        self.bytes(bytes);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The value so far.
    pub fn value(self) -> u64 {
        self.0
    }
}
