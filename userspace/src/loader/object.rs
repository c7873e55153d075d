//! The eBPF object, embedded in `shunt` so that agent and programs are always of one version.

/// The eBPF object as an ELF file, aligned for the loader. Empty where it was not built, which
/// [`is_embedded`] tells.
pub const EBPF_OBJECT: &[u8] =
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/shunt-ebpf.o"));

/// Whether this build carries an eBPF object. One made without `cargo xtask build` does not, and
/// can check and list, but not load.
pub const fn is_embedded() -> bool {
    !EBPF_OBJECT.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_embedded_is_nothing_or_an_elf_file() {
        assert!(!is_embedded() || EBPF_OBJECT.starts_with(b"\x7fELF"));
    }

    #[test]
    fn the_object_is_aligned_as_the_loader_reads_it() {
        assert_eq!(EBPF_OBJECT.as_ptr().align_offset(8), 0);
    }
}
