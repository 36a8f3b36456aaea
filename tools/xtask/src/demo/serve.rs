//! `--serve`: the switch of the demo, left running for the user's own SIPp.

use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use rustix::process::Signal;
use tandem_netns::Place;

use super::folder::Folder;
use super::interrupt::Interrupt;
use super::scene::{Addresses, Scene};
use super::switch::Switch;
use super::{Arguments, deck, tandem_socket};
use crate::build::{self, Binaries};

/// Between two looks at the daemon.
const LOOK: Duration = Duration::from_millis(100);
/// The daemon ends every call with its record first.
const STOP: Duration = Duration::from_secs(15);

/// Runs the switch until interrupted.
///
/// # Errors
/// When it cannot be started, or ends by itself.
pub(super) fn run(
    arguments: &Arguments,
    binaries: &Binaries,
    folder: &Folder,
    scene: &Scene,
    interrupt: &Interrupt,
) -> Result<()> {
    let mut switch = Switch::start(arguments, binaries, folder, scene, interrupt)?;
    switch.check_path(arguments)?;
    print_guide(arguments, binaries, folder, scene, switch.process.id());
    loop {
        if interrupt.came() {
            println!("stopping the switch");
            switch.process.stop(Signal::TERM, STOP);
            return Ok(());
        }
        if let Some(status) = switch.process.ended() {
            bail!("tandemd ended by itself ({status})\n{}", switch.process.tail());
        }
        thread::sleep(LOOK);
    }
}

fn print_guide(arguments: &Arguments, binaries: &Binaries, folder: &Folder, scene: &Scene, process: u32) {
    let Addresses { sip, media, customer, vendor } = scene.addresses;
    let socket = &arguments.socket;
    let (at_customer, at_vendor) = (scene.prefix(Place::A), scene.prefix(Place::B));
    let scenarios = build::root().join("tools/sipp");
    let scenarios = scenarios.display();
    let tandem = binaries.tandem.display();
    let option = if socket == std::path::Path::new(tandem_socket()) {
        String::new()
    } else {
        format!(" --socket {}", socket.display())
    };
    println!(
        "
the switch is up (process {}), until Ctrl-C or TERM
  SIP        {sip} (UDP)
  media      {media}
  customer   {customer}, any port: account acme, prepaid, 1,000,000.00 USD, 20,000 channels
  vendor     {vendor}: numbers 1212...; {} prefixes in both decks
  control    {}
  log        {}

a vendor that answers and echoes audio, in another terminal:
  {at_vendor}sipp -sf {scenarios}/vendor.xml -i {vip} -p {vport} -mi {vip} -mp 6000 -rtp_echo

a customer: 100 calls, 10 a second, 5 s each, in a third one:
  {at_customer}sipp {sip} -sf {scenarios}/customer.xml -inf {scenarios}/numbers.csv -i {customer} -p 5060 -mi {customer} \\
       -r 10 -m 100 -d 5000

G.711 both ways: the vendor plays a tone for 4 s, the customer echoes it:
  cd {scenarios} && {at_vendor}sipp -sf vendor_talks.xml -i {vip} -p {vport} -mi {vip} -d 4000
  {at_customer}sipp {sip} -sf {scenarios}/customer_talks.xml -inf {scenarios}/numbers.csv -i {customer} -p 5060 \\
       -mi {customer} -mp 6000 -rtp_echo -r 10 -m 100 -d 5000

then look:
  {tandem}{option} status
  {tandem}{option} calls list
  {tandem}{option} media show
  {tandem}{option} cdr list
  {tandem}{option} trace CALL
  {tandem}{option} explain --from acme --caller 4930100 --callee 12125550100
",
        process,
        deck::ROWS,
        socket.display(),
        folder.file("tandemd.log").display(),
        vip = vendor.ip(),
        vport = vendor.port(),
    );
}
