//! Whatever a site holds, its text reads back to it, and writing that again changes no byte.

use proptest::prelude::*;
use tandem_rating::sheet::Template;

use super::{AccountSite, FilterSite, MappingSite, MediaSite, RoutingSite, Site, SwitchSite, TimeoutsSite, diff};

/// Names and texts as hostile as TOML allows: quotes, dots, line breaks, other scripts.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z0-9]{0,6}",
        ".{0,6}",
        Just("\"'\\.#[x]=\n\r\t\u{7f}\u{fffd}".to_owned()),
        Just("\"\"\"\n'''".to_owned()),
    ]
}

fn list() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(text(), 0..4)
}

fn filter() -> impl Strategy<Value = FilterSite> {
    (list(), list()).prop_map(|(allow, deny)| FilterSite { allow, deny })
}

fn account() -> impl Strategy<Value = AccountSite> {
    (text(), text(), text(), text(), text(), any::<bool>(), text()).prop_map(
        |(kind, display_name, rate_group, opening, credit_limit, locked, valid_until)| AccountSite {
            kind,
            display_name,
            rate_group,
            opening,
            credit_limit,
            locked,
            valid_until,
            ..AccountSite::default()
        },
    )
}

fn mapping() -> impl Strategy<Value = MappingSite> {
    let texts = (text(), text(), text(), text(), text(), text());
    let numbers = (any::<i32>(), any::<Option<u32>>(), any::<Option<u32>>(), any::<u8>(), any::<i64>(), any::<bool>());
    let lists = (list(), list(), prop::collection::vec(any::<u8>(), 0..3), prop::collection::vec(0i64.., 0..3));
    let shares = prop::collection::btree_map(text(), any::<u32>(), 0..3);
    (texts, numbers, lists, filter(), filter(), shares, any::<Option<i32>>()).prop_map(
        |(texts, numbers, lists, caller_prefixes, routing_groups, percent_routing, min_profit_percent)| MappingSite {
            account: texts.0,
            sources: lists.0,
            locked: numbers.5,
            priority: numbers.0,
            capacity: numbers.1,
            cps: numbers.2,
            call_level: numbers.3,
            rewrite_caller: texts.1,
            rewrite_callee: String::new(),
            percent_routing,
            caller_prefixes,
            callee_prefixes: FilterSite::default(),
            caller_lengths: lists.2,
            callee_lengths: Vec::new(),
            routing_groups,
            media: texts.2,
            nat: String::new(),
            latch: texts.3,
            media_check: String::new(),
            max_duration_s: lists.3,
            timeout_call_proceeding_s: numbers.4,
            callee_from: texts.4,
            caller_from: String::new(),
            failed_sip_code: texts.5,
            replace_before_switch: !numbers.5,
            first_policy: String::new(),
            second_policy: String::new(),
            min_profit_percent,
            max_second_rate: String::new(),
            pass_headers: lists.1,
            phone_billing: numbers.5,
            bound_number_billing: !numbers.5,
            no_billing_to_phone: String::new(),
            billing_prefixes: Vec::new(),
        },
    )
}

fn routing() -> impl Strategy<Value = RoutingSite> {
    let texts = (text(), text(), text(), text());
    let flags = (any::<bool>(), any::<bool>(), any::<Option<bool>>(), any::<Option<bool>>());
    let numbers = (any::<i32>(), any::<u32>(), any::<Option<u32>>(), any::<u32>());
    (texts, flags, numbers, (list(), list(), list()), filter(), prop::collection::vec(any::<u16>(), 0..3)).prop_map(
        |(texts, flags, numbers, lists, callee_prefixes, error_codes)| RoutingSite {
            account: texts.0,
            remotes: lists.0,
            local: texts.1,
            prefixes: lists.1,
            prefix_style: texts.2,
            priority: numbers.0,
            weight: numbers.1,
            capacity: numbers.2,
            cps: None,
            locked: flags.0,
            valid_from: texts.3,
            valid_to: String::new(),
            groups: lists.2,
            rewrite_caller: String::new(),
            rewrite_callee: String::new(),
            caller_prefixes: FilterSite::default(),
            callee_prefixes,
            caller_lengths: Vec::new(),
            callee_lengths: Vec::new(),
            check_rate: flags.1,
            least_cost: flags.0,
            clearing_use_callout: flags.1,
            min_profit_percent: None,
            max_second_rate: String::new(),
            protect: flags.0,
            switch: SwitchSite {
                ring: flags.2,
                sdp: flags.3,
                rtp: None,
                busy: flags.2,
                error_codes,
                error_code: flags.1,
            },
            timeouts: TimeoutsSite { invite: numbers.3, ringing: numbers.1, ..TimeoutsSite::default() },
            media: String::new(),
            nat: String::new(),
            latch: String::new(),
            media_check: String::new(),
            send_asserted: flags.1,
            pass_headers: Vec::new(),
            billing_prefixes: Vec::new(),
        },
    )
}

fn template() -> impl Strategy<Value = Template> {
    (prop::collection::btree_map(text(), text(), 0..3), list(), text(), any::<bool>()).prop_map(
        |(columns, header, date_format, decimal_comma)| Template {
            columns,
            header,
            date_format,
            decimal_comma,
            ..Template::default()
        },
    )
}

fn site() -> impl Strategy<Value = Site> {
    (
        prop::collection::btree_map(text(), text(), 0..4),
        list(),
        prop::collection::btree_map(text(), account(), 0..3),
        prop::collection::btree_map(text(), mapping(), 0..3),
        prop::collection::btree_map(text(), routing(), 0..3),
        template(),
    )
        .prop_map(|(params, prohibited, account, mapping_gateway, routing_gateway, template)| Site {
            params,
            media: MediaSite { prohibited },
            account,
            mapping_gateway,
            routing_gateway,
            rate_template: [("north".to_owned(), template)].into(),
            ..Site::default()
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn export_then_apply_is_no_change(site in site()) {
        let text = site.to_text();
        let back = Site::parse(&text).map_err(|error| TestCaseError::fail(format!("{error}\n{text}")))?;
        prop_assert_eq!(&back, &site);
        prop_assert_eq!(diff(&site, &back), Vec::new());
        prop_assert_eq!(back.to_text(), text);
    }

    #[test]
    fn what_differs_is_told(old in site(), new in site()) {
        prop_assert_eq!(diff(&old, &new).is_empty(), old.to_text() == new.to_text());
    }
}
