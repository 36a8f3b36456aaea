//! What one leg of a call costs: billing.md section 2, step by step.
//!
//! [`rate_leg`] and [`explain_leg`] walk the same steps through the same code, so an explanation
//! can never differ from the fee. Inside, amounts are integers of 10^-8 and the raw fee is an exact
//! fraction; rounding happens at steps 7, 9, 10 and 11 and is called by name.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::duration;
use crate::error::OrOverflow;
pub use crate::error::{BillingError, OutOfRange};
use crate::gift::{self, Gift};
use crate::money::{self, Money, MoneyError, RawFee};
use crate::round::{Least, round_units};
use crate::split::{self, RateChange};
use crate::sums::Sums;
use crate::text::Text;

/// Most decimals of a fee (SERVER_BILLING_FEE_PRECISION is 0 to 4).
pub const FP_MAX: u8 = 4;
/// Largest hold-time threshold (SERVER_BILLING_HOLD_TIME_PRECISION is 0 to 999 ms).
pub const P_HOLD_MS_MAX: u16 = 999;
/// Free time above this is legal but unusual: warn (billing.md C12).
pub const FREE_S_ADVISED_MAX: u32 = 10;
/// Largest rate, connection fee, section amount and tax, exclusive: decimal(18,8) of rates.md
/// section 1 has ten digits before the point.
const RATE_MAX_EXCLUSIVE: i128 = 10_000_000_000;

/// The system parameters that shape a fee, as they were when the call was answered (billing.md
/// section 7: a change touches only later answers).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillingParams {
    /// Decimals of rates and fees, 0 to 4. SERVER_BILLING_FEE_PRECISION, default 2.
    pub fp: u8,
    /// Smallest fee step, above 0. SERVER_BILLING_FEE_UNIT, default 0.01.
    pub fu: Decimal,
    /// Fraction of a second that rounds up, 0 to 999 ms. SERVER_BILLING_HOLD_TIME_PRECISION,
    /// default 50.
    pub p_hold_ms: u16,
    /// Seconds taken off every call. SERVER_BILLING_FREE_TIME, default 0.
    pub free_s: u32,
    /// Whether rates are rounded to `fp` decimals before use. TANDEM_RATE_QUANTISE, default on.
    pub quantise_rate: bool,
    /// Whether vendors give the free time too. TANDEM_FREE_TIME_VENDOR, default on.
    pub vendor_free_time: bool,
}

impl Default for BillingParams {
    fn default() -> Self {
        BillingParams {
            fp: 2,
            fu: Decimal::new(1, 2),
            p_hold_ms: 50,
            free_s: 0,
            quantise_rate: true,
            vendor_free_time: true,
        }
    }
}

impl BillingParams {
    /// Refuses what may not be saved, naming the parameter, the value and what is allowed.
    ///
    /// Precision and unit must fit each other (billing.md section 6, case 6): `fu * 10^fp` or its
    /// reciprocal is a positive whole number.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        if self.fp > FP_MAX {
            return Err(OutOfRange::new("SERVER_BILLING_FEE_PRECISION", self.fp, "0 to 4"));
        }
        if self.p_hold_ms > P_HOLD_MS_MAX {
            return Err(OutOfRange::new("SERVER_BILLING_HOLD_TIME_PRECISION", self.p_hold_ms, "0 to 999 ms"));
        }
        let unit = self.fee_unit_units()?;
        let step = money::precision_step_units(self.fp);
        if unit % step != 0 && step % unit != 0 {
            let precision = Decimal::new(1, u32::from(self.fp));
            return Err(OutOfRange::new(
                "SERVER_BILLING_FEE_UNIT",
                self.fu,
                format!(
                    "a whole multiple or a whole part of {precision}, the step of \
                     SERVER_BILLING_FEE_PRECISION {}",
                    self.fp
                ),
            ));
        }
        Ok(())
    }

    /// The parameters a vendor's leg is rated with: without the free time when vendors do not give
    /// it (billing.md section 9).
    pub fn for_vendor(&self) -> BillingParams {
        let mut params = self.clone();
        if !self.vendor_free_time {
            params.free_s = 0;
        }
        params
    }

    fn fee_unit_units(&self) -> Result<i128, OutOfRange> {
        let most = RATE_MAX_EXCLUSIVE * money::UNITS_PER_ONE;
        match money::units(self.fu) {
            Some(units) if units > 0 && units < most => Ok(units),
            _ => Err(OutOfRange::new(
                "SERVER_BILLING_FEE_UNIT",
                self.fu,
                "above 0, at most 8 decimals, below 10000000000",
            )),
        }
    }
}

/// One step of a stepped start of a call (billing.md section 4): once begun it is charged whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Order in the row; sections are walked from the lowest.
    pub position: u32,
    /// Seconds the section covers. Zero seconds is a fee taken when the section is reached.
    pub time_s: u32,
    /// What the section costs, whole.
    pub amount: Decimal,
}

/// What one leg is charged by: the rate row as it was at the answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateTerms {
    /// The row, for the proof in the CDR.
    pub rate_id: u64,
    /// The matched prefix (rate prefix and area code together).
    pub prefix: Text,
    /// Price of 60 s, 0 or more, at most 8 decimals.
    pub rate_per_min: Decimal,
    /// First block, 1 s or more. Not used when there are sections.
    pub first_s: u32,
    /// Every later block, 1 s or more.
    pub next_s: u32,
    /// Stepped start of the call; normally empty.
    pub sections: Vec<Section>,
    /// Connection fee, 0 or more.
    pub conn_fee: Decimal,
    /// Tax on the fee in percent, 0 or more.
    pub tax_pct: Decimal,
    /// Call level: 1 in-network, 2 local, 4 domestic long distance, 5 international.
    pub level: u8,
}

impl RateTerms {
    /// True when no duration ever costs anything: rate, connection fee and sections are all 0.
    pub fn is_free(&self) -> bool {
        self.rate_per_min.is_zero()
            && self.conn_fee.is_zero()
            && self.sections.iter().all(|section| section.amount.is_zero())
    }

    /// Refuses values outside their range, naming the field.
    pub fn validate(&self) -> Result<(), OutOfRange> {
        Amounts::of(self).map(|_| ())
    }
}

/// What a leg costs, and the numbers that prove it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Held seconds after hold-time precision, before free time (step 2).
    pub hold_s: i64,
    /// Seconds after free time (step 3).
    pub charge_s: i64,
    /// Billed seconds: sections and blocks (step 6). The CDR calls it fee time.
    pub billed_s: i64,
    /// Seconds paid by packages (step 5).
    pub suite_s: i64,
    /// Seconds taken from each gift of the leg, in whole billing cycles; at least `suite_s` together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gift_used_s: Vec<i64>,
    /// Part of fee and tax that gift money pays; the balance pays the rest.
    #[serde(default)]
    pub suite_fee: Money,
    /// Price of 60 s that was used (step 7).
    pub rate_used: Decimal,
    /// Exact fee before rounding (step 8).
    pub raw_fee: RawFee,
    /// Fee (step 10).
    pub fee: Money,
    /// Tax on the fee (step 11).
    pub tax: Money,
}

impl Charge {
    /// What the leg costs: fee and tax. Errors: the sum is out of range.
    pub fn total(&self) -> Result<Money, MoneyError> {
        self.fee.checked_add(self.tax)
    }

    /// What the balance pays: fee and tax without the part that gift money pays. Errors: out of range.
    pub fn due(&self) -> Result<Money, MoneyError> {
        self.total()?.checked_sub(self.suite_fee)
    }
}

/// Everything that prices one leg besides its length and the parameters: the row at the answer, what takes its place later,
/// and what packages give.
#[derive(Clone, Copy, Debug)]
pub struct Tariff<'a> {
    /// The row in force at the answer. Its connection fee, sections and tax hold for the whole call.
    pub terms: &'a RateTerms,
    /// Rows that take its place during the call, by time; empty unless the rate group splits sections (billing.md 6.a).
    pub changes: &'a [RateChange],
    /// Wall clock of the answer, UTC ms; read only with `changes`.
    pub connect_ms: i64,
    /// What packages give, in the order in which it is used (billing.md 5).
    pub gifts: &'a [Gift],
    /// Gift money that may pay.
    pub gift_money: Money,
}

impl<'a> Tariff<'a> {
    /// One row for the whole call and no package.
    pub fn plain(terms: &'a RateTerms) -> Tariff<'a> {
        Tariff { terms, changes: &[], connect_ms: 0, gifts: &[], gift_money: Money::ZERO }
    }

    /// True when no duration ever costs anything.
    pub fn is_free(&self) -> bool {
        self.terms.is_free() && self.changes.iter().all(|change| change.terms.rate_per_min.is_zero())
    }
}

impl<'a> From<&'a RateTerms> for Tariff<'a> {
    fn from(terms: &'a RateTerms) -> Tariff<'a> {
        Tariff::plain(terms)
    }
}

/// Rates one leg that was held for `hold_ms` (billing.md section 2, steps 1 to 11, in that order).
///
/// Pure: equal arguments give an equal charge, so an old CDR can be proved from its snapshot. For
/// the vendor's leg pass [`BillingParams::for_vendor`]. Errors: a value outside its range, or an
/// amount too large; nothing is rounded to make it fit.
pub fn rate_leg(hold_ms: i64, terms: &RateTerms, params: &BillingParams) -> Result<Charge, BillingError> {
    rate_tariff(hold_ms, &Tariff::plain(terms), params)
}

/// [`rate_leg`] with packages and with rows that change during the call (billing.md sections 5 and 6.a).
///
/// # Errors
/// As of [`rate_leg`].
pub fn rate_tariff(hold_ms: i64, tariff: &Tariff<'_>, params: &BillingParams) -> Result<Charge, BillingError> {
    Steps::walk(duration::hold_s(hold_ms, params.p_hold_ms), tariff, params)?.charge()
}

/// What the balance pays for a call of exactly `hold_s` seconds; what reservations are made of.
pub(crate) fn cost_of(hold_s: i64, tariff: &Tariff<'_>, params: &BillingParams) -> Result<Money, BillingError> {
    Ok(Steps::walk(hold_s, tariff, params)?.charge()?.due()?)
}

/// Why a leg costs what it costs: the steps of [`rate_leg`] as lines of text, one per step. A leg
/// that cannot be rated gives one line with the reason.
pub fn explain_leg(hold_ms: i64, terms: &RateTerms, params: &BillingParams) -> Vec<String> {
    explain_tariff(hold_ms, &Tariff::plain(terms), params)
}

/// [`explain_leg`] of [`rate_tariff`].
pub fn explain_tariff(hold_ms: i64, tariff: &Tariff<'_>, params: &BillingParams) -> Vec<String> {
    match crate::explain::lines(hold_ms, tariff, params) {
        Ok(lines) => lines,
        Err(error) => vec![format!("not rated: {error}")],
    }
}

/// Every intermediate value of the steps, in integers.
pub(crate) struct Steps {
    pub hold_s: i64,
    pub charge_s: i64,
    pub suite_s: i64,
    pub gift_used_s: Vec<i64>,
    pub section_s: i64,
    /// Blocks of the rows, in order: seconds and price of 60 s.
    pub blocks: SmallVec<[Stretch; 1]>,
    pub conn_units: i128,
    pub section_units: i128,
    pub rate_units: i128,
    pub raw: RawFee,
    pub precise_units: i128,
    pub fee_units: i128,
    pub tax_units: i128,
    pub suite_units: i128,
}

/// Blocks that one row prices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub block_s: i64,
    pub rate_units: i128,
}

impl Steps {
    /// Steps 3 to 11 for a call of `hold_s` held seconds.
    pub(crate) fn walk(hold_s: i64, tariff: &Tariff<'_>, params: &BillingParams) -> Result<Steps, BillingError> {
        let terms = tariff.terms;
        let amounts = Amounts::of(terms)?;
        let fp_step = precision_step(params)?;
        let fee_unit = params.fee_unit_units()?;
        let used_rate = |rate: i128| {
            if params.quantise_rate { round_units(rate, 1, fp_step, Least::OneStep).or_overflow() } else { Ok(rate) }
        };

        // 3 free time; 5 packages. Without time to charge (4) there is nothing to give.
        let charge_s = duration::charge_s(hold_s, params.free_s);
        let given = gift::give(charge_s, tariff.gifts)?;

        // 7 rate: it does not depend on the duration, and the proof wants it for free calls too.
        let rate_units = used_rate(amounts.rate)?;

        let mut steps = Steps {
            hold_s,
            charge_s,
            suite_s: given.suite_s,
            gift_used_s: given.used_s,
            section_s: 0,
            blocks: SmallVec::new(),
            conn_units: 0,
            section_units: 0,
            rate_units,
            raw: RawFee::default(),
            precise_units: 0,
            fee_units: 0,
            tax_units: 0,
            suite_units: 0,
        };
        // 4 zero test: no time to charge costs nothing, not even the connection fee.
        if given.left_s == 0 {
            return Ok(steps);
        }

        // 6 sections, then blocks.
        let walked = walk_sections(given.left_s, terms)?;
        steps.section_s = walked.section_s;
        steps.conn_units = amounts.conn;
        steps.section_units = walked.units;
        if tariff.changes.is_empty() {
            let first_s = if terms.sections.is_empty() { terms.first_s } else { terms.next_s };
            let block_s = duration::billed_s(walked.left_s, first_s, terms.next_s)?;
            steps.blocks.push(Stretch { block_s, rate_units });
        } else {
            let before_s = hold_s - given.left_s + walked.section_s;
            let laid = split::lay(walked.left_s, before_s, tariff)?;
            for (block_s, row) in laid {
                let rate = used_rate(Amounts::of(row)?.rate)?;
                steps.blocks.push(Stretch { block_s, rate_units: rate });
            }
        }

        // 8 raw fee, exact over 60 * 10^8; 9 precision, 10 unit, 11 tax.
        let fixed = amounts.conn.checked_add(walked.units).or_overflow()?;
        let sums = Sums { fixed, tax_pct: amounts.tax_pct, fp_step, fee_unit };
        let worked = sums.work(&steps.blocks).or_overflow()?;
        steps.raw = RawFee::from_numerator(worked.raw);
        steps.precise_units = worked.precise;
        steps.fee_units = worked.fee;
        steps.tax_units = worked.tax;

        // Gift money pays first (billing.md 5).
        let total = steps.fee_units.checked_add(steps.tax_units).or_overflow()?;
        steps.suite_units = total.min(tariff.gift_money.units().max(0));
        Ok(steps)
    }

    /// Seconds of all blocks.
    pub(crate) fn block_s(&self) -> Result<i64, BillingError> {
        let sum = self.blocks.iter().try_fold(0i64, |sum, stretch| sum.checked_add(stretch.block_s));
        sum.or_overflow()
    }

    pub(crate) fn charge(&self) -> Result<Charge, BillingError> {
        Ok(Charge {
            hold_s: self.hold_s,
            charge_s: self.charge_s,
            billed_s: self.section_s.checked_add(self.block_s()?).or_overflow()?,
            suite_s: self.suite_s,
            gift_used_s: self.gift_used_s.clone(),
            suite_fee: Money::from_units(self.suite_units)?,
            rate_used: money::decimal_from_units(self.rate_units)?,
            raw_fee: self.raw,
            fee: Money::from_units(self.fee_units)?,
            tax: Money::from_units(self.tax_units)?,
        })
    }
}

/// The amounts of a rate row in units, checked.
struct Amounts {
    rate: i128,
    conn: i128,
    tax_pct: i128,
}

impl Amounts {
    fn of(terms: &RateTerms) -> Result<Amounts, OutOfRange> {
        if terms.first_s == 0 {
            return Err(OutOfRange::new("first_s", 0, "1 s or more"));
        }
        if terms.next_s == 0 {
            return Err(OutOfRange::new("period", 0, "1 s or more"));
        }
        for section in &terms.sections {
            amount_units("sections", section.amount)?;
        }
        Ok(Amounts {
            rate: amount_units("rate_per_min", terms.rate_per_min)?,
            conn: amount_units("conn_fee", terms.conn_fee)?,
            tax_pct: amount_units("tax", terms.tax_pct)?,
        })
    }
}

/// Sections walked by position (billing.md section 4).
struct Walked {
    left_s: i64,
    section_s: i64,
    units: i128,
}

fn walk_sections(charge_s: i64, terms: &RateTerms) -> Result<Walked, BillingError> {
    let mut walked = Walked { left_s: charge_s, section_s: 0, units: 0 };
    for section in in_order(&terms.sections) {
        if walked.left_s == 0 {
            break;
        }
        let time_s = i64::from(section.time_s);
        walked.left_s = (walked.left_s - time_s).max(0);
        walked.section_s = walked.section_s.checked_add(time_s).or_overflow()?;
        walked.units = walked.units.checked_add(amount_units("sections", section.amount)?).or_overflow()?;
    }
    Ok(walked)
}

/// Sections from the lowest position; rows are normally stored that way already.
pub(crate) fn in_order(sections: &[Section]) -> Vec<&Section> {
    if sections.is_empty() {
        return Vec::new();
    }
    let mut ordered: Vec<&Section> = sections.iter().collect();
    ordered.sort_by_key(|section| section.position);
    ordered
}

fn amount_units(field: &'static str, value: Decimal) -> Result<i128, OutOfRange> {
    match money::units(value) {
        Some(units) if (0..RATE_MAX_EXCLUSIVE * money::UNITS_PER_ONE).contains(&units) => Ok(units),
        _ => Err(OutOfRange::new(field, value, "0 or more, at most 10 digits before the point and 8 after it")),
    }
}

fn precision_step(params: &BillingParams) -> Result<i128, OutOfRange> {
    if params.fp > FP_MAX {
        return Err(OutOfRange::new("SERVER_BILLING_FEE_PRECISION", params.fp, "0 to 4"));
    }
    Ok(money::precision_step_units(params.fp))
}
