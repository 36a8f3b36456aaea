//! The object file with its maps: loaded, checked against what is pinned, and errors of the kernel given their names.

use std::error::Error as _;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::{fs, io};

use aya::maps::{Array, MapData, MapInfo, MapType};
use aya::programs::{ProgramError, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use tandem_ebpf_abi::{ABI_MARK, ABI_TEXT, ABI_VERSION, Hot, IpWords, Layout, Locals, Port, SLOTS_MAX};

use crate::error::Refusal;
use crate::memory;
use crate::options::Options;

/// The program in the object.
pub(crate) const PROGRAM: &str = "relay";
/// Maps that outlive the process.
const PINNED: [&str; 7] = ["STREAMS", "PORTS", "TOTALS", "EVENTS", "DEVICES", "WAYS_OUT", "ABI"];
/// Lines of the verifier's log that are shown: the last ones name the instruction and the reason.
const LOG_LINES: usize = 12;
/// A layout as aya reads it.
type LayoutBytes = [u8; size_of::<Layout>()];

/// What `options` ask the maps to be.
pub(crate) fn layout_of(options: &Options) -> Result<Layout, Refusal> {
    let locals = locals_of(&options.addresses, &options.ports)?;
    let mut layout = Layout {
        version: ABI_VERSION,
        slots: locals.count,
        first_port: locals.first_port,
        ports: locals.ports,
        addresses: [IpWords::UNSPECIFIED; SLOTS_MAX],
    };
    for (slot, address) in layout.addresses.iter_mut().zip(&options.addresses) {
        *slot = IpWords::from(*address);
    }
    Ok(layout)
}

/// The constants of a program for these addresses and ports.
pub(crate) fn locals_of(addresses: &[IpAddr], ports: &RangeInclusive<u16>) -> Result<Locals, Refusal> {
    let (count, ports_count) = (addresses.len(), ports.len());
    if count == 0 || count > SLOTS_MAX || ports_count == 0 {
        return Err(Refusal::Addresses { count, max: SLOTS_MAX });
    }
    let mut locals = Locals {
        count: count as u32,
        first_port: u32::from(*ports.start()),
        ports: ports_count as u32,
        ..Locals::default()
    };
    for (slot, address) in addresses.iter().enumerate() {
        match address {
            IpAddr::V4(_) => locals.v4[slot] = IpWords::from(*address).0[3],
            IpAddr::V6(_) => locals.v6[slot] = IpWords::from(*address),
        }
    }
    Ok(locals)
}

/// Reads the object file, whole.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    fs::read(path).map_err(|error| Refusal::ObjectMissing { path: path.to_owned(), error })
}

/// Refuses an object that says it was built for another layout. One that says nothing goes on: what it lacks is named then.
fn of_this_version(object: &[u8], path: &Path) -> Result<(), Refusal> {
    let found = object.windows(ABI_TEXT.len()).find(|text| text.starts_with(&ABI_MARK));
    match found {
        Some(text) if text != ABI_TEXT => {
            let version = String::from_utf8_lossy(&text[ABI_MARK.len()..]);
            let version = version.trim().trim_start_matches('0');
            let why =
                format!("it was built for maps of layout version {version}, this switch has version {ABI_VERSION}");
            Err(Refusal::ObjectInvalid { path: path.to_owned(), why })
        }
        _ => Ok(()),
    }
}

/// Loads program and maps; maps that are pinned and fit are taken over, others are made and pinned.
pub(crate) fn load(options: &Options, layout: &Layout, object: &[u8], path: &Path) -> Result<Ebpf, Refusal> {
    of_this_version(object, path)?;
    let pins = options.pins();
    let fresh = match pinned(&pins, layout) {
        Pinned::Fits => false,
        Pinned::Differs(difference) if !options.discard_pins => {
            return Err(Refusal::PinnedDiffers { path: pins, difference });
        }
        Pinned::Differs(_) | Pinned::Unfinished => {
            discard(&pins)?;
            true
        }
    };
    fs::create_dir_all(&pins).map_err(|error| Refusal::NoBpffs { path: pins.clone(), error })?;
    let mut locals = locals_of(&options.addresses, &options.ports)?;
    locals.verify_udp = u32::from(options.verify_udp);
    let entries = layout.slots * layout.ports;
    let mut loader = EbpfLoader::new();
    loader.override_global("LOCALS", memory::bytes_of(&locals), true);
    loader.map_max_entries("STREAMS", entries);
    loader.map_max_entries("PORTS", entries);
    for name in PINNED {
        loader.map_pin_path(name, pins.join(name));
    }
    let mut ebpf = loader.load(object).map_err(|error| refused(error, path))?;
    program(&mut ebpf, path)?.load().map_err(|error| refused(EbpfError::ProgramError(error), path))?;
    if fresh {
        let map = ebpf.map_mut("ABI").ok_or_else(|| missing(path, "the map ABI"))?;
        let mut abi = Array::<_, LayoutBytes>::try_from(map).map_err(|e| kernel("opening the map ABI", &e))?;
        let mut bytes = [0; size_of::<Layout>()];
        bytes.copy_from_slice(memory::bytes_of(layout));
        abi.set(0, bytes, 0).map_err(|e| kernel("writing the layout of the maps", &e))?;
    }
    Ok(ebpf)
}

/// The XDP program of a loaded object.
pub(crate) fn program<'a>(ebpf: &'a mut Ebpf, path: &Path) -> Result<&'a mut Xdp, Refusal> {
    let program = ebpf.program_mut(PROGRAM).ok_or_else(|| missing(path, "the program"))?;
    program.try_into().map_err(|_| missing(path, "an XDP program of that name"))
}

/// What there is of an earlier start.
enum Pinned {
    /// The maps that are wanted.
    Fits,
    /// Maps of another version or configuration; how they differ.
    Differs(String),
    /// Nothing, or what a start has left that did not come to its end: no streams are in it.
    Unfinished,
}

/// Compares what is pinned with what is wanted.
fn pinned(pins: &Path, wanted: &Layout) -> Pinned {
    let Ok(abi) = MapData::from_pin(pins.join("ABI")) else {
        // Every start that came to its end has pinned and written it.
        return Pinned::Unfinished;
    };
    let Some(bytes) = first_value(&abi) else {
        return Pinned::Differs(format!("no version can be read from it, where this is version {ABI_VERSION}"));
    };
    // Whatever the layout, its version is the first word.
    let version = bytes.first_chunk().map_or(0, |word| u32::from_ne_bytes(*word));
    if version == 0 {
        return Pinned::Unfinished;
    }
    if version != wanted.version {
        return Pinned::Differs(format!("layout version {version} where this is version {}", wanted.version));
    }
    match memory::from_bytes::<Layout>(&bytes) {
        Some(layout) if layout == *wanted => {}
        Some(layout) => return Pinned::Differs(difference(&layout, wanted)),
        None => return Pinned::Differs(format!("layout version {version}, but of {} bytes", bytes.len())),
    }
    let entries = wanted.slots * wanted.ports;
    for (name, value) in [("STREAMS", size_of::<Hot>() as u32), ("PORTS", size_of::<Port>() as u32)] {
        let found = MapInfo::from_pin(pins.join(name)).ok().map(|info| (info.value_size(), info.max_entries()));
        if found != Some((value, entries)) {
            let (found, wanted) = (found.unwrap_or_default(), (value, entries));
            return Pinned::Differs(format!(
                "the map {name} has {} entries of {} bytes where {} of {} are wanted",
                found.1, found.0, wanted.1, wanted.0
            ));
        }
    }
    Pinned::Fits
}

/// Entry 0 of an array, whatever its size; `None` for other maps.
fn first_value(map: &MapData) -> Option<Vec<u8>> {
    let info = map.info().ok()?;
    let is_array = matches!(info.map_type(), Ok(MapType::Array));
    is_array.then(|| memory::array_value(map.fd().as_fd(), info.value_size() as usize).ok()).flatten()
}

/// Removes all pins: links end, and with them the streams.
pub(crate) fn discard(pins: &Path) -> Result<(), Refusal> {
    match fs::remove_dir_all(pins) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Refusal::NoCapability { what: "removing old pins" })
        }
        Err(error) => Err(kernel("removing old pins", &error)),
    }
}

fn difference(pinned: &Layout, wanted: &Layout) -> String {
    let ports = |l: &Layout| format!("{}-{}", l.first_port, l.first_port + l.ports - 1);
    if (pinned.first_port, pinned.ports) != (wanted.first_port, wanted.ports) {
        return format!("ports {} where {} are configured", ports(pinned), ports(wanted));
    }
    let list = |l: &Layout| {
        let addresses = l.addresses.iter().take(l.slots as usize);
        addresses.map(|a| IpAddr::from(*a).to_string()).collect::<Vec<_>>().join(" ")
    };
    format!("addresses {} where {} are configured", list(pinned), list(wanted))
}

/// An object that lacks a part.
pub(crate) fn missing(path: &Path, what: &str) -> Refusal {
    Refusal::ObjectInvalid { path: path.to_owned(), why: format!("{what} is missing") }
}

/// A refusal without a better name.
pub(crate) fn kernel(what: &str, error: &dyn std::error::Error) -> Refusal {
    Refusal::Kernel { what: what.to_owned(), error: chain(error) }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// The errno at the bottom of an error.
pub(crate) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return io.raw_os_error();
        }
        at = error.source();
    }
    None
}

/// Why the kernel, or the loader, did not take an object.
pub(crate) fn refused(error: EbpfError, path: &Path) -> Refusal {
    if matches!(errno(&error), Some(libc::EPERM)) {
        return Refusal::NoCapability { what: "loading a kernel program" };
    }
    match error {
        EbpfError::ProgramError(ProgramError::LoadError { io_error, verifier_log }) => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().filter(|line| !line.trim().is_empty()).collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
            Refusal::Verifier { error: io_error, log: last }
        }
        EbpfError::BtfError(error) if !Path::new("/sys/kernel/btf/vmlinux").exists() => {
            Refusal::NoBtf { why: error.to_string() }
        }
        EbpfError::ParseError(_)
        | EbpfError::RelocationError(_)
        | EbpfError::BtfRelocationError(_)
        | EbpfError::NoBTF
        | EbpfError::BtfError(_) => {
            let source = error.source().map(|s| format!(": {s}")).unwrap_or_default();
            Refusal::ObjectInvalid { path: path.to_owned(), why: format!("{error}{source}") }
        }
        other => kernel("loading the kernel program", &other),
    }
}
