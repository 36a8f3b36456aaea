//! Attaches the relay to interfaces and says what came of it: `attach OBJECT ADDRESS INTERFACE..`. For trying a machine.

use std::process::ExitCode;

use tandem_datapath::{Options, open};

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(object), Some(address)) = (arguments.next(), arguments.next()) else {
        eprintln!("attach OBJECT ADDRESS INTERFACE..");
        return ExitCode::FAILURE;
    };
    let Ok(address) = address.parse() else {
        eprintln!("{address} is no address");
        return ExitCode::FAILURE;
    };
    let interfaces: Vec<String> = arguments.collect();
    let names: Vec<&str> = interfaces.iter().map(String::as_str).collect();
    let opened = open(&Options::new("try", object.into(), &names, &[address], 10_000..=39_999));
    for notice in &opened.notices {
        println!("{notice}");
    }
    let Some(datapath) = opened.datapath else { return ExitCode::FAILURE };
    println!("{:#?}", datapath.status());
    match datapath.detach() {
        Ok(()) => ExitCode::SUCCESS,
        Err(refusal) => {
            eprintln!("{refusal}");
            ExitCode::FAILURE
        }
    }
}
