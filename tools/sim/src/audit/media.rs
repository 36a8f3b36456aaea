//! Media on the wire: a packet goes to the other party of its own call, or nowhere.

use std::collections::HashMap;
use std::net::SocketAddr;

use tandem_leg::Now;

use super::Auditor;

/// Who sent which media, in this life of the switch.
#[derive(Debug, Default)]
pub(crate) struct MediaBook {
    /// Device names by the address their media comes from: (call, whose).
    senders: HashMap<SocketAddr, u32>,
}

impl MediaBook {
    pub(crate) fn forget(&mut self) {
        self.senders.clear();
    }
}

/// The 12 bytes of an RTP header.
const HEADER: usize = 12;

/// Which call a packet belongs to: its sound begins with `NAMEcCALL..`, see `Far::rtp`.
fn call_in(bytes: &[u8]) -> Option<u32> {
    let sound = std::str::from_utf8(bytes.get(HEADER..HEADER + 24)?.split(|b| *b == b'/').next()?).ok()?;
    let rest = sound.split_once('c')?.1;
    rest.split('n').next()?.parse().ok()
}

impl Auditor {
    /// A media packet reaches the switch.
    pub fn media_in(&mut self, source: SocketAddr, bytes: &[u8]) {
        self.seen.media_in += 1;
        self.quiet();
        if let Some(call) = call_in(bytes) {
            self.media.senders.insert(source, call);
        }
    }

    /// A media packet leaves the switch: `owner` is the call whose device listens at `to`.
    pub fn media_out(&mut self, now: Now, from: SocketAddr, to: SocketAddr, bytes: &[u8], owner: Option<u32>) {
        self.seen.media_out += 1;
        let of = call_in(bytes);
        if of.is_none() || of != owner {
            self.report("media", of, format!("its packet went to {to}, which is of call {owner:?}"));
        }
        let leased = self.ports.get(&from.port()).map(|call| (self.calls[*call].index, self.calls[*call].is_over()));
        match leased {
            Some((index, false)) if index == of => {}
            // The vendor talks already and the caller has not been told the port yet: his 200 waits for its record.
            None => {}
            Some((index, true)) if index != of => {}
            other => {
                self.report("media", of, format!("its packet left port {} of {other:?} at {:?}", from.port(), now.mono))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::call_in;

    #[test]
    fn a_packet_tells_its_call() {
        let mut packet = vec![0; 12];
        packet.extend_from_slice(b"b2c17n1/3;");
        packet.resize(172, 0xd5);
        assert_eq!(call_in(&packet), Some(17));
        let mut packet = vec![0; 12];
        packet.extend_from_slice(b"a0c4/3;");
        packet.resize(172, 0xd5);
        assert_eq!(call_in(&packet), Some(4));
        assert_eq!(call_in(b"short"), None);
    }
}
