//! What the benches chew on: an INVITE, decks, dialled numbers, a site with ten vendors. Made from fixed seeds, so that
//! two commits are measured on the same.

use std::net::SocketAddr;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rust_decimal::Decimal;
use tandem_call::route::PrefixTable;
use tandem_call::settings::Settings;
use tandem_call::snapshot::{Account, AccountId, AccountKind, GatewayId, MappingGateway, RoutingGateway};
use tandem_call::snapshot::{Snapshot, Source};
use tandem_leg::{ListenerId, Party, Try};
use tandem_media::decide::DeviceMode;
use tandem_rating::fee::BillingParams;
use tandem_rating::rate::{Deck, Rate};

/// "1 M prefixes".
pub(crate) const MILLION: usize = 1_000_000;
/// Dialled numbers a bench goes through: enough that no cache holds all their paths through a deck.
pub(crate) const NUMBERS: usize = 1 << 16;
/// UTC ms at which everything here happens.
pub(crate) const AT_MS: i64 = 1_795_305_600_000;
/// Where the customer sends from.
pub(crate) const CUSTOMER: &str = "198.51.100.7:5060";
/// Vendors of the site.
pub(crate) const VENDORS: usize = 10;

/// A trunk's INVITE with SDP, 15 headers; the message of `appliance/sip`'s own tests.
pub(crate) fn invite() -> Vec<u8> {
    let sdp = sdp();
    let head = "INVITE sip:442079460123@203.0.113.5:5060;user=phone SIP/2.0\n\
        Via: SIP/2.0/UDP 198.51.100.7:5060;branch=z9hG4bK776asdhds;rport\n\
        Max-Forwards: 69\n\
        From: \"Alice Example\" <sip:12025550100@198.51.100.7>;tag=1928301774\n\
        To: <sip:442079460123@203.0.113.5>\n\
        Call-ID: a84b4c76e66710@198.51.100.7\n\
        CSeq: 314159 INVITE\n\
        Contact: <sip:12025550100@198.51.100.7:5060>\n\
        Allow: INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO\n\
        Supported: timer, 100rel, replaces\n\
        Session-Expires: 1800;refresher=uac\n\
        Min-SE: 90\n\
        P-Asserted-Identity: <sip:12025550100@198.51.100.7>\n\
        User-Agent: carrier-sbc/7.2\n\
        Content-Type: application/sdp\n"
        .replace('\n', "\r\n");
    let mut message = format!("{head}Content-Length: {}\r\n\r\n", sdp.len()).into_bytes();
    message.extend(sdp);
    message
}

/// Its description.
pub(crate) fn sdp() -> Vec<u8> {
    "v=0\n\
        o=- 3868331676 3868331676 IN IP4 198.51.100.7\n\
        s=-\n\
        c=IN IP4 198.51.100.7\n\
        t=0 0\n\
        m=audio 40000 RTP/AVP 8 0 18 101\n\
        a=rtpmap:8 PCMA/8000\n\
        a=rtpmap:0 PCMU/8000\n\
        a=rtpmap:18 G729/8000\n\
        a=fmtp:18 annexb=no\n\
        a=rtpmap:101 telephone-event/8000\n\
        a=fmtp:101 0-15\n\
        a=ptime:20\n\
        a=sendrecv\n"
        .replace('\n', "\r\n")
        .into_bytes()
}

/// Distinct prefixes as wholesale decks have them: some 200 country codes, most rows 6 to 8 digits long.
pub(crate) fn prefixes(count: usize, seed: u64) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut made = std::collections::BTreeSet::new();
    while made.len() < count {
        let country = 1 + (rng.random_range(0..200_u32) * 4) % 997;
        let digits = match rng.random_range(0..100) {
            0 => 0,
            1..5 => 2,
            5..30 => 4,
            30..70 => 5,
            _ => 6,
        };
        let rest = if digits == 0 { 0 } else { rng.random_range(0..10_u32.pow(digits)) };
        let rest = if digits == 0 { String::new() } else { format!("{rest:0width$}", width = digits as usize) };
        made.insert(format!("{country}{rest}"));
    }
    made.into_iter().collect()
}

/// A row a prefix; some 10,000 prices, names by country, as in a carrier's sheet.
pub(crate) fn rows(prefixes: &[String], seed: u64) -> Vec<Rate> {
    let mut rng = StdRng::seed_from_u64(seed);
    let row = |(n, prefix): (usize, &String)| Rate {
        rate_id: n as u64 + 1,
        area_code: prefix.clone(),
        area_name: format!("Country {} mobile", &prefix[..prefix.len().min(3)]),
        rate_per_min: Decimal::new(rng.random_range(20..10_000), 4),
        first_s: 1,
        next_s: 1,
        effective_from_ms: Some(AT_MS - 86_400_000),
        ..Rate::default()
    };
    prefixes.iter().enumerate().map(row).collect()
}

/// A deck of so many rows.
pub(crate) fn deck(name: &str, count: usize, seed: u64) -> Arc<Deck> {
    let rows = rows(&prefixes(count, seed), seed);
    Arc::new(Deck::build(name, rows).unwrap_or_default())
}

/// Dialled numbers that begin with a prefix of the same seed, 11 to 13 digits, in no order.
pub(crate) fn numbers(prefixes: &[String], seed: u64) -> Vec<String> {
    let mut rng = StdRng::seed_from_u64(seed ^ 0x5eed);
    let number = |_| {
        let mut number = prefixes[rng.random_range(0..prefixes.len())].clone();
        let length = rng.random_range(11..=13);
        while number.len() < length {
            number.push(char::from(b'0' + rng.random_range(0..10_u8)));
        }
        number
    };
    (0..NUMBERS).map(number).collect()
}

/// One customer with a deck of a million prefixes; ten vendors for every number, each with a deck of `vendor_rows`.
pub(crate) fn site(vendor_rows: usize) -> Snapshot {
    let account = |id: u32, name: String, kind, deck| Account {
        parent: None,
        private_deck: None,
        calendar: None,
        id: AccountId(id),
        display_name: format!("{name} Ltd"),
        name,
        kind,
        locked: false,
        cancelled: false,
        valid_until_ms: None,
        bill_until: Default::default(),
        deck: Some(deck),
    };
    let mut accounts = vec![account(0, "acme".into(), AccountKind::General, deck("retail", MILLION, 1))];
    let mut routing = Vec::new();
    for n in 1..=VENDORS as u32 {
        accounts.push(account(n, format!("vendor-{n}"), AccountKind::Clearing, vendor_deck(n, vendor_rows)));
        routing.push(vendor(n));
    }
    let mut snapshot = Snapshot {
        version: 1,
        node: "node-1".into(),
        settings: Settings::default(),
        billing: Arc::new(BillingParams::default()),
        accounts,
        mapping: vec![customer()],
        routing,
        by_source: Default::default(),
        by_prefix: PrefixTable::default(),
        billing_numbers: Default::default(),
    };
    // Digits only: cannot be refused.
    let _ = snapshot.index();
    snapshot
}

/// Every vendor covers the numbers of the customer's deck: the same prefixes, or the first digits of them.
fn vendor_deck(n: u32, count: usize) -> Arc<Deck> {
    let seed = u64::from(n);
    if count >= MILLION {
        return deck(&format!("vendor-{n}"), count, 1 + seed);
    }
    let mut own = prefixes(count - 999, 1 + seed);
    // A row for each country, so that no number is without a price.
    own.extend((1..1_000).map(|country| country.to_string()));
    own.sort_unstable();
    own.dedup();
    Arc::new(Deck::build(format!("vendor-{n}"), rows(&own, 1 + seed)).unwrap_or_default())
}

fn customer() -> MappingGateway {
    MappingGateway {
        id: GatewayId(1),
        name: "acme-trunk".into(),
        account: 0,
        sources: vec![Source { ip: address(CUSTOMER).ip(), port: None }],
        locked: false,
        priority: 0,
        capacity: None,
        cps: None,
        call_level: 5,
        rewrite_caller: Default::default(),
        rewrite_callee: Default::default(),
        percent_routing: Vec::new(),
        caller_prefixes: Default::default(),
        callee_prefixes: Default::default(),
        caller_lengths: 0,
        callee_lengths: 0,
        routing_groups: Vec::new(),
        routing_groups_allow: true,
        media_mode: DeviceMode::On,
        nat: Default::default(),
        latch: Default::default(),
        media_check: Default::default(),
        max_duration_s: (-1, -1),
        timeout_call_proceeding_s: -1,
        callee_from: Default::default(),
        caller_from: Default::default(),
        failed_sip_code: Vec::new(),
        replace_before_switch: false,
        first_policy: Default::default(),
        second_policy: Default::default(),
        // Both guards of rates.md 9 take part in every decision, and stop nobody.
        min_profit_percent: Some(-100),
        max_second_rate: Some(Decimal::new(100, 0)),
        pass_headers: Vec::new(),
        billing: Default::default(),
    }
}

fn vendor(n: u32) -> RoutingGateway {
    RoutingGateway {
        id: GatewayId(10 + n),
        name: format!("vendor-{n}"),
        account: n as usize,
        clearing_use_callout: false,
        remotes: vec![address(&format!("192.0.2.{n}:5060"))],
        listener: ListenerId(0),
        prefixes: Vec::new(),
        prefix_style: Default::default(),
        priority: 0,
        weight: 100,
        capacity: None,
        cps: None,
        locked: false,
        valid_from_ms: None,
        valid_to_ms: None,
        groups: Vec::new(),
        rewrite_caller: Default::default(),
        rewrite_callee: Default::default(),
        caller_prefixes: Default::default(),
        callee_prefixes: Default::default(),
        caller_lengths: 0,
        callee_lengths: 0,
        check_rate: true,
        least_cost: true,
        min_profit_percent: None,
        max_second_rate: None,
        protect: false,
        switch: Default::default(),
        timeouts: Default::default(),
        media_mode: DeviceMode::Auto,
        nat: Default::default(),
        latch: Default::default(),
        media_check: Default::default(),
        send_asserted: false,
        pass_headers: Vec::new(),
        billing_prefixes: Vec::new(),
    }
}

/// A call of that customer to `dialled`.
pub(crate) fn call_to(dialled: &str) -> Try {
    Try {
        remote: address(CUSTOMER),
        dialled: dialled.to_owned(),
        caller: Party { user: "12025550100".into(), ..Party::default() },
        callee: Party { user: dialled.to_owned(), ..Party::default() },
        ..blank()
    }
}

fn blank() -> Try {
    Try {
        remote: address(CUSTOMER),
        listener: ListenerId(0),
        transport: tandem_leg::Transport::Udp,
        call_id: "a84b4c76e66710@198.51.100.7".into(),
        caller: Party::default(),
        callee: Party::default(),
        dialled: String::new(),
        identity: Default::default(),
        headers: Vec::new(),
        max_forwards: 70,
        hop: None,
        user_agent: "carrier-sbc/7.2".into(),
        expires_s: None,
        rel100: Default::default(),
        sdp: None,
    }
}

/// A literal of this file; one that cannot be read would show as a call from nowhere.
pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap_or(SocketAddr::from(([0, 0, 0, 0], 0)))
}
