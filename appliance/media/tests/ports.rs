//! Leases on virtual time: no port is ever in two calls, and every port comes back.

use std::collections::HashSet;

use proptest::prelude::*;
use tandem_ebpf_abi::FlowKey;
use tandem_media::PortPool;
use tandem_media::ports::{BUSY_RETRY_US, LINGER_US, PortCounts, Ports, READY_STOCK};

fn open_all(ports: &mut Ports, now: u64) {
    while let Some(port) = ports.want_open() {
        ports.opened(now, port, true);
    }
}

/// Both sides of a call.
fn pair(ports: &mut Ports) -> Option<(u16, u16)> {
    Some((ports.lease()?, ports.lease()?))
}

#[test]
fn a_port_comes_back_after_its_linger_time() {
    let mut ports = Ports::new(10_000..=10_001, 1);
    assert_eq!(pair(&mut ports), None, "nothing is open yet");
    open_all(&mut ports, 0);
    let (a, b) = pair(&mut ports).unwrap();
    assert_ne!(a, b);
    assert_eq!(pair(&mut ports), None);
    assert_eq!(ports.used_percent(), 100);
    ports.release(1_000, a);
    ports.release(2_000, b);
    assert_eq!(ports.next_timeout(), Some(1_000 + LINGER_US));
    assert_eq!(ports.poll_close(1_000 + LINGER_US - 1), None);
    assert_eq!(ports.want_open(), None, "a lingering port is not free");
    assert_eq!(ports.poll_close(1_000 + LINGER_US), Some(a));
    assert_eq!(ports.poll_close(1_000 + LINGER_US), None);
    assert_eq!(ports.poll_close(2_000 + LINGER_US), Some(b));
    open_all(&mut ports, 0);
    assert_eq!(pair(&mut ports), Some((a, b)), "longest free first");
}

#[test]
fn a_stock_is_kept_open_ahead() {
    let mut ports = Ports::new(10_000..=39_999, 7);
    open_all(&mut ports, 0);
    assert_eq!(ports.counts().ready, READY_STOCK);
    pair(&mut ports).unwrap();
    open_all(&mut ports, 0);
    let counts = ports.counts();
    assert_eq!((counts.ready, counts.leased), (READY_STOCK, 2));
    assert_eq!(counts.free, 30_000 - READY_STOCK - 2);
}

#[test]
fn the_whole_default_range_carries_fifteen_thousand_calls() {
    let mut ports = Ports::new(10_000..=39_999, 7);
    let mut seen = HashSet::new();
    for call in 0..15_000 {
        open_all(&mut ports, 0);
        let (a, b) = pair(&mut ports).unwrap_or_else(|| panic!("call {call}"));
        assert!(seen.insert(a) && seen.insert(b));
    }
    open_all(&mut ports, 0);
    assert_eq!(pair(&mut ports), None);
}

#[test]
fn a_busy_port_is_skipped_and_tried_again_later() {
    let mut ports = Ports::new(10_000..=10_002, 3);
    let taken = ports.want_open().unwrap();
    ports.opened(5, taken, false);
    open_all(&mut ports, 5);
    assert_eq!(ports.counts(), PortCounts { ready: 2, busy: 1, ..PortCounts::default() });
    let (a, b) = pair(&mut ports).unwrap();
    assert!(a != taken && b != taken);
    assert_eq!(ports.want_open(), None);
    assert_eq!(ports.next_timeout(), Some(5 + BUSY_RETRY_US));
    assert_eq!(ports.poll_close(5 + BUSY_RETRY_US), None);
    assert_eq!(ports.want_open(), Some(taken));
}

#[test]
fn the_order_is_the_seeds_and_excluded_ports_never_come() {
    let first = |seed| {
        let mut ports = Ports::without(10_000..=10_099, seed, &[10_010..=10_019, 10_099..=10_200]);
        std::iter::from_fn(move || {
            let port = ports.want_open()?;
            ports.opened(0, port, true);
            Some(port)
        })
        .collect::<Vec<_>>()
    };
    assert_eq!(first(1), first(1));
    assert_ne!(first(1), first(2));
    assert!(first(1).iter().all(|p| !(10_010..=10_019).contains(p) && *p != 10_099));
}

#[test]
fn addresses_are_leased_evenly_and_each_has_the_whole_range() {
    let mut pool = PortPool::new(&(10_000..=10_003), &[1, 2, 3], &[]);
    let open = |pool: &mut PortPool| {
        while let Some(key) = pool.want_open() {
            pool.opened(0, key, true);
        }
    };
    open(&mut pool);
    let mut seen = HashSet::new();
    for n in 0..8 {
        let key = pool.lease(&[0, 2]).unwrap();
        assert_eq!(key.slot, [0, 2][n % 2], "in turns");
        assert!(seen.insert(key));
    }
    assert_eq!(pool.lease(&[0, 2]), None, "both are used up");
    assert_eq!(pool.used_percent(), 100);
    let other = pool.lease(&[1]).unwrap();
    assert_eq!(other.slot, 1);
    assert_eq!(pool.lease(&[]), None);
    assert_eq!(pool.lease(&[9]), None, "there is no such address");
    let leased: Vec<usize> = pool.counts().map(|counts| counts.leased).collect();
    assert_eq!(leased, [4, 1, 4]);
    let gone = FlowKey::new(2, 10_001);
    pool.release(7, gone);
    assert_eq!(pool.next_timeout(), Some(7 + LINGER_US));
    assert_eq!(pool.poll_close(7 + LINGER_US), Some(gone));
    assert_eq!(pool.poll_close(7 + LINGER_US), None);
    assert_eq!(pool.adopt(gone), Some(true), "its socket is to be opened");
    assert_eq!(pool.adopt(FlowKey::new(3, 10_001)), None);
}

#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "is Some(Lingering), not Leased")]
fn a_lease_returned_twice_is_our_bug() {
    let mut ports = Ports::new(10_000..=10_001, 1);
    open_all(&mut ports, 0);
    let (a, _) = pair(&mut ports).unwrap();
    ports.release(0, a);
    ports.release(0, a);
}

#[derive(Clone, Debug)]
enum Step {
    Open(bool),
    Lease,
    Release(usize),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => any::<bool>().prop_map(Step::Open),
        3 => Just(Step::Lease),
        3 => any::<usize>().prop_map(Step::Release),
        2 => (0..3 * LINGER_US).prop_map(Step::Wait),
        1 => Just(Step::Wait(BUSY_RETRY_US)),
    ]
}

proptest! {
    #[test]
    fn leases_never_overlap_and_no_port_is_lost(
        seed: u64, size in 1u16..40, steps in proptest::collection::vec(step(), 1..300),
    ) {
        let mut ports = Ports::new(20_000..=20_000 + size - 1, seed);
        let (mut now, mut live, mut sockets) = (1u64, Vec::new(), HashSet::new());
        for step in steps {
            match step {
                Step::Open(ok) => if let Some(port) = ports.want_open() {
                    prop_assert!(!sockets.contains(&port), "opened twice");
                    if ok { sockets.insert(port); }
                    ports.opened(now, port, ok);
                },
                Step::Lease => if let Some(port) = ports.lease() {
                    prop_assert!(sockets.contains(&port) && !live.contains(&port));
                    live.push(port);
                },
                Step::Release(n) => if !live.is_empty() {
                    let port = live.swap_remove(n % live.len());
                    ports.release(now, port);
                },
                Step::Wait(us) => now += us,
            }
            while let Some(port) = ports.poll_close(now) {
                prop_assert!(!live.contains(&port), "closed under a call");
                prop_assert!(sockets.remove(&port));
            }
            let c = ports.counts();
            prop_assert_eq!(c.leased, live.len());
            prop_assert_eq!(
                c.free + c.opening + c.ready + c.leased + c.lingering + c.busy,
                usize::from(size)
            );
        }
    }
}

#[test]
fn a_port_of_a_call_that_goes_on_is_leased_before_any_other() {
    let mut ports = Ports::new(20_000..=20_009, 1);
    assert_eq!(ports.adopt(20_004), Some(true));
    assert_eq!(ports.adopt(20_004), None, "leased already");
    assert_eq!([ports.adopt(19_999), ports.adopt(20_010)], [None, None], "outside");
    let mut opened = Vec::new();
    while let Some(port) = ports.want_open() {
        opened.push(port);
    }
    assert_eq!(opened.len(), 9);
    assert!(!opened.contains(&20_004));
    assert_eq!(ports.counts().leased, 1);
    // While its socket is being opened, and after.
    assert_eq!(ports.adopt(opened[0]), Some(false));
    opened.iter().for_each(|port| ports.opened(3, *port, true));
    assert_eq!(ports.adopt(opened[1]), Some(false));
    let counts = ports.counts();
    assert_eq!((counts.leased, counts.opening, counts.ready), (3, 0, 7));
    ports.release(5, 20_004);
    assert_eq!(ports.poll_close(5 + LINGER_US), Some(20_004));
}
