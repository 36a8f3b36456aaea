//! Replies about rate groups.

use serde::{Deserialize, Serialize};

reply! {
    /// One change of a rate.
    RateChange {
        /// `added`, `raised`, `lowered`, `changed` or `closed`.
        change: String,
        /// Prefix.
        prefix: String,
        /// Name of its area, when known.
        area: String,
        /// When the change takes effect.
        from_ms: Option<i64>,
        /// Price per minute before; none when added.
        before: Option<String>,
        /// Price per minute after; none when closed.
        after: Option<String>,
        /// By how many percent the price rises, negative when it falls; none without two prices or from 0.
        percent: Option<String>,
    }
}

reply! {
    /// What happens to the prices of one destination.
    RateArea {
        /// Its name.
        area: String,
        /// Prefixes that are new.
        added: u64,
        /// Prefixes that get dearer.
        raised: u64,
        /// Prefixes that get cheaper.
        lowered: u64,
        /// Prefixes that end.
        closed: u64,
        /// The largest rise in percent.
        most_raised: Option<String>,
        /// The largest fall in percent, negative.
        most_lowered: Option<String>,
    }
}

reply! {
    /// One thing wrong in a file.
    RowError {
        /// Line of the file, from 1, the header included.
        line: u64,
        /// Column by its name.
        column: String,
        /// The value as it is there.
        value: String,
        /// The rule it breaks, in words.
        rule: String,
    }
}

reply! {
    /// `rates.import` and whatever else changes rows: the preview, and whether it was committed.
    RatesImported {
        /// Rate group.
        group: String,
        /// Rows of the file.
        rows: u64,
        /// Prefixes that are new.
        added: u64,
        /// Prices that go up.
        raised: u64,
        /// Of those, earlier than the notice days allow.
        raised_early: u64,
        /// Prices that go down.
        lowered: u64,
        /// Same price, something else differs.
        changed: u64,
        /// Nothing differs.
        unchanged: u64,
        /// Prefixes that are closed.
        closed: u64,
        /// Rates that lose digits to SERVER_BILLING_FEE_PRECISION (billing.md C16); 0 while rates are used as they are.
        digits_lost: u64,
        /// What to look at, one sentence each.
        warnings: Vec<String>,
        /// A few changes of each kind; of prices that rise and fall those that do by the most percent, the largest first.
        examples: Vec<RateChange>,
        /// Destinations with the largest changes.
        areas: Vec<RateArea>,
        /// Template that the file was read by.
        template: Option<String>,
        /// What is wrong; nothing is imported when there is any. At most the first 100.
        errors: Vec<RowError>,
        /// How many errors there are.
        errors_total: u64,
        /// Version of the group the preview was made from.
        base_version: u64,
        /// Number of the preview, for `rates.commit` and `rates.differences`; none when there is nothing to commit.
        preview: Option<u64>,
        /// Version after the import; none for a preview.
        version: Option<u64>,
        /// Whether it was imported.
        committed: bool,
    }
}

reply! {
    /// `rates.upload`
    RatesUploaded {
        /// Bytes that are there.
        received: u64,
    }
}

reply! {
    /// `rates.progress`
    RatesProgress {
        /// `idle`, `reading`, `comparing`, `writing`.
        phase: String,
        /// Bytes or rows done.
        done: u64,
        /// Bytes or rows in all; 0 when not known.
        total: u64,
    }
}

reply! {
    /// `rates.differences`
    RatesDifferences {
        /// All of them.
        total: u64,
        /// This page.
        rows: Vec<RateChange>,
    }
}

reply! {
    /// `rates.export`
    RatesExported {
        /// Rate group.
        group: String,
        /// Version; when it differs from that of an earlier page, begin again.
        version: u64,
        /// Rows of the group.
        total: u64,
        /// Rows in `csv`.
        rows: u64,
        /// The rows; with the header line on the page at offset 0 only.
        csv: String,
    }
}

reply! {
    /// One rate group.
    RateGroupRow {
        /// Name.
        group: String,
        /// Rows.
        rows: u64,
        /// Version.
        version: u64,
        /// Accounts that use it.
        accounts: u64,
        /// Last import.
        changed_ms: Option<i64>,
    }
}

reply! {
    /// `rates.list`, by name.
    RatesList {
        /// Groups.
        total: u64,
        /// All of them.
        rows: Vec<RateGroupRow>,
    }
}

reply! {
    /// One row of a rate group.
    RateRow {
        /// Whole prefix.
        prefix: String,
        /// Name of the destination.
        area: String,
        /// Price of a minute.
        rate_per_min: String,
        /// First block in seconds.
        first_s: u32,
        /// Every later block in seconds.
        period: u32,
        /// Connection fee.
        conn_fee: String,
        /// Tax in percent.
        tax: String,
        /// Steps at the start of the call.
        sections: String,
        /// Call level.
        level: u8,
        /// Destination forbidden.
        lock: bool,
        /// `now`, `future` or `past`, at the time that was asked for.
        state: String,
        /// Beginning; none is always.
        from_ms: Option<i64>,
        /// End; none is never.
        to_ms: Option<i64>,
        /// How much of the prefix is the rate prefix.
        fee_prefix: String,
        /// Number of the row, as in CDRs.
        rate_id: u64,
        /// Free text.
        memo: String,
    }
}

reply! {
    /// `rates.show`
    RatesShow {
        /// Rate group.
        group: String,
        /// Version.
        version: u64,
        /// Rows that match.
        total: u64,
        /// This page.
        rows: Vec<RateRow>,
    }
}

reply! {
    /// A version of a rate group.
    RateVersionRow {
        /// Number.
        version: u64,
        /// When.
        at_ms: i64,
        /// Who.
        user: String,
        /// How it came about: `import`, `set`, `delete`, `rollback`, `drop`, `bootstrap`.
        how: String,
        /// Rows; none in versions of before rows were counted.
        rows: Option<u64>,
        /// Version of the configuration that it came with.
        site_version: Option<u64>,
        /// File, template, exchange rate.
        source: String,
        /// What changed.
        changes: String,
        /// Words of the operator.
        comment: String,
    }
}

reply! {
    /// `rates.history`
    RatesHistory {
        /// Versions.
        total: u64,
        /// This page.
        rows: Vec<RateVersionRow>,
    }
}

reply! {
    /// `rates.drop`
    RatesDropped {
        /// Rate group.
        group: String,
        /// Rows that it has.
        rows: u64,
        /// Its last version.
        version: u64,
        /// Whether it is gone.
        committed: bool,
    }
}
