//! The fields of the site's objects and what each takes: for edits on the command line, their completion, and the switch
//! that checks them. The switch has the structures; a test there holds this table to them.

/// What a field takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Text; what it means is checked with the whole site.
    Text,
    /// `true` or `false`.
    Flag,
    /// A whole number in a range.
    Number(i64, i64),
    /// Texts with commas between.
    Texts,
    /// Whole numbers in a range with commas between.
    Numbers(i64, i64),
    /// `text:number` with commas between.
    Shares,
}

impl Takes {
    /// What is allowed, in words.
    pub fn allowed(self) -> String {
        match self {
            Takes::Text => "text".to_owned(),
            Takes::Flag => "true or false".to_owned(),
            Takes::Number(min, max) => format!("a whole number from {min} to {max}"),
            Takes::Texts => "texts with commas between".to_owned(),
            Takes::Numbers(min, max) => format!("whole numbers from {min} to {max} with commas between"),
            Takes::Shares => "pairs prefix:share with commas between".to_owned(),
        }
    }

    /// Whether `+=` and `-=` have a meaning.
    pub const fn is_list(self) -> bool {
        matches!(self, Takes::Texts | Takes::Numbers(..) | Takes::Shares)
    }
}

/// A field and what it takes.
pub type Field = (&'static str, Takes);

/// A kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its table in the site file.
    pub table: &'static str,
    /// Whether its objects have names.
    pub named: bool,
    /// Its fields; empty for system parameters, which `param list` tells.
    pub fields: &'static [Field],
}

const U32: Takes = Takes::Number(0, u32::MAX as i64);
const I32: Takes = Takes::Number(i32::MIN as i64, i32::MAX as i64);
const SECONDS: Takes = Takes::Number(-1, i64::MAX);

/// Fields of an account.
pub const ACCOUNT: &[Field] = &[
    ("kind", Takes::Text),
    ("display_name", Takes::Text),
    ("rate_group", Takes::Text),
    ("opening", Takes::Text),
    ("credit_limit", Takes::Text),
    ("locked", Takes::Flag),
    ("valid_until", Takes::Text),
    ("bill_until", Takes::Text),
    ("agent", Takes::Text),
    ("cancelled", Takes::Flag),
    ("monthly_max", Takes::Text),
    ("alarm_below", Takes::Text),
    ("private_rate_group", Takes::Text),
    ("periods", Takes::Texts),
    ("valid_days", U32),
    ("batch", Takes::Text),
];

/// Fields of a mapping gateway.
pub const MAPPING: &[Field] = &[
    ("account", Takes::Text),
    ("sources", Takes::Texts),
    ("locked", Takes::Flag),
    ("priority", I32),
    ("capacity", U32),
    ("cps", U32),
    ("call_level", Takes::Number(0, 255)),
    ("rewrite_caller", Takes::Text),
    ("rewrite_callee", Takes::Text),
    ("percent_routing", Takes::Shares),
    ("caller_prefixes.allow", Takes::Texts),
    ("caller_prefixes.deny", Takes::Texts),
    ("callee_prefixes.allow", Takes::Texts),
    ("callee_prefixes.deny", Takes::Texts),
    ("caller_lengths", Takes::Numbers(0, 255)),
    ("callee_lengths", Takes::Numbers(0, 255)),
    ("routing_groups.allow", Takes::Texts),
    ("routing_groups.deny", Takes::Texts),
    ("media", Takes::Text),
    ("nat", Takes::Text),
    ("latch", Takes::Text),
    ("media_check", Takes::Text),
    ("max_duration_s", Takes::Numbers(0, i64::MAX)),
    ("timeout_call_proceeding_s", SECONDS),
    ("callee_from", Takes::Text),
    ("caller_from", Takes::Text),
    ("failed_sip_code", Takes::Text),
    ("replace_before_switch", Takes::Flag),
    ("first_policy", Takes::Text),
    ("second_policy", Takes::Text),
    ("min_profit_percent", I32),
    ("max_second_rate", Takes::Text),
    ("pass_headers", Takes::Texts),
    ("phone_billing", Takes::Flag),
    ("bound_number_billing", Takes::Flag),
    ("no_billing_to_phone", Takes::Text),
    ("billing_prefixes", Takes::Texts),
];

/// Fields of a phone.
pub const PHONE: &[Field] = &[
    ("account", Takes::Text),
    ("locked", Takes::Flag),
    ("call_level", Takes::Number(0, 255)),
    ("callee_billing", Takes::Flag),
    ("no_billing_to_phone", Takes::Text),
    ("monthly_max", Takes::Text),
    ("rate_group", Takes::Text),
    ("monthly_rent", Takes::Text),
    ("monthly_min", Takes::Text),
];

/// Fields of a package.
pub const PACKAGE: &[Field] = &[
    ("rent_fee", Takes::Text),
    ("rent_type", Takes::Text),
    ("rent_period", U32),
    ("partial", Takes::Flag),
    ("min_consumption", Takes::Text),
    ("lower_consumption", Takes::Text),
    ("gift_money", Takes::Text),
    ("gifts", Takes::Texts),
];

/// Fields of a bound number.
pub const BOUND: &[Field] = &[("account", Takes::Text)];

/// Fields of a rate group.
pub const GROUP: &[Field] = &[("split_sections", Takes::Flag)];

/// Fields of a routing gateway.
pub const ROUTING: &[Field] = &[
    ("account", Takes::Text),
    ("remotes", Takes::Texts),
    ("local", Takes::Text),
    ("prefixes", Takes::Texts),
    ("prefix_style", Takes::Text),
    ("priority", I32),
    ("weight", U32),
    ("capacity", U32),
    ("cps", U32),
    ("locked", Takes::Flag),
    ("valid_from", Takes::Text),
    ("valid_to", Takes::Text),
    ("groups", Takes::Texts),
    ("rewrite_caller", Takes::Text),
    ("rewrite_callee", Takes::Text),
    ("caller_prefixes.allow", Takes::Texts),
    ("caller_prefixes.deny", Takes::Texts),
    ("callee_prefixes.allow", Takes::Texts),
    ("callee_prefixes.deny", Takes::Texts),
    ("caller_lengths", Takes::Numbers(0, 255)),
    ("callee_lengths", Takes::Numbers(0, 255)),
    ("check_rate", Takes::Flag),
    ("least_cost", Takes::Flag),
    ("clearing_use_callout", Takes::Flag),
    ("min_profit_percent", I32),
    ("max_second_rate", Takes::Text),
    ("protect", Takes::Flag),
    ("switch.ring", Takes::Flag),
    ("switch.sdp", Takes::Flag),
    ("switch.rtp", Takes::Flag),
    ("switch.busy", Takes::Flag),
    ("switch.error_codes", Takes::Numbers(0, 65_535)),
    ("switch.error_code", Takes::Flag),
    ("timeouts.invite", U32),
    ("timeouts.trying", U32),
    ("timeouts.session_progress", U32),
    ("timeouts.session_progress_sdp", U32),
    ("timeouts.ringing", U32),
    ("media", Takes::Text),
    ("nat", Takes::Text),
    ("latch", Takes::Text),
    ("media_check", Takes::Text),
    ("send_asserted", Takes::Flag),
    ("pass_headers", Takes::Texts),
    ("billing_prefixes", Takes::Texts),
];

/// Fields of a template of rate sheets.
pub const RATE_TEMPLATE: &[Field] = &[
    ("columns.code", Takes::Text),
    ("columns.country_code", Takes::Text),
    ("columns.area_code", Takes::Text),
    ("columns.fee_prefix", Takes::Text),
    ("columns.area_name", Takes::Text),
    ("columns.country", Takes::Text),
    ("columns.rate_per_min", Takes::Text),
    ("columns.billing rate", Takes::Text),
    ("columns.increment", Takes::Text),
    ("columns.first_s", Takes::Text),
    ("columns.period", Takes::Text),
    ("columns.conn_fee", Takes::Text),
    ("columns.tax", Takes::Text),
    ("columns.type", Takes::Text),
    ("columns.lock", Takes::Text),
    ("columns.currency", Takes::Text),
    ("columns.effective_from", Takes::Text),
    ("columns.effective_to", Takes::Text),
    ("columns.memo", Takes::Text),
    ("header", Takes::Texts),
    ("date_format", Takes::Text),
    ("decimal_comma", Takes::Flag),
    ("currency", Takes::Text),
    ("international_prefix", Takes::Text),
];

/// Fields of the media settings.
pub const MEDIA: &[Field] = &[("prohibited", Takes::Texts)];

/// The words for a kind, each with the kind; `gateway` is whichever of the two has the name.
pub const KINDS: &[(&str, Option<Kind>)] = &[
    ("account", Some(Kind { table: "account", named: true, fields: ACCOUNT })),
    ("gateway", None),
    ("mapping", Some(Kind { table: "mapping_gateway", named: true, fields: MAPPING })),
    ("mapping_gateway", Some(Kind { table: "mapping_gateway", named: true, fields: MAPPING })),
    ("routing", Some(Kind { table: "routing_gateway", named: true, fields: ROUTING })),
    ("routing_gateway", Some(Kind { table: "routing_gateway", named: true, fields: ROUTING })),
    ("rate_template", Some(Kind { table: "rate_template", named: true, fields: RATE_TEMPLATE })),
    ("phone", Some(Kind { table: "phone", named: true, fields: PHONE })),
    ("bound_number", Some(Kind { table: "bound_number", named: true, fields: BOUND })),
    ("rate_group", Some(Kind { table: "rate_group", named: true, fields: GROUP })),
    ("package", Some(Kind { table: "package", named: true, fields: PACKAGE })),
    ("media", Some(Kind { table: "media", named: false, fields: MEDIA })),
    ("param", Some(Kind { table: "params", named: false, fields: &[] })),
];

/// The kind of a word of [`KINDS`]; `None` for a word that is none, and for `gateway`.
pub fn kind(word: &str) -> Option<Kind> {
    KINDS.iter().find(|(one, _)| *one == word).and_then(|(_, kind)| *kind)
}

/// Whether objects of the kind of `word` have names.
pub fn is_named(word: &str) -> bool {
    kind(word).is_none_or(|kind| kind.named)
}

/// Every field of any kind, once, in the order of the alphabet.
pub fn all() -> Vec<&'static str> {
    let mut names: Vec<&str> = [ACCOUNT, MAPPING, ROUTING, RATE_TEMPLATE, PHONE, BOUND, GROUP, PACKAGE, MEDIA]
        .concat()
        .iter()
        .map(|(name, _)| *name)
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}
