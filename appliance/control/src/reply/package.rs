//! Packages and their orders.

use serde::{Deserialize, Serialize};

reply! {
    /// A package as it is defined.
    PackageRow {
        /// Name.
        name: String,
        /// What a period costs.
        rent_fee: String,
        /// `day`, `month`, `year` or `once` (seconds).
        rent_type: String,
        /// How many of them a period has.
        rent_period: u32,
        /// The first period is paid in part.
        partial: bool,
        /// What calls of a period have to cost.
        min_consumption: String,
        /// Gifts are used once they have cost so much.
        lower_consumption: String,
        /// Money that pays before the balance.
        gift_money: String,
        /// Rows of gift time, `; ` between.
        gifts: String,
        /// Orders that are not over.
        orders: u64,
    }
}

reply! {
    /// `package.list`
    PackageList {
        /// Packages that fit.
        total: u64,
        /// The page.
        rows: Vec<PackageRow>,
    }
}

reply! {
    /// An order of a package, or the monthly fee of a phone.
    OrderRow {
        /// Its number; of a fee `phone:<number>`.
        order: String,
        /// Who pays.
        account: String,
        /// Only calls of this phone.
        phone: String,
        /// Package; empty for the fee of a phone.
        package: String,
        /// `future`, `active`, `waiting`, or over: `expired`, `cancelled`, `no_money`, `gone`.
        state: String,
        /// Begin of the period that runs.
        from_ms: Option<i64>,
        /// Its end.
        to_ms: Option<i64>,
        /// Rent that was taken for it.
        rent: String,
        /// What its calls have to cost.
        minimum: String,
        /// What they cost, where that counts.
        spent: String,
        /// Seconds of gifts it began with.
        gift_s: i64,
        /// Seconds that are left, those held by calls too.
        gift_left_s: i64,
        /// Of these, held by calls in progress.
        gift_held_s: i64,
        /// Gift money it began with.
        gift_money: String,
        /// What is left of it, what calls hold too.
        gift_money_left: String,
        /// Of this, held by calls in progress.
        gift_money_held: String,
        /// When the next period begins; none when there is none.
        next_ms: Option<i64>,
        /// End of the order; none is open.
        expires_ms: Option<i64>,
        /// Among the packages of a call, low first; none is last.
        priority: Option<u32>,
        /// Percent of the rent.
        rent_percent: String,
        /// `wait`, `next` or `delete`.
        no_money: String,
        /// It ends with the period that runs.
        cancel: bool,
        /// Rent and differences taken in all its life.
        taken: String,
        /// Who ordered it.
        user: String,
        /// When it changed last.
        changed_ms: i64,
        /// What happened then.
        what: String,
        /// What stands in its way now; empty for nothing.
        stuck: String,
    }
}

reply! {
    /// `package.orders`
    PackageOrders {
        /// Orders that fit.
        total: u64,
        /// The page.
        rows: Vec<OrderRow>,
    }
}

reply! {
    /// What an act on an order does, or did.
    PackageDone {
        /// Its number; empty in a preview of a new one.
        order: String,
        /// Who pays.
        account: String,
        /// Package.
        package: String,
        /// In words.
        what: String,
        /// State after it.
        state: String,
        /// Rent of the period that runs, or begins next.
        rent: String,
        /// Its begin.
        from_ms: Option<i64>,
        /// Its end.
        to_ms: Option<i64>,
        /// What its calls have to cost.
        minimum: String,
        /// Its gift money.
        gift_money: String,
        /// Its gift time.
        gifts: Vec<String>,
        /// What the account has, before.
        available: String,
        /// False for a preview.
        committed: bool,
    }
}
