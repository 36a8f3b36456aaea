//! Configuration: the machine's file, the site's tree, and parameters. Nonsense is refused in words; what is taken is
//! written and read again.

use std::collections::HashMap;

use crate::daemon::config::Config;
use crate::daemon::params::Params;
use crate::daemon::site::{Ids, Listeners, Site, diff};

/// One text, taken as each of the three.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Err(error) = Config::parse(&text) {
        assert!(!format!("{error:#}").is_empty());
    }
    match Site::parse(&text) {
        Ok(site) => tree(&site),
        Err(error) => assert!(!error.is_empty()),
    }
    let mut params = Params::default();
    for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
        let before = params.clone();
        if let Err(error) = params.set(name.trim(), value) {
            assert_eq!(params, before, "{error}, and yet something changed");
        }
    }
    views(&params);
}

fn tree(site: &Site) {
    let written = site.to_text();
    let again = Site::parse(&written).unwrap_or_else(|error| panic!("{error} in our own export:\n{written}"));
    assert_eq!(&again, site, "an export reads back as it was");
    assert!(diff(site, &again).is_empty());
    let listeners = Listeners(vec![
        "192.0.2.1:5060".parse().expect("an address"),
        "[2001:db8::1]:5060".parse().expect("an address"),
    ]);
    match site.build(1, "n1", &mut Ids::default(), &HashMap::new(), &listeners) {
        Ok(built) => {
            assert_eq!(built.snapshot.accounts.len(), site.account.len());
            assert_eq!(built.money.len(), site.account.len());
            views(&built.params);
        }
        Err(errors) => assert!(!errors.is_empty() && errors.iter().all(|error| !error.is_empty())),
    }
}

/// What the rooms read of accepted parameters.
fn views(params: &Params) {
    params.billing().expect("parameters are only taken when they fit each other");
    let _ = (params.settings(), params.resend(), params.record_rules(), params.check_clearing(), params.qos());
    let (low, high) = params.rtp_ports();
    assert!(low < high);
}
