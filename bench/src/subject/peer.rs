//! Kamailio and rtpengine as a carrier would run them; the templates are in `peers/`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::deck;
use super::process::{Lane, Process};
use super::{Ground, MEDIA_CONTROL};

/// UDP workers; 2 and 8 were not better.
const WORKERS: &str = "4";
/// Private and shared memory, MiB: enough for 12,000 dialogs.
const MEMORY: [&str; 4] = ["-m", "1024", "-M", "16"];
/// The memory manager of a tuned machine; the packaged default takes twice the CPU.
const MANAGER: [&str; 4] = ["-x", "fm", "-X", "fm"];

/// Starts Kamailio in `folder`.
///
/// # Errors
/// What is missing, with its cure, or what its log says.
pub(super) fn kamailio(lane: &Lane, ground: &Ground, rtpengine: bool, folder: &Path) -> Result<Process> {
    let program = find("kamailio")?;
    let config = render(include_str!("../../peers/kamailio.cfg"), ground, folder, &modules()?);
    let write =
        |name: &str, text: &str| fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"));
    for name in ["dbtext", "cdr"] {
        fs::create_dir_all(folder.join(name)).with_context(|| format!("cannot make {name}"))?;
    }
    write("kamailio.cfg", &config)?;
    write("address.list", &format!("1 {} 32 0 customer\n", ground.customer.ip()))?;
    write("dispatcher.list", &format!("1 sip:{} 0 0 duid=vendor\n", ground.vendor))?;
    write("dbtext/version", "table_name(string) table_version(int)\nroutes:1\n")?;
    write("dbtext/routes", &deck::dbtext())?;
    let mut command = ground.command(lane, &program)?;
    command.arg("-f").arg(folder.join("kamailio.cfg"));
    command.args(["-l", &format!("udp:{}", ground.kamailio), "-n", WORKERS]);
    command.args(MEMORY).args(MANAGER).args(["-DD", "-E"]);
    command.args(["-A", if rtpengine { "WITH_RTPENGINE" } else { "WITHOUT_RTPENGINE" }]);
    command.arg("-P").arg(folder.join("kamailio.pid")).current_dir(folder);
    let mut process = Process::start("kamailio", &mut command, &folder.join("kamailio.log"))?;
    process.until_bound(ground.kamailio)?;
    Ok(process)
}

/// Starts rtpengine in `folder`.
///
/// # Errors
/// As [`kamailio`].
pub(super) fn rtpengine(lane: &Lane, ground: &Ground, folder: &Path) -> Result<Process> {
    let program = find("rtpengine")?;
    let path = folder.join("rtpengine.conf");
    let config = render(include_str!("../../peers/rtpengine.conf"), ground, folder, Path::new(""));
    fs::write(&path, config).context("cannot write rtpengine.conf")?;
    let mut command = ground.command(lane, &program)?;
    command.arg(format!("--config-file={}", path.display()));
    command.args(["--config-section=rtpengine", "--num-threads=2"]);
    let mut process = Process::start("rtpengine", &mut command, &folder.join("rtpengine.log"))?;
    process.until_bound(MEDIA_CONTROL)?;
    Ok(process)
}

fn render(template: &str, ground: &Ground, folder: &Path, modules: &Path) -> String {
    template
        .replace("@FOLDER@", &folder.display().to_string())
        .replace("@MODULES@", &modules.display().to_string())
        .replace("@MEDIA_CONTROL@", &MEDIA_CONTROL.to_string())
        .replace("@MEDIA@", &ground.rtpengine_media.to_string())
}

/// A program of the search path or of the folders for daemons, which are not in everybody's.
///
/// # Errors
/// That it is missing, and how to install it.
pub(crate) fn find(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/local/sbin", "/usr/sbin", "/usr/bin"]);
    let found = folders.map(|folder| Path::new(folder).join(name)).find(|program| program.is_file());
    found.with_context(|| format!("{name} is not installed; tools/setup --peers installs the peers (Debian)"))
}

/// Kamailio's modules, which Debian keeps in a folder named after the architecture.
fn modules() -> Result<PathBuf> {
    for lib in ["/usr/lib", "/usr/lib64", "/usr/local/lib", "/usr/local/lib64"] {
        let folders = fs::read_dir(lib).into_iter().flatten().flatten().map(|entry| entry.path());
        for folder in [PathBuf::from(lib)].into_iter().chain(folders) {
            let modules = folder.join("kamailio/modules");
            if modules.join("tm.so").is_file() && modules.join("mtree.so").is_file() {
                return Ok(modules);
            }
        }
    }
    bail!("Kamailio's modules tm and mtree are not installed; tools/setup --peers installs them (Debian)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_in_whole() {
        for template in [include_str!("../../peers/kamailio.cfg"), include_str!("../../peers/rtpengine.conf")] {
            let text = render(template, &Ground::loopback(), Path::new("/folder"), Path::new("/modules"));
            let code = text.lines().filter(|line| !line.starts_with('#'));
            for line in code {
                let mut words = line.split('@');
                words.next();
                assert!(
                    !words.any(|word| word.len() > 2 && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')),
                    "{line}"
                );
            }
        }
    }

    #[test]
    fn what_is_missing_is_told_with_its_cure() {
        let error = format!("{:#}", find("no-such-switch").unwrap_err());
        assert!(error.contains("no-such-switch") && error.contains("tools/setup --peers"), "{error}");
    }
}
