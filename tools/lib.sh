# Shared by tools/setup, tools/demo and tools/test; to be sourced.

# Oldest Rust that builds the workspace (Cargo.toml: rust-version).
RUST_MIN=1.95

say() { printf '%s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# version_of PROGRAM: "1.96" of "cargo 1.96.0 (...)"; nothing when it does not run.
version_of() { "$1" --version 2>/dev/null | sed -nE '1s/^[a-z]+ ([0-9]+\.[0-9]+).*/\1/p'; }

# at_least HAVE WANT: whether version HAVE is WANT or newer.
at_least() { [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n1)" = "$2" ]; }

# The folders where a usable cargo may be, in the order of preference: the caller's own, rustup's, the packaged one.
cargo_places() {
  local found
  found=$(command -v cargo || true)
  [ -z "$found" ] || dirname "$found"
  say "${CARGO_HOME:-$HOME/.cargo}/bin"
  # Through sudo the toolchain is that of whoever called.
  if [ -n "${SUDO_USER:-}" ]; then say "$(getent passwd "$SUDO_USER" | cut -d: -f6)/.cargo/bin"; fi
  say /usr/bin
}

# Puts a cargo and rustc that are new enough first in PATH; fails when there is none.
use_cargo() {
  local place
  while read -r place; do
    [ -x "$place/cargo" ] && [ -x "$place/rustc" ] || continue
    if at_least "$(version_of "$place/cargo")" "$RUST_MIN" && at_least "$(version_of "$place/rustc")" "$RUST_MIN"; then
      # Through sudo rustup would look for its toolchains in root's home.
      case $place in
        */.cargo/bin) [ -n "${RUSTUP_HOME:-}" ] || [ ! -d "${place%/.cargo/bin}/.rustup" ] || export RUSTUP_HOME="${place%/.cargo/bin}/.rustup" ;;
      esac
      # What cargo installs (bpf-linker) is found last, also beside the packaged Rust.
      export PATH="$place:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
      return 0
    fi
  done < <(cargo_places)
  return 1
}
