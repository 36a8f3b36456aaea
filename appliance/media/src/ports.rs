//! Leases of local media ports of one media address, for one shard (media.md 2).
//!
//! A port goes around: free -> opening -> ready -> leased -> lingering -> free. The shard opens and closes the sockets;
//! this table only says which. Free ports wait in a queue, longest-free first, that starts in random order so that the
//! next port cannot be guessed after a restart.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// Opened ports kept ahead of demand: 32 calls may start between two turns of the shard's housekeeping. Fewer and a burst
/// waits for `bind`; more are sockets that hold memory for nothing.
pub const READY_STOCK: usize = 64;
/// A returned port keeps its socket this long, so that late packets are swallowed and not answered with ICMP
/// (media.md 2).
pub const LINGER_US: u64 = 2_000_000;
/// A port found busy is tried again after this time.
pub const BUSY_RETRY_US: u64 = 60_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Opening,
    Ready,
    Leased,
    Lingering,
    Busy,
    Excluded,
}

/// How many ports are in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PortCounts {
    /// Waiting, without a socket.
    pub free: usize,
    /// Being opened by the shard.
    pub opening: usize,
    /// Opened, waiting for a call.
    pub ready: usize,
    /// Used by a call.
    pub leased: usize,
    /// Returned, socket still open.
    pub lingering: usize,
    /// Taken by somebody else on this machine.
    pub busy: usize,
}

/// The ports of one shard on one media address.
#[derive(Debug)]
pub struct Ports {
    first: u16,
    state: Vec<State>,
    free: VecDeque<u16>,
    ready: VecDeque<u16>,
    /// Ends of the linger time, in order.
    lingering: VecDeque<(u64, u16)>,
    /// Retry times, in order.
    busy: VecDeque<(u64, u16)>,
    opening: usize,
    leased: usize,
}

impl Ports {
    /// All ports of `range`, in an order that `seed` decides.
    pub fn new(range: RangeInclusive<u16>, seed: u64) -> Ports {
        Ports::without(range, seed, &[])
    }

    /// As [`Ports::new`], but never the ports of `excluded`: the kernel's reserved ones.
    pub fn without(range: RangeInclusive<u16>, seed: u64, excluded: &[RangeInclusive<u16>]) -> Ports {
        let first = *range.start();
        let mut state = vec![State::Free; range.clone().count()];
        let mut order: Vec<u16> = Vec::with_capacity(state.len());
        for port in range {
            if excluded.iter().any(|e| e.contains(&port)) {
                state[usize::from(port - first)] = State::Excluded;
            } else {
                order.push(port);
            }
        }
        shuffle(&mut order, seed);
        Ports {
            first,
            state,
            free: order.into(),
            ready: VecDeque::new(),
            lingering: VecDeque::new(),
            busy: VecDeque::new(),
            opening: 0,
            leased: 0,
        }
    }

    /// A port that the shard shall open now, until the stock is full ([`READY_STOCK`]) or nothing is free. Answer each
    /// with [`Ports::opened`].
    pub fn want_open(&mut self) -> Option<u16> {
        if self.ready.len() + self.opening >= READY_STOCK {
            return None;
        }
        let port = self.free.pop_front()?;
        self.set(port, State::Free, State::Opening);
        self.opening += 1;
        Some(port)
    }

    /// The shard tried to open `port`. With `ok` false somebody else has it: it is counted and tried again in a minute.
    ///
    /// For a port that was leased while its socket was being opened ([`Ports::adopt`]) nothing changes.
    pub fn opened(&mut self, now_us: u64, port: u16, ok: bool) {
        if port.checked_sub(self.first).and_then(|at| self.state.get(usize::from(at))) == Some(&State::Leased) {
            return;
        }
        if ok {
            if self.set(port, State::Opening, State::Ready) {
                self.opening -= 1;
                self.ready.push_back(port);
            }
        } else if self.set(port, State::Opening, State::Busy) {
            self.opening -= 1;
            self.busy.push_back((now_us + BUSY_RETRY_US, port));
        }
    }

    /// A ready port for one side of a call; `None` when there is none: end reason "Media Resource Exhausted".
    pub fn lease(&mut self) -> Option<u16> {
        let port = self.ready.pop_front()?;
        self.set(port, State::Ready, State::Leased);
        self.leased += 1;
        Some(port)
    }

    /// Leases `port` to a call that goes on after a restart. `None` when it is outside the range or not free any more; else
    /// whether its socket is still to be opened, which is then the shard's business.
    pub fn adopt(&mut self, port: u16) -> Option<bool> {
        let state = port.checked_sub(self.first).and_then(|at| self.state.get_mut(usize::from(at)))?;
        let open = match *state {
            State::Free => {
                self.free.retain(|free| *free != port);
                true
            }
            State::Opening => {
                self.opening -= 1;
                false
            }
            State::Ready => {
                self.ready.retain(|ready| *ready != port);
                false
            }
            State::Leased | State::Lingering | State::Busy | State::Excluded => return None,
        };
        *state = State::Leased;
        self.leased += 1;
        Some(open)
    }

    /// The call on `port` ended. Returning a port twice is our own bug: asserted in debug builds, ignored otherwise.
    pub fn release(&mut self, now_us: u64, port: u16) {
        if self.set(port, State::Leased, State::Lingering) {
            self.leased -= 1;
            self.lingering.push_back((now_us + LINGER_US, port));
        }
    }

    /// A port whose linger time is over: the shard closes its socket, the port is free. Drain it.
    pub fn poll_close(&mut self, now_us: u64) -> Option<u16> {
        self.retry_busy(now_us);
        let (_, port) = *self.lingering.front().filter(|(due, _)| *due <= now_us)?;
        self.lingering.pop_front();
        self.set(port, State::Lingering, State::Free);
        self.free.push_back(port);
        Some(port)
    }

    /// When [`Ports::poll_close`] has something to do.
    pub fn next_timeout(&self) -> Option<u64> {
        let linger = self.lingering.front().map(|(due, _)| *due);
        let busy = self.busy.front().map(|(due, _)| *due);
        linger.into_iter().chain(busy).min()
    }

    /// How many ports are where.
    pub fn counts(&self) -> PortCounts {
        PortCounts {
            free: self.free.len(),
            opening: self.opening,
            ready: self.ready.len(),
            leased: self.leased,
            lingering: self.lingering.len(),
            busy: self.busy.len(),
        }
    }

    /// Ports in use, in hundredths of those that can be used; an alarm is due at 90 (media.md 2).
    pub fn used_percent(&self) -> u8 {
        let counts = self.counts();
        let usable = self.state.len() - counts.busy;
        match (counts.leased + counts.lingering) * 100 {
            0 => 0,
            used => (used / usable.max(1)).min(100) as u8,
        }
    }

    fn retry_busy(&mut self, now_us: u64) {
        while let Some(&(due, port)) = self.busy.front() {
            if due > now_us {
                break;
            }
            self.busy.pop_front();
            self.set(port, State::Busy, State::Free);
            self.free.push_back(port);
        }
    }

    /// Moves `port` from one state to the next; false, and a debug assertion, when it is not where it should be.
    fn set(&mut self, port: u16, from: State, to: State) -> bool {
        let state = port.checked_sub(self.first).and_then(|at| self.state.get_mut(usize::from(at)));
        match state {
            Some(state) if *state == from => {
                *state = to;
                true
            }
            other => {
                debug_assert!(false, "port {port} is {other:?}, not {from:?}");
                false
            }
        }
    }
}

/// Fisher-Yates with splitmix64: no quality needed but "not in order".
fn shuffle(order: &mut [u16], seed: u64) {
    let mut state = seed;
    for last in (1..order.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        order.swap(last, (z % (last as u64 + 1)) as usize);
    }
}
