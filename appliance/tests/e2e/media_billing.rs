//! What a call costs by its signalling and by its media, when the two do not agree (design.md P3, media.md M-D5).
//!
//! Every scenario is called twice at the same time: by a customer who pays until the end of the call over a vendor who
//! charges until the last packet, and the other way round. All of it runs in one switch; the test takes as long as its
//! longest call. Blocks of 5 s are bought, and no instant of a scenario is near the end of a block on the late side: a slow
//! machine is late by seconds before a bill changes.

use std::fmt::Write as _;
use std::thread;

use rust_decimal::Decimal;
use serde_json::Value;

use crate::common::{Customer, Net, Plan, Sipp, Switch, decimal, int, sipp_is_there, until};

/// SS_NOMEDIAHANGUPTIME, seconds: whoever is watched is missed after that.
const SILENCE_S: &str = "6";
/// A packet of 20 ms has so many bytes of `tone.alaw`.
const PACKET_BYTES: usize = 160;
/// Seconds of a block that is bought.
const BLOCK_S: i64 = 5;
/// 0.01 a second for customers, 0.005 for vendors.
const DECKS: [&str; 2] = [
    "fee_prefix,area_name,rate_per_min,increment\n1213,Los Angeles,0.6,5/5\n",
    "fee_prefix,area_name,rate_per_min,increment\n1213,Los Angeles,0.3,5/5\n",
];

/// What happens, and what is billed for it.
struct Scenario {
    what: &'static str,
    customer: &'static str,
    /// Whether the customer sends back what it hears.
    echo: bool,
    /// `-d` of the customer.
    hold_ms: u32,
    vendor: &'static str,
    /// `-d` of the vendor.
    vendor_ms: u32,
    media_check: &'static str,
    /// Seconds billed by signalling and by media.
    billed_s: [i64; 2],
    /// Times that the vendor's tone is relayed from the caller and from the vendor.
    tones: [usize; 2],
    /// Nothing is heard for so long after the answer.
    quiet_ms: i64,
    /// Direction and reason of the end.
    end: (i64, i64),
}

const SCENARIOS: [Scenario; 6] = [
    Scenario {
        what: "answered without RTP",
        customer: "customer",
        echo: true,
        hold_ms: 7_500,
        vendor: "vendor_answers",
        vendor_ms: 0,
        media_check: "none",
        billed_s: [10, 0],
        tones: [0, 0],
        quiet_ms: 0,
        end: (0, 16),
    },
    Scenario {
        what: "answered without RTP and watched: ends after the time-out",
        customer: "customer_waits",
        echo: true,
        hold_ms: 0,
        vendor: "vendor_answers",
        vendor_ms: 0,
        media_check: "both",
        billed_s: [10, 0],
        tones: [0, 0],
        quiet_ms: 0,
        end: (2, -9),
    },
    Scenario {
        what: "one-way audio",
        customer: "customer",
        echo: false,
        hold_ms: 7_500,
        vendor: "vendor_plays",
        vendor_ms: 0,
        media_check: "none",
        billed_s: [10, 5],
        tones: [0, 1],
        quiet_ms: 0,
        end: (0, 16),
    },
    Scenario {
        // The last packet after 2 s and the time-out behind it.
        what: "the caller vanishes without BYE",
        customer: "customer_vanishes",
        echo: true,
        hold_ms: 3_500,
        vendor: "vendor_plays",
        vendor_ms: 0,
        media_check: "both",
        billed_s: [10, 5],
        tones: [1, 1],
        quiet_ms: 0,
        end: (2, -9),
    },
    Scenario {
        // From 4 to 6 s.
        what: "late RTP: what is paid begins with the answer all the same",
        customer: "customer",
        echo: true,
        hold_ms: 11_500,
        vendor: "vendor_plays",
        vendor_ms: 4_000,
        media_check: "none",
        billed_s: [15, 10],
        tones: [1, 1],
        quiet_ms: 4_000,
        end: (0, 16),
    },
    Scenario {
        // On hold after 3.5 s.
        what: "on hold for longer than the time-out",
        customer: "customer_holds",
        echo: true,
        hold_ms: 8_000,
        vendor: "vendor_plays",
        vendor_ms: 0,
        media_check: "both",
        billed_s: [15, 5],
        tones: [1, 1],
        quiet_ms: 0,
        end: (0, 16),
    },
];

/// By what customer and vendor are charged: [`SIGNALLING`] or [`MEDIA`]. The account is named like it.
const POLICIES: [[usize; 2]; 2] = [[SIGNALLING, MEDIA], [MEDIA, SIGNALLING]];
const SIGNALLING: usize = 0;
const MEDIA: usize = 1;
const NAMES: [&str; 2] = ["signalling", "media"];

/// Called number of scenario `n` and policy `p`.
fn callee(n: usize, p: usize) -> String {
    format!("1213{n}{p}50100")
}

/// Which customer calls it.
fn customer(n: usize, p: usize) -> u8 {
    (n * POLICIES.len() + p) as u8 + 1
}

fn site(net: Net) -> String {
    let mut text = String::new();
    for name in NAMES {
        let _ = writeln!(
            text,
            "[account.customer_{name}]\nkind = \"customer\"\nrate_group = \"retail\"\nopening = \"100\"\nbill_until = \"{name}\"\n\
             [account.vendor_{name}]\nkind = \"vendor\"\nrate_group = \"wholesale\"\nbill_until = \"{name}\""
        );
    }
    for (n, scenario) in SCENARIOS.iter().enumerate() {
        for (p, [caller, vendor]) in POLICIES.into_iter().enumerate() {
            let _ = writeln!(
                text,
                "[mapping_gateway.c{n}{p}]\naccount = \"customer_{}\"\nsources = [\"{}\"]\nmedia = \"on\"\nmedia_check = \"{}\"\n\
                 [routing_gateway.v{n}{p}]\naccount = \"vendor_{}\"\nremotes = [\"{}\"]\nprefixes = [\"1213{n}{p}\"]",
                NAMES[caller],
                net.other_customer(customer(n, p)),
                scenario.media_check,
                NAMES[vendor],
                net.vendor(n as u8 + 1),
            );
        }
    }
    text
}

impl Scenario {
    /// Both calls, to their end on all sides.
    fn run(&self, switch: &Switch, n: usize) {
        let mut vendor =
            Sipp::vendor(switch, n as u8 + 1, self.vendor, &["-d", &self.vendor_ms.to_string(), "-m", "2"]);
        let call = |p: usize| {
            let callee = callee(n, p);
            let customer = Customer {
                scenario: self.customer,
                from: Some(switch.net.other_customer(customer(n, p))),
                callee: Some(&callee),
                hold_ms: self.hold_ms,
                more: if self.echo { &["-rtp_echo"] } else { &[] },
                ..Customer::default()
            };
            customer.start(switch)
        };
        for mut customer in [call(0), call(1)] {
            customer.assert_good(1);
        }
        vendor.assert_ended_well();
    }

    /// The record of the call by policy `p`, and what every packet and second in it must be.
    fn check(&self, row: &Value, p: usize, tone: usize) {
        let said = format!("{}: {row:#}", self.what);
        let [caller, vendor] = POLICIES[p];
        let accounts = (row["account"].as_str().unwrap(), row["vendor_account"].as_str().unwrap());
        assert_eq!(
            accounts,
            (&*format!("customer_{}", NAMES[caller]), &*format!("vendor_{}", NAMES[vendor])),
            "{said}"
        );
        assert_eq!((int(&row["end_direction"]), int(&row["end_reason"])), self.end, "{said}");
        assert_eq!(row["flags"], "", "{said}");

        // What was asked for.
        let billed = [caller, vendor].map(|policy| self.billed_s[policy]);
        assert_eq!([int(&row["billed_s"]), int(&row["vendor_s"])], billed, "{said}");
        assert_eq!(decimal(&row["fee"]), Decimal::new(billed[0], 2), "{said}");
        assert_eq!(decimal(&row["vendor_fee"]), Decimal::new(billed[1] * 5, 3), "{said}");
        assert_eq!(decimal(&row["margin"]), decimal(&row["fee"]) - decimal(&row["vendor_fee"]), "{said}");

        // Media as it was, and the bill once more by the times of the record.
        let (connect_ms, end_ms) = (int(&row["connect_ms"]), int(&row["end_ms"]));
        let mut last_ms = None;
        for (side, tones) in ["caller", "callee"].into_iter().zip(self.tones) {
            let field = |name: &str| &row[format!("{side}_{name}")];
            let packets = (tones * tone) as i64;
            assert_eq!((int(field("rtp_packets")), int(field("rtp_relayed"))), (packets, packets), "{said}");
            assert_eq!((int(field("rtp_lost")), int(field("rtp_dropped"))), (0, 0), "{said}");
            let (first, last) = (field("media_first_ms").as_i64(), field("media_last_ms").as_i64());
            assert_eq!((first.is_some(), last.is_some()), (packets > 0, packets > 0), "{said}");
            let (Some(first), Some(last)) = (first, last) else { continue };
            assert!(connect_ms + self.quiet_ms <= first && first < last && last <= end_ms, "{said}");
            // Two instants, each without its microseconds.
            let duration_ms = int(field("rtp_duration_us")) / 1_000;
            assert!((last - first - duration_ms).abs() <= 1, "{said}");
            last_ms = last_ms.max(Some(last));
        }
        let until_ms = [end_ms, last_ms.unwrap_or(connect_ms)];
        // A rest of 50 ms counts as a second; then whole blocks.
        let by_times = until_ms.map(|until| ((until - connect_ms + 950) / 1_000 + BLOCK_S - 1) / BLOCK_S * BLOCK_S);
        assert_eq!(by_times, self.billed_s, "{said}");
    }
}

#[test]
fn bills_by_signalling_and_by_media() {
    if !sipp_is_there() {
        return;
    }
    let tone = include_bytes!("../../../tools/sipp/tone.alaw").len() / PACKET_BYTES;
    let plan = Plan { decks: DECKS, params: vec![("SS_NOMEDIAHANGUPTIME", SILENCE_S)], site, ..Plan::default() };
    let switch = Switch::start(&plan);
    thread::scope(|all| {
        for (n, scenario) in SCENARIOS.iter().enumerate() {
            let switch = &switch;
            all.spawn(move || scenario.run(switch, n));
        }
    });
    let rows = switch.cdrs_once(SCENARIOS.len() * POLICIES.len());
    for (n, scenario) in SCENARIOS.iter().enumerate() {
        for p in 0..POLICIES.len() {
            let mut of_call = rows.iter().filter(|row| row["callee_in"] == callee(n, p).as_str());
            let row = of_call.next().unwrap_or_else(|| panic!("no record of {}: {rows:#?}", scenario.what));
            assert!(of_call.next().is_none(), "two records of {}", scenario.what);
            scenario.check(row, p, tone);
        }
    }
    switch.assert_the_books_agree(&rows);
    let sum = |policy: usize| SCENARIOS.iter().map(|scenario| scenario.billed_s[policy]).sum::<i64>();
    for policy in [SIGNALLING, MEDIA] {
        let balance = switch.balance(&format!("customer_{}", NAMES[policy]));
        assert_eq!(balance, Decimal::from(100) - Decimal::new(sum(policy), 2), "{}", NAMES[policy]);
    }

    // Every packet that was forwarded is in a record.
    let packets: usize = SCENARIOS.iter().flat_map(|scenario| scenario.tones).sum::<usize>() * tone * POLICIES.len();
    let audit = until("the flows of the last call are gone", || {
        let audit = switch.json(&["media", "audit"]);
        (audit["live"] == 0).then_some(audit)
    });
    assert_eq!((&audit["equal"], int(&audit["records"])), (&true.into(), packets as i64), "{audit:#}");
}
