//! Media of a story: packets the parties send, and where the switch sends them on to.

use std::net::SocketAddr;

use super::{PACKET_US, Packet, Story};
use crate::draw::{Row, What};
use crate::heard::media_address;
use crate::script::Step;

impl Story {
    pub(super) fn deliver_media(&mut self, from: SocketAddr, to: SocketAddr, payload: Vec<u8>) {
        let at = self.switch.now().mono;
        let found = self.parties.iter().enumerate().find_map(|(n, p)| {
            let dialog = p.dialogs.iter().rev().find(|d| d.media == Some(to))?;
            Some((n, dialog))
        });
        let Some((party, dialog)) = found else {
            self.problem.get_or_insert(format!("media was sent to {to}, which nobody offered"));
            return;
        };
        let told = dialog.told.iter().rev().find_map(|sdp| media_address(sdp));
        if told != Some(from) {
            let name = &self.parties[party].name;
            self.problem.get_or_insert(format!("media to {name} came from {from}, it was told {told:?}"));
            return;
        }
        self.packets[party].push_back(Packet { from, payload });
        match self.rows.last_mut() {
            Some(Row { what: What::MediaOut(p, n), .. }) if *p == party => *n += 1,
            _ => self.rows.push(Row { at, what: What::MediaOut(party, 1) }),
        }
    }

    /// Sends one packet of the party's stream.
    pub(super) fn packet(
        &mut self,
        party: usize,
        label: &str,
        payload_type: u8,
        from: Option<SocketAddr>,
    ) -> Result<(), String> {
        let at = self.switch.now().mono;
        let dialog = self.dialog(party, label).ok_or("there is no call")?;
        let (own, port, packet) = self.parties[party].rtp(dialog, payload_type)?;
        match self.rows.iter_mut().rev().take(2).find(|r| matches!(r.what, What::MediaIn(p, _) if p == party)) {
            Some(Row { what: What::MediaIn(_, n), .. }) => *n += 1,
            _ => self.rows.push(Row { at, what: What::MediaIn(party, 1) }),
        }
        self.seq += 1;
        self.switch.media(port, from.unwrap_or(own), &packet);
        self.deliver();
        Ok(())
    }

    pub(super) fn say_rtp(&mut self, party: usize, step: &Step) -> Result<u64, String> {
        let (mut packets, mut payload_type, mut from) = (1u32, 8u8, None);
        for word in &step.words[1..] {
            match word.split_once('=') {
                Some(("n", value)) => packets = value.parse().map_err(|_| format!("n={value}"))?,
                Some(("pt", value)) => payload_type = value.parse().map_err(|_| format!("pt={value}"))?,
                Some(("from", value)) => from = Some(value.parse().map_err(|_| format!("from={value}"))?),
                _ => return Err(format!("{word:?}: RTP takes n=, pt=, from=")),
            }
        }
        for _ in 0..packets {
            self.packet(party, &step.label, payload_type, from)?;
        }
        Ok(self.seq)
    }

    pub(super) fn expect_rtp(&mut self, party: usize, step: &Step) -> Result<u64, String> {
        let heard: Vec<Packet> = self.packets[party].drain(..).collect();
        let mut wanted = None;
        for word in &step.words[1..] {
            match word.split_once('=') {
                Some(("n", value)) => wanted = Some(value.parse::<usize>().map_err(|_| format!("n={value}"))?),
                Some(("pt", value)) => {
                    let wrong = heard.iter().map(|p| p.payload[1] & 0x7f).find(|pt| pt.to_string() != value);
                    if let Some(wrong) = wrong {
                        return Err(format!("payload type {value} expected, {wrong} came"));
                    }
                }
                _ => return Err(format!("{word:?}: RTP takes n=, pt=")),
            }
        }
        let fits = wanted.map_or(!heard.is_empty(), |n| n == heard.len());
        if fits { Ok(self.seq) } else { Err(format!("{} packets came", heard.len())) }
    }

    /// A stream of packets, one every 20 ms, each of which must come out on the other side as it went in.
    pub(super) fn stream(
        &mut self,
        from: &(String, String),
        to: &(String, String),
        both: bool,
        packets: u32,
    ) -> Result<(), String> {
        let (a, b) = (self.find(&from.0)?, self.find(&to.0)?);
        self.packets[a].clear();
        self.packets[b].clear();
        for _ in 0..packets {
            let next = self.switch.now().mono.plus_micros(PACKET_US);
            self.advance(next)?;
            self.packet(a, &from.1, 8, None)?;
            if both {
                self.packet(b, &to.1, 8, None)?;
            }
        }
        let passed = |party: usize, sender: usize| -> Result<(), String> {
            let heard = &self.packets[party];
            if heard.len() != packets as usize {
                let name = &self.parties[party].name;
                return Err(format!("{packets} packets were sent to {name}, {} came", heard.len()));
            }
            let sound = format!("{}/", self.parties[sender].name);
            match heard.iter().find(|p| !p.payload[12..].starts_with(sound.as_bytes())) {
                Some(p) => Err(format!("a packet from {} is not what was sent", p.from)),
                None => Ok(()),
            }
        };
        passed(b, a)?;
        if both {
            passed(a, b)?;
        }
        self.packets[a].clear();
        self.packets[b].clear();
        Ok(())
    }
}
