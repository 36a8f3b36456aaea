//! From a version of the plan to what the rooms of the switch are configured with.

use std::net::SocketAddr;

use rust_decimal::Decimal;
use tandem_ladder::site::{Built, Customer, Site, Vendor};
use tandem_rating::money::Money;
use tandem_rating::rate::Rate;

use crate::plan::{AccountPlan, Plan, Version};
use crate::price::Row;

/// Where customer `n` speaks SIP.
pub fn customer_address(n: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, 10 + n as u8], 5060))
}

/// Where vendor `n` speaks SIP.
pub fn vendor_address(n: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 10 + n as u8], 5060))
}

/// A party that nobody knows.
pub fn stranger_address(n: u32) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 200 + (n % 40) as u8], 5060))
}

/// Units of 10^-8 as the product writes money.
///
/// # Errors
/// Out of range.
pub fn money(units: i128) -> Result<Money, String> {
    Money::new(decimal(units)).map_err(|error| error.to_string())
}

fn decimal(units: i128) -> Decimal {
    Decimal::from_i128_with_scale(units, 8).normalize()
}

fn rates(rows: &[Row]) -> Vec<Rate> {
    rows.iter()
        .map(|row| Rate {
            rate_id: row.id,
            area_code: row.prefix.clone(),
            rate_per_min: decimal(row.per_min),
            first_s: row.first_s as u32,
            next_s: row.next_s as u32,
            conn_fee: decimal(row.connection),
            tax_pct: decimal(row.tax_pct),
            effective_from_ms: row.from_ms,
            effective_to_ms: row.to_ms,
            ..Rate::default()
        })
        .collect()
}

/// The rooms' configuration of `version`; `boot` makes the randomness of each start of the switch its own.
///
/// # Errors
/// One sentence.
pub fn build(plan: &Plan, version: &Version, boot: u32) -> Result<Built, String> {
    let mut site = Site::default();
    let account = |at: usize| -> &AccountPlan { &version.accounts[at] };
    for (n, gateway) in version.customers.iter().enumerate() {
        let mut customer = Customer::new(&gateway.name, customer_address(n));
        let payer = account(gateway.account);
        customer.account.clone_from(&payer.name);
        customer.balance = money(payer.opening)?;
        customer.limit = money(payer.limit)?;
        customer.rates = rates(&payer.rows);
        customer.gateway.capacity = gateway.capacity;
        customer.gateway.cps = gateway.cps;
        site.customers.push(customer);
    }
    for (n, gateway) in version.vendors.iter().enumerate() {
        let mut vendor = Vendor::new(&gateway.name, vendor_address(n));
        let clearing = account(gateway.account);
        vendor.account.clone_from(&clearing.name);
        vendor.balance = money(clearing.opening)?;
        vendor.rates = rates(&clearing.rows);
        vendor.gateway.capacity = gateway.capacity;
        vendor.gateway.cps = gateway.cps;
        vendor.gateway.priority = gateway.priority;
        vendor.gateway.prefixes = gateway.prefixes.iter().map(|p| (*p).to_owned()).filter(|p| !p.is_empty()).collect();
        vendor.gateway.switch.ring = Some(true);
        site.vendors.push(vendor);
    }
    let billing = &version.billing;
    site.billing.fp = billing.fp as u8;
    site.billing.fu = decimal(billing.fee_unit);
    site.billing.p_hold_ms = billing.hold_ms as u16;
    site.billing.free_s = billing.free_s as u32;
    site.billing.quantise_rate = billing.quantise;
    site.billing.vendor_free_time = billing.free_vendor;
    site.rules.record_zero_hold = version.record_zero_hold;
    site.settings.max_call_duration_s = version.max_call_s;
    site.set_param("SS_MEDIAPROXYMODE", version.media_mode)?;
    site.ports = 10_000..=10_000 + plan.ports - 1;
    for (n, byte) in site.seed.iter_mut().enumerate() {
        let word = plan.switch_seed.wrapping_add(u64::from(boot).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        *byte = word.to_le_bytes()[n % 8] ^ n as u8;
    }
    let mut built = site.build()?;
    built.sip.refuse_unknown = true;
    Ok(built)
}
