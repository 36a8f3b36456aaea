//! The maps. Sizes here are placeholders where they depend on the configuration: the loader sets them.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, DevMapHash, HashMap, PerCpuArray, RingBuf};
use tandem_ebpf_abi::{Device, Hot, Layout, Locals, Port, Totals};

/// What the packets of established streams need, `slot * ports + place_of(port - first_port)`.
#[map]
pub static STREAMS: Array<Hot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// All else about the ports, in the same order.
#[map]
pub static PORTS: Array<Port> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Sums over all flows.
#[map]
pub static TOTALS: PerCpuArray<Totals> = PerCpuArray::with_max_entries(1, 0);

/// Where a datagram is summed: the kernel sums memory of any length, but of a frame only constant ones.
#[map]
pub static SCRATCH: PerCpuArray<[u32; SCRATCH_WORDS]> = PerCpuArray::with_max_entries(1, 0);

/// Words of [`SCRATCH`]: more than an Ethernet frame.
pub const SCRATCH_WORDS: usize = 512;

/// What user space wants to hear of at once.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Interfaces that serve media, and the VLANs on them.
#[map]
pub static DEVICES: HashMap<u32, Device> = HashMap::with_max_entries(256, 0);

/// The same interfaces for the redirect, by their number.
#[map]
pub static WAYS_OUT: DevMapHash = DevMapHash::with_max_entries(64, 0);

/// What these maps were made for. Not read here: it tells the next loader whether it may take them over.
#[map]
pub static ABI: Array<Layout> = Array::with_max_entries(1, 0);

/// The local media addresses; constant once loaded, so the verifier drops what is not used.
#[unsafe(no_mangle)]
pub static LOCALS: Locals = Locals {
    count: 0,
    first_port: 0,
    ports: 0,
    verify_udp: 0,
    v4: [0; tandem_ebpf_abi::SLOTS_MAX],
    v6: [tandem_ebpf_abi::IpWords::UNSPECIFIED; tandem_ebpf_abi::SLOTS_MAX],
};
