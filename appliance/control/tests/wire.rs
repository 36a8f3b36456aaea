//! What is written on one side is what is read on the other, however the bytes are cut.

use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tandem_control::request::{
    self, CallState, CdrFilter, Edit, EditKind, FieldEdit, FieldOp, GatewayKind, ImportMode, Side, Terms,
};
use tandem_control::{Call, CallId, FrameError, Id, Limit, METHODS, Request, Splitter, encode, reply};

fn terms() -> Terms {
    Terms {
        commit: true,
        stage: true,
        base_version: Some(4),
        confirm_within: Some("5m".parse().unwrap()),
        comment: "why\nnot".to_owned(),
    }
}

/// Every verb with every parameter set to something else than its default.
fn every_call() -> Vec<Call> {
    let text = |text: &str| Some(text.to_owned());
    let filter = CdrFilter {
        account: text("acme"),
        caller: text("44*"),
        callee: text("1212"),
        caller_gateway: text("in"),
        callee_gateway: text("out"),
        from: Some("20261122".parse().unwrap()),
        to: Some("2026-11-22T10:00:00Z".parse().unwrap()),
        gateway: text("either"),
        agent: text("agent"),
        duration_min_s: Some(1),
        duration_max_s: Some(2),
        fee_min: Some("0.5".parse().unwrap()),
        end_reason: Some(-69),
        answered: Some(false),
    };
    vec![
        request::Status {}.into(),
        request::CallsList {
            gateway: text("in"),
            account: text("acme"),
            caller: text("44*"),
            callee: text("1212"),
            state: Some(CallState::Ringing),
            limit: Limit::MAX,
            offset: 3,
        }
        .into(),
        request::CallsShow { call: CallId(7) }.into(),
        request::CallsKill { call: CallId(7) }.into(),
        request::CdrList {
            filter: filter.clone(),
            sort: request::CdrSort::Fee,
            oldest_first: true,
            after: Some(CallId(9)),
            limit: Limit::MAX,
            offset: 1,
        }
        .into(),
        request::CdrShow { call: CallId(7) }.into(),
        request::CdrTotals { filter: filter.clone() }.into(),
        request::CdrExplain { call: CallId(7) }.into(),
        request::CdrProve { filter: filter.clone(), after: Some(CallId(9)) }.into(),
        request::Rerate {
            filter,
            group: text("retail"),
            stored: true,
            deck: text("area_code\n"),
            deck_held: Some(3),
            rates_at: Some("20261122".parse().unwrap()),
            all_begun: true,
            fp: Some(4),
            fu: text("0.0001"),
            hold_precision: Some(50),
            free: Some(6),
            quantise: Some(false),
            apply: text("march"),
            memo: "why".to_owned(),
            after: Some(CallId(9)),
        }
        .into(),
        request::CdrInsert {
            rows: vec![request::ExternalCdr {
                account: "acme".to_owned(),
                caller: "49".to_owned(),
                callee: "1212".to_owned(),
                start: tandem_control::When::from_ms(7),
                stop: None,
                billing_time: Some(61),
                flow_no: Some(-1),
                mode: Some(3),
            }],
            commit: true,
            comment: "line\nbreak".to_owned(),
        }
        .into(),
        request::ReportDay { day: "20261122".parse().unwrap(), by: text("area") }.into(),
        request::ReportCheck { day: "20261122".parse().unwrap() }.into(),
        request::GatewayList { kind: Some(GatewayKind::Routing) }.into(),
        request::AccountList {
            kind: text("customer"),
            state: text("locked"),
            agent: text("reseller"),
            sort: text("-balance"),
            limit: Some(Limit::MAX),
            offset: 3,
        }
        .into(),
        request::AccountShow { name: "acme".to_owned() }.into(),
        request::AccountPay {
            name: "acme".to_owned(),
            amount: "-20.50".parse().unwrap(),
            memo: "line\nbreak".to_owned(),
            key: text("k"),
            from: text("reseller"),
            method: text("cash"),
            of: text("phone"),
        }
        .into(),
        request::AccountZero { name: "acme".to_owned(), memo: "m".to_owned(), key: text("k") }.into(),
        request::AccountReverse { key: "pay:k".to_owned(), memo: "m".to_owned() }.into(),
        request::LedgerList {
            account: text("acme"),
            kind: text("payment"),
            from: Some("20261122".parse().unwrap()),
            to: Some("2026-11-23".parse().unwrap()),
            call: Some(CallId(7)),
            min_amount: Some("5".parse().unwrap()),
            oldest_first: true,
            limit: Limit::MAX,
            offset: 2,
        }
        .into(),
        request::PackageList { prefix: text("g"), limit: Limit::MAX, offset: 1 }.into(),
        request::PackageOrders {
            account: text("acme"),
            phone: text("4930"),
            package: text("gold"),
            state: text("open"),
            sort: text("-to"),
            limit: Limit::MAX,
            offset: 1,
        }
        .into(),
        request::PackageOrder {
            account: "acme".to_owned(),
            package: "gold".to_owned(),
            phone: text("4930"),
            from: Some("20261122".parse().unwrap()),
            until: Some("20271122".parse().unwrap()),
            priority: Some(1),
            rent_percent: Some("62.5".parse().unwrap()),
            no_money: text("next"),
            key: text("order-7"),
            commit: true,
        }
        .into(),
        request::PackageChange {
            order: "7".to_owned(),
            until: Some("20271122".parse().unwrap()),
            open: true,
            priority: Some(1),
            last: true,
            rent_percent: Some("62.5".parse().unwrap()),
            no_money: text("delete"),
            commit: true,
        }
        .into(),
        request::PackageCancel { order: "7".to_owned(), now: true, commit: true }.into(),
        request::PackageCatchUp { order: "7".to_owned(), commit: true }.into(),
        request::CardCreate {
            count: 3,
            value: "10".parse().unwrap(),
            batch: "spring".to_owned(),
            rate_group: text("retail"),
            agent: text("reseller"),
            prefix: "77".to_owned(),
            digits: Some(10),
            valid_days: Some(90),
            until: Some("20271122".parse().unwrap()),
            locked: true,
            commit: true,
        }
        .into(),
        request::CardList {
            batch: text("spring"),
            prefix: text("77"),
            state: text("new"),
            sort: text("-balance"),
            limit: Limit::MAX,
            offset: 1,
        }
        .into(),
        request::CardLock { pin: text("77"), batch: text("spring"), unlock: true, commit: true }.into(),
        request::CardRecharge {
            pin: "77".to_owned(),
            account: "acme".to_owned(),
            memo: "m".to_owned(),
            key: text("k"),
        }
        .into(),
        request::RatesImport {
            group: "retail".to_owned(),
            mode: ImportMode::Replace,
            csv: "a,b\r\n\"1\n2\",ü\n".to_owned(),
            commit: true,
            base_version: Some(4),
            ignore_columns: true,
            comment: "why".to_owned(),
            upload: Some(7),
            sheet: request::SheetTerms {
                template: text("north"),
                map: [("code".to_owned(), "Dial Code".to_owned())].into(),
                exchange_rate: Some("0.91".parse().unwrap()),
                ..Default::default()
            },
            effective: Some("2026-12-01".parse().unwrap()),
            notice_days: Some(3),
            examples: Some(5),
            differences: true,
            source: "a.csv".to_owned(),
        }
        .into(),
        request::RatesUpload { upload: 7, offset: 3, text: "1,2\n".to_owned() }.into(),
        request::RatesCommit { preview: 9 }.into(),
        request::RatesProgress {}.into(),
        request::RatesDifferences { preview: 9, offset: 4 }.into(),
        request::RatesExport { group: "retail".to_owned(), offset: 5 }.into(),
        request::RatesList {}.into(),
        request::RatesShow { group: "retail".to_owned(), prefix: text("44*"), ..Default::default() }.into(),
        request::RatesSet {
            group: "retail".to_owned(),
            prefix: "44".to_owned(),
            fields: [("price".to_owned(), "0.1".to_owned())].into(),
            ..Default::default()
        }
        .into(),
        request::RatesDelete { group: "retail".to_owned(), prefix: "44".to_owned(), ..Default::default() }.into(),
        request::RatesHistory { group: "retail".to_owned(), limit: Limit::MAX, offset: 1 }.into(),
        request::RatesCompare { group: "retail".to_owned(), from: 1, to: Some(2), examples: None }.into(),
        request::RatesRollback { group: "retail".to_owned(), version: 1, ..Default::default() }.into(),
        request::RatesDrop { group: "retail".to_owned(), commit: true, comment: String::new() }.into(),
        request::SiteApply { toml: "[a]\n".to_owned(), terms: terms() }.into(),
        request::SiteEdit {
            edits: vec![Edit {
                edit: EditKind::Unset,
                kind: "gateway".to_owned(),
                name: "acme".to_owned(),
                fields: vec![FieldEdit {
                    field: "sources".to_owned(),
                    op: FieldOp::Append,
                    value: "192.0.2.1".to_owned(),
                }],
            }],
            terms: terms(),
        }
        .into(),
        request::SiteCommit { terms: terms() }.into(),
        request::SiteConfirm { comment: "good".to_owned() }.into(),
        request::SiteDiscard {}.into(),
        request::SiteRollback { version: Some(3), terms: terms() }.into(),
        request::SiteCompare { from: Some(Side::Version(2)), to: Some(Side::Toml("x = 1\n".to_owned())) }.into(),
        request::SiteHistory { limit: Limit::MAX, offset: 2 }.into(),
        request::SiteExport { version: Some(7), staged: true }.into(),
        request::AuditList {
            since: Some("20261122".parse().unwrap()),
            until: Some("2026-11-22T10:00:00Z".parse().unwrap()),
            user: text("ann"),
            oldest_first: true,
            limit: Limit::MAX,
            offset: 4,
        }
        .into(),
        request::ParamList { prefix: text("SS_") }.into(),
        request::ParamGet { name: "SS_X".to_owned() }.into(),
        request::ParamSet { name: "SS_X".to_owned(), value: "1".to_owned(), comment: "why".to_owned() }.into(),
        request::Explain {
            from: "in".to_owned(),
            caller: "44".to_owned(),
            callee: "1212".to_owned(),
            at: Some("1795305600000".parse().unwrap()),
        }
        .into(),
        request::Trace { call: CallId(7) }.into(),
        request::MediaShow {}.into(),
        request::MediaAudit {}.into(),
        request::DatapathUpgrade { object: text("/opt/relay.o") }.into(),
    ]
}

#[test]
fn every_verb_is_read_as_it_was_written() {
    let calls = every_call();
    assert_eq!(calls.iter().map(Call::method).collect::<Vec<_>>(), METHODS);
    let mut splitter = Splitter::default();
    for (id, call) in calls.into_iter().enumerate() {
        let request = Request { id: Id::Number(id as u64), call };
        splitter.push(&encode(&request).unwrap());
        let frame = splitter.next_frame().unwrap().unwrap();
        assert_eq!(Request::decode(&frame).unwrap(), request);
    }
    assert_eq!(splitter.finish(), Ok(()));
}

#[test]
fn no_verb_takes_a_parameter_it_does_not_know() {
    for call in every_call() {
        let mut params = serde_json::to_value(&call).unwrap()["params"].take();
        params["surprise"] = json!(1);
        let error = Call::from_parts(call.method(), Some(params)).unwrap_err();
        assert!(error.message.contains("surprise"), "{}: {}", call.method(), error.message);
    }
}

/// A reply survives the wire, an old reply without any field is read, and so is a new one with more fields.
fn survives<R: Serialize + DeserializeOwned + Default + PartialEq + std::fmt::Debug>(reply: &R) {
    let mut value = serde_json::to_value(reply).unwrap();
    assert_eq!(&serde_json::from_value::<R>(value.clone()).unwrap(), reply);
    value["field_of_a_later_version"] = json!([1]);
    assert_eq!(&serde_json::from_value::<R>(value).unwrap(), reply);
    assert_eq!(serde_json::from_value::<R>(json!({})).unwrap(), R::default());
}

macro_rules! survive_as_default {
    ($($name:ident)*) => { $(survives(&reply::$name::default());)* };
}

#[test]
fn every_reply_survives_the_wire() {
    survive_as_default! {
        Status CallsList CallShow CallKilled CdrList CdrShow CdrTotals GatewayList AccountList AccountShow AccountPaid
        CallExplained CdrProved CheckRow DifferRow ExplainedLeg CorrectionRow RepricedRow Rerated
        CdrInserted InsertedCdr ReportDay ReportRow ReportChecked
        LedgerList RatesImported RatesExported RatesList SiteApplied SiteExported SiteCompared
        SiteConfirmed SiteDiscarded SiteHistory SiteChange ChangeRow PendingConfirm AuditList AuditRow ParamList ParamRow ParamSet Explained
        Traced CallRow MediaSide RateShown AttemptRow GatewayRow AccountRow ReservationRow LedgerRow RateChange RowError
        RateGroupRow Numbers CandidateRow SkippedRow Refusal TraceEvent
    }
    let rate = reply::RateShown { rate_per_min: "0.0045".to_owned(), first_s: 60, ..Default::default() };
    let candidate = reply::CandidateRow { gateway: "v1".to_owned(), rate: Some(rate.clone()), ..Default::default() };
    survives(&reply::Explained {
        at_ms: -1,
        rate: Some(rate),
        seconds_max: Some(i64::MAX),
        candidates: vec![candidate.clone(), candidate],
        skipped: vec![reply::SkippedRow { gateway: "v2".to_owned(), ..Default::default() }],
        refusal: Some(reply::Refusal { end_reason: -5, sip_status: 403, ..Default::default() }),
        ..Default::default()
    });
    let mut cdr = reply::CdrRow::new();
    cdr.insert("fee".to_owned(), json!("0.01"));
    cdr.insert("ring_ms".to_owned(), Value::Null);
    survives(&reply::CdrList { total: 2, more: true, rows: vec![cdr], next: Some(CallId(8)) });
    let event = reply::TraceEvent { detail: json!({"status": 200}), ..Default::default() };
    survives(&reply::Traced { call: CallId(8), events: vec![event], dropped: 1, ..Default::default() });
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_how_the_reads_fall(
        texts in prop::collection::vec(".{0,40}", 0..8),
        cuts in prop::collection::vec(1usize..9, 1..64),
    ) {
        let stream: Vec<u8> = texts.iter().flat_map(|text| encode(text).unwrap()).collect();
        let mut splitter = Splitter::default();
        let mut found = Vec::new();
        let (mut rest, mut cuts) = (stream.as_slice(), cuts.iter().cycle());
        while !rest.is_empty() {
            let (head, tail) = rest.split_at((*cuts.next().unwrap()).min(rest.len()));
            splitter.push(head);
            while let Some(frame) = splitter.next_frame().unwrap() {
                found.push(serde_json::from_slice::<String>(&frame).unwrap());
            }
            rest = tail;
        }
        prop_assert_eq!(found, texts);
        prop_assert_eq!(splitter.finish(), Ok(()));
    }

    #[test]
    fn no_bytes_make_the_splitter_hold_more_than_its_limit(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        max in 0usize..20,
    ) {
        let mut splitter = Splitter::new(max);
        splitter.push(&bytes);
        loop {
            match splitter.next_frame() {
                Ok(Some(frame)) => prop_assert!(frame.len() <= max),
                Ok(None) => break,
                Err(FrameError::TooLong { bytes, max: told }) => {
                    prop_assert!(bytes > max && told == max);
                    break;
                }
                Err(other) => return Err(TestCaseError::fail(other.to_string())),
            }
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), params in ".{0,40}") {
        let _ = Request::decode(&bytes);
        let _ = tandem_control::Response::decode(&bytes);
        for method in METHODS {
            let _ = Call::from_parts(method, serde_json::from_str(&params).ok());
            let _ = Call::from_parts(method, Some(json!({ "call": params, "limit": params, "filter": { "to": params } })));
        }
    }
}
