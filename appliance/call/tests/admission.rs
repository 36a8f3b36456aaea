//! The door: whose call it is, whether it may start, and what the refused are told (spec signalling.md 5, routing.md 1
//! and 9, accounts.md 3).

mod common;

use common::{A, World, addr, deck, mapping, rate, sdp};
use tandem_call::number::RewriteRules;
use tandem_call::snapshot::*;
use tandem_leg::*;

const B1: &str = "192.0.2.10:5060";

/// A call that is refused before any question: status, end reason, mapping gateway.
fn refused(change: impl FnOnce(&mut Snapshot), set: impl FnOnce(&mut Try)) -> (u16, i32, String) {
    let mut w = World::new(change);
    let mut invite = w.invite();
    set(&mut invite);
    let a = w.call_with(invite);
    assert!(w.rating.asked.is_empty(), "nothing is asked");
    let status = match w.order() {
        (leg, LegEvent::Fail(fail)) if leg == a => fail.status,
        other => panic!("{other:?}"),
    };
    let cdr = w.end();
    assert_eq!((cdr.hold_ms, cdr.connect_ms, cdr.end_direction), (0, None, 2));
    assert_eq!(cdr.sip_status_in, status);
    assert!(w.traced("rejected, "));
    (status, cdr.end_reason, cdr.caller_gateway.into_string())
}

fn as_it_is(_: &mut Try) {}

#[test]
fn every_refusal() {
    let trunk = || "acme-trunk".to_owned();
    let none = String::new;
    let yesterday = common::WALL - 86_400_000;
    let mut locked_row = rate("86", "0.06");
    locked_row.lock = true;
    let filter = |prefix: &str, allow| PrefixFilter { prefixes: vec![prefix.into()], allow };

    assert_eq!(refused(|_| {}, |i| i.remote = addr("192.0.2.99:5060")), (403, -45, none()));
    assert_eq!(refused(|_| {}, |i| i.max_forwards = 0), (483, -35, none()));
    assert_eq!(refused(|_| {}, |i| i.hop = Some("node-1;5".into())), (482, -35, none()));
    assert_eq!(refused(|s| s.mapping[0].locked = true, as_it_is), (403, -12, trunk()));
    assert_eq!(refused(|s| s.mapping[0].caller_lengths = 1 << 3, as_it_is), (484, -24, trunk()));
    assert_eq!(refused(|s| s.mapping[0].callee_lengths = 1 << 3, as_it_is), (484, -24, trunk()));
    assert_eq!(refused(|s| s.mapping[0].caller_prefixes = filter("49", false), as_it_is), (403, -22, trunk()));
    assert_eq!(refused(|s| s.mapping[0].callee_prefixes = filter("44", true), as_it_is), (403, -23, trunk()));
    assert_eq!(refused(|_| {}, |i| i.dialled = "alice".into()), (484, -37, trunk()));
    assert_eq!(refused(|_| {}, |i| i.dialled = String::new()), (484, -37, trunk()));
    let strip = RewriteRules::parse("8613900000000:").unwrap();
    assert_eq!(refused(|s| s.mapping[0].rewrite_callee = strip, as_it_is), (484, -37, trunk()));
    assert_eq!(refused(|s| s.accounts[0].cancelled = true, as_it_is), (403, -14, trunk()));
    assert_eq!(refused(|s| s.accounts[0].locked = true, as_it_is), (403, -12, trunk()));
    assert_eq!(refused(|s| s.accounts[0].valid_until_ms = Some(yesterday), as_it_is), (403, -13, trunk()));
    assert_eq!(refused(|s| s.mapping[0].call_level = 4, as_it_is), (403, -25, trunk()));
    assert_eq!(refused(|s| s.accounts[0].deck = deck("d", vec![rate("44", "1")]), as_it_is), (403, -11, trunk()));
    assert_eq!(refused(|s| s.accounts[0].deck = None, as_it_is), (403, -11, trunk()));
    assert_eq!(refused(|s| s.accounts[0].deck = deck("d", vec![locked_row]), as_it_is), (403, -48, trunk()));
    assert_eq!(refused(|_| {}, |i| i.sdp = Some(b"garbage".to_vec())), (488, -29, trunk()));
    assert_eq!(refused(|_| {}, |i| i.sdp = Some(sdp("198.51.100.10", 0))), (488, -30, trunk()));
    assert_eq!(refused(|_| {}, |i| i.sdp = Some(sdp("127.0.0.1", 4000))), (488, -32, trunk()));
    assert_eq!(refused(|_| {}, |i| i.sdp = Some(sdp(common::T, 4000))), (488, -32, trunk()), "our own media address");
    assert_eq!(refused(|_| {}, |i| i.dialled = "44123".into()), (503, -1, trunk()));
    assert_eq!(refused(|s| s.routing.iter_mut().for_each(|g| g.locked = true), as_it_is), (503, -1, trunk()));
    let other_code = |s: &mut Snapshot| {
        s.settings.no_route_code = 480;
        s.routing.iter_mut().for_each(|g| g.locked = true);
    };
    assert_eq!(refused(other_code, as_it_is), (480, -1, trunk()));
    assert_eq!(refused(|s| s.mapping[0].min_profit_percent = Some(10_000), as_it_is), (503, -42, trunk()));
    let replaced = |s: &mut Snapshot| {
        s.accounts[0].locked = true;
        s.mapping[0].failed_sip_code = vec![(403, 603)];
    };
    assert_eq!(refused(replaced, as_it_is), (603, -12, trunk()), "server reasons are replaced by their status");
}

#[test]
fn an_illegal_call_has_no_account() {
    let mut w = World::new(|_| {});
    let mut invite = w.invite();
    invite.remote = addr("192.0.2.99:5060");
    let a = w.call_with(invite);
    w.expect_fail(a, 403);
    let cdr = w.end();
    assert_eq!(cdr.billing_mode, -1);
    assert!(cdr.customer.is_none());
    assert_eq!((cdr.caller_ip.as_str(), cdr.callee_in.as_str()), ("192.0.2.99:5060", "8613900000000"));
}

#[test]
fn gateways_that_share_an_address() {
    // By priority; the first whose rules accept takes the call.
    let two = |s: &mut Snapshot| {
        s.mapping.push(mapping(2, "second", 0, "198.51.100.10"));
        s.mapping[1].priority = -1;
    };
    let gateway_of = |change: &dyn Fn(&mut Snapshot)| {
        let mut w = World::new(|s| {
            two(s);
            change(s);
        });
        w.call();
        w.calls.list().next().map(|c| c.caller_gateway)
    };
    assert_eq!(gateway_of(&|_| {}).as_deref(), Some("second"), "low priority number first");
    let allow = |prefix: &str| PrefixFilter { prefixes: vec![prefix.into()], allow: true };
    assert_eq!(gateway_of(&|s| s.mapping[1].callee_prefixes = allow("44")).as_deref(), Some("acme-trunk"));
    let longest = |s: &mut Snapshot| {
        s.mapping[1].priority = 0;
        s.mapping[0].callee_prefixes = allow("86139");
        s.mapping[1].callee_prefixes = allow("86");
    };
    assert_eq!(gateway_of(&longest).as_deref(), Some("acme-trunk"), "equal priority: the longest callee prefix");
    assert_eq!(gateway_of(&|s| s.mapping[1].locked = true), None, "a locked gateway is not passed over");
    let neither = |s: &mut Snapshot| {
        two(s);
        s.mapping[1].callee_lengths = 1 << 3;
        s.mapping[0].callee_prefixes = allow("44");
    };
    assert_eq!(refused(neither, as_it_is), (484, -24, "second".to_owned()), "the reason of the first one");
}

#[test]
fn address_and_port() {
    let with_port = |port| {
        move |s: &mut Snapshot| {
            s.mapping[0].sources = vec![Source { ip: addr(A).ip(), port: Some(port) }];
        }
    };
    assert_eq!(refused(with_port(5061), as_it_is).1, -45);
    let mut w = World::new(with_port(5060));
    w.call();
    w.expect_try(B1);
}

#[test]
fn where_the_numbers_are_taken_from() {
    let mut w = World::new(|s| {
        s.mapping[0].callee_from = CalleeFrom::To;
        s.mapping[0].caller_from = CallerFrom::PAssertedIdentity;
        s.mapping[0].rewrite_caller = RewriteRules::parse("49:0049").unwrap();
    });
    let mut invite = w.invite();
    invite.dialled = "999".into();
    invite.callee.user = "+86-1390".into();
    invite.identity.asserted = Some("+4940".into());
    w.call_with(invite);
    let (_, order) = w.expect_try(B1);
    assert_eq!((order.caller.user.as_str(), order.dialled.as_str()), ("004940", "861390"));
}

#[test]
fn percent_routing_is_exact() {
    let mut w = World::new(|s| {
        s.mapping[0].percent_routing = vec![(70, "1".into()), (30, "2".into())];
        s.routing[0].prefixes = vec!["186".into()];
        s.routing[1].prefixes = vec!["286".into()];
        for gateway in &mut s.routing[..2] {
            gateway.rewrite_callee = RewriteRules::parse("186:86,286:86").unwrap();
        }
    });
    let mut count = [0; 2];
    for _ in 0..100 {
        let a = w.call();
        let (leg, order) = match w.order() {
            (leg, LegEvent::Try(order)) => (leg, order),
            other => panic!("{other:?}"),
        };
        assert_eq!(order.dialled, "8613900000000", "the vendor strips the prefix");
        count[usize::from(order.remote != addr(B1))] += 1;
        w.fails(leg, 486);
        w.expect_fail(a, 486);
    }
    assert_eq!(count, [70, 30]);
}

#[test]
fn a_free_number_passes_a_locked_account_and_reserves_nothing() {
    let mut w = World::new(|s| {
        s.settings.free_numbers = vec!["86139*".into()];
        s.accounts[0].locked = true;
        s.accounts[0].deck = None;
    });
    w.rating.until_s = Some(5);
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.answers(b, Some(sdp("192.0.2.10", 5000)));
    w.expect_connect(a);
    w.advance(3_600_000);
    assert!(w.orders.is_empty(), "no grant, no deadline");
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    let cdr = w.end();
    assert_eq!(cdr.customer.as_ref().map(|c| (c.account.as_str(), c.terms.is_none())), Some(("acme", true)));
    assert!(cdr.vendor.unwrap().terms.is_some(), "cost is real");
}

#[test]
fn a_no_cdr_number_has_no_vendor_charge_either() {
    let mut w = World::new(|s| s.settings.no_cdr_numbers = vec!["8613900000000".into()]);
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.answers(b, Some(sdp("192.0.2.10", 5000)));
    w.expect_connect(a);
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    let cdr = w.end();
    assert!(cdr.vendor.is_none() && cdr.customer.unwrap().terms.is_none());
}

#[test]
fn a_vendor_without_a_rate_is_marked() {
    let mut w = World::new(|s| s.accounts[1].deck = None);
    let (a, b) = w.connected();
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    assert!(w.end().flags.no_vendor_rate);
}

#[test]
fn lines_are_taken_where_they_are_free() {
    let mut w = World::new(|_| {});
    w.rating.full = [11, 12].into();
    let a = w.call();
    let (b3, _) = w.expect_try("192.0.2.12:5060");
    assert!(w.traced("not b1 now: no free line") && w.traced("not b2 now: no free line"));
    w.fails(b3, 503);
    w.expect_fail(a, 503);
    assert_eq!(w.end().end_reason, 503);

    for silent in [false, true] {
        w.rating.full = [11, 12, 13].into();
        w.rating.silent = silent;
        let a = w.call();
        w.expect_fail(a, 503);
        assert_eq!(w.end().end_reason, ServerReason::NoAvailableRouter.code());
    }
}

#[test]
fn a_terminal_gateway_without_a_line_lets_shorter_prefixes_through() {
    let terminal = |s: &mut Snapshot| {
        s.routing[0].prefixes = vec!["86139".into()];
        s.routing[0].prefix_style = PrefixStyle::Terminal;
    };
    let mut w = World::new(terminal);
    w.rating.full = [11].into();
    w.call();
    w.expect_try("192.0.2.11:5060");
    assert_eq!(w.rating.asked, ["admit 1", "next 2"]);

    let mut w = World::new(terminal);
    let a = w.call();
    let (b, _) = w.expect_try(B1);
    w.fails(b, 503);
    w.expect_fail(a, 503);
    assert_eq!(w.end().attempts.len(), 1, "tried and terminal");
}

#[test]
fn protect_routes_after_all_others_and_in_time() {
    let protect = |delay: u32| {
        move |s: &mut Snapshot| {
            s.routing[0].protect = true;
            s.settings.protect_route_delay_s = delay;
        }
    };
    for (delay, wait_ms, tried) in [(0, 30_000, true), (5, 4_000, true), (5, 9_000, false)] {
        let mut w = World::new(protect(delay));
        let a = w.call();
        let (b2, _) = w.expect_try("192.0.2.11:5060");
        w.news(b2, LegEvent::Proceeding);
        w.advance(wait_ms.min(9_000));
        w.fails(b2, 503);
        let (b3, _) = w.expect_try("192.0.2.12:5060");
        w.fails(b3, 503);
        if tried {
            let (b1, _) = w.expect_try(B1);
            w.fails(b1, 503);
        }
        w.expect_fail(a, 503);
        assert_eq!(w.end().attempts.len(), if tried { 3 } else { 2 }, "delay {delay}, after {wait_ms} ms");
    }
    let mut w = World::new(|s| s.routing.iter_mut().for_each(|g| g.protect = true));
    w.call();
    w.expect_try(B1);
}

#[test]
fn a_loop_through_a_vendor_is_cut() {
    // The vendor is a customer too and sends everything back; it eats our hop header.
    let mut w = World::new(|s| {
        s.mapping.push(mapping(2, "back", 0, "192.0.2.10"));
        s.routing[0].remotes = vec![addr(B1), addr("192.0.2.20:5060")];
    });
    let mut last = 0;
    for n in 0..6 {
        let mut invite = w.invite();
        invite.remote = addr(B1);
        let a = w.call_with(invite);
        match w.order() {
            (_, LegEvent::Try(_)) => last = n,
            (leg, LegEvent::Fail(fail)) if leg == a => assert_eq!((n, fail.status), (5, 482)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(last, 4, "the sixth is refused");
    // The same from a customer that nobody sends calls to is no loop but a busy customer.
    for _ in 0..20 {
        w.call();
        assert!(matches!(w.order(), (_, LegEvent::Try(_))));
    }
}

#[test]
fn no_media_port_is_the_end() {
    let mut config = common::config();
    config.media.ports = 10_000..=10_001;
    let mut w = World::with(config, |_| {});
    let (a, b) = w.connected();
    let second = w.call();
    w.expect_fail(second, 503);
    assert_eq!(w.done[0].usage.end_reason, ServerReason::MediaResourceExhausted.code());
    w.hangs_up(a, DisconnectCause::Bye);
    w.expect_end(b);
    let third = w.call();
    w.expect_fail(third, 503);
    w.advance(2_000);
    let fourth = w.call();
    let (b, _) = w.expect_try(B1);
    w.fails(b, 486);
    w.expect_fail(fourth, 486);
    w.end();
}

#[test]
fn privacy_and_asserted_identity() {
    let mut w = World::new(|s| s.routing[0].send_asserted = true);
    let mut invite = w.invite();
    invite.identity.private = true;
    w.call_with(invite);
    let (_, order) = w.expect_try(B1);
    assert_eq!((order.caller.user.as_str(), order.caller.host.as_str()), ("anonymous", "anonymous.invalid"));
    assert_eq!(order.identity.asserted.as_deref(), Some("4930100"));
    assert!(order.identity.private);
}

#[test]
fn headers_pass_by_the_list() {
    let mut w = World::new(|s| {
        s.mapping[0].pass_headers = vec!["x-acme-*".into()];
        s.routing[0].pass_headers = vec!["x-id".into()];
    });
    let mut invite = w.invite();
    let header = |name: &str| (name.to_owned(), "1".to_owned());
    invite.headers = ["Diversion", "X-Acme-Ticket", "X-ID", "X-Other", "Subject"].map(header).to_vec();
    w.call_with(invite);
    let (_, order) = w.expect_try(B1);
    let names: Vec<&str> = order.headers.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["Diversion", "X-Acme-Ticket", "X-ID", "Subject"]);
}

#[test]
fn a_new_configuration_is_for_new_calls() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    let mut changed = common::snapshot();
    changed.routing.truncate(1);
    changed.index().unwrap();
    w.calls.set_snapshot(std::sync::Arc::new(changed));
    w.fails(b1, 503);
    let (b2, _) = w.expect_try("192.0.2.11:5060");
    w.fails(b2, 486);
    w.expect_fail(a, 486);
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.fails(b1, 503);
    w.expect_fail(a, 503);
    w.end();
}

#[test]
fn an_order_that_cannot_be_carried_out() {
    let mut w = World::new(|_| {});
    let a = w.call();
    let (b1, _) = w.expect_try(B1);
    w.calls.handle_order_error(w.now, b1, true);
    w.drain();
    let (b2, _) = w.expect_try("192.0.2.11:5060");
    w.answers(b2, Some(sdp("192.0.2.11", 5000)));
    w.expect_connect(a);
    w.calls.handle_order_error(w.now, a, false);
    w.drain();
    w.expect_end(a);
    w.expect_end(b2);
    assert_eq!(w.end().end_reason, ServerReason::InternalError.code());
}
