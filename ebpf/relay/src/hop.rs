//! Where a packet leaves. The kernel's own tables are asked once a second and flow; the answer is kept beside the flow.

use aya_ebpf::helpers::generated::bpf_fib_lookup;
use aya_ebpf::programs::XdpContext;
use tandem_ebpf_abi::{FlowValue, Hop, PuntReason};

use crate::maps::{DEVICES, TOTALS};

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const PROTOCOL_UDP: u8 = 17;
/// Number of the loopback interface, the same in every network namespace. Asked as if the packet began here, which it
/// does: that takes the routes of local senders, and needs forwarding switched on for loopback alone.
const LOOPBACK: u32 = 1;
const FIB_SUCCESS: i64 = 0;
const FIB_NO_NEIGHBOUR: i64 = 7;
const FIB_FRAGMENTATION_NEEDED: i64 = 8;

/// `struct bpf_fib_lookup` of the kernel's interface, without its unions.
#[repr(C)]
struct Question {
    family: u8,
    protocol: u8,
    source_port: u16,
    dest_port: u16,
    /// Length of the packet; the MTU of the way comes back here.
    length: u16,
    ifindex: u32,
    tos: u32,
    source: [u32; 4],
    dest: [u32; 4],
    vlan_protocol: u16,
    vlan: u16,
    /// Source, then destination address of the link layer.
    macs: [u16; 6],
}

const _: () = assert!(size_of::<Question>() == 64);

/// What is asked for, besides the flow.
#[derive(Clone, Copy)]
pub struct Wanted(u64);

impl Wanted {
    #[inline(always)]
    pub fn new(v4: bool, rtcp: bool, length: u32, now: u32) -> Wanted {
        Wanted(v4 as u64 | (rtcp as u64) << 1 | ((length & 0xffff) as u64) << 16 | (now as u64) << 32)
    }

    /// When it is asked, in the unit of [`Hop::asked`].
    #[inline(always)]
    pub fn second(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Asks for the way of the packets of `flow`, and writes it to `hop` for the flow's `version`. 0, or a
/// [`PuntReason`] plus one.
#[inline(never)]
pub fn ask(ctx: &XdpContext, flow: &FlowValue, hop: &mut Hop, wanted: Wanted, version: u32) -> u32 {
    if let Some(totals) = TOTALS.get_ptr_mut(0) {
        // SAFETY: one set per CPU.
        unsafe { (*totals).hop_lookups += 1 };
    }
    let (v4, rtcp, length) = (wanted.0 & 1 != 0, wanted.0 & 2 != 0, (wanted.0 >> 16) as u16);
    // Not the copy that the packet is judged by: if the owner changes the flow just now, its version will differ, too.
    let dest = if rtcp { &flow.rtcp_dest_ip } else { &flow.out_dest_ip };
    let mut question = Question {
        family: if v4 { AF_INET } else { AF_INET6 },
        protocol: PROTOCOL_UDP,
        // Ports choose among several equal ways; the packets of one call shall keep theirs.
        source_port: flow.out_source_port.to_be(),
        dest_port: flow.out_dest_port.to_be(),
        length,
        ifindex: LOOPBACK,
        tos: if v4 { u32::from(flow.tos & 0xfc) } else { 0 },
        source: if v4 { [flow.out_source_ip.0[3], 0, 0, 0] } else { flow.out_source_ip.0 },
        dest: if v4 { [dest.0[3], 0, 0, 0] } else { dest.0 },
        vlan_protocol: 0,
        vlan: 0,
        macs: [0; 6],
    };
    // SAFETY: the structure has the size and layout the helper is told; the verifier checks the pointers.
    let answer = unsafe { bpf_fib_lookup(ctx.ctx.cast(), (&raw mut question).cast(), size_of::<Question>() as i32, 0) };
    match answer {
        FIB_SUCCESS => {}
        FIB_NO_NEIGHBOUR => return refused(PuntReason::NoNeighbour),
        FIB_FRAGMENTATION_NEEDED => return refused(PuntReason::TooLong),
        // Unreachable, prohibited, local, or forwarding is off for loopback: the loader sees to the last.
        _ => return refused(PuntReason::NoRoute),
    }
    // SAFETY: entries are only ever replaced whole by the loader; a torn pair of words would name an interface that the
    // redirect then does not find.
    let Some(device) = (unsafe { DEVICES.get(&question.ifindex) }) else {
        return refused(PuntReason::NoRoute);
    };
    let [s0, s1, s2, d0, d1, d2] = question.macs.map(u32::from);
    hop.ifindex = device.ifindex;
    hop.vlan = device.vlan as u16;
    hop.mtu = question.length;
    hop.macs = if cfg!(target_endian = "little") {
        [d0 | d1 << 16, d2 | s0 << 16, s1 | s2 << 16]
    } else {
        [d0 << 16 | d1, d2 << 16 | s0, s1 << 16 | s2]
    };
    hop.asked = wanted.second();
    hop.version = version;
    0
}

#[inline(always)]
fn refused(reason: PuntReason) -> u32 {
    reason as u32 + 1
}
