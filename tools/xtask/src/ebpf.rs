//! `cargo xtask ebpf`: the kernel program as an object file. Needs a Rust that can build for BPF with the sources of its
//! library (Debian: rustc-web, rust-web-src) and bpf-linker; `tools/setup --ebpf` brings both. Two builds of the same
//! sources with the same tools are the same bytes: paths are replaced, debugging information is taken out.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use object::build::elf::{Builder, SectionData};
use object::elf;

use crate::build;

/// Objects that are made: those that the switch loads (media, what media leaves to user space, SIP), and the one that measures
/// the first.
const OBJECTS: [&str; 4] = ["relay", "punts", "steer", "bench"];
/// Where they are put, below the top of the repository.
const FOLDER: &str = "target/ebpf";
const TARGET: &str = "bpfel-unknown-none";
/// What to say when it cannot be built.
const CURE: &str = "run tools/setup --ebpf. Without the kernel program everything else builds and works; media is \
                    relayed in user space";

/// What can be asked.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Build twice from nothing and compare
    #[arg(long)]
    verify: bool,
}

/// # Errors
/// When something is missing, which is named with its cure, or when two builds differ.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let tools = Tools::find()?;
    let folder = build::root().join(FOLDER);
    let made = tools.build(&folder.join("build"))?;
    for (name, bytes) in OBJECTS.iter().zip(&made) {
        let path = folder.join(format!("{name}.o"));
        // Beside, then in one step: a switch that starts just now reads the old one or the new one.
        let beside = path.with_extension("new");
        fs::write(&beside, bytes).with_context(|| format!("cannot write {}", beside.display()))?;
        fs::rename(&beside, &path).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{} ({} bytes)", path.display(), bytes.len());
    }
    if arguments.verify {
        let second = folder.join("again");
        let _ = fs::remove_dir_all(&second);
        let again = tools.build(&second);
        let _ = fs::remove_dir_all(&second);
        ensure!(made == again?, "two builds of the same sources differ");
        println!("a second build from nothing is the same, byte for byte");
    }
    Ok(())
}

/// The program that relays media: built anew where it can be, else the one that was built before.
///
/// # Errors
/// When there is none, with what it takes to build it.
pub(crate) fn relay() -> Result<PathBuf> {
    let path = build::root().join(FOLDER).join("relay.o");
    match run(&Arguments { verify: false }) {
        Err(error) if !path.exists() => Err(error),
        Err(error) => {
            println!("the kernel program of an earlier build is taken: {error:#}");
            Ok(path)
        }
        Ok(()) => Ok(path),
    }
}

/// What builds for BPF.
struct Tools {
    rustc: PathBuf,
    /// Where the linker finds the library of the compiler it belongs to.
    libraries: String,
}

impl Tools {
    fn find() -> Result<Tools> {
        let Some(rustc) = candidates().into_iter().find(|rustc| has_sources(rustc)) else {
            bail!("no rustc with the sources of its library was found; {CURE}");
        };
        ensure!(runs("bpf-linker"), "bpf-linker is missing; {CURE}");
        let mut libraries = env::var("LD_LIBRARY_PATH").unwrap_or_default();
        if let Some(sysroot) = sysroot(Path::new("rustc")) {
            libraries = format!("{}:{libraries}", sysroot.join("lib").display());
        }
        Ok(Tools { rustc, libraries })
    }

    /// Builds all objects and returns them without debugging information.
    fn build(&self, target: &Path) -> Result<Vec<Vec<u8>>> {
        let root = build::root().canonicalize().context("cannot find the repository")?;
        let mut flags = vec![
            format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
            // The type information of maps and functions is made from it; the rest is taken out afterwards.
            "-Cdebuginfo=2".to_owned(),
            "-Clink-arg=--btf".to_owned(),
            // 32-bit registers and jumps: kernels of 5.1 and later.
            "-Ctarget-cpu=v3".to_owned(),
            format!("--remap-path-prefix={}=/tandem", root.display()),
            format!("--remap-path-prefix={}=/target", target.display()),
        ];
        if let Some(cargo_home) = cargo_home() {
            flags.push(format!("--remap-path-prefix={}=/cargo", cargo_home.display()));
        }
        println!("building the kernel program with {}", self.rustc.display());
        let status = Command::new(build::cargo())
            .args(["build", "--release", "--locked", "-Z", "build-std=core", "--target", TARGET])
            .current_dir(root.join("ebpf/relay"))
            .env("RUSTC", &self.rustc)
            // A released compiler, allowed to build its own library for another target.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env("LD_LIBRARY_PATH", &self.libraries)
            .env_remove("RUSTUP_TOOLCHAIN")
            .status()
            .context("cannot run cargo")?;
        ensure!(status.success(), "the kernel program could not be built; if a tool is at fault, {CURE}");
        let folder = target.join(TARGET).join("release");
        OBJECTS.iter().map(|name| stripped(&folder.join(name))).collect()
    }
}

/// Compilers worth a look: the one that is asked for, the packaged one, the one in use, nightly.
fn candidates() -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = env::var_os("TANDEM_EBPF_RUSTC").into_iter().map(PathBuf::from).collect();
    found.extend(["/usr/bin/rustc", "rustc"].map(PathBuf::from));
    let nightly = Command::new("rustup").args(["which", "rustc", "--toolchain", "nightly"]).output();
    if let Some(output) = nightly.ok().filter(|output| output.status.success()) {
        found.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    found
}

fn has_sources(rustc: &Path) -> bool {
    sysroot(rustc).is_some_and(|root| root.join("lib/rustlib/src/rust/library/core/Cargo.toml").exists())
}

fn sysroot(rustc: &Path) -> Option<PathBuf> {
    let output = Command::new(rustc).args(["--print", "sysroot"]).env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    output.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

fn runs(program: &str) -> bool {
    let places = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&places).any(|place| place.join(program).is_file())
}

fn cargo_home() -> Option<PathBuf> {
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")))
}

/// An object without the sections that only a debugger reads. The types (BTF) stay.
fn stripped(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut builder = Builder::read(bytes.as_slice()).context("the linker made no ELF object")?;
    for section in builder.sections.iter_mut() {
        let name = section.name.to_string();
        section.delete = name.starts_with(".debug") || name.starts_with(".rel.debug") || name == ".llvm_addrsig";
    }
    builder.delete_orphans();
    // The linker keeps the names of sections and of symbols in one table, the writer in two.
    let names = builder.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut out = Vec::new();
    builder.write(&mut out).context("cannot write the object")?;
    Ok(out)
}
