//! Phone cards.

use serde::{Deserialize, Serialize};

reply! {
    /// `card.create`
    CardsCreated {
        /// PINs; in a preview those of examples, which are not kept.
        pins: Vec<String>,
        /// How many.
        count: u64,
        /// Money of each.
        value: String,
        /// Money of all.
        total: String,
        /// Batch.
        batch: String,
        /// False for a preview.
        committed: bool,
    }
}

reply! {
    /// A card.
    CardRow {
        /// PIN, the name of its account.
        pin: String,
        /// Batch.
        batch: String,
        /// `new`, `used`, `locked`, `expired`, `no_money` or `canceled`.
        state: String,
        /// Money it was made with.
        value: String,
        /// Money it has.
        balance: String,
        /// End of the first call that cost something.
        first_use_ms: Option<i64>,
        /// End of its validity as it is known now.
        valid_to_ms: Option<i64>,
        /// Days from the first use; 0 is no bound.
        valid_days: u32,
        /// Rate group.
        rate_group: String,
        /// The account above it.
        agent: String,
        /// Numbers that call on it, blanks between.
        bound_numbers: String,
        /// Calls now.
        calls: u32,
    }
}

reply! {
    /// `card.list`
    CardList {
        /// Cards that fit.
        total: u64,
        /// The page.
        rows: Vec<CardRow>,
    }
}

reply! {
    /// `card.lock`
    CardsLocked {
        /// Cards that were, or would be, changed.
        cards: u64,
        /// False for a preview.
        committed: bool,
    }
}
