//! The configuration of a test: one customer, some vendors, prices that are easy to check.

use std::fmt::Write as _;

use super::Net;

/// What a test may want different. The customer pays 0.01 a second and the vendor costs 0.005, both by the second and in
/// four decimals; numbers 1212... go to the vendors in order.
pub(crate) struct Plan {
    pub(crate) shards: usize,
    /// Whether the kernel may give datagrams to the right shard.
    pub(crate) steering: bool,
    pub(crate) vendors: u8,
    pub(crate) opening: &'static str,
    /// Calls of an earlier life that were alive so many seconds ago go on.
    pub(crate) adopt_within_s: u32,
    pub(crate) params: Vec<(&'static str, &'static str)>,
    /// Whose silence ends a call.
    pub(crate) media_check: &'static str,
    /// More lines of its `[[listen]]`.
    pub(crate) listen: String,
    /// More lines of `[media]`.
    pub(crate) media: String,
    /// More of the site file.
    pub(crate) site: fn(Net) -> String,
    /// Decks of the customers and of the vendors.
    pub(crate) decks: [&'static str; 2],
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            shards: 1,
            steering: true,
            vendors: 1,
            opening: "100.00",
            adopt_within_s: 32,
            params: Vec::new(),
            media_check: "none",
            listen: String::new(),
            media: String::new(),
            site: |_| String::new(),
            decks: [RETAIL, WHOLESALE],
        }
    }
}

/// Deck of the customer.
pub(crate) const RETAIL: &str = "fee_prefix,area_name,rate_per_min,increment\n1212,New York,0.6,1/1\n";
/// Deck of the vendors.
pub(crate) const WHOLESALE: &str = "fee_prefix,area_name,rate_per_min,increment\n1212,New York,0.3,1/1\n";

impl Plan {
    /// `tandemd.toml`
    pub(crate) fn machine(&self, net: Net) -> String {
        format!(
            "node = \"test\"\nkernel_programs = \"{}\"\ndata_dir = \"data\"\ncontrol_socket = \"control.sock\"\n\
             [[listen]]\naddress = \"{}\"\n{}[media]\naddress = \"{}\"\nallow_loopback = true\n{}\
             [threads]\nshards = {}\n# Tests run beside each other and must not all sit on one core.\npin = false\nsteering = \"{}\"\n\
             [limits]\nadopt_within_s = {}\n[bootstrap]\nsite = \"site.toml\"\n[bootstrap.rates]\nretail = \"retail.csv\"\nwholesale = \"wholesale.csv\"\n",
            // Where `cargo xtask ebpf` puts them.
            concat!(env!("CARGO_MANIFEST_DIR"), "/../target/ebpf"),
            net.sip(),
            self.listen,
            net.media(),
            self.media,
            self.shards,
            if self.steering { "auto" } else { "off" },
            self.adopt_within_s
        )
    }

    /// The site file.
    pub(crate) fn site(&self, net: Net) -> String {
        let mut text =
            String::from("[params]\nSERVER_BILLING_FEE_PRECISTION = \"4\"\nSERVER_BILLING_FEE_UNIT = \"0.0001\"\n");
        for (name, value) in &self.params {
            let _ = writeln!(text, "{name} = \"{value}\"");
        }
        let _ = writeln!(
            text,
            "[account.acme]\nkind = \"customer\"\nrate_group = \"retail\"\nopening = \"{}\"\n\
             [account.carrier]\nkind = \"vendor\"\nrate_group = \"wholesale\"\n\
             [mapping_gateway.acme]\naccount = \"acme\"\nsources = [\"{}\"]\nmedia = \"on\"\nmedia_check = \"{}\"",
            self.opening,
            net.customer(),
            self.media_check
        );
        for n in 1..=self.vendors {
            let _ = writeln!(
                text,
                "[routing_gateway.v{n}]\naccount = \"carrier\"\nremotes = [\"{}\"]\nprefixes = [\"1212\"]\npriority = {n}",
                net.vendor(n)
            );
        }
        text + &(self.site)(net)
    }
}
